"""Parameters, FLOPs and state bytes of PAM and its real twin by formula, argued term by term.

Letters: B batch, T time, D model_dim, H heads, d head_dim, K states, I = H d, h hidden_dim, L depth, V vocabulary, C
chunk, N chunks, m planes of a number: 2 for complex, 1 for real. Counts are real multiply-adds unless they say FLOP; a
complex multiply-add is m² = 4 real ones, and one real multiply-add is 2 FLOP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.common.vocabulary import padded_vocabulary_size
from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import LayerSpec

PUBLISHED_CHUNK_SIZE = 256
_STATE_ELEMENT_BYTES = {None: 4, Dtype.FLOAT32: 4, Dtype.BFLOAT16: 2}  # float32 where the arm says nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Multiply-adds of the recurrence of one head over one sequence: forward, and what backward adds."""

    forward: int
    backward: int


_NO_WORK = Work(forward=0, backward=0)  # of decode, which has FLOPs of its own


def planes_of(spec: LayerSpec) -> int:
    """2 where a number is complex, 1 where it is real."""
    return 1 if spec.layer == "real_pam" else 2


def parameter_count(spec: LayerSpec, scope: Scope) -> int:
    """Real scalars of one block, or of the whole model with its tied table counted once.

    Block: maps 4 I D (query, key, value, output) and 3 h D (gate, up, down), m real scalars a weight; dt m D H + H with
    dt_bias H; protect gate D H + H, or m D H + H where it reads parts; of several states K offsets and phases
    D H K + H K; activation h (a threshold) or 2 h (a bias and a slope); two norms D; two residual scales. Model: table
    m V D, norms of embedding, output and head 3 D, head projection m (D² + D).
    """
    planes, width, hidden = planes_of(spec), spec.model_dim, spec.hidden_dim
    inner = spec.heads * spec.head_dim
    maps = planes * (4 * inner * width + 3 * hidden * width)
    gates = gate_weight_count(spec) + 3 * spec.heads
    if spec.state_count > 1:
        gates += (spec.heads + 1) * spec.state_count
    activation = hidden * (2 if spec.activation.endswith("swish") else 1)
    block = maps + gates + activation + 2 * width + 2
    if scope is Scope.LAYER:
        return block
    head = planes * (width * width + width)
    return spec.depth * block + planes * spec.vocabulary_size * width + 3 * width + head


def gate_weight_count(spec: LayerSpec) -> int:
    """Weights of dt m D H, of the protect gate D H or m D H, and of the phases of several states D H K."""
    planes = planes_of(spec)
    columns = planes + (planes if spec.gate_reads_parts else 1) + (spec.state_count if spec.state_count > 1 else 0)
    return columns * spec.model_dim * spec.heads


def linear_multiply_adds(spec: LayerSpec, products: int | None = None) -> int:
    """Of one block's linear maps, per token: ``products`` (m² unless said otherwise) real ones for each weight.

    Query, key, value and output 4 I D, gate unit 3 h D; the gates and phases are real maps (``gate_weight_count``).
    """
    planes, width = planes_of(spec), spec.model_dim
    products = planes * planes if products is None else products
    weights = 4 * spec.heads * spec.head_dim * width + 3 * spec.hidden_dim * width
    return products * weights + gate_weight_count(spec)


def head_multiply_adds(spec: LayerSpec, logits_width: int, products: int | None = None) -> int:
    """Of the head, per position: projection D², and a real product m D with the tied table."""
    planes = planes_of(spec)
    products = planes * planes if products is None else products
    return products * spec.model_dim**2 + planes * spec.model_dim * logits_width


def loop_work(spec: LayerSpec, length: int, chunk_size: int) -> Work:
    """The recurrence as defined in chunks of ``chunk_size``, which is also what the published loop executes.

    A chunk of c tokens: scores c² d, output c² d, its own state c d² and, unless it is the first, the read of the state
    before it, c d²; all times m². Of K states each has its own two c d², while the c² d are made once, with the sum of
    their decays. Backward multiplies twice for each product, except that the state of the last chunk
    reaches no output and gets no gradient.
    """
    complete, rest = divmod(length, chunk_size)
    chunks = [chunk_size] * complete + ([rest] if rest else [])
    planes, head_dim = planes_of(spec), spec.head_dim
    pairs = sum(2 * c * c * head_dim for c in chunks)
    states = spec.state_count * length * head_dim**2
    reads = spec.state_count * (length - chunks[0]) * head_dim**2
    unused = spec.state_count * chunks[-1] * head_dim**2
    forward = planes**2 * (pairs + states + reads)
    return Work(forward=forward, backward=2 * forward - 2 * planes**2 * unused)


