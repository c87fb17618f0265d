"""The width of the logits product: the vocabulary, padded."""

from __future__ import annotations

# The matrix product over the vocabulary runs several times faster when its width is a multiple of 64.
VOCABULARY_MULTIPLE = 64


def padded_vocabulary_size(vocabulary_size: int) -> int:
    """Columns of the logits product: the vocabulary rounded up to a multiple of 64."""
    return -(-vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
