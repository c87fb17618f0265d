"""Layers as a user would write them, and layers that go wrong; ``tests.measure.any_layer.given:NAME`` names one."""

import math
import os

import torch
from torch import nn

import pamprof


def gru(width, **options):
    return nn.GRU(width, width, batch_first=True, **options)


class CudnnGRU(nn.GRU):
    """As strict as cuDNN: no gradients outside training mode."""

    def __init__(self, width, **options):
        super().__init__(width, width, batch_first=True, **options)

    def forward(self, x):
        if torch.is_grad_enabled() and not self.training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return super().forward(x)


def linear(width, returns="tensor"):
    return Linear(width, returns)


class Linear(nn.Module):
    """A map without bias, returned as whatever the caller likes."""

    def __init__(self, width, returns):
        super().__init__()
        self.map = nn.Linear(width, width, bias=False)
        self.returns = returns

    def forward(self, x):
        print("a layer may print")  # noqa: T201
        y = self.map(x)
        return {"tensor": y, "tuple": (y.mean(), y), "dict": {"loss": y.mean(), "output": y}}[self.returns]


class LinearAttention(nn.Module):
    """Causal linear attention of one head, with its recurrent step."""

    def __init__(self, width):
        super().__init__()
        if width % 24:
            raise ValueError(f"width {width} is no multiple of 24\nand this is a second line")
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x):
        q, k, v = self.query_key_value(x).chunk(3, -1)
        return (q @ k.mT).tril() @ v

    def initial_state(self, batch_size):
        width = self.query_key_value.in_features
        return {"memory": self.query_key_value.weight.new_zeros(batch_size, width, width)}

    def step(self, x, state):
        q, k, v = self.query_key_value(x).chunk(3, -1)
        memory = state["memory"] + k.mT @ v
        return q @ memory, {"memory": memory}


class GrowingState(LinearAttention):
    """A cache that is longer after every step."""

    def initial_state(self, batch_size):
        return self.query_key_value.weight.new_zeros(batch_size, 1, self.query_key_value.in_features)

    def step(self, x, state):
        return x, torch.cat((state, x), 1)


class DiagonalStateSpace(nn.Module):
    """S4D by FFT convolution: complex parameters."""

    def __init__(self, width, modes=4):
        super().__init__()
        frequencies = math.pi * torch.arange(modes).expand(width, modes)
        self.poles = nn.Parameter(torch.complex(torch.full((width, modes), -0.5), frequencies.float()))
        self.readout = nn.Parameter(torch.randn(width, modes, dtype=torch.complex64))

    def forward(self, x):
        time = x.shape[1]
        powers = (self.poles[..., None] * torch.arange(time, device=x.device) * 0.1).exp()
        kernel = (self.readout[..., None] * powers).sum(1).real
        spectrum = torch.fft.rfft(x.mT.float(), n=2 * time) * torch.fft.rfft(kernel.float(), n=2 * time)
        return torch.fft.irfft(spectrum, n=2 * time)[..., :time].mT


class SumOfThePast(nn.Module):
    """Token ids to logits by a sum over the past: a dictionary, and a step with the sum as state."""

    def __init__(self, width, vocabulary_size, depth=1):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])

    def logits(self, hidden):
        for block in self.blocks:
            hidden = block(hidden).tanh()
        return hidden @ self.embedding.weight.T

    def forward(self, ids):
        return {"loss": None, "logits": self.logits(self.embedding(ids).cumsum(1))}

    def initial_state(self, batch_size):
        return self.embedding.weight.new_zeros(batch_size, 1, self.embedding.embedding_dim)

    def step(self, ids, state):
        state = state + self.embedding(ids)
        return self.logits(state), state


def fixed_model():
    return SumOfThePast(24, 100)


class RefusesLater(nn.Module):
    """A width that fails in the forward pass alone."""

    def __init__(self, width):
        super().__init__()
        self.map = nn.Linear(width, width)

    def forward(self, x):
        if x.shape[-1] % 8:
            raise ValueError(f"{x.shape[-1]} channels")
        return self.map(x)


