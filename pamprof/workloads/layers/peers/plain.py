"""Layers of flash-linear-attention in plain torch: what their kernels compute, on any device and in float64.

Inside ``plain_torch`` a layer's own forward pass runs with each of its Triton kernels replaced: the recurrence is taken
step by step, norms, convolutions and rotations are written out. That is the oracle of the gate, and what runs where the
kernels cannot: on the CPU while a comparison is planned, and on the meta device while it is counted.

Axes: B batch, T time, H heads, K key channels, V value channels, D channels, W taps of a convolution.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.peers.recurrence import recurrence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_L2_EPSILON = 1e-6  # of fla.modules.l2norm


@contextmanager
def plain_torch() -> Iterator[None]:
    """Let layers of flash-linear-attention run without its kernels until the context ends."""
    kept = []
    for place, replacements in _REPLACEMENTS.items():
        module, _, owner = place.partition(":")
        found = import_module(module)
        for name, replacement in replacements.items():
            target = getattr(found, owner) if owner else found
            kept.append((target, name, getattr(target, name)))
            setattr(target, name, replacement)
    try:
        yield
    finally:
        for target, name, original in kept:
            setattr(target, name, original)


def l2_norm(x: Tensor) -> Tensor:
    """Each head's vector of ``x`` [B, T, H, K] over its length."""
    wide = x if x.dtype is torch.float64 else x.float()
    return (wide * (wide.square().sum(-1, keepdim=True) + _L2_EPSILON).rsqrt()).to(x.dtype)


def softplus_decay(g: Tensor, a_log: Tensor, dt_bias: Tensor) -> Tensor:
    """-exp(a_log) softplus(g + dt_bias) of ``g`` [B, T, H, K], as Gated DeltaNet (K = 1) and KDA decay."""
    heads = a_log.numel()
    wide = g if g.dtype is torch.float64 else g.float()
    return -a_log.to(wide).exp().view(heads, 1) * functional.softplus(wide + dt_bias.to(wide).view(heads, -1))


def _core(parts: Callable[..., dict[str, Any]]) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """A function of the library's signature; ``parts`` makes arguments of ``recurrence`` from those given."""

    def run(
        *,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        state_v_first: bool = False,
        cu_seqlens: None = None,
        **given: Any,
    ) -> tuple[Tensor, Tensor | None]:
        del cu_seqlens
        state = initial_state.transpose(-1, -2) if initial_state is not None and state_v_first else initial_state
        output, state = recurrence(**parts(**given), state=state)
        if not output_final_state:
            return output, None
        return output, state.transpose(-1, -2).contiguous() if state_v_first else state

    return run


def _gla(*, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None = None, gk: Tensor | None = None) -> dict[str, Any]:
    decay = gk if g is None else g
    assert decay is not None
    decay = decay if decay.ndim > 3 else decay[..., None]  # of simple GLA, one a head
    return {"q": q, "k": k, "v": v, "decay": decay, "scale": q.shape[-1] ** -0.5}


def _retention(*, q: Tensor, k: Tensor, v: Tensor) -> dict[str, Any]:
    heads = torch.arange(q.shape[2], device=q.device, dtype=torch.float64)
    decay = torch.log1p(-torch.exp2(-5 - heads)).view(1, 1, -1, 1).expand(*q.shape[:3], 1)
    return {"q": q, "k": k, "v": v, "decay": decay, "scale": q.shape[-1] ** -0.5}


def _delta(*, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, use_qk_l2norm_in_kernel: bool) -> dict[str, Any]:
    if use_qk_l2norm_in_kernel:
        q, k = l2_norm(q), l2_norm(k)
    return {"q": q, "k": k, "v": v, "beta": beta, "scale": q.shape[-1] ** -0.5}


def _gated_delta(
    *, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, A_log: Tensor, dt_bias: Tensor, **flags: object
) -> dict[str, Any]:
    """Of Gated DeltaNet, one decay a head, and of KDA, one a key channel; everything else is done in the kernel."""
    known = {"use_qk_l2norm_in_kernel": True, "use_gate_in_kernel": True, "use_beta_sigmoid_in_kernel": True}
    wanted = {name: value for name, value in flags.items() if value not in (None, False)}
    if wanted != known:
        raise ValueError(f"a reference of this rule with {wanted} is not written; {known} is")
    decay = softplus_decay(g if g.ndim > 3 else g[..., None], A_log, dt_bias)
    q, k = l2_norm(q), l2_norm(k)
    return {"q": q, "k": k, "v": v, "beta": beta.sigmoid(), "decay": decay, "scale": q.shape[-1] ** -0.5}


def _rwkv7(
    *, r: Tensor, w: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, scale: float, **schedule: object
) -> dict[str, Any]:
    del schedule  # how the kernel cuts the sequence
    return {"q": r, "k": k, "v": v, "decay": w, "remove": a, "add": b, "scale": scale}


def _rwkv7_step(*, kk: Tensor, a: Tensor, **given: Any) -> dict[str, Any]:
    return _rwkv7(a=-kk, b=kk * a, **given)


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **backend: object
) -> tuple[Tensor, None]:
    del backend
    return _convolved(x, weight, bias, activation, None)[0], None


