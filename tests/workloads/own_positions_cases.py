"""Kernels that decode sequences at positions of their own, printed as JSON.

Run by test_own_positions in Triton's interpreter.
"""

import json

import torch

from pamprof.records import Dtype, LayerSpec
from pamprof.workloads.attention.own_positions import masked
from pamprof.workloads.kernels.decode.attention import attention_step
from pamprof.workloads.kernels.decode.recurrence import memory_step
from pamprof.workloads.layers.pam.model import PamLanguageModel

errors: dict[str, float] = {}


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def attention(sizes: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    batch, heads, groups, head_dim, length = sizes
    query = torch.randn(batch, heads, 1, head_dim).to(dtype)
    cache = torch.randn(2, batch + 1, groups, length, head_dim).to(dtype)[:, 1:]  # part of a larger one
    positions = torch.randint(0, length, (batch,))
    case = f"{sizes} {dtype}"
    expected = masked(query.double(), cache.double(), positions)
    found = attention_step(query, cache, positions)
    errors[f"{'attention' if dtype == torch.float32 else 'rounded_attention'} {case}"] = difference(found, expected)
    for row, position in enumerate(positions.tolist()):
        cache[:, row, :, position + 1 :] = float("nan")
    again = attention_step(query, cache, positions)
    errors[f"beyond {case}"] = float((again != found).sum())


def memory(batch: int, heads: int, head_dim: int) -> None:
    """Each sequence's step is the one that it takes alone at its position."""
    qkv, logits = torch.randn(batch, 1, 2, 3 * heads * head_dim), torch.randn(2, batch, heads, 1)
    cosine, sine = (torch.randn(batch, 1, head_dim) for _ in range(2))
    state = torch.randn(batch, heads, head_dim, 2 * head_dim)
    alone = state.clone()
    found = memory_step(qkv, logits, cosine, sine, state)
    for row in range(batch):
        one = slice(row, row + 1)
        expected = memory_step(qkv[one], logits[:, one].contiguous(), cosine[row], sine[row], alone[one])
        errors[f"memory read {batch} {row}"] = float((found[one] != expected).sum())
        errors[f"memory state {batch} {row}"] = float((state[one] != alone[one]).sum())


@torch.no_grad()
def fused_model() -> None:
    """The whole step in kernels against the same weights in plain torch."""
    spec = LayerSpec(
        layer="pam", model_dim=12, heads=2, head_dim=6, hidden_dim=20, depth=1, vocabulary_size=61,
        maximum_sequence_length=24, activation="modswish",
    )  # fmt: skip
    logits = []
    for implementation in ("planar", "fused"):
        model = PamLanguageModel(spec, implementation=implementation, seed=2).eval()
        model.prepare_inference(Dtype.FLOAT32)
        state = model.new_state(3, 24)
        state.randomise(torch.Generator().manual_seed(4))
        logits.append(model.decode_each(torch.tensor([3, 1, 7]), state, torch.tensor([20, 2, 9])))
    errors["fused_model"] = difference(logits[1], logits[0])


def main() -> None:
    torch.manual_seed(0)
    attention((3, 6, 2, 24, 130), torch.float32)
    attention((2, 3, 3, 8, 64), torch.float32)
    attention((3, 4, 1, 16, 70), torch.bfloat16)
    memory(3, 2, 6)
    fused_model()
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
