"""A workload made ready to run: model, inputs, optimizer or state, and the one step that is measured.

What a step does, the same for every arm:

- ``train``: zero gradients, forward and loss (autocast where the policy is bfloat16), backward, clip the gradient norm
  to 1, AdamW (fused, of complex parameters by lists of tensors; capturable on CUDA).
- ``prefill``: the whole prompt from an empty state; logits of the last position; state or cache filled.
- ``decode``: one token per sequence at a fixed context length, on a state or cache that was allocated for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.errors import PamprofError
from pamprof.records import Dtype, Execution, ExecutionStage, Phase, Scope
from pamprof.workloads.base import ChoosesKernels
from pamprof.workloads.execution import (
    ExecutionError,
    capture_graph,
    check_execution,
    compile_regions,
    compiler_fault,
    timed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import LayerSpec, Workload
    from pamprof.workloads.base import LayerDefinition, SequenceModel, State

# Small enough that repeated steps on one batch do not drift into infinities, large enough that no update is zero.
_LEARNING_RATE = 1e-5
CLIP_NORM = 1.0

_OBSERVED_SEQUENCES = 64

# Executed and eager outputs of the same step may differ by reordered sums and by where they are rounded. In bfloat16 a
# decode step of the 100M Llama lies 1.9 % from the same step in float32 when eager and 1.7 % when compiled, and the two
# 2.1 % from each other; what is wrong rather than rounded is off by far more.
EXECUTION_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.BFLOAT16: 4e-2}


class PreparedStep:
    """One workload, built on a device.

    ``eager`` dispatches operator by operator until ``compile`` was called; ``run`` is the step as the workload executes
    it, a replay after ``capture``.

    Attributes:
        workload: What it is.
        model: The block or language model.
        optimizer: AdamW in training, None otherwise.
        state: State or KV cache in prefill and decode, None in training.
        inputs: Tensors the step reads.
        run: Executes one step; asynchronous on CUDA.
        compile_seconds: Time spent compiling and capturing.
        gradient_norm: Of all gradients in the latest step of training, before they were clipped.
        notes: What is done otherwise than for every arm, a sentence each.
    """

    def __init__(
        self,
        workload: Workload,
        definition: LayerDefinition,
        *,
        device: torch.device,
        seed: int,
        model: SequenceModel | None = None,
    ) -> None:
        """Build the step; ``model`` is one that an earlier inference step of the same arm built, to be used again."""
        check_execution(workload.execution, device)
        self.workload = workload
        self.device = device
        self.compile_seconds = 0.0
        self.notes: tuple[str, ...] = ()
        self.optimizer: torch.optim.Optimizer | None = None
        self.state: State | None = None
        self._seed = seed
        self._targets: torch.Tensor | None = None
        self.gradient_norm: torch.Tensor | None = None
        spec = with_room_for(workload.spec, workload.sequence_length + (workload.phase is Phase.DECODE))
        self.model: SequenceModel = model or self._built(definition, spec)
        generator = torch.Generator(device="cpu").manual_seed(self._input_seed())
        length = 1 if workload.phase is Phase.DECODE else workload.sequence_length
        training = workload.phase is Phase.TRAIN
        bfloat16 = workload.dtype is Dtype.BFLOAT16
        drawn = definition.example_inputs(
            spec,
            scope=workload.scope,
            batch_size=workload.batch_size,
            sequence_length=length,
            device=device,
            dtype=torch.bfloat16 if bfloat16 and not training else torch.float32,
            generator=generator,
        )
        self.inputs = self._own(drawn)
        module = self.module
        if training:
            module.train()
            self._prepare_training(spec, tuple(drawn.shape), generator)
            self.eager: Callable[[], torch.Tensor] = self._train
        else:
            self.notes = tuple(getattr(module, "inference_notes", ()))
            module.eval().requires_grad_(False)
            if model is None:
                self.model.prepare_inference(workload.dtype)
            room = workload.sequence_length + (workload.phase is Phase.DECODE)
            self.state = self.model.new_state(workload.batch_size, room)
            if workload.phase is Phase.DECODE and workload.scope is Scope.MODEL:
                self.inputs = self.inputs[:, 0].contiguous()
            self.eager = self._decode if workload.phase is Phase.DECODE else self._prefill
        if isinstance(definition, ChoosesKernels):
            self.reset()
            definition.choose_kernels(self.model, self._computed(spec), device, self.state)
        self.run = self.eager

    def _built(self, definition: LayerDefinition, spec: LayerSpec) -> SequenceModel:
        """The model."""
        workload, seed = self.workload, self._seed
        return definition.build(
            spec, implementation=workload.implementation, scope=workload.scope, device=self.device, seed=seed
        )

    def _input_seed(self) -> int:
        return self._seed + 1

    def _own(self, drawn: torch.Tensor) -> torch.Tensor:
        """What of the inputs, or targets, of all ranks this one computes."""
        return drawn

    def _computed(self, spec: LayerSpec) -> Workload:
        """The workload as this rank computes it."""
        del spec
        return self.workload

    @property
    def module(self) -> nn.Module:
        """The model as the ``torch.nn.Module`` it is."""
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"layer {self.workload.spec.layer} built {type(self.model).__name__}, not a torch module")
        return self.model

    @property
    def kept_tensors(self) -> tuple[torch.Tensor, ...]:
        """Tensors outside model, optimizer and state that live as long as the step: inputs and targets."""
        return (self.inputs,) if self._targets is None else (self.inputs, self._targets)

    def _prepare_training(self, spec: LayerSpec, shape: tuple[int, ...], generator: torch.Generator) -> None:
        if self.workload.scope is Scope.MODEL:
            targets = torch.randint(0, spec.vocabulary_size, shape, generator=generator)
        else:
            self.inputs.requires_grad_(True)
            targets = torch.randn(shape, generator=generator)
        self._targets = self._own(targets).to(self.device)
        parameters = list(self.module.parameters())
        in_complex = [parameter for parameter in parameters if parameter.is_complex()]
        groups: list[dict[str, object]] = [
            {"params": [parameter for parameter in alike if not parameter.is_complex()], "fused": True}
            for alike in self._updated_together(parameters)
        ]
        if in_complex:
            groups.append({"params": in_complex, "foreach": True})
            self.notes = (
                f"AdamW updates {len(in_complex)} of {len(parameters)} parameter tensors by lists of tensors, because "
                "its fused kernel takes no complex ones",
            )
        self.optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, capturable=self.device.type == "cuda")

    def _train(self) -> torch.Tensor:
        assert self.optimizer is not None
        assert self._targets is not None
        self.optimizer.zero_grad(set_to_none=True)
        self.inputs.grad = None
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.workload.dtype is Dtype.BFLOAT16):
            loss = self._loss(self.inputs, self._targets)
        torch.autograd.backward(loss)
        self.gradient_norm = self._clip()
        self.optimizer.step()
        return loss.detach()

    def _updated_together(self, parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
        """Parameters in groups whose tensors one kernel can update."""
        return [parameters]

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.model.loss(inputs, targets)

    def _clip(self) -> torch.Tensor:
        """Scale all gradients down to the largest norm allowed; the norm they had."""
        return nn.utils.clip_grad_norm_(self.module.parameters(), CLIP_NORM)

    @torch.no_grad()
    def _prefill(self) -> torch.Tensor:
        assert self.state is not None
        return self.model.prefill(self.inputs, self.state, 0)

    @torch.no_grad()
    def _decode(self) -> torch.Tensor:
        assert self.state is not None
        return self.model.decode(self.inputs, self.state, self.workload.sequence_length)

    def reset(self) -> None:
        """Fill the state with the same random values each time; does nothing in training and prefill."""
        if self.state is not None and self.workload.phase is Phase.DECODE:
            self.state.randomise(torch.Generator(device=self.device).manual_seed(self._seed + 2))

    def compile(self) -> None:
        """Compile, where the workload's execution does, and check that the result still computes the same.

        Raises:
            ExecutionError: The compiler fails, or the compiled step computes something else.
        """
        if self.workload.execution in (Execution.COMPILED, Execution.COMPILED_GRAPH):
            self._change(self._compile, ExecutionStage.COMPILE)

    def capture(self) -> None:
        """Capture the step into a CUDA graph, where the workload's execution does, and check that it computes the same.

        Raises:
            ExecutionError: A graph cannot hold the step, or its replay computes something else.
        """
        if self.workload.execution in (Execution.GRAPH, Execution.COMPILED_GRAPH):
            self._change(self._capture, ExecutionStage.CAPTURE)

    def _change(self, action: Callable[[], torch.Tensor], stage: ExecutionStage) -> None:
        """Let ``action``, which is ``stage``, change how the step runs; its output before and after must agree."""
        trained = () if self.optimizer is None else tuple(self.module.parameters())
        values = [parameter.detach().clone() for parameter in trained]
        self.reset()
        expected = _observed(self.run)
        _, seconds = timed(action, self.device)
        self.compile_seconds += seconds
        with torch.no_grad():
            for parameter, value in zip(trained, values, strict=True):
                parameter.copy_(value)
        self.reset()
        found = _observed(self.run)
        if self.workload.spec.dropout > 0:
            return  # masks differ from step to step; the gate has checked the arithmetic without them
        error = float((found - expected).norm() / expected.norm().clamp_min(1e-30))
        tolerance = EXECUTION_TOLERANCE[self.workload.dtype]
        if not error <= tolerance:
            raise ExecutionError(
                stage,
                f"the {self.workload.execution} step differs from the eager one by {error:.1e} relative, "
                f"more than {tolerance:.0e}; it is not timed",
            )

    def _compile(self) -> torch.Tensor:
        try:
            compile_regions(self.model)
            return self.eager()
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:  # the compiler's own errors share no base class
            raise ExecutionError(
                ExecutionStage.COMPILE, f"torch.compile fails with torch {torch.__version__}: {compiler_fault(exc)}"
            ) from exc

    def _capture(self) -> torch.Tensor:
        self.run = capture_graph(self.eager)
        return self.run()


def check_output(step: PreparedStep) -> None:
    """Run the plain or compiled step once and look at what it returns.

    Raises:
        ExecutionError: A compiled step returns what is not a number; the plain one may not.
        PamprofError: It is no tensor of the shape that the phase asks for, or holds what is not a number.
    """
    workload, output = step.workload, step.eager()
    who = f"{workload.spec.layer} {workload.implementation}"
    if not isinstance(output, torch.Tensor):
        raise PamprofError(f"{who} returns {type(output).__name__} from a step of {workload.phase}, not a tensor")
    wanted: tuple[int, ...] | None = None
    if workload.phase is Phase.TRAIN:
        wanted = ()
    elif workload.scope is Scope.MODEL:
        wanted = (workload.batch_size, workload.spec.vocabulary_size)
    if wanted is not None and tuple(output.shape) != wanted:
        found = list(output.shape)
        raise PamprofError(f"{who} returns shape {found} from a step of {workload.phase}, not {list(wanted)}")
    if bool(output.isnan().any()):
        if workload.execution in (Execution.COMPILED, Execution.COMPILED_GRAPH):
            message = f"{who} returns NaN from a compiled step of {workload.phase}; a wrong result is not timed"
            raise ExecutionError(ExecutionStage.COMPILE, message)
        raise PamprofError(f"{who} returns NaN from a step of {workload.phase}; a wrong result is not timed")


def _observed(step: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What a step returns, of its first sequences: the logits of thousands would need more memory than the step."""
    output = step().detach()
    return (output[:_OBSERVED_SEQUENCES] if output.ndim else output).cpu().double()


def with_room_for(spec: LayerSpec, tokens: int) -> LayerSpec:
    """``spec`` with its position table extended to ``tokens`` where it is shorter.

    A longer table of learned positions adds parameters to a model that was matched without them; they are not part of
    the matched count and one row of them is read per token, so that neither FLOPs nor traffic change.
    """
    if tokens <= spec.maximum_sequence_length:
        return spec
    return replace(spec, maximum_sequence_length=tokens)
