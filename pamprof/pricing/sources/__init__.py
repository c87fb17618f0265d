"""Where rates come from, one file a source."""
