"""Somebody else's layer, found by name, built and counted: sizes, devices, and one sentence about what goes wrong."""

from __future__ import annotations

import sys
from textwrap import dedent
from types import SimpleNamespace

import pytest

from pamprof.measure.flops.target import count
from pamprof.measure.flops.target.request import CountedPhase, CountRequest, InputDtype
from pamprof.measure.flops.target.worker import reply_to
from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.registry import definition

LAYERS = dedent("""
    import dataclasses

    import torch
    from torch import nn

    TABLE = {"a": 1}

    @dataclasses.dataclass
    class Sizes:  # dataclasses look for their module
        width: int

    def gru(width, **options):
        return nn.GRU(width, width, batch_first=True, **options)

    def linear(width):
        return nn.Linear(width, width, bias=False)

    def without_width(bias: bool = True):
        return nn.Linear(24, 24, bias=bias)

    class Block(nn.Module):
        def __init__(self, model_dim, times=1):
            super().__init__()
            self.linear, self.times = nn.Linear(model_dim, model_dim, bias=False), times

        def forward(self, x):
            for _ in range(self.times):
                x = self.linear(x)
            return x

    def complex_linear(width):
        return nn.Linear(width, width, bias=False, dtype=torch.complex64)

    class Autocast(Block):
        def forward(self, x):
            with torch.autocast(x.device.type, dtype=torch.bfloat16):
                return super().forward(x)

    class ReadsValues(Block):
        def forward(self, x):
            return super().forward(x) if x.sum().item() == x.sum().item() else x

    class Raises(Block):
        def forward(self, x):
            return self.fails(x)

        def fails(self, x):
            raise ValueError("width\\nis odd")

    class Unwritable(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    class RaisesUnwritable(Block):
        def forward(self, x):
            raise Unwritable

    def leaves(width):
        raise SystemExit(3)

    def number(width):
        return 5

    class NoGradient(Block):
        def forward(self, x):
            return super().forward(x).detach()
""")


def line_of(text):
    return next(number for number, line in enumerate(LAYERS.splitlines(), 1) if text in line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("users")
    (folder / "layers_of_a_user.py").write_text(LAYERS)
    (folder / "layers_that_raise.py").write_text("raise ValueError('not today')\n")
    (folder / "broken_layers.py").write_text("def block(:\n")
    (folder / "layers_that_import.py").write_text("import a_module_that_is_not_there\n")
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))


def reply(target, **changes):
    if ":" not in target and target.islower():
        target = f"layers_of_a_user:{target}"
    options = {"batch_size": 2, "sequence_length": 5, "width": 24, "phase": CountedPhase.TRAIN, **changes}
    return reply_to(CountRequest(target=target, is_configuration=False, timeout_seconds=60, **options))


def counted(target, **changes):
    found = reply(target, **changes)
    assert found.answer is not None, found.fault
    return found.answer


def fault(target, exit_code, **changes):
    found = reply(target, **changes)
    assert found.answer is None
    assert found.exit_code == exit_code
    assert "\n" not in found.fault
    return found.fault


ONCE = 2 * (2 * 5) * 24 * 24


@pytest.mark.parametrize("target", ["layers_of_a_user:linear", "layers_of_a_user.py:linear", "layers_of_a_user:Block"])
def test_layer_gets_the_width_and_its_input_a_gradient(target):
    answer = counted(target)
    assert answer.device == "meta"
    assert answer.flops.forward.matrix_flop_count == ONCE
    assert answer.flops.backward.matrix_flop_count == 2 * ONCE


def test_forward_phase_has_no_backward_pass():
    assert counted("linear", phase=CountedPhase.FORWARD).flops.matrix_flop_count == ONCE


@pytest.mark.parametrize("arguments", [(("bias", "false"),), (("bias", "False"),), (("bias", "0"),)])
def test_arguments_are_python_values(arguments):
    assert counted("without_width").flops.parameter_count == 24 * 24 + 24
    assert counted("without_width", arguments=arguments).flops.parameter_count == 24 * 24
    assert counted("layers_of_a_user:Block", arguments=(("times", "3"),)).flops.matrix_flop_count == 9 * ONCE


def test_tuple_of_outputs_goes_backward_from_the_one_like_the_input():
    answer = counted("gru", arguments=(("num_layers", "2"),), phase=CountedPhase.FORWARD)
    assert answer.flops.matrix_flop_count == 2 * 2 * 10 * 24 * 3 * (24 + 24)


def test_layer_of_complex_parameters_alone_gets_complex_input():
    answer = counted("complex_linear")
    assert answer.flops.matrix_flop_count == 3 * 4 * ONCE
    assert "complex64 input" in answer.description


def test_product_of_real_and_complex_is_refused_as_a_kernel_refuses_it():
    text = fault("complex_linear", 1, dtype=InputDtype.FLOAT32)
    assert "expected m1 and m2 to have the same dtype" in text


