"""What a comparison visits: arms matched in size, crossed with implementations, executions and points."""
