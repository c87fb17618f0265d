"""A layer's closed forms for planning: each as the layer gives it, or counted on the meta device where it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import nn

from pamprof.errors import LayerError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.memory.storage_tracker import held_bytes
from pamprof.records import Phase, Scope
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.closed_forms import checked_claim, parameter_count
from pamprof.workloads.steps import with_room_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Dtype, LayerSpec
    from pamprof.workloads.base import LayerDefinition, SequenceModel

Count = TypeVar("Count")


class CountedForms:
    """``layer`` with closed forms that hold; everything else of it is its own.

    A formula that is no positive whole number, or raises, gives way to a count. So does the parameter count of a layer
    from elsewhere that the parameters of its model contradict.
    """

    def __init__(self, layer: LayerDefinition) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> object:
        return getattr(self._layer, name)

    def as_definition(self) -> LayerDefinition:
        """This object for functions that take a definition."""
        return cast("LayerDefinition", self)

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Real scalars of the model."""
        return parameter_count(self._layer, spec, scope)

    def flop_count(
        self, spec: LayerSpec, *, phase: Phase, scope: Scope, batch_size: int, sequence_length: int
    ) -> ClosedForm:
        """Matrix FLOPs of one step."""

        def form() -> ClosedForm:
            return self._layer.flop_count(
                spec, phase=phase, scope=scope, batch_size=batch_size, sequence_length=sequence_length
            )

        claimed = checked_claim(lambda: form().matrix_flop_count)
        dense = checked_claim(lambda: form().matrix_dense_flop_count)
        if isinstance(claimed, int) and isinstance(dense, int):
            return ClosedForm(matrix_flop_count=claimed, matrix_dense_flop_count=dense)
        refused = dense if isinstance(claimed, int) else claimed

        def count() -> ClosedForm:
            flops = count_flops(self._step(spec, phase, scope, batch_size, sequence_length))
            return ClosedForm(
                matrix_flop_count=flops.matrix_flop_count, matrix_dense_flop_count=flops.matrix_dense_flop_count
            )

        return self._counted("matrix FLOPs", refused, count)

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of state or cache."""
        claimed = checked_claim(
            lambda: self._layer.state_byte_count(
                spec, scope=scope, batch_size=batch_size, context=context, dtype=dtype
            ),
            least=0,
        )
        if isinstance(claimed, int):
            return claimed

        def count() -> int:
            model = self._built(spec, scope, context)
            model.prepare_inference(dtype)
            return held_bytes(model.new_state(batch_size, context))

        return self._counted("bytes of state", claimed, count)

    def _counted(self, what: str, claimed: int | str | None, count: Callable[[], Count]) -> Count:
        try:
            return count()
        except Exception as exc:
            given = "nothing" if claimed is None else claimed
            raise LayerError(
                f"layer {self._layer.name}: its formula for {what} gives {given}, and none can be counted: "
                f"{type(exc).__name__}: {exc}; repair the formula"
            ) from exc

    def _built(self, spec: LayerSpec, scope: Scope, length: int) -> SequenceModel:
        return self._layer.build(
            with_room_for(spec, length + 1),
            implementation=self._layer.implementations[0],
            scope=scope,
            device=torch.device("meta"),
            seed=0,
        )

    def _step(self, spec: LayerSpec, phase: Phase, scope: Scope, batch_size: int, length: int) -> Callable[[], object]:
        """One step on the meta device, where nothing is computed."""
        model = self._built(spec, scope, length)
        inputs = self._layer.example_inputs(
            spec,
            scope=scope,
            batch_size=batch_size,
            sequence_length=1 if phase is Phase.DECODE else length,
            device=torch.device("cpu"),
            dtype=torch.float32,
            generator=torch.Generator().manual_seed(0),
        ).to("meta")
        if phase is Phase.TRAIN:
            assert isinstance(model, nn.Module)
            targets = inputs if scope is Scope.MODEL else torch.empty_like(inputs)
            return lambda: model.loss(inputs, targets).backward()
        state = model.new_state(batch_size, length + 1)
        if phase is Phase.PREFILL:
            return torch.no_grad()(lambda: model.prefill(inputs, state, 0))
        token = inputs[:, 0] if scope is Scope.MODEL else inputs
        return torch.no_grad()(lambda: model.decode(token, state, length))
