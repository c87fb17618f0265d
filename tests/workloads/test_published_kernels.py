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
from pamprof.workloads.layers import pam_published as plain
from pamprof.workloads.layers.pam_parameters import GateUnitParameters

torch.manual_seed(0)
for rows, width in ((1, 1), (3, 20), (2, 64), (5, 33)):
    z, up = torch.randn(2, rows, width, 2)
    z[0, 0] = 0.0
    scale, bias, beta = torch.rand(width) + 0.5, torch.randn(width), torch.rand(width) + 0.5
    size = plain.modulus(up)
    swish = plain.direction(up, size) * (size * torch.sigmoid(beta * size + bias)).unsqueeze(-1)
    relu = plain.direction(up, size) * torch.relu(size + bias).unsqueeze(-1)
    size = plain.modulus(z)
    gated = plain.product(plain.direction(z, size) * torch.sigmoid(size).unsqueeze(-1), up)
    found = {
        "norm": (kernels.launch_norm(kernels.norm_kernel, z, scale), plain.norm(z, scale)),
        "modswish": (kernels.launch_activation(kernels.activation_kernel, up, bias, beta), swish),
        "modrelu": (kernels.launch_activation(kernels.activation_kernel, up, bias, None), relu),
        "gate": (kernels.launch_gate(kernels.gate_kernel, z, up), gated),
        "strided gate": (
            kernels.launch_gate(kernels.gate_kernel, z.mT.contiguous().mT, up.mT.contiguous().mT), gated
        ),
    }
    for name, (kernel, expected) in found.items():
        torch.testing.assert_close(kernel, expected, rtol=2e-6, atol=1e-7, msg=lambda text: f"{name}: {text}")
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