@pytest.mark.parametrize("dtype", [InputDtype.BFLOAT16, InputDtype.FLOAT64])
def test_dtype_is_the_inputs_and_the_parameters(dtype):
    assert counted("linear", dtype=dtype).flops.matrix_flop_count == 3 * ONCE


@pytest.mark.parametrize(("target", "device"), [("Block", "meta"), ("Autocast", "fake"), ("ReadsValues", "cpu")])
def test_device_is_the_first_that_permits_it(target, device):
    answer = counted(f"layers_of_a_user:{target}")
    assert answer.device == device
    assert answer.flops.matrix_flop_count == 3 * ONCE


def test_fault_names_layer_exception_file_and_line():
    line = line_of("raise ValueError")
    assert fault("layers_of_a_user:Raises", 1) == (
        f"layers_of_a_user:Raises: ValueError: width is odd (layers_of_a_user.py, line {line})"
    )


def test_fault_inside_torch_names_the_line_of_the_layer_that_led_there():
    text = fault("layers_of_a_user:without_width", 1, width=7)
    assert text.startswith("layers_of_a_user:without_width: RuntimeError: ")
    text = fault("layers_of_a_user:Block", 1, arguments=(("times", "[]"),))
    assert f"(layers_of_a_user.py, line {line_of('for _ in range')})" in text


def test_exception_without_a_text_is_a_sentence_too():
    line = line_of("raise Unwritable")
    assert fault("layers_of_a_user:RaisesUnwritable", 1) == (
        f"layers_of_a_user:RaisesUnwritable: Unwritable: no message (layers_of_a_user.py, line {line})"
    )


def test_end_of_the_process_is_a_sentence():
    assert fault("leaves", 1).startswith("layers_of_a_user:leaves: SystemExit: 3 (layers_of_a_user.py, line ")


@pytest.mark.parametrize(
    ("target", "exit_code", "words"),
    [
        ("layers_of_a_user:number", 1, "returned int, not a torch.nn.Module"),
        ("layers_of_a_user:NoGradient", 1, "layers_of_a_user:NoGradient: no output has a gradient"),
        ("layers_of_a_user:lineer", 2, "did you mean linear?"),
        ("layers_of_a_user:TABLE", 2, "has no function or class TABLE; check its name"),
        ("no_such_module:block", 2, "no module no_such_module"),
        ("no_such_file.py:block", 2, "no file no_such_file.py"),
        (":block", 2, "names no layer"),
        (".relative:block", 2, "names no layer"),
        ("layers_that_raise:block", 1, "block: ValueError: not today (layers_that_raise.py, line 1)"),
        ("broken_layers:block", 1, "block: SyntaxError: invalid syntax (broken_layers.py, line 1)"),
        ("layers_that_import:block", 1, "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("layers_of_a_user:linear", 1, "unexpected keyword argument 'depth'"),
    ],
)
def test_wrong_target_is_one_sentence(target, exit_code, words):
    arguments = (("depth", "2"),) if "depth" in words else ()
    assert words in fault(target, exit_code, arguments=arguments)


def named(name, **changes):
    options = {"batch_size": 2, "sequence_length": 40, "phase": CountedPhase.TRAIN, "preset": "tiny", **changes}
    return reply_to(CountRequest(target=name, is_configuration=False, timeout_seconds=60, **options))


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("name", ["pam", "transformer"])
def test_registered_layer_costs_its_closed_form(name, scope):
    found = named(name, scope=scope)
    assert found.answer is not None, found.fault
    layer = definition(name)
    spec = layer.preset("tiny")
    closed = layer.implementation_flop_count(
        spec,
        implementation=layer.implementations[0],
        phase=Phase.TRAIN,
        scope=scope,
        batch_size=2,
        sequence_length=40,
        dtype=Dtype.FLOAT32,
    )
    assert found.answer.device != "cpu"
    assert found.answer.flops.matrix_flop_count == closed.matrix_flop_count
    assert found.answer.flops.parameter_count == layer.parameter_count(spec, scope)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("pan", {}, "did you mean pam?"),
        ("pan", {}, "a layer of your own is module:factory"),
        ("pam", {"preset": "7g"}, "100m"),
        ("pam", {"implementation": "fast"}, "published, planar"),
    ],
)
def test_wrong_name_of_a_registered_layer_is_one_sentence(name, changes, words):
    found = named(name, **changes)
    assert found.exit_code == 2
    assert words in found.fault


def test_layer_that_must_be_computed_and_does_not_fit_is_one_sentence(monkeypatch):
    monkeypatch.setattr(count.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    text = fault("layers_of_a_user:ReadsValues", 1)
    assert "do not fit this machine; give a smaller size" in text
