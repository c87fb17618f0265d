"""A comparison of arms: what was concluded, the story that is told of it, and the sentences that tell it."""
