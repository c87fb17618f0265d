"""The kernels that a calibration runs, each alone: what language models are made of, from small to large.

Those that tell most of a class come first, so that a time budget that ends early leaves some of every class.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, zip_longest
from math import prod
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor

_BFLOAT16, _FLOAT32 = torch.bfloat16, torch.float32

# Rows, columns of the left, columns of the right: squares; tokens times weights of a small and a large model, in
# training, in prefill and for one token; a language head.
_PRODUCTS: dict[str, dict[torch.dtype, tuple[tuple[int, int, int], ...]]] = {
    "cuda": {
        _BFLOAT16: (
            (4096, 4096, 4096), (1, 768, 3072), (16384, 768, 3072), (64, 4096, 14336), (1024, 1024, 1024),
            (1, 768, 50304), (16384, 768, 768), (8, 4096, 4096), (8192, 768, 50304), (512, 512, 512),
            (16384, 3072, 768), (64, 768, 3072), (2048, 2048, 2048), (2048, 4096, 4096), (256, 256, 256),
            (512, 1024, 4096), (1, 4096, 14336), (8192, 8192, 8192),
        ),
        _FLOAT32: ((1024, 1024, 1024), (16384, 768, 768), (1, 768, 3072), (4096, 4096, 4096)),
    },
    "cpu": {
        _FLOAT32: (
            (256, 256, 256), (1, 768, 3072), (512, 256, 1024), (1024, 1024, 1024), (64, 64, 64), (64, 768, 3072),
            (16, 256, 256),
        ),
        _BFLOAT16: ((512, 512, 512), (1, 768, 3072)),
    },
}  # fmt: skip

# Products, then as above: the chunks of a recurrent memory.
_BATCHED: dict[str, dict[torch.dtype, tuple[tuple[int, int, int, int], ...]]] = {
    "cuda": {
        _BFLOAT16: ((192, 256, 64, 256), (192, 256, 256, 64), (768, 64, 64, 64), (96, 128, 128, 128)),
        _FLOAT32: ((192, 256, 64, 256),),
    },
    "cpu": {_FLOAT32: ((16, 64, 32, 64), (32, 128, 64, 128))},
}

# Sequences, heads, queries, keys, head_dim: training and prefill with as many queries as keys, decode with one.
_ATTENTION = {
    "cuda": (
        (8, 12, 2048, 2048, 64), (1, 12, 1, 16384, 64), (1, 32, 4096, 4096, 128), (32, 12, 1, 4096, 64),
        (16, 12, 512, 512, 64), (8, 32, 1, 2048, 128), (2, 12, 8192, 8192, 64),
    ),
    "cpu": ((1, 8, 256, 256, 64), (1, 8, 1, 1024, 64), (2, 8, 64, 64, 32)),
}  # fmt: skip

_ELEMENTS = {"cuda": (2**26, 2**14, 2**22, 2**18), "cpu": (2**20, 2**12, 2**16, 2**23)}
_ROWS = {
    "cuda": ((16384, 768), (64, 768), (2048, 4096), (8192, 50304)),
    "cpu": ((1024, 768), (16, 768), (128, 8192)),
}
_VOCABULARY = {"cuda": (50304, 768, 16384), "cpu": (8192, 256, 512)}  # rows, columns, tokens
_DTYPES = {"cuda": (_BFLOAT16, _FLOAT32), "cpu": (_FLOAT32,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kernel.

    Attributes:
        name: What it does, with its sizes.
        byte_count: About what its tensors take.
        make: Allocates them on the device and returns the call.
    """

    name: str
    byte_count: int
    make: Callable[[_Random], Callable[[], object]]


