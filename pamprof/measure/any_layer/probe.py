"""Asks a process of its own what a layer is, so that planning outlives whatever the layer's code does.

The process reads one question a line and answers one line; what the layer prints goes to standard error.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec

from pamprof.errors import PamprofError, UsageError
from pamprof.records import LayerSpec, Phase
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.foreign.definition import BlockFacts, Inspector

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeQuestion:
    """About one layer: its block at a width, or its FLOPs in a phase."""

    spec: LayerSpec
    phase: Phase | None = None
    batch_size: int = 0
    sequence_length: int = 0
    all_logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What was asked for, or the sentence why there is none."""

    block: BlockFacts | None = None
    matrix_flop_count: int = 0
    matrix_dense_flop_count: int = 0
    error: str | None = None


class ProbeInspector(Inspector):
    """Runs layers' code in one process, started with the first question and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def block_facts(self, spec: LayerSpec) -> BlockFacts:
        """As the other process found them."""
        answer = self._ask(ProbeQuestion(spec=spec))
        assert answer.block is not None
        return answer.block

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, batch_size: int, sequence_length: int, all_logits: bool = False
    ) -> ClosedForm:
        """As the other process counted them."""
        answer = self._ask(
            ProbeQuestion(
                spec=spec,
                phase=phase,
                batch_size=batch_size,
                sequence_length=sequence_length,
                all_logits=all_logits,
            )
        )
        return ClosedForm(
            matrix_flop_count=answer.matrix_flop_count, matrix_dense_flop_count=answer.matrix_dense_flop_count
        )

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _ask(self, question: ProbeQuestion) -> ProbeAnswer:
        layer = question.spec.layer
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(question) + b"\n")
            self._process.stdin.flush()
            line = _line(self._process.stdout.fileno(), time.monotonic() + _ANSWER_SECONDS)
        except BrokenPipeError:
            line = b""
        except TimeoutError:
            self.close()
            raise UsageError(
                f"layer {layer} at width {question.spec.model_dim} gave no answer within {_ANSWER_SECONDS:.0f} s; "
                "see that making it and a forward pass of 8 tokens end"
            ) from None
        if not line:
            status = self._process.wait()
            self.close()
            raise UsageError(
                f"layer {layer} at width {question.spec.model_dim} ended the process that ran it, with status {status}"
            )
        answer = msgspec.json.decode(line, type=ProbeAnswer)
        if answer.error is not None:
            raise UsageError(answer.error)
        return answer


def _line(descriptor: int, deadline: float) -> bytes:
    """The next line; nothing where the other end is closed.

    Raises:
        TimeoutError: It did not come in time.
    """
    read = b""
    while not read.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return b""
        read += piece
    return read


def main() -> None:
    """ProbeAnswer questions until standard input ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a layer prints is not an answer
    from pamprof.measure.any_layer.inspection import LocalInspector

    inspector = LocalInspector()
    for line in sys.stdin.buffer:
        question = msgspec.json.decode(line, type=ProbeQuestion)
        try:
            answer = _answer(inspector, question)
        except PamprofError as exc:
            answer = ProbeAnswer(error=str(exc))
        os.write(answers, msgspec.json.encode(answer) + b"\n")


def _answer(inspector: Inspector, question: ProbeQuestion) -> ProbeAnswer:
    if question.phase is None:
        return ProbeAnswer(block=inspector.block_facts(question.spec))
    counted = inspector.flop_count(
        question.spec,
        phase=question.phase,
        batch_size=question.batch_size,
        sequence_length=question.sequence_length,
        all_logits=question.all_logits,
    )
    return ProbeAnswer(
        matrix_flop_count=counted.matrix_flop_count, matrix_dense_flop_count=counted.matrix_dense_flop_count
    )


if __name__ == "__main__":
    main()
