"""What every built-in layer shares: refusals, inputs, dtypes, the padded vocabulary, the error against an oracle."""