class _Random:
    """Random tensors of one device, the same for the same seed."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self.device = device
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def __call__(self, *shape: int, dtype: torch.dtype = _FLOAT32) -> Tensor:
        return torch.randn(*shape, generator=self._generator, device=self.device).to(dtype)

    def places(self, count: int, among: int) -> Tensor:
        """Whole numbers [count] from 0 to ``among``, exclusive."""
        return torch.randint(0, among, (count,), generator=self._generator, device=self.device)


def cases(device_kind: str) -> Iterator[Case]:
    """Those of ``cpu`` or ``cuda``, a case of each class in turn."""
    dtypes = _DTYPES[device_kind]
    kinds: tuple[Iterable[Case], ...] = (
        (_product(sizes, dtype) for dtype, each in _PRODUCTS[device_kind].items() for sizes in each),
        (_attention(sizes, dtypes[0]) for sizes in _ATTENTION[device_kind]),
        chain.from_iterable(_elementwise(count, dtype) for count in _ELEMENTS[device_kind] for dtype in dtypes),
        chain.from_iterable(_reductions(sizes, dtype) for sizes in _ROWS[device_kind] for dtype in dtypes),
        chain.from_iterable(
            (*_copies(count, dtypes[0]), *(_embedding(*_VOCABULARY[device_kind], dtypes[0]) if place == 0 else ()))
            for place, count in enumerate(_ELEMENTS[device_kind])
        ),
        (_batched(sizes, dtype) for dtype, each in _BATCHED[device_kind].items() for sizes in each),
    )
    for turn in zip_longest(*kinds):
        yield from (case for case in turn if case is not None)


def random_tensors(device: torch.device, seed: int) -> _Random:
    """What ``Case.make`` takes."""
    return _Random(device, seed)


def _product(sizes: tuple[int, int, int], dtype: torch.dtype) -> Case:
    rows, inner, columns = sizes

    def make(random: _Random) -> Callable[[], object]:
        left, weight = random(rows, inner, dtype=dtype), random(columns, inner, dtype=dtype)
        return lambda: left @ weight.mT

    return Case(name=_named("product", sizes, dtype), byte_count=_bytes(rows * inner, inner * columns, rows * columns),
                make=make)  # fmt: skip


def _batched(sizes: tuple[int, int, int, int], dtype: torch.dtype) -> Case:
    count, rows, inner, columns = sizes

    def make(random: _Random) -> Callable[[], object]:
        left, right = random(count, rows, inner, dtype=dtype), random(count, inner, columns, dtype=dtype)
        return lambda: torch.bmm(left, right)

    return Case(name=_named("products", sizes, dtype), make=make,
                byte_count=_bytes(count * (rows * inner + inner * columns + rows * columns)))  # fmt: skip


def _attention(sizes: tuple[int, int, int, int, int], dtype: torch.dtype) -> Case:
    """Causal and with its backward pass where there are as many queries as keys, else of a decode step."""
    count, heads, queries, keys, head_dim = sizes
    trained = queries == keys

    def make(random: _Random) -> Callable[[], object]:
        query = random(count, heads, queries, head_dim, dtype=dtype).requires_grad_(trained)
        key, value = (random(count, heads, keys, head_dim, dtype=dtype).requires_grad_(trained) for _ in range(2))
        gradient = random(count, heads, queries, head_dim, dtype=dtype)

        def attend() -> object:
            output = functional.scaled_dot_product_attention(query, key, value, is_causal=trained)
            return torch.autograd.grad(output, (query, key, value), gradient) if trained else output

        return attend

    return Case(name=_named("attention", sizes, dtype), make=make,
                byte_count=_bytes(count * heads * head_dim * (4 * queries + 4 * keys)))  # fmt: skip


def _elementwise(count: int, dtype: torch.dtype) -> tuple[Case, ...]:
    def addition(random: _Random) -> Callable[[], object]:
        left, right = random(count, dtype=dtype), random(count, dtype=dtype)
        return lambda: left + right

    def activation(random: _Random) -> Callable[[], object]:
        values = random(count, dtype=dtype)
        return lambda: functional.silu(values)

    def update(random: _Random) -> Callable[[], object]:
        parameter = random(count).requires_grad_()
        parameter.grad = random(count)
        return torch.optim.AdamW([parameter], fused=True, lr=1e-5, capturable=random.device.type == "cuda").step

    found = [
        Case(name=_named("addition", (count,), dtype), byte_count=_bytes(3 * count), make=addition),
        Case(name=_named("SiLU", (count,), dtype), byte_count=_bytes(2 * count), make=activation),
    ]
    if dtype is _FLOAT32:
        found.append(Case(name=_named("AdamW", (count,), dtype), byte_count=_bytes(4 * count), make=update))
    return tuple(found)


def _reductions(sizes: tuple[int, int], dtype: torch.dtype) -> tuple[Case, ...]:
    def norm(random: _Random) -> Callable[[], object]:
        values, weight = random(*sizes, dtype=dtype), random(sizes[1], dtype=dtype)
        return lambda: functional.layer_norm(values, (sizes[1],), weight)

    def softmax(random: _Random) -> Callable[[], object]:
        values = random(*sizes, dtype=dtype)
        return lambda: values.softmax(-1)

    def total(random: _Random) -> Callable[[], object]:
        values = random(*sizes, dtype=dtype)
        return lambda: values.sum(-1)

    return tuple(
        Case(name=_named(name, sizes, dtype), byte_count=_bytes(2 * prod(sizes)), make=make)
        for name, make in (("layer norm", norm), ("softmax", softmax), ("sum", total))
    )


def _copies(count: int, dtype: torch.dtype) -> tuple[Case, ...]:
    def copy(random: _Random) -> Callable[[], object]:
        source = random(count, dtype=dtype)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    def cast(random: _Random) -> Callable[[], object]:
        source = random(count)
        return lambda: source.to(_BFLOAT16)

    def transposition(random: _Random) -> Callable[[], object]:
        source = random(count // 64, 64, dtype=dtype).mT
        return source.contiguous

    def fill(random: _Random) -> Callable[[], object]:
        target = random(count, dtype=dtype)
        return target.zero_

    return tuple(
        Case(name=_named(name, (count,), dtype), byte_count=_bytes(2 * count), make=make)
        for name, make in (("copy", copy), ("cast", cast), ("transposition", transposition), ("fill", fill))
    )


def _embedding(rows: int, columns: int, tokens: int, dtype: torch.dtype) -> tuple[Case, ...]:
    def make(random: _Random) -> Callable[[], object]:
        table, places = random(rows, columns, dtype=dtype), random.places(tokens, rows)
        return lambda: functional.embedding(places, table)

    sizes = (rows, columns, tokens)
    return (Case(name=_named("embedding", sizes, dtype), byte_count=_bytes((rows + tokens) * columns), make=make),)


def _named(what: str, sizes: Iterable[int], dtype: torch.dtype) -> str:
    return f"{what} {' x '.join(map(str, sizes))} {str(dtype).removeprefix('torch.')}"


def _bytes(*elements: int) -> int:
    """Float32, in which tensors are drawn."""
    return 4 * sum(elements)