def raises(width):
    raise RuntimeError("no such thing\nand this is a second line")


def no_module(width):
    return "a layer"


def wrong_shape(width):
    return nn.Linear(width, width + 1)


def ends_the_process(width):
    os._exit(3)


class RaisesInForward(Linear):
    def __init__(self, width):
        super().__init__(width, "tensor")

    def forward(self, x):
        return super().forward(x.unflatten(-1, (5, -1)))


class NotFinite(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x / 0


class WritesIntoItsInput(nn.Module):
    def __init__(self, width):
        super().__init__()

    def forward(self, x):
        return x.mul_(2)


class TwoOutputs(nn.Module):
    """What it was given, then the output: the first tensor of the input's shape is the wrong one."""

    def __init__(self, width):
        super().__init__()
        self.map = nn.Linear(width, width, bias=False)

    def forward(self, x):
        return x, self.map(x)


@pamprof.layer("second", select=lambda returned: returned[1])
def second(width):
    return TwoOutputs(width)


@pamprof.layer("selects_too_little", select=lambda returned: returned[1].mean(-1))
def selects_too_little(width):
    return TwoOutputs(width)


@pamprof.layer("proposes", sizes=lambda: range(32, 1025, 32), phases="train,prefill", twin_of="pam")
def proposes(width):
    return linear(width)


@pamprof.layer("without_decode", phases=["prefill", "train"])
class WithoutDecode(GrowingState):
    """Its step is broken, and nobody asked for it."""


@pamprof.layer("claims_decode", phases=["decode"])
def claims_decode(width):
    return linear(width)


@pamprof.layer("no_sizes", sizes=lambda: ["wide"])
def no_sizes(width):
    return linear(width)


class Checked(LinearAttention):
    """Attention with its formula beside it, one sum over the past at each position."""

    @staticmethod
    def reference(module, x):
        q, k, v = (x @ module.query_key_value.weight.mT).chunk(3, -1)
        rows = [((q[:, [t]] * k[:, : t + 1]).sum(-1, keepdim=True) * v[:, : t + 1]).sum(1) for t in range(x.shape[1])]
        return torch.stack(rows, 1)


@pamprof.layer("checked", oracle=Checked.reference)
def checked(width):
    return Checked(width)


@pamprof.layer("steps_wrongly", oracle=Checked.reference)
class StepsWrongly(Checked):
    """Its step forgets the position that it reads, which its own ``forward`` does not."""

    def step(self, x, state):
        output, after = super().step(x, state)
        return output * 0.9, after


@pamprof.layer("without_float64", oracle=lambda module, x: x @ module.map.weight.mT)
class WithoutFloat64(Linear):
    """A kernel that takes float32 and bfloat16 alone."""

    def __init__(self, width):
        super().__init__(width, "tensor")

    def forward(self, x):
        if x.dtype is torch.float64:
            raise NotImplementedError("no kernel for float64")
        return super().forward(x)


@pamprof.layer("has_no_gradient", oracle=lambda module, x: (x @ module.map.weight.mT).detach())
def has_no_gradient(width):
    return linear(width)


@pamprof.layer("oracle_of_another_shape", oracle=lambda module, x: x[:, 0])
def oracle_of_another_shape(width):
    return linear(width)


@pamprof.layer("selects_what_is_not_there", select=lambda returned: returned[2])
def selects_what_is_not_there(width):
    return TwoOutputs(width)


@pamprof.layer(
    "whole_model",
    select=lambda returned: returned["scores"],
    oracle=lambda module, ids: module.embed.weight[ids] @ module.head.weight.mT,
)
class ScoredModel(nn.Module):
    """Token ids to logits, beside other logits of the same shape that come first."""

    def __init__(self, width, vocabulary_size):
        super().__init__()
        self.embed = nn.Embedding(vocabulary_size, width)
        self.head = nn.Linear(width, vocabulary_size, bias=False)

    def forward(self, ids):
        scores = self.head(self.embed(ids))
        return {"noise": torch.zeros_like(scores), "scores": scores}
