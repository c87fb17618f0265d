"""Parameters, FLOPs and cache bytes of the Llama-style decoder by formula, argued term by term.

Letters: B batch, T time, D model_dim, H heads, K key_value_heads, d head_dim, F hidden_dim, L depth, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.base import ClosedForm

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

_ELEMENT_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2}


def key_value_heads(spec: LayerSpec) -> int:
    """Heads of keys and values; as many as query heads where the spec names none."""
    return spec.heads if spec.key_value_heads is None else spec.key_value_heads


def linear_multiply_adds(spec: LayerSpec) -> int:
    """Of one token in one block, and the weights of its maps: D(H + 2K)d into queries, keys and values, H d D out, 3DF.

    The gate unit has three maps of D by F: gate, up and down.
    """
    width, inner = spec.model_dim, spec.heads * spec.head_dim
    projections = width * (inner + 2 * key_value_heads(spec) * spec.head_dim) + inner * width
    return projections + 3 * width * spec.hidden_dim


def parameter_count(spec: LayerSpec, scope: Scope) -> int:
    """Real scalars of one block, or of the whole model.

    A block has its linear maps without biases and two norms of D; the model adds the token embedding VD (tied to the
    head, counted once) and the final norm D. Rotations are computed, not learned.
    """
    block = linear_multiply_adds(spec) + 2 * spec.model_dim
    if scope is Scope.LAYER:
        return block
    return spec.depth * block + (spec.vocabulary_size + 1) * spec.model_dim


def flop_count(
    spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int, logits_width: int
) -> ClosedForm:
    """Matrix FLOPs of one step, with a logits product of ``logits_width`` columns.

    Forward, in real multiply-adds:

    - Linear maps: ``linear_multiply_adds`` for each token and block.
    - Attention: scores and weighted values, H d each for every pair of a query and a key it may see. Query heads share
      keys and values, not products: grouping saves memory and traffic, no FLOP. Causal: the query at position t sees t
      keys, T(T + 1)/2 pairs a sequence; dense: T². A decode step adds one query that sees the ``sequence_length``
      positions held and itself.
    - Head: D columns of logits for every position that needs them; all in training, the last of a prompt, the new one
      in decode.

    Training is three times forward: backward multiplies each linear map twice and each attention pair twice as often;
    every input needs its gradient, since the first block's norm has a weight. Rotations and norms are elementwise.
    """
    if phase is Phase.DECODE:
        tokens = logits_positions = batch_size
        causal_pairs = dense_pairs = batch_size * (sequence_length + 1)
    else:
        tokens = batch_size * sequence_length
        logits_positions = tokens if phase is Phase.TRAIN else batch_size
        causal_pairs = tokens * (sequence_length + 1) // 2
        dense_pairs = tokens * sequence_length
    linear = tokens * linear_multiply_adds(spec)
    head = logits_positions * spec.model_dim * logits_width

    def total(pairs: int) -> int:
        block = linear + 2 * spec.heads * spec.head_dim * pairs
        multiply_adds = block if scope is Scope.LAYER else spec.depth * block + head
        return 2 * multiply_adds * (3 if phase is Phase.TRAIN else 1)

    return ClosedForm(matrix_flop_count=total(causal_pairs), matrix_dense_flop_count=total(dense_pairs))


def cache_byte_count(spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
    """Bytes of keys and values: 2 K d for each cached position and block, in the policy's dtype."""
    blocks = 1 if scope is Scope.LAYER else spec.depth
    return 2 * blocks * batch_size * context * key_value_heads(spec) * spec.head_dim * _ELEMENT_BYTES[dtype]
