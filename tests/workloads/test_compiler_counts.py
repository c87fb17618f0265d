"""What torch.compile did between two moments is counted, and asking does not load it."""

import subprocess
import sys

import torch

from pamprof.workloads.execution import compiler_counts


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
