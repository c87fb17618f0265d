"""What the core's kernels do: multiply-adds of their products, elementwise work and bytes, from shapes alone.

Counted is what the kernels multiply: whole chunks and both triangles of a chunk's pairs, scores once for every block of
value channels, a second pass over segments where there are several. Not counted are channels beyond head_dim, which
only pad a tile. A complex multiply-add is 8 operations. Elementwise work follows the counter's convention: every
addition, product and exponential of a real number is one.

Of K states everything that touches a state is counted K times, everything that touches pairs once.

Axes: B batch, T time, H heads, K states, d head_dim, R = B · H rows, N chunks, C chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.kernel_flops import OperatorWork

if TYPE_CHECKING:
    from pamprof.workloads.kernels.core.configuration import Configuration, CoreShape

_COMPLEX = 8
_DECAY = 6  # per position: a change of base, two sums, a difference and two exponentials
_DECAY_GRADIENT = 7
_STATE_BYTES = 4  # float32 between segments


def forward_work(shape: CoreShape, configuration: Configuration) -> OperatorWork:
    """Work of one forward call."""
    rows, chunks, chunk, dim = _sizes(shape, configuration)
    blocks = -(-dim // configuration.value_block)
    segments = configuration.forward_segments(shape.length)
    pairs, states = (blocks + 1) * chunk * chunk * dim, shape.states * 2 * chunk * dim * dim
    elementwise = blocks * (5 * chunk * chunk + shape.states * (2 * chunk * dim + 2 * chunk))
    elementwise += shape.states * (9 * chunk * dim + 5 * dim * dim + _DECAY * chunk)
    if shape.states > 1:
        elementwise += blocks * (shape.states * (7 * chunk * chunk + 6 * chunk * dim) + 4 * chunk * chunk)
    matrix = _COMPLEX * rows * chunks * (pairs + states)
    pointwise = rows * chunks * elementwise
    if segments > 1:
        first = _state_pass(shape, configuration, segments, keeps=False)
        matrix += first.matrix_flop_count
        pointwise += first.elementwise_flop_count + _scan_flops(rows * shape.states, segments, dim)
    return OperatorWork(matrix_flop_count=matrix, matrix_dense_flop_count=matrix, elementwise_flop_count=pointwise)


def backward_work(
    shape: CoreShape, configuration: Configuration, *, has_initial: bool, wants_initial: bool, has_final: bool
) -> OperatorWork:
    """Work of one backward call.

    Args:
        shape: Of the call.
        configuration: As launched.
        has_initial: Whether there was an initial state.
        wants_initial: Whether its gradient is made.
        has_final: Whether the final state has a gradient.
    """
    rows, chunks, chunk, dim = _sizes(shape, configuration)
    segments = configuration.gradient_segments(shape.length)
    walks = _walks(shape, configuration)
    reads, leaves = has_initial or chunks > 1, has_final or chunks > 1
    products = 5 * chunk * chunk * dim + shape.states * (reads + 2 * leaves + walks) * chunk * dim * dim
    elementwise = 15 * chunk * chunk + 3 * chunk + shape.states * (_DECAY + _DECAY_GRADIENT) * chunk
    elementwise += 19 * chunk * dim * shape.states
    elementwise += shape.states * 4 * dim * dim * (reads and leaves) + (2 * chunk * dim + 5 * dim * dim) * walks
    if shape.states > 1:
        elementwise += shape.states * (16 * chunk * chunk + 10 * chunk * dim)
    matrix, pointwise = _COMPLEX * rows * chunks * products, rows * chunks * elementwise
    keeps = not walks and chunks > 1
    passes = [False] * (segments > 1) + [keeps] * (keeps or wants_initial)
    for once in (_state_pass(shape, configuration, segments, keeps=each) for each in passes):
        matrix += once.matrix_flop_count
        pointwise += once.elementwise_flop_count
    if segments > 1:
        pointwise += _scan_flops(rows * shape.states, segments, dim)
    return OperatorWork(matrix_flop_count=matrix, matrix_dense_flop_count=matrix, elementwise_flop_count=pointwise)


def forward_byte_count(
    shape: CoreShape,
    configuration: Configuration,
    *,
    keeps: bool,
    has_initial: bool = False,
    wants_final: bool = False,
) -> int:
    """Bytes that one forward call must move: every tensor read or written once by every kernel that touches it.

    Not counted are the decays in chunks, a few numbers per token and head, which stay in the cache between kernels.

    Args:
        shape: Of the call.
        configuration: As launched.
        keeps: Whether each chunk's entering state is kept for a backward call.
        has_initial: Whether there is an initial state.
        wants_final: Whether the final state is written.
    """
    rows, chunks, _, dim = _sizes(shape, configuration)
    planes = 2 * rows * shape.length * dim * shape.dtype.itemsize
    segments = configuration.forward_segments(shape.length)
    rows *= shape.states
    decays = 4 * rows * shape.length
    total = 4 * planes + (decays if shape.states == 1 else 3 * decays)
    total += _STATE_BYTES * rows * 2 * dim * dim * (has_initial + wants_final)
    if keeps and (chunks > 1 or has_initial):
        total += rows * chunks * 2 * dim * dim * shape.dtype.itemsize
    if segments > 1:
        total += 2 * shape.states * planes + decays + 4 * _STATE_BYTES * rows * segments * 2 * dim * dim
    return total


def backward_byte_count(shape: CoreShape, configuration: Configuration) -> int:
    """Bytes that one backward call must move, likewise, without gradients of states."""
    rows, chunks, _, dim = _sizes(shape, configuration)
    planes = 2 * rows * shape.length * dim * shape.dtype.itemsize
    rows *= shape.states
    states = rows * chunks * 2 * dim * dim * shape.dtype.itemsize
    walks = _walks(shape, configuration)
    segments = configuration.gradient_segments(shape.length)
    decays = 4 * rows * shape.length
    total = 7 * planes + (2 if shape.states == 1 else 5) * decays + (states if chunks > 1 else 0)
    if not walks and chunks > 1:
        total += 2 * shape.states * planes + 2 * states + decays
    if segments > 1:
        total += 2 * shape.states * planes + decays + 4 * _STATE_BYTES * rows * segments * 2 * dim * dim
    return total


def _walks(shape: CoreShape, configuration: Configuration) -> bool:
    return bool(configuration.gradient_walks) and shape.length > configuration.chunk and shape.states == 1


def _sizes(shape: CoreShape, configuration: Configuration) -> tuple[int, int, int, int]:
    return (
        shape.batch_size * shape.heads,
        -(-shape.length // configuration.chunk),
        configuration.chunk,
        shape.head_dim,
    )


def _state_pass(shape: CoreShape, configuration: Configuration, segments: int, *, keeps: bool) -> OperatorWork:
    """Where a state is kept for every chunk, each is scaled and turned; else that is done once for a segment."""
    rows, chunks, chunk, dim = _sizes(shape, configuration)
    rows *= shape.states
    blocks = -(-dim // configuration.value_block)
    states = 5 * chunks if keeps else 3 * segments
    return OperatorWork(
        matrix_flop_count=_COMPLEX * rows * chunks * chunk * dim * dim,
        elementwise_flop_count=rows * (chunks * (2 * chunk * dim + chunk * blocks) + states * dim * dim),
    )


def _scan_flops(rows: int, segments: int, dim: int) -> int:
    """A state decayed and the segment's own added, for every segment."""
    return 2 * rows * segments * 2 * dim * dim
