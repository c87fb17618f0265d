import os
import weakref
from dataclasses import replace

import pytest

from pamprof.errors import PamprofError, UnsupportedError
from pamprof.measure.session.answering import Pipe
from pamprof.measure.session.arm import runner as arm
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.wire import GroupRequest, decode_event
from pamprof.measure.session.worker import GroupWorker
from pamprof.records import ExecutionStage, Run, SkipKind
from pamprof.records.codec import decode
from pamprof.workloads.execution import ExecutionError
from tests.synthetic import synthetic_run, synthetic_workload


class FakeArm:
    """What an arm holds; only its lifetime matters."""


class FakeDevice:
    def empty_cache(self):
        pass

    def is_out_of_memory(self, error):
        return isinstance(error, MemoryError)


class FakeRunner:
    """Measures by name: the implementation says what happens."""

    alive: list
    prepared: list

    def __init__(self, request):
        self.device = FakeDevice()
        type(self).alive = []
        type(self).prepared = []
        self.most_alive = 0

    def ceilings(self, dtype):
        raise RuntimeError("CUDA out of memory")

    def measure(self, workload, reference):
        living = [ref for ref in self.alive if ref() is not None]
        assert len(living) <= 1, "an arm outlived its turn"
        match workload.implementation:
            case "unsupported":
                raise UnsupportedError("this compiler version fails")
            case "uncapturable":
                raise ExecutionError(ExecutionStage.CAPTURE, "the step cannot be captured")
            case "wrong":
                raise PamprofError("differs from the oracle")
            case "large":
                raise MemoryError
            case "broken":
                raise ValueError("first line\nsecond line")
        built = FakeArm()
        self.alive.append(weakref.ref(built))
        paired = workload if reference is None else self.reference_workload
        if reference is None:
            self.reference_workload = workload
        return replace(synthetic_run(), workload=workload, reference=paired), built

    def begin(self, request):
        self.begun = request

    def prepare(self, workload):
        self.prepared.append(workload.implementation)
        return self.measure(workload, None)[1]

    def out_of_memory_reason(self, workload):
        return f"batch {workload.batch_size} does not fit; choose a smaller one"


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(arm, "ArmRunner", FakeRunner)

    def run(*implementations, done=(), ceilings=False, worker=None):
        workloads = tuple(replace(synthetic_workload(), implementation=name) for name in implementations)
        read_end, write_end = os.pipe()
        request = GroupRequest(
            session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=workloads,
            done=tuple(w.key for w in workloads if w.implementation in done), settings=Settings(), ceilings=ceilings,
        )  # fmt: skip
        (worker or GroupWorker()).run_group(request, Pipe(write_end))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as stream:
            lines = stream.readlines()
        return [decode(line) for line in lines if decode_event(line) is None]

    return run


def test_only_the_reference_outlives_its_turn(measured):
    assert len(measured("a", "b", "c", "d")) == 4


def test_whatever_goes_wrong_becomes_a_skip_with_its_kind(measured):
    records = measured("a", "unsupported", "wrong", "large", "broken", "b", "uncapturable")
    kinds = [None if isinstance(record, Run) else record.kind for record in records]
    assert kinds == [
        None, SkipKind.UNSUPPORTED, SkipKind.INCORRECT, SkipKind.OUT_OF_MEMORY, SkipKind.CRASHED, None,
        SkipKind.UNSUPPORTED,
    ]  # fmt: skip
    assert [records[place].failed_stage for place in (1, 6)] == [None, ExecutionStage.CAPTURE]
    assert records[4].reason.startswith("pam broken: ValueError: first line second line (tests/measure/session/test_w")
    assert records[4].reason.endswith("test_worker.py, line 59)")
    assert records[4].traceback.startswith("Traceback")
    assert records[4].traceback.endswith("ValueError: first line\nsecond line\n")


def test_the_next_arm_becomes_the_reference_where_the_first_fails(measured):
    records = measured("large", "a", "b")
    assert records[1].reference == records[1].workload
    assert records[2].reference == records[1].workload


def test_a_reference_that_has_a_record_is_built_again_and_not_recorded_again(measured):
    records = measured("a", "b", "c", done=("a", "b"))
    assert [record.workload.implementation for record in records] == ["c"]
    assert records[0].reference.implementation == "a"


def test_a_reference_is_kept_for_the_next_group_that_begins_with_it(measured):
    worker = GroupWorker()
    measured("a", "b", worker=worker)
    assert [record.workload.implementation for record in measured("a", "c", done=("a",), worker=worker)] == ["c"]
    assert FakeRunner.prepared == []
    measured("b", "d", done=("b",), worker=worker)
    assert FakeRunner.prepared == ["b"]


def test_a_reference_is_measured_anew_where_its_record_is_wanted_again(measured):
    worker = GroupWorker()
    measured("a", worker=worker)
    (record,) = measured("a", worker=worker)
    assert record.reference == record.workload


def test_a_group_ends_where_its_reference_cannot_be_built_again(measured):
    assert measured("large", "b", done=("large",)) == []


def test_ceilings_that_cannot_be_measured_cost_no_point(measured, capfd):
    assert [type(record) for record in measured("a", "b", ceilings=True)] == [Run, Run]
    assert "the ceilings could not be measured: CUDA out of memory" in capfd.readouterr().err