def _short_convolution(
    self: Any,
    x: Tensor,
    mask: None = None,
    cache: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: None = None,
) -> tuple[Tensor, Tensor | None]:
    del mask, cu_seqlens
    output, cache = _convolved(x, self.weight.squeeze(1), self.bias, self.activation, cache)
    return output, cache if output_final_state else None


def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, cache: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Depthwise and causal over x [B, T, D] after the last inputs ``cache`` [B, D, W]; also the new last inputs."""
    taps = weight.shape[-1]
    before = x.new_zeros(x.shape[0], x.shape[2], taps) if cache is None else cache.to(x.dtype)
    inputs = torch.cat([before, x.transpose(1, 2)], dim=-1)
    output = functional.conv1d(inputs[..., 1:], weight[:, None].to(x.dtype), bias, groups=x.shape[2]).transpose(1, 2)
    return functional.silu(output) if activation else output, inputs[..., -taps:].contiguous()


def _rms_norm(self: Any, x: Tensor) -> Tensor:
    wide = x if x.dtype is torch.float64 else x.float()
    normed = wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()
    output: Tensor = normed if self.weight is None else normed * self.weight
    return output.to(x.dtype)


def _gated_rms_norm(self: Any, x: Tensor, g: Tensor) -> Tensor:
    gate = functional.sigmoid(g) if self.activation == "sigmoid" else functional.silu(g)
    return _rms_norm(self, x) * gate


def _gated_before_norm(self: Any, x: Tensor, z: Tensor) -> Tensor:
    return _rms_norm(self, x * functional.silu(z))


def _rotary(
    self: Any, q: Tensor, k: Tensor, seqlen_offset: int = 0, max_seqlen: int | None = None, cu_seqlens: None = None
) -> tuple[Tensor, Tensor]:
    del max_seqlen, cu_seqlens
    places = torch.arange(seqlen_offset, seqlen_offset + q.shape[1], device=q.device, dtype=torch.float32)
    angles = places[:, None, None] * self._compute_inv_freq(device=q.device).view(1, 1, -1)

    def rotated(x: Tensor) -> Tensor:
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)

    return rotated(q), rotated(k)


def _token_shift(x: Tensor, cu_seqlens: None, *, output_cache: bool, cache: Tensor | None) -> tuple[Tensor, Tensor]:
    del cu_seqlens, output_cache
    before = torch.zeros_like(x[:, :1]) if cache is None else cache.view(x.shape[0], 1, -1)
    return torch.cat([before, x[:, :-1]], dim=1) - x, x[:, -1:].clone()


def _mixed(hidden: Tensor, delta: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.addcmul(hidden, delta, weight) for weight in weights)


def _updated_key(k: Tensor, a: Tensor, k_a: Tensor) -> Tensor:
    return k.addcmul(k * (a - 1), k_a)


def _corrected(o: Tensor, r: Tensor, k: Tensor, r_k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    return (o + ((r * k * r_k).sum(-1, keepdim=True) * v).reshape(o.shape)) * g


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int]) -> Tensor:
    """Torch's attention with the signature of ``flash_attn_func``, of whole sequences [B, T, H, K]."""
    assert causal
    assert window_size == (-1, -1)
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


_GATED_DELTA = _core(_gated_delta)

# By module, or module and class: the kernels' names and what takes their place.
_REPLACEMENTS: dict[str, dict[str, Any]] = {
    "fla.layers.gla": {"chunk_gla": _core(_gla), "fused_recurrent_gla": _core(_gla)},
    "fla.layers.simple_gla": {"chunk_simple_gla": _core(_gla), "fused_recurrent_simple_gla": _core(_gla)},
    "fla.layers.multiscale_retention": {
        "chunk_retention": _core(_retention),
        "fused_recurrent_retention": _core(_retention),
    },
    "fla.layers.delta_net": {"chunk_delta_rule": _core(_delta), "fused_recurrent_delta_rule": _core(_delta)},
    "fla.layers.gated_deltanet": {
        "chunk_gated_delta_rule": _GATED_DELTA,
        "fused_recurrent_gated_delta_rule": _GATED_DELTA,
        "causal_conv1d": _convolution,
    },
    "fla.layers.kda": {"chunk_kda": _GATED_DELTA, "fused_recurrent_kda": _GATED_DELTA},
    "fla.layers.rwkv7": {
        "chunk_rwkv7": _core(_rwkv7),
        "fused_mul_recurrent_rwkv7": _core(_rwkv7_step),
        "token_shift": _token_shift,
        "fused_addcmul_rwkv7": _mixed,
        "fused_k_rwkv7": _updated_key,
        "gate_output_correction": _corrected,
    },
    "fla.layers.mamba2": {"is_fast_path_available": False},
    "fla.layers.mamba2:RMSNormGated": {"forward": _gated_before_norm},
    "fla.modules:ShortConvolution": {"forward": _short_convolution},
    "fla.modules:RMSNorm": {"forward": _rms_norm},
    "fla.modules:FusedRMSNormGated": {"forward": _gated_rms_norm},
    "fla.modules:RotaryEmbedding": {"forward": _rotary},
}
