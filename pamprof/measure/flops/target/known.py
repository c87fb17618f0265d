"""Whole models that need no code of the user's: a layer pamprof knows by name, a configuration of transformers."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from pamprof.errors import UnsupportedError, UsageError
from pamprof.measure.flops.target.countable import DEFAULT_SEQUENCE_LENGTH, Countable
from pamprof.measure.flops.target.request import CountedPhase
from pamprof.records import Dtype, Scope
from pamprof.units import tokens

if TYPE_CHECKING:
    from torch import nn

    from pamprof.measure.flops.target.countable import Builder
    from pamprof.measure.flops.target.request import CountRequest


def registered(request: CountRequest, length: int) -> Builder:
    """A layer that pamprof knows by name, sized as ``pamprof compare`` sizes it."""
    from pamprof.measure.session.matched_arms import matched_arms
    from pamprof.workloads.registry import definition as registered_definition, layer_names
    from pamprof.workloads.steps import with_room_for

    if request.target not in layer_names():
        try:
            registered_definition(request.target)
        except UsageError as error:
            raise UsageError(f"{error}; a layer of your own is module:factory or file.py:factory") from None
    (arm,) = matched_arms(
        preset=request.preset,
        sizes={},
        layers=(request.target,),
        match_axis="parameters",
        sequence_length=length,
        dtype=Dtype.FLOAT32,
        checkpoints={} if request.checkpoint is None else {request.target: Path(request.checkpoint)},
    )
    # Values change no count.
    definition, spec = arm.definition, with_room_for(replace(arm.spec, checkpoint=None), length)
    sizes = f"{request.preset} preset" if arm.spec.checkpoint is None else f"sizes of {arm.spec.checkpoint}"
    implementation = request.implementation or definition.implementations[0]
    if implementation not in definition.implementations:
        raise UsageError(
            f"--implementation {implementation!r} is none of {request.target}'s; use one of "
            f"{', '.join(definition.implementations)}"
        )
    example = definition.example_inputs(
        spec,
        scope=request.scope,
        batch_size=request.batch_size,
        sequence_length=length,
        device=torch.device("cpu"),
        dtype=torch.float32,
        generator=torch.Generator(device="cpu").manual_seed(0),
    )
    training = request.phase is CountedPhase.TRAIN

    def build(device: torch.device) -> Countable:
        model = definition.build(spec, implementation=implementation, scope=request.scope, device=device, seed=0)
        inputs = torch.zeros(example.shape, dtype=example.dtype, device=device)
        targets = inputs
        if request.scope is Scope.LAYER:
            inputs.requires_grad_(training)
            targets = torch.zeros(example.shape, device=device)
        return Countable(
            module=cast("nn.Module", model),
            run=lambda: model.loss(inputs, targets) if training else model(inputs),
            inputs=inputs,
            description=f"{sizes}, {request.scope}, {implementation}",
        )

    return build


def from_configuration(request: CountRequest) -> tuple[Builder, int, str | None]:
    """A causal language model of transformers, from its configuration alone."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")  # read on import; nothing is to be fetched
    path = Path(request.target)
    if not path.exists():
        raise UsageError(f"there is no file {path}; give the config.json of a causal language model")
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError:
        raise UnsupportedError(
            "a Hugging Face configuration needs transformers; install it with: pip install 'pamprof[hf]'"
        ) from None
    let_masks_be_implied()
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    config.use_cache = False
    positions = getattr(config, "max_position_embeddings", None)
    length = request.sequence_length or min(DEFAULT_SEQUENCE_LENGTH, positions or DEFAULT_SEQUENCE_LENGTH)
    warning = None
    if positions and length > positions:
        warning = f"{path} has {tokens(positions)} positions; counted at {tokens(length)} tokens nevertheless"
    training = request.phase is CountedPhase.TRAIN

    def build(device: torch.device) -> Countable:
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if device.type == "meta":
            model = model.to(
                torch.bfloat16
            )  # the only dtype in which experts are multiplied there; counts are the same
        ids = torch.zeros((request.batch_size, length), dtype=torch.int64, device=device)
        return Countable(
            module=model,
            run=lambda: model(input_ids=ids, labels=ids) if training else model(input_ids=ids),
            inputs=ids,
            description=f"{config.model_type}, {type(model).__name__}",
        )

    return build, length, warning


def let_masks_be_implied() -> None:
    """Keep transformers from looking for several sequences packed into one, which it cannot do on the meta device.

    What is counted has one sequence a row, for which the search finds None, and attention is then called as causal
    without a mask.
    """
    try:
        masks = importlib.import_module("transformers.masking_utils")
    except ImportError:  # before transformers 4.53
        return
    if hasattr(masks, "find_packed_sequence_indices"):
        vars(masks)["find_packed_sequence_indices"] = lambda position_ids: None
