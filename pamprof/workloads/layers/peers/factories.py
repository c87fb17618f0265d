"""Peers: one function of the width each, as any layer of somebody else's has (``pamprof.layer``).

Sizes of heads are those that the authors publish, at every width: powers of two, so that kernels waste nothing, and as
many of them as the width has room for. Everything else is the library's default.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pamprof.errors import UnsupportedError
from pamprof.workloads.layers.foreign.declared import layer
from pamprof.workloads.layers.peers.work import RecurrenceWork, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from pamprof.workloads.layers.peers.module import Peer

_TUNING_SECONDS = 60.0


def _in_plain_torch(module: Peer, x: Tensor) -> Tensor:
    return module.reference(x)


def _flash_linear_attention(
    name: str,
    width: int,
    *,
    rule: Rule,
    heads: int,
    key_dim: int,
    value_dim: int,
    tuning_seconds: float,
    chunk_size: int = 64,
    **arguments: Any,
) -> Peer:
    """The class ``name`` in a file of ``fla.layers``, as the first layer of a model."""
    _require("fla", "flash-linear-attention")
    from fla.modules import ShortConvolution

    from pamprof.workloads.layers.peers.module import RecurrentPeer

    file, _, kind = name.partition(".")
    made = getattr(import_module(f"fla.layers.{file}"), kind)(hidden_size=width, layer_idx=0, **arguments)
    convolutions = [part for part in made.modules() if isinstance(part, ShortConvolution)]
    work = RecurrenceWork(
        rule=rule,
        heads=heads,
        key_dim=key_dim,
        value_dim=value_dim,
        chunk_size=chunk_size,
        convolved_weights=sum(part.weight.numel() for part in convolutions),
    )
    return RecurrentPeer(made, work, tuning_seconds)


def _require(module: str, package: str, remedy: str = "pip install 'pamprof[peers]'") -> None:
    if find_spec(module) is None:
        raise UnsupportedError(f"it needs {package}, which is not installed; {remedy}")


def _heads(channels: float, head_dim: int) -> int:
    return max(1, round(channels / head_dim))


@layer("gla", oracle=_in_plain_torch)
def gla(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Gated Linear Attention (arXiv 2312.06635): heads of 128 keys and 256 values, as its 340M model."""
    heads = _heads(width, 256)
    return _flash_linear_attention(
        "gla.GatedLinearAttention",
        width,
        rule="linear",
        heads=heads,
        key_dim=128,
        value_dim=256,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        expand_k=heads * 128 / width,
        expand_v=heads * 256 / width,
    )