def core_work(spec: LayerSpec, length: int, *, final_state: bool) -> Work:
    """What ``chunks.core`` executes for chunks of min(64, T), the last one filled up.

    Forward: running sums of the logarithms C²; scores and output 2 m² C² d; with more than one chunk, the states
    m² C d², the read m² C d², and once a sequence the sums N² and the product over chunks N² m d². Backward: each of
    the two C² d products twice, twice the running sums; each of the two C d² products twice, the product over chunks
    twice (states and decays), and its sums twice. A final state costs its own sums and a product N m d², and the
    chunk's state where there is but one chunk. All but the C² d products once for each of K states.
    """
    planes, head_dim = planes_of(spec), spec.head_dim
    chunk = min(CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    sums = spec.state_count * chunks * chunk**2
    pairs = planes**2 * chunks * chunk**2 * head_dim
    states = spec.state_count * planes**2 * chunks * chunk * head_dim**2
    across = spec.state_count * chunks**2 * planes * head_dim**2
    across_sums = spec.state_count * chunks**2
    forward, backward = sums + 2 * pairs, 2 * sums + 4 * pairs
    if chunks > 1:
        forward += 2 * states + across + across_sums
        backward += 4 * states + 2 * across + 2 * across_sums
    if final_state:
        ends = spec.state_count * chunks * planes * head_dim**2
        forward += sums + across_sums + ends + (states if chunks == 1 else 0)
    return Work(forward=forward, backward=backward)


def decode_state_flop_count(spec: LayerSpec) -> int:
    """FLOP of one block's recurrence for one token: decay m, write and read 2 m² each, for each of H K d² entries."""
    planes = planes_of(spec)
    return spec.state_count * spec.heads * spec.head_dim**2 * (planes + 4 * planes**2)


def architecture_flop_count(
    spec: LayerSpec,
    *,
    phase: Phase,
    scope: Scope,
    batch_size: int,
    sequence_length: int,
    work: Callable[[LayerSpec, int, int], Work] = loop_work,
    decode_state_flop: Callable[[LayerSpec], int] = decode_state_flop_count,
) -> ClosedForm:
    """FLOP of one step as the architecture defines it, chunks of ``spec.chunk_size``, no padding.

    Linear maps and head per token, the recurrence per sequence (``loop_work``), logits for every position in training,
    for the last of a prompt, for the new one in decode; there the recurrence costs ``decode_state_flop_count``.
    Products inside a chunk are counted whole: the half above the diagonal cannot be skipped, so causal and dense counts
    agree.
    """
    chunk = min(spec.chunk_size or PUBLISHED_CHUNK_SIZE, sequence_length)
    return step_flop_count(
        spec,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        linear=linear_multiply_adds(spec),
        head=head_multiply_adds(spec, spec.vocabulary_size),
        work=_NO_WORK if phase is Phase.DECODE else work(spec, sequence_length, chunk),
        decode_state_flop=decode_state_flop(spec),
    )


def executed_flop_count(
    spec: LayerSpec,
    *,
    phase: Phase,
    scope: Scope,
    batch_size: int,
    sequence_length: int,
    work: Work | None = None,
    products: int | None = None,
    decode_products: int | None = None,
) -> ClosedForm:
    """FLOP in matrix products that an implementation executes in one step, to the unit.

    Differences from the architecture: a padded logits product; the implementation's own chunks; in decode, writing to
    the state and decaying it are elementwise work, so that only the read, m² d² a state, is a product.

    Args:
        spec: The layer's sizes.
        phase: What one step does.
        scope: A block, or the whole model.
        batch_size: Sequences of the step.
        sequence_length: Tokens of each.
        work: Of the recurrence over one sequence; None for that of ``chunks.core``. Decode has none.
        products: Real products of one complex product; None for m².
        decode_products: Multiply-adds in products of one block's recurrence for one decoded token; None for the reads
            of its states.
    """
    if decode_products is None:
        decode_products = planes_of(spec) ** 2 * spec.state_count * spec.heads * spec.head_dim**2
    if phase is Phase.DECODE:
        work = _NO_WORK
    elif work is None:
        work = core_work(spec, sequence_length, final_state=phase is Phase.PREFILL)
    return step_flop_count(
        spec,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        linear=linear_multiply_adds(spec, products),
        head=head_multiply_adds(spec, padded_vocabulary_size(spec.vocabulary_size), products),
        work=work,
        decode_state_flop=2 * decode_products,
    )


def state_byte_count(spec: LayerSpec, *, scope: Scope, batch_size: int) -> int:
    """Bytes of the states: K m d² numbers a head in float32 or the spec's ``state_dtype``, whatever the context."""
    blocks = 1 if scope is Scope.LAYER else spec.depth
    numbers = blocks * batch_size * spec.state_count * spec.heads * planes_of(spec) * spec.head_dim**2
    return numbers * _STATE_ELEMENT_BYTES[spec.state_dtype]


def step_flop_count(
    spec: LayerSpec,
    *,
    phase: Phase,
    scope: Scope,
    batch_size: int,
    sequence_length: int,
    linear: int,
    head: int,
    work: Work,
    decode_state_flop: int,
) -> ClosedForm:
    """FLOP of one step from its parts.

    Args:
        spec: The layer's sizes.
        phase: What one step does.
        scope: A block, or the whole model.
        batch_size: Sequences of the step.
        sequence_length: Tokens of each.
        linear: Multiply-adds of one block's linear maps, per token.
        head: Multiply-adds of the head, per position.
        work: The recurrence of one head over one sequence; not used in decode.
        decode_state_flop: FLOP of one block's recurrence for one decoded token.
    """
    if phase is Phase.DECODE:
        block = 2 * linear + decode_state_flop
        head_flop = 2 * head
    elif phase is Phase.PREFILL:
        block = 2 * (sequence_length * linear + spec.heads * work.forward)
        head_flop = 2 * head
    else:
        block = 2 * (3 * sequence_length * linear + spec.heads * (work.forward + work.backward))
        head_flop = 2 * 3 * sequence_length * head
    total = batch_size * (block if scope is Scope.LAYER else spec.depth * block + head_flop)
    return ClosedForm(matrix_flop_count=total, matrix_dense_flop_count=total)
