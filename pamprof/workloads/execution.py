"""How a step reaches the device: operator by operator, compiled per block, or as one CUDA graph.

The same three ways for every arm, so that no architecture is compared compiled against another that is not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import torch

from pamprof.errors import UnsupportedError
from pamprof.records import Execution, ExecutionStage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._dynamo.output_graph import GraphCompileReason

    from pamprof.workloads.base import SequenceModel

Captured = TypeVar("Captured")

# Warm-up steps on a side stream before a capture: one to build lazily made workspaces and optimizer state, two more
# because cuBLAS and the caching allocator settle only on the second use of a shape.
_CAPTURE_WARM_UP_STEPS = 3

# One process holds several compiled arms at several points; the default limits (8 and 256) would silently fall back
# to eager, and an arm labelled "compiled" would not be.
_RECOMPILE_LIMIT = 512


class ExecutionError(UnsupportedError):
    """The step itself runs, but not in the execution asked for.

    Args:
        stage: What failed.
        message: One sentence.
    """

    def __init__(self, stage: ExecutionStage, message: str) -> None:
        super().__init__(message)
        self.stage = stage


def check_execution(execution: Execution, device: torch.device) -> None:
    """Raise ``UnsupportedError`` where ``execution`` cannot exist on ``device``."""
    if execution in (Execution.GRAPH, Execution.COMPILED_GRAPH) and device.type != "cuda":
        raise UnsupportedError(
            f"execution {execution} needs a CUDA device, this is {device.type}; use eager or compiled"
        )


def compile_regions(model: SequenceModel) -> None:
    """Mark every block, and the head with its loss, for ``torch.compile``; compilation happens at the first call.

    Blocks are compiled one by one: a whole model would be unrolled layer by layer, and takes minutes to compile.
    """
    dynamo_config = torch._dynamo.config
    dynamo_config.recompile_limit = _RECOMPILE_LIMIT
    dynamo_config.accumulated_recompile_limit = _RECOMPILE_LIMIT * 4
    # An error inside the compiler must surface as a recorded skip, not as a silent fall-back to eager code.
    dynamo_config.suppress_errors = False
    for region in (*model.blocks, *model.compiled_regions()):
        region.compile(dynamic=False)


def plain_regions(model: SequenceModel) -> None:
    """Undo ``compile_regions``, so that the model's next step is plain, or compiled for its own sizes."""
    for region in (*model.blocks, *model.compiled_regions()):
        region._compiled_call_impl = None
    torch._dynamo.reset()


def compiler_counts() -> tuple[int, int]:
    """Frames that torch.compile has compiled in this process so far, and graph breaks that it met."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:  # where nothing was compiled, asking would load the compiler
        return 0, 0
    counters = dynamo.counters
    return counters["frames"]["total"], sum(counters["graph_break"].values())


def first_graph_break(known: int) -> str | None:
    """Why torch.compile met the first graph break after ``known`` ones, with file and line; None where it does not say.

    ``known`` is what ``graph_break_reason_count`` gave before.
    """
    reasons = _graph_break_reasons()[known:]
    if not reasons:
        return None
    what = str(reasons[0].reason).strip().partition("\n")[0]
    stack = reasons[0].user_stack
    return f"{what} ({Path(stack[-1].filename).name}, line {stack[-1].lineno})" if stack else what


def graph_break_reason_count() -> int:
    """Graph breaks with a reason in this process so far; one may have several, repeated ones among them."""
    return len(_graph_break_reasons())


def _graph_break_reasons() -> list[GraphCompileReason]:
    dynamo = sys.modules.get("torch._dynamo.utils")
    return [] if dynamo is None else dynamo.graph_break_reasons


def capture_graph(step: Callable[[], Captured]) -> Callable[[], Captured]:
    """Capture ``step`` into a CUDA graph; the returned callable replays it and returns the step's static output.

    Raises:
        ExecutionError: The step does something a graph cannot hold, such as waiting for the device.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_CAPTURE_WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    # With ranks a thread of NCCL's looks after earlier messages meanwhile, which a capture need not forbid.
    has_ranks = torch.distributed.is_available() and torch.distributed.is_initialized()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local" if has_ranks else "global"):
            output = step()
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as exc:
        raise ExecutionError(
            ExecutionStage.CAPTURE, f"the step cannot be captured into a CUDA graph: {first_line(exc)}"
        ) from exc

    def replay() -> Captured:
        graph.replay()
        return output

    return replay


def timed(action: Callable[[], torch.Tensor], device: torch.device) -> tuple[torch.Tensor, float]:
    """The action's result and the seconds until the device has finished it."""
    start = perf_counter()
    result = action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, perf_counter() - start


def compiler_fault(error: BaseException) -> str:
    """The first line of what the compiler says, and the error that it met in the layer's code where it explains one."""
    met = re.search(r"^ *Explanation: .*: got (.+)$", str(error), flags=re.MULTILINE)
    return f"{first_line(error)}: {met[1]}" if met else first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
