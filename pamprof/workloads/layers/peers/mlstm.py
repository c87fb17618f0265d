"""The mLSTM of xLSTM on the kernels of ``mlstm-kernels``, which brings no layer around them.

Axes: B batch, T time, H heads, K key channels, V value channels, D model_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.peers.module import Peer, uncompiled
from pamprof.workloads.layers.peers.recurrence import shape_of
from pamprof.workloads.layers.peers.work import RecurrenceWork

_SOFT_CAP = 15.0
_EPSILON = 1e-6
_CHUNK_SIZE = 64


class MatrixLongShortTerm(nn.Module):
    """Projections, soft-capped gates of one scalar a head, the kernel, a norm over each head, an output gate.

    As in the block of xLSTM 7B (arXiv 2503.13427, section 3).
    """

    def __init__(self, width: int, *, heads: int, key_dim: int, value_dim: int, step_kernel: str) -> None:
        from mlstm_kernels.torch.backend_module import mLSTMBackend, mLSTMBackendConfig

        super().__init__()
        self.heads, self.value_dim = heads, value_dim
        self.query, self.key = (nn.Linear(width, heads * key_dim, bias=False) for _ in range(2))
        self.value, self.output_gate = (nn.Linear(width, heads * value_dim, bias=False) for _ in range(2))
        self.input_gate, self.forget_gate = (nn.Linear(width, heads) for _ in range(2))
        self.norm_weight = nn.Parameter(torch.ones(heads, value_dim))
        self.output = nn.Linear(heads * value_dim, width, bias=False)
        with torch.no_grad():
            self.forget_gate.bias.copy_(torch.linspace(3.0, 6.0, heads))  # memories of some 20 to 400 positions
        self.backend = mLSTMBackend(
            mLSTMBackendConfig(
                chunkwise_kernel="chunkwise--triton_xl_chunk",
                step_kernel=step_kernel,
                mode="train_with_padding",
                return_last_states=False,
                chunk_size=_CHUNK_SIZE,
                eps=_EPSILON,
            )
        )

    def forward(self, x: Tensor, state: dict[str, Tensor] | None = None, *, plainly: bool = False) -> Tensor:
        """[B, T, D] to [B, T, D]; with ``state`` of one position, which it updates; ``plainly`` without kernels."""
        given = self._projected(x)
        if state is not None:
            step = _plain_step if plainly else self.backend.step_kernel_fn
            single = {name: tensor[:, :, 0] for name, tensor in given.items()}
            single["i"], single["f"] = single["i"][..., None], single["f"][..., None]
            hidden, after = step(**single, **state, eps=_EPSILON, dtype_state=torch.float32)
            for name, new in zip(tuple(state), after, strict=True):
                if x.is_cuda and torch.cuda.is_current_stream_capturing():
                    state[name].copy_(new)  # a graph reads the same addresses at every replay
                else:
                    state[name] = new
            hidden = hidden[:, :, None]
        elif plainly:
            hidden = shape_of(given["v"], *given.values()) if x.is_meta else _plain_sequence(**given)
        else:
            hidden = self.backend(**given)
        return self._merged(x, hidden)

    def _projected(self, x: Tensor) -> dict[str, Tensor]:
        """Queries, keys and values [B, H, T, K or V], gates before activation [B, H, T]."""
        parts = {"q": self.query(x), "k": self.key(x), "v": self.value(x)}
        found = {name: part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for name, part in parts.items()}
        for name, gate in (("i", self.input_gate), ("f", self.forget_gate)):
            found[name] = (_SOFT_CAP * torch.tanh(gate(x) / _SOFT_CAP)).transpose(1, 2)
        return found

    def _merged(self, x: Tensor, hidden: Tensor) -> Tensor:
        hidden = hidden.transpose(1, 2)  # [B, T, H, V]
        normed = functional.rms_norm(hidden, (self.value_dim,), eps=_EPSILON) * self.norm_weight
        output: Tensor = self.output(functional.sigmoid(self.output_gate(x)) * normed.flatten(-2).to(x.dtype))
        return output


class MatrixLongShortTermPeer(Peer):
    """The mLSTM with its own state: memory [B, H, K, V], normaliser [B, H, K] and stabiliser [B, H, 1], in float32."""

    def called(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """The layer's output, with its kernels on CUDA."""
        output: Tensor = self.layer(x, **cache, plainly=not x.is_cuda)
        return output

    def reference(self, x: Tensor) -> Tensor:
        """The library's own step in torch, position by position, in the dtype of ``x``."""
        output: Tensor = self.layer(x, plainly=True)
        return output

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zeros, as the library begins."""
        work, like = self.work, next(self.parameters())
        assert isinstance(work, RecurrenceWork)
        shapes = {"c": (work.key_dim, work.value_dim), "n": (work.key_dim,), "m": (1,)}
        return {
            name: like.new_zeros(batch_size, work.heads, *shape, dtype=torch.float32) for name, shape in shapes.items()
        }

    @uncompiled
    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One position [B, 1, D]; ``state`` itself is updated."""
        return self._seen(x, {"state": state}), state


def peer(width: int, *, heads: int, key_dim: int, value_dim: int, step_kernel: str, tuning_seconds: float) -> Peer:
    """The layer with what its kernels do."""
    work = RecurrenceWork(rule="linear", heads=heads, key_dim=key_dim, value_dim=value_dim, chunk_size=_CHUNK_SIZE)
    layer = MatrixLongShortTerm(width, heads=heads, key_dim=key_dim, value_dim=value_dim, step_kernel=step_kernel)
    return MatrixLongShortTermPeer(layer, work, tuning_seconds)


def _plain_step(**given: Any) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    from mlstm_kernels.torch.recurrent.native_step import mlstm_recurrent_step__native

    stepped: tuple[Tensor, tuple[Tensor, Tensor, Tensor]] = mlstm_recurrent_step__native(**given)
    return stepped


def _plain_sequence(q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor) -> Tensor:
    from mlstm_kernels.torch.recurrent.native_sequence import mlstm_recurrent_sequence__native_fw

    wide = torch.float64 if q.dtype is torch.float64 else torch.float32
    hidden: Tensor = mlstm_recurrent_sequence__native_fw(q, k, v, i, f, eps=_EPSILON, dtype_state=wide)
    return hidden
