"""Parameters, FLOPs and cache bytes of the transformer by formula, argued term by term.

Letters: B batch, T time, D model_dim, F hidden_dim, L depth, V vocabulary, M maximum_sequence_length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.base import ClosedForm

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

_ELEMENT_BYTES = {Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2}


def parameter_count(spec: LayerSpec, scope: Scope) -> int:
    """Real scalars of one block, or of the whole model.

    A block has its four linear maps, query-key-value 3D² + 3D, output D² + D, up DF + F and down FD + D, and two norms
    of 2D each. The model adds the token embedding VD (tied to the head, counted once), the positions MD and the final
    norm 2D. The positions are those of the spec's own table: a table extended to run longer sequences than the sizes
    were matched at is no longer the matched model, so sizes are matched first and extended afterwards.
    """
    width, hidden = spec.model_dim, spec.hidden_dim
    block = 4 * width * width + 2 * width * hidden + 9 * width + hidden
    if scope is Scope.LAYER:
        return block
    return spec.depth * block + (spec.vocabulary_size + spec.maximum_sequence_length + 2) * width


def flop_count(
    spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int, logits_width: int
) -> ClosedForm:
    """Matrix FLOPs of one step, with a logits product of ``logits_width`` columns.

    Forward, in real multiply-adds:

    - Linear maps: 4D² + 2DF for each token and block (12D² at F = 4D).
    - Attention: scores and weighted values, D each for every pair of a query and a key it may see. Causal: the query at
      position t sees t keys, so T(T + 1)/2 pairs a sequence. Dense: T². A decode step adds one query that sees the
      ``sequence_length`` positions held and itself; nothing is masked, so causal and dense agree.
    - Head: D columns of logits for every position that needs them; all in training, the last of a prompt, the new one
      in decode.

    Training is exactly three times forward. Backward multiplies each linear map twice, for the gradients of its input
    and of its weight; none is saved at the first block, since its input is a norm whose weight needs the gradient.
    Attention multiplies four times over the same pairs (two operands of each of two products) against two in forward;
    recomputing the scores, which a fused kernel does to save memory, is not counted as work of the model.
    """
    width = spec.model_dim
    if phase is Phase.DECODE:
        tokens = logits_positions = batch_size
        causal_pairs = dense_pairs = batch_size * (sequence_length + 1)
    else:
        tokens = batch_size * sequence_length
        logits_positions = tokens if phase is Phase.TRAIN else batch_size
        causal_pairs = tokens * (sequence_length + 1) // 2
        dense_pairs = tokens * sequence_length
    linear = tokens * (4 * width * width + 2 * width * spec.hidden_dim)
    head = logits_positions * width * logits_width

    def total(pairs: int) -> int:
        block = linear + 2 * width * pairs
        multiply_adds = block if scope is Scope.LAYER else spec.depth * block + head
        return 2 * multiply_adds * (3 if phase is Phase.TRAIN else 1)

    return ClosedForm(matrix_flop_count=total(causal_pairs), matrix_dense_flop_count=total(dense_pairs))


def cache_byte_count(spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
    """Bytes of keys and values: 2D for each cached position and block, in the policy's dtype."""
    blocks = 1 if scope is Scope.LAYER else spec.depth
    return 2 * blocks * batch_size * context * spec.model_dim * _ELEMENT_BYTES[dtype]
