"""One step shared by several ranks: whole models on parts of a batch, or parts of a model on the whole batch."""
