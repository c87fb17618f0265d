"""What every built-in layer shares: weights' dtypes, the padded vocabulary, the error against an oracle."""
