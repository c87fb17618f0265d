"""One session: a request, fresh worker processes, paired samples, and every outcome appended to a file of records."""
