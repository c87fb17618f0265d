"""Phase-Associative Memory as a layer definition: its sizes, formulas, implementations and oracle.

Source: Vishwakarma & Agostino, arXiv:2604.05030.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pamprof.errors import UnsupportedError
from pamprof.records import Dtype, ImplementationKind, LayerSpec, Phase, Scope
from pamprof.workloads.base import KernelNotes
from pamprof.workloads.kernels.availability import unavailable_reason
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.pam import formulas
from pamprof.workloads.layers.pam.checkpoint import in_v7_layout
from pamprof.workloads.layers.pam.complex.stages import ACTIVATIONS
from pamprof.workloads.layers.pam.implementations import arithmetic
from pamprof.workloads.layers.pam.model import PamLanguageModel, model_sizes
from pamprof.workloads.layers.pam.oracle import ORACLE_NAME, naive_block
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.recurrent.definition import RecurrentDefinition

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from pamprof.records import Workload
    from pamprof.workloads.base import ClosedForm, LayerDefinition, SequenceModel
    from pamprof.workloads.checkpoints.files import StoredModel
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class PamDefinition(RecurrentDefinition):
    """Complex gate unit and phase-associative memory, in five implementations of the same parameters."""

    name = "pam"
    title = "PAM"
    implementations: tuple[str, ...] = ("published", "planar", "gauss", "complex", "fused")
    activations = ACTIVATIONS
    complex_valued = True
    naive_block = staticmethod(naive_block)
    oracle_name = ORACLE_NAME
    implementation_kinds: ClassVar = {"published": ImplementationKind.PUBLISHED, "fused": ImplementationKind.KERNELS}

    def preset(self, name: str) -> LayerSpec:
        """Sizes of a named preset; raises ``UsageError`` naming the presets there are."""
        return preset(self.name, name)

    def implementation_flop_count(
        self,
        spec: LayerSpec,
        *,
        implementation: str,
        phase: Phase,
        scope: Scope,
        batch_size: int,
        sequence_length: int,
        dtype: Dtype | None = None,
    ) -> ClosedForm:
        """What ``implementation`` executes in matrix products; see ``formulas.implementation_flop_count``."""
        self.check_implementation(implementation)
        return formulas.implementation_flop_count(
            spec,
            implementation=implementation,
            phase=phase,
            scope=scope,
            batch_size=batch_size,
            sequence_length=sequence_length,
            dtype=dtype,
        )

    def build(
        self, spec: LayerSpec, *, implementation: str, scope: Scope, device: torch.device, seed: int
    ) -> SequenceModel:
        """As every recurrent layer.

        Raises:
            UnsupportedError: The implementation cannot run on ``device``.
        """
        reason = unavailable_reason(device) if implementation == "fused" else None
        if reason is not None:
            self.check(spec)
            raise UnsupportedError(reason)
        return super().build(spec, implementation=implementation, scope=scope, device=device, seed=seed)

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """In the published layouts of v6, v7 and v11; the last two are this package's own."""
        tensors = in_v7_layout(model.tensors)
        sizes = model_sizes(tensors)
        kept = {
            name: getattr(spec, name) for name in ("maximum_sequence_length", "chunk_size", "dropout", "state_dtype")
        }
        return replace(sizes, checkpoint=spec.checkpoint, **kept), tensors

    def oracle_error(
        self, spec: LayerSpec, *, implementation: str, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        """Relative rms error of one block without dropout against the naive recurrence, and the oracle's name."""
        if implementation == "complex" and dtype is Dtype.BFLOAT16:
            raise UnsupportedError(
                "torch has no bfloat16 complex numbers; measure the complex implementation in float32"
            )
        return super().oracle_error(
            spec, implementation=implementation, phase=phase, device=device, dtype=dtype, seed=seed
        )

    def _arithmetic(self, implementation: str) -> Arithmetic:
        return arithmetic(implementation)

    def _language_model(self, spec: LayerSpec, implementation: str, seed: int) -> PamLanguageModel:
        return PamLanguageModel(spec, implementation=implementation, seed=seed)

    def _decode_batch_sizes(
        self, spec: LayerSpec, implementation: str, phase: Phase, dtype: Dtype, device: torch.device
    ) -> tuple[int, ...]:
        if implementation != "fused" or phase is not Phase.DECODE:
            return super()._decode_batch_sizes(spec, implementation, phase, dtype, device)
        from pamprof.workloads.layers.pam.fused.decode import step_batch_sizes  # Triton, which a CPU machine may lack

        return step_batch_sizes(spec, TORCH_DTYPES[dtype], device)

    def kernel_notes(self, workload: Workload, device: torch.device) -> KernelNotes:
        """How the recurrence was launched for ``workload``; nothing but ``fused`` has kernels to say it of."""
        if workload.implementation != "fused" or unavailable_reason(device) is not None:
            return KernelNotes()
        from pamprof.workloads.kernels.core.notes import core_notes  # Triton, which a CPU machine may lack

        return core_notes(workload, device)


DEFINITION: LayerDefinition = PamDefinition()
