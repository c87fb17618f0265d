"""The report's section on points that several ranks shared."""
