"""Small layers that misbehave, each in one way: transformers under other names, registered as from another package."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import torch
from torch import nn

from pamprof.workloads.layers.transformer.definition import DEFINITION as TRANSFORMER, TransformerDefinition
from pamprof.workloads.layers.transformer.model import TransformerLanguageModel, TransformerLayer

GROWING_ROWS = 64


class Misbehaving(TransformerLanguageModel):
    """A language model that does something before each decoded token."""

    behaviour = staticmethod(lambda model, logits: logits)

    def decode(self, inputs, state, position):
        return self.behaviour(self, super().decode(inputs, state, position))


class Hostile(TransformerDefinition):
    """A transformer under another name; ``behaviour`` receives the model and the logits of each decoded token."""

    role = "subject"

    def __init__(self, name, behaviour=None):
        self.name = name
        self.title = name
        self._model = type(name, (Misbehaving,), {"behaviour": staticmethod(behaviour)}) if behaviour else None

    def preset(self, name):
        return replace(TRANSFORMER.preset(name), layer=self.name)

    def _new_model(self, spec, scope):
        if self._model is None or scope == "layer":
            return super()._new_model(spec, scope)
        return self._model(spec)


def _raise(model, logits):
    raise ValueError("the state is lost,\nsay it twice")  # THE LINE


def _print(model, logits):
    print("noise on standard output")  # noqa: T201 - that is what it does wrong
    os.write(1, b"noise on the descriptor\n")
    return logits


def _exit(model, logits):
    sys.exit(3)


def _exit_at_once(model, logits):
    os._exit(9)


def _hang(model, logits):
    time.sleep(600)


def _default_dtype(model, logits):
    torch.set_default_dtype(torch.float64)
    return logits


def _threads(model, logits):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return logits


def _gradients(model, logits):
    torch.set_grad_enabled(True)
    return logits


def _fill_list(model, logits):
    vars(model).setdefault("kept", []).append(torch.zeros(GROWING_ROWS, dtype=torch.float32))
    return logits


class RecompilingBlock(nn.Module):
    """A block that holds an integer which another step changes."""

    def __init__(self, block):
        super().__init__()
        self.block = block
        self.heads, self.dropout = block.heads, block.dropout
        self.steps = 0

    def forward(self, hidden, cache=None, position=0):
        self.steps += 1
        return self.block(hidden, cache, position) + 0.0 * self.steps


class BreakingBlock(RecompilingBlock):
    """A block that the compiler cannot take whole."""

    def forward(self, hidden, cache=None, position=0):
        hidden = self.block(hidden, cache, position)
        torch._dynamo.graph_break()  # THE BREAK
        return hidden + 1.0 - 1.0


class Wrapped(Hostile):
    """A transformer with other blocks around its own; its oracle checks what is inside."""

    def __init__(self, name, block):
        super().__init__(name)
        self._block = block

    def _new_model(self, spec, scope):
        model = super()._new_model(spec, scope)
        if not isinstance(model, TransformerLayer):
            model.blocks = nn.ModuleList([self._block(block) for block in model.blocks])
        return model


class Claiming(Hostile):
    """A transformer whose closed forms are no counts."""

    def parameter_count(self, spec, scope):
        return -5

    def implementation_flop_count(self, spec, **point):
        raise ZeroDivisionError("no formula yet")

    def state_byte_count(self, spec, **point):
        return super().state_byte_count(spec, **point) + 0.5


class Exaggerating(Hostile):
    """A transformer whose closed forms give twice what there is."""

    def parameter_count(self, spec, scope):
        return 2 * super().parameter_count(spec, scope)


class Broken(Hostile):
    """A transformer that fails while it is planned, in the member of its name."""

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "name").removeprefix("no_"):
            raise RuntimeError(f"{name} is not written yet")
        return object.__getattribute__(self, name)


class Impossible(Hostile):
    """A transformer whose title is no text: it cannot be stored."""

    def __init__(self, name):
        super().__init__(name)
        self.title = {"en": name}


LAYERS = {
    layer.name: layer
    for layer in (
        Hostile("raises", _raise),
        Hostile("prints", _print),
        Hostile("exits", _exit),
        Hostile("exits_at_once", _exit_at_once),
        Hostile("hangs", _hang),
        Hostile("no_number", lambda model, logits: logits * float("nan")),
        Hostile("wrong_shape", lambda model, logits: logits[:, :7]),
        Hostile("returns_list", lambda model, logits: [logits]),
        Hostile("default_dtype", _default_dtype),
        Hostile("threads", _threads),
        Hostile("gradients", _gradients),
        Hostile("fills_list", _fill_list),
        Wrapped("recompiles", RecompilingBlock),
        Wrapped("breaks", BreakingBlock),
        Claiming("claims"),
        Exaggerating("exaggerates"),
        Broken("no_preset"),
        Broken("no_implementations"),
        Broken("no_supports"),
        Impossible("untitled"),
    )
}


def __getattr__(name):
    """The layer of a name, as an entry point asks for it."""
    if name == "no_import":
        print("a library of this layer is missing")  # noqa: T201 - it must not reach the standard output
        raise OSError("a library of this layer is missing")
    try:
        return LAYERS[name]
    except KeyError:
        raise AttributeError(name) from None
