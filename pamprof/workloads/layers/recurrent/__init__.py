"""What PAM and its real twin share: parameters, recurrence in chunks, model, formulas and definition."""
