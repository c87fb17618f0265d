"""One rank's part of a step that several ranks share, and activation checkpoints for either kind of step.

- ``ddp``: the whole model on a part of the batch; torch averages gradients while the backward pass still runs.
- ``fsdp``: the same, but between uses each rank keeps a part of every block's weights (FSDP2, a unit a block; embedding
  and head are another). FSDP2 cannot divide a single number: those stay whole, their gradients are averaged here.
- ``tp``: a part of every block on the whole batch (see ``tensor_parallel``).

All ranks together compute the step of one device: the same batch, the same gradients, the same clipped norm.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from pamprof.records import Parallel, Phase
from pamprof.workloads.parallel.tensor_parallel import keep_own_part, partial_gradients, rank_spec
from pamprof.workloads.steps import CLIP_NORM, PreparedStep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

    from pamprof.records import LayerSpec, RankLayout, Workload
    from pamprof.workloads.base import LayerDefinition, SequenceModel

_SEED_STRIDE = 1_000_003  # between the inputs of ranks that each have their own
_HEAD_AXIS = {"state": 1, "kv-cache": 2}


class RankStep(PreparedStep):
    """This rank's part of a workload with a ``layout``.

    ``loss_module`` computes the loss in training, with what DDP or FSDP2 put around it.

    Args:
        workload: What all ranks do.
        definition: Of its layer.
        device: This rank's.
        seed: Of weights and inputs, the same on all ranks.
        mesh: All ranks, in one dimension.
        own_inputs: Whether each rank draws inputs of its own (weak scaling), rank 0 those of one device with the batch
            of a rank; else they take their parts of one batch.
    """

    def __init__(
        self,
        workload: Workload,
        definition: LayerDefinition,
        *,
        device: torch.device,
        seed: int,
        mesh: DeviceMesh,
        own_inputs: bool = False,
    ) -> None:
        assert workload.layout is not None
        self.layout: RankLayout = workload.layout
        self._mesh = mesh
        self._group: ProcessGroup = mesh.get_group()
        self._rank = mesh.get_local_rank()
        self._own_inputs = own_inputs
        self._divided: frozenset[str] = frozenset()
        self.loss_module: nn.Module | None = None
        if own_inputs:
            workload = replace(workload, batch_size=workload.batch_size // self.layout.ranks)
        super().__init__(workload, definition, device=device, seed=seed)
        module = self.module
        names = {parameter: name for name, parameter in module.named_parameters()}
        parameters = list(module.parameters()) if self.workload.phase is Phase.TRAIN else []
        self._parts = [p for p in parameters if isinstance(p, DTensor) or names[p] in self._divided]
        self._whole = [p for p in parameters if not (isinstance(p, DTensor) or names[p] in self._divided)]
        partial_names = partial_gradients(module) if self.layout.parallel is Parallel.TP else ()
        self._partial = [p for p in self._whole if names[p] in partial_names]

    def _built(self, definition: LayerDefinition, spec: LayerSpec) -> SequenceModel:
        model = super()._built(definition, spec)
        training = self.workload.phase is Phase.TRAIN
        if training and self.layout.checkpoints_activations:
            recompute_blocks(model)
        if self.layout.parallel is Parallel.TP:
            self._divided = keep_own_part(model, definition, spec, rank=self._rank, group=self._group)
        elif training and self.layout.parallel is Parallel.DDP:
            self.loss_module = _data_parallel(_LossModule(model), self._group, self.device)
        elif training:
            self.loss_module = _fully_sharded(_LossModule(model), model, self._mesh)
        return model

    def _input_seed(self) -> int:
        return super()._input_seed() + (self._rank * _SEED_STRIDE if self._own_inputs else 0)

    def _own(self, drawn: Tensor) -> Tensor:
        if self._own_inputs or self.layout.parallel is Parallel.TP:
            return drawn
        return drawn.chunk(self.layout.ranks)[self._rank].contiguous()

    def _computed(self, spec: LayerSpec) -> Workload:
        workload, ranks = self.workload, self.layout.ranks
        if self.layout.parallel is Parallel.TP:
            return replace(workload, spec=rank_spec(spec, ranks, self._rank))
        return workload if self._own_inputs else replace(workload, batch_size=workload.batch_size // ranks)

    def _updated_together(self, parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
        kinds = ([p for p in parameters if isinstance(p, DTensor) is divided] for divided in (True, False))
        return [kind for kind in kinds if kind]

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.loss_module is None:
            return super()._loss(inputs, targets)
        loss: Tensor = self.loss_module(inputs, targets)
        return loss

    def _clip(self) -> Tensor:
        """As on one device: the norm is that of all ranks' gradients together."""
        if self.layout.parallel is Parallel.DDP:
            return super()._clip()
        self._complete(self._partial if self.layout.parallel is Parallel.TP else self._whole)
        parts = [_local(p.grad) for p in self._parts if p.grad is not None]
        whole = [_local(p.grad) for p in self._whole if p.grad is not None]
        squares = nn.utils.get_total_norm(parts).square() if parts else torch.zeros((), device=self.device)
        distributed.all_reduce(squares, group=self._group)
        norm = (squares + nn.utils.get_total_norm(whole).square() if whole else squares).sqrt()
        torch._foreach_mul_([*parts, *whole], (CLIP_NORM / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _complete(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what each rank found of these gradients; their mean where ranks have parts of the batch."""
        found = [p.grad for p in parameters if p.grad is not None]
        if not found:
            return
        flat = torch.cat([gradient.flatten() for gradient in found])
        distributed.all_reduce(flat, group=self._group)
        if self.layout.parallel is Parallel.FSDP:
            flat /= self.layout.ranks
        for gradient, value in zip(found, flat.split([gradient.numel() for gradient in found]), strict=True):
            gradient.copy_(value.view_as(gradient))

    def reset(self) -> None:
        """Fill the state with this rank's heads of the values that one device's state gets."""
        if self.state is None or self.workload.phase is not Phase.DECODE:
            return
        generator = torch.Generator(device=self.device).manual_seed(self._seed + 2)
        axis, ranks = _HEAD_AXIS[self.state.kind], self.layout.ranks
        tensors: tuple[Tensor, ...] = getattr(self.state, "tensors", ()) or getattr(self.state, "blocks", ())
        for tensor in tensors:
            shape = list(tensor.shape)
            shape[axis] *= ranks
            tensor.copy_(tensor.new_empty(shape).normal_(generator=generator).chunk(ranks, axis)[self._rank])

    @property
    def kept_parameter_bytes(self) -> int:
        """Bytes of the parameters that this rank keeps between steps."""
        return sum(_byte_count(_local(parameter)) for parameter in self.module.parameters())


def recompute_blocks(model: SequenceModel) -> None:
    """Keep the input of each block alone for the backward pass, and compute the rest again there."""
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def optimizer_byte_count(optimizer: torch.optim.Optimizer | None) -> int:
    """Bytes of an optimizer's state on this rank."""
    if optimizer is None:
        return 0
    held = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor))
    return sum(_byte_count(_local(value)) for value in held)


def _byte_count(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class _LossModule(nn.Module):
    """The loss as a module's forward, which is where DDP and FSDP2 take hold."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The model's training loss."""
        return self.model.loss(inputs, targets)


def _data_parallel(module: nn.Module, group: ProcessGroup, device: torch.device) -> nn.Module:
    with warnings.catch_warnings():
        # The name that torch 2.13 has instead does not exist in 2.11, and synchronises buffers once more.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            process_group=group,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


def _fully_sharded(module: nn.Module, model: SequenceModel, mesh: DeviceMesh) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    numbers = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for block in model.blocks:
        fully_shard(block, mesh=mesh, ignored_params=numbers)
    fully_shard(module, mesh=mesh, ignored_params=numbers)
    return module
