"""Asks a process of its own what a layer is, so that planning outlives whatever the layer's code does."""

from __future__ import annotations

import atexit
from dataclasses import dataclass

import msgspec

from pamprof.errors import PamprofError, UsageError
from pamprof.measure.imports import never_collected
from pamprof.measure.session.answering import Pipe, answer_lines
from pamprof.measure.session.process import WorkerHung, WorkerProcess
from pamprof.records import LayerSpec, Phase
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.foreign.definition import BlockFacts, Declared, Inspector

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeQuestion:
    """About one layer: what was declared of it, its block at a width, or its FLOPs in a phase."""

    spec: LayerSpec
    is_declared: bool = False
    phase: Phase | None = None
    batch_size: int = 0
    sequence_length: int = 0
    all_logits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What was asked for, or the sentence why there is none."""

    declared: Declared | None = None
    block: BlockFacts | None = None
    matrix_flop_count: int = 0
    matrix_dense_flop_count: int = 0
    error: str | None = None


class ProbeInspector(Inspector):
    """Runs layers' code in one process, started with the first question and again after it died."""

    def __init__(self) -> None:
        self._process: WorkerProcess | None = None
        atexit.register(self.close)

    def declared(self, spec: LayerSpec) -> Declared:
        """As the other process read it."""
        answer = self._ask(ProbeQuestion(spec=spec, is_declared=True))
        assert answer.declared is not None
        return answer.declared

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

    def close(self) -> tuple[int, str]:
        """End the process; its exit status and the last line it printed."""
        process, self._process = self._process, None
        if process is None:
            return 0, ""
        process.kill()
        return process.close()

    def _ask(self, question: ProbeQuestion) -> ProbeAnswer:
        who = f"layer {question.spec.layer} at width {question.spec.model_dim}"
        if self._process is None:
            self._process = WorkerProcess("pamprof.measure.any_layer.probe")
        self._process.send(question, last=False)
        try:
            line = next(self._process.lines(_ANSWER_SECONDS), b"")
        except WorkerHung:
            self.close()
            raise UsageError(
                f"{who} gave no answer within {_ANSWER_SECONDS:.0f} s; see that making it and a forward pass of 8 "
                "tokens end"
            ) from None
        except BaseException:  # an interrupt: the answer that is on its way belongs to no further question
            self.close()
            raise
        if not line:
            status, last_printed = self.close()
            said = f"; it last printed {last_printed!r}" if last_printed else ""
            raise UsageError(f"{who} ended the process that ran it, with status {status}{said}")
        answer = msgspec.json.decode(line, type=ProbeAnswer)
        if answer.error is not None:
            raise UsageError(answer.error)
        return answer


def main() -> None:
    """Answer questions until standard input ends."""
    with never_collected():
        from pamprof.measure.any_layer.inspection import LocalInspector

    inspector = LocalInspector()

    def reply(line: bytes, pipe: Pipe) -> None:
        try:
            answer = _answer(inspector, msgspec.json.decode(line, type=ProbeQuestion))
        except PamprofError as exc:
            answer = ProbeAnswer(error=str(exc))
        pipe.send(msgspec.json.encode(answer) + b"\n")

    answer_lines(reply)


def _answer(inspector: Inspector, question: ProbeQuestion) -> ProbeAnswer:
    if question.is_declared:
        return ProbeAnswer(declared=inspector.declared(question.spec))
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
