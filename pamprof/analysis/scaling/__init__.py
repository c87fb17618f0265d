"""What several ranks gain over one device, and what their messages cost."""
