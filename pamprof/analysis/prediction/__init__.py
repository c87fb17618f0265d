"""Step times on a GPU that was not measured, from records of one that was: each with interval and basis."""
