"""The published elementwise kernels in Triton's interpreter, against the plain operators they stand for."""

import importlib.util
import os
import subprocess
import sys

import pytest

import pamprof

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

CODE = """
import torch
from pamprof.workloads.kernels import published_elementwise as kernels
from pamprof.workloads.layers.pam.published import stages

torch.manual_seed(0)
for rows, width in ((1, 1), (3, 20), (2, 64), (5, 33)):
    z, up = torch.randn(2, rows, width, 2)
    z[0, 0] = 0.0
    scale, bias, beta = torch.rand(width) + 0.5, torch.randn(width), torch.rand(width) + 0.5
    with torch.no_grad():
        norm, gated = stages.norm(z, scale), stages.gate(z, up)
        swish, relu = stages.activation(up, bias, beta), stages.activation(up, bias, None)
    strided = (z.mT.contiguous().mT, up.mT.contiguous().mT)
    found = {
        "norm": (kernels.launch_norm(kernels.norm_kernel, z, scale), norm),
        "modswish": (kernels.launch_activation(kernels.activation_kernel, up, bias, beta), swish),
        "modrelu": (kernels.launch_activation(kernels.activation_kernel, up, bias, None), relu),
        "gate": (kernels.launch_gate(kernels.gate_kernel, z, up), gated),
        "strided gate": (kernels.launch_gate(kernels.gate_kernel, *strided), gated),
    }
    for name, (kernel, expected) in found.items():
        torch.testing.assert_close(kernel, expected, rtol=2e-6, atol=1e-7, msg=lambda text: f"{name}: {text}")
for length in (1, 5, 64, 100):
    cumulative = -torch.rand(2, 3, length).cumsum(-1)
    decay = stages.decay_matrix(cumulative, torch.ones(length, length).tril())
    torch.testing.assert_close(kernels.launch_decay(kernels.decay_kernel, cumulative), decay, rtol=2e-6, atol=1e-7)
print("agree")
"""


def test_the_kernels_compute_what_the_plain_operators_do():
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": repository},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "agree\n"