@layer("simple_gla", oracle=_in_plain_torch)
def simple_gla(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """GLA with one decay a head, behind short convolutions: heads of 128 keys and values."""
    heads = _heads(width, 128)
    return _flash_linear_attention(
        "simple_gla.SimpleGatedLinearAttention",
        width,
        rule="linear",
        heads=heads,
        key_dim=128,
        value_dim=128,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        expand_k=heads * 128 / width,
        expand_v=heads * 128 / width,
    )


@layer("retnet", oracle=_in_plain_torch)
def retnet(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Multi-scale retention of RetNet (arXiv 2307.08621): heads of 128 keys and 256 values."""
    heads = _heads(width, 128)
    return _flash_linear_attention(
        "multiscale_retention.MultiScaleRetention",
        width,
        rule="linear",
        heads=heads,
        key_dim=128,
        value_dim=256,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        expand_k=heads * 128 / width,
        expand_v=heads * 256 / width,
    )


@layer("delta_net", oracle=_in_plain_torch)
def delta_net(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """DeltaNet (arXiv 2406.06484): heads of 128 keys and values."""
    heads = _heads(width, 128)
    return _flash_linear_attention(
        "delta_net.DeltaNet",
        width,
        rule="delta",
        heads=heads,
        key_dim=128,
        value_dim=128,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        expand_k=heads * 128 / width,
        expand_v=heads * 128 / width,
    )


@layer("gated_deltanet", oracle=_in_plain_torch)
def gated_deltanet(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Gated DeltaNet (arXiv 2412.06464): 3/4 of the width in heads of 128 keys and 256 values."""
    heads = _heads(0.75 * width, 128)
    return _flash_linear_attention(
        "gated_deltanet.GatedDeltaNet",
        width,
        rule="delta",
        heads=heads,
        key_dim=128,
        value_dim=256,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        head_dim=128,
        expand_v=2,
    )


@layer("kda", oracle=_in_plain_torch)
def kda(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Kimi Delta Attention (arXiv 2510.26692): heads of 128 keys and values, a decay for every key channel."""
    heads = _heads(width, 128)
    return _flash_linear_attention(
        "kda.KimiDeltaAttention",
        width,
        rule="delta",
        heads=heads,
        key_dim=128,
        value_dim=128,
        tuning_seconds=tuning_seconds,
        num_heads=heads,
        head_dim=128,
    )


@layer("rwkv7", oracle=_in_plain_torch, sizes=range(64, 16385, 64))
def rwkv7(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Time mixing of RWKV-7 (arXiv 2503.14456): heads of 64, of which only whole ones fit a width.

    Every block is a first one: later ones mix the first block's values into theirs, which a block alone cannot. Initial
    values are near the authors', whose own take a loop over channels and would leave nothing to check: outputs of 0.
    """
    _require("fla", "flash-linear-attention")
    import warnings
    from unittest.mock import patch

    import torch
    from fla.layers import RWKV7Attention

    with warnings.catch_warnings(), patch.object(RWKV7Attention, "_initialize_weights", lambda self, module: None):
        warnings.simplefilter("ignore", UserWarning)  # about results of training, which nobody reads here
        made = _flash_linear_attention(
            "rwkv7.RWKV7Attention",
            width,
            rule="diagonal_plus_low_rank",
            heads=width // 64,
            key_dim=64,
            value_dim=64,
            tuning_seconds=tuning_seconds,
            head_dim=64,
            num_hidden_layers=12,
        )
    values = {
        "x_r": 0.5,
        "x_w": 0.5,
        "x_k": 0.5,
        "x_v": 0.5,
        "x_a": 0.5,
        "x_g": 0.5,
        "k_k": 0.7,
        "k_a": 1.0,
        "r_k": -0.04,
    }
    with torch.no_grad():
        for name, value in values.items():
            getattr(made.layer, name).fill_(value)
    return made


@layer("mamba2", oracle=_in_plain_torch, sizes=range(64, 16385, 32))
def mamba2(width: int, *, tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """Mamba-2 (arXiv 2405.21060) as flash-linear-attention builds it on mamba-ssm: twice the width, heads of 64.

    Without mamba-ssm that library falls back to plain torch, which is no measure of Mamba-2: refused.
    """
    _require("mamba_ssm", "mamba-ssm", "build it with nvcc: pip install mamba-ssm --no-build-isolation")
    return _flash_linear_attention(
        "mamba2.Mamba2",
        width,
        rule="linear",
        heads=2 * width // 64,
        key_dim=128,
        value_dim=64,
        chunk_size=256,
        tuning_seconds=tuning_seconds,
    )


@layer("mla", oracle=_in_plain_torch, phases="train,prefill")
def mla(width: int) -> Peer:
    """Multi-head latent attention (arXiv 2405.04434): heads of 64 + 64 and 128, keys and values from 256 channels.

    Attention is torch's own. Its cache holds whole keys and values, concatenated anew at every step, so that no step
    has a time of its own.
    """
    _require("fla", "flash-linear-attention")
    import fla.layers.mla

    from pamprof.workloads.layers.peers.module import Peer
    from pamprof.workloads.layers.peers.plain import scaled_dot_product

    fla.layers.mla.flash_attn_func = scaled_dot_product
    made = fla.layers.mla.MultiheadLatentAttention(
        hidden_size=width,
        num_heads=_heads(width, 128),
        q_lora_rank=None,
        kv_lora_rank=256,
        qk_nope_head_dim=64,
        qk_rope_head_dim=64,
        qk_head_dim=128,
        v_head_dim=128,
        layer_idx=0,
    )
    peer = Peer(made, None, _TUNING_SECONDS)
    peer.has_kernels = False
    return peer


@layer("mlstm", oracle=_in_plain_torch)
def mlstm(width: int, *, step_kernel: str = "triton", tuning_seconds: float = _TUNING_SECONDS) -> Peer:
    """The mLSTM of xLSTM (arXiv 2503.14376): heads of 128 keys and 256 values."""
    _require("mlstm_kernels", "mlstm-kernels")
    from pamprof.workloads.layers.peers.mlstm import peer

    return peer(
        width,
        heads=_heads(width, 256),
        key_dim=128,
        value_dim=256,
        step_kernel=step_kernel,
        tuning_seconds=tuning_seconds,
    )
