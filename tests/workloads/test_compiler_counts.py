"""What torch.compile did between two moments is counted, and asking does not load it."""

import subprocess
import sys

import pytest
import torch

from pamprof.workloads.execution import compiler_counts, compiler_fault, first_line


def counted(step, *arguments):
    before = compiler_counts()
    step(*arguments)
    return tuple(now - then for now, then in zip(compiler_counts(), before, strict=True))


def test_a_step_that_is_compiled_already_counts_nothing_and_another_shape_counts_once():
    step = torch.compile(torch.sin, dynamic=False, backend="eager")
    step(torch.ones(3))
    assert counted(step, torch.ones(3)) == (0, 0)
    assert counted(step, torch.ones(4)) == (1, 0)


def test_a_graph_break_counts_with_the_frames_on_both_sides_of_it():
    def broken(x):
        y = x.sin()
        torch._dynamo.graph_break()
        return y.cos()

    step = torch.compile(broken, dynamic=False, backend="eager")
    assert counted(step, torch.ones(3)) == (2, 1)
    assert counted(step, torch.ones(3)) == (0, 0)


def test_asking_does_not_load_the_compiler():
    code = (
        "import sys; from pamprof.workloads.execution import compiler_counts; "
        "print(compiler_counts(), 'torch._dynamo.utils' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "(0, 0) False\n"


def test_what_the_compiler_met_stands_beside_what_it_was_doing():
    def refused(x):
        return x @ torch.ones(3, 3)

    with pytest.raises(Exception, match="fake tensor") as raised:
        torch.compile(refused, backend="eager")(torch.ones(2, 2))
    told = compiler_fault(raised.value)
    assert "\n" not in told
    assert told.startswith(first_line(raised.value))
    assert "same reduction dim" in told


def test_an_error_without_an_explanation_is_its_first_line():
    assert compiler_fault(RuntimeError("one\ntwo")) == "one"
