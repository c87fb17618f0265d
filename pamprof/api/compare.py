"""``pamprof.compare``: what the command of that name measures, with a result in place of a report."""

from __future__ import annotations

import inspect
import shlex
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.api.prices import ON_DEMAND, price_lookup
from pamprof.api.request import CompareOptions, compare_request
from pamprof.api.result import Result
from pamprof.api.texts import engine_alone, file_name_alone
from pamprof.errors import PamprofError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.measure.comparison.request import CompareRequest
    from pamprof.measure.session.request import PriceLookup
    from pamprof.records.store import RecordFile

# One size for all phases, several, or those of each phase by its name; 2k is 2,048.
Sizes = int | str | Iterable[int | str] | Mapping[str, int | str | Iterable[int | str]]

# A function of the width and of keyword arguments that makes a torch module, or such a class.
Factory = Callable[..., object]
Layers = Iterable[str | Factory] | str | Factory

# What the command calls arguments that hold several.
_SINGULAR = {"layers": "layer", "phases": "phase", "implementations": "implementation", "executions": "execution"}


def compare(
    layers: Layers | None = None,
    *,
    preset: str | None = None,
    phases: Iterable[str] | str = ("train", "prefill", "decode"),
    batch_size: Sizes | None = None,
    sequence_length: Sizes | None = None,
    scope: str = "model",
    dtype: str | None = None,
    device: str = "auto",
    implementations: Iterable[str] | str = (),
    executions: Iterable[str] | str = (),
    layer_arg: Mapping[str, object] | None = None,
    checkpoint: Mapping[str, str | Path] | None = None,
    match: str = "parameters",
    model_dim: int | None = None,
    heads: int | None = None,
    head_dim: int | None = None,
    depth: int | None = None,
    hidden_dim: int | None = None,
    vocabulary_size: int | None = None,
    chunk_size: int | None = None,
    state_count: int | None = None,
    activation: str | None = None,
    dropout: float | None = None,
    price: float | str | None = None,
    prices: str | Path | None = None,
    gpu: str | None = None,
    provider: str | None = None,
    instance: str | None = None,
    purchase_option: str = ON_DEMAND,
    perplexity: Mapping[str, float] | None = None,
    output_dir: str | Path | None = None,
    resume: bool = False,
    effort: str = "quick",
    time_budget: float | str | None = None,
    on: str | None = None,
    repeat: int | None = None,
    ranks: int = 1,
    parallel: str = "ddp",
    activation_checkpointing: bool = False,
    time_limit: float | str | None = None,
    half_width: float | None = None,
    monitor: float | str | None = None,
    point_timeout: float | str = "10m",
    cold_cache: bool = False,
    seed: int = 0,
    trace: bool = False,
    progress: bool = True,
) -> Result:
    """Measure layers at matched sizes, as ``pamprof compare`` does with the same options and defaults.

    Arms run in a process of their own. Ctrl-C, or a notebook's interrupt, ends the comparison and returns what was
    measured. Durations are seconds, or text such as ``90s``, ``5m`` or ``1.5h``. A message of an error names the
    command's option (``--batch-size`` for ``batch_size``).

    Args:
        layers: Registry names, names given with ``pamprof.layer``, your own as ``NAME=module:factory`` or
            ``NAME=file.py:factory``, or the function itself: of the width and of keyword arguments, it makes a torch
            module [B, T, width] -> [B, T, width]. Default: transformer, real_pam, pam; on a GPU also
            wide_head_transformer and llama.
        preset: Sizes by name, such as ``tiny``, ``25m``, ``100m`` or ``1b`` (parameters). Default: ``tiny`` on a CPU,
            ``100m`` on a GPU.
        phases: ``train``, ``prefill``, ``decode``.
        batch_size: Sequences: ``4``, ``[1, 64]``, or by phase ``{"train": [3, 18]}``. Default: those of the device.
        sequence_length: Tokens: prompt in train and prefill, context in decode; likewise, ``"2k"`` is 2,048.
        scope: ``layer`` (one block) or ``model`` (the full language model).
        dtype: ``float32`` or ``bfloat16``. Default: float32 on a CPU, bfloat16 on a GPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes a GPU when there is one.
        implementations: Names to keep. Default: all the dtype allows.
        executions: ``eager``, ``compiled``, ``graph``, ``compiled-graph``. Default: eager on a CPU, all on a GPU.
        layer_arg: Arguments of layers of yours, such as ``{"gru.num_layers": 2}``.
        checkpoint: Weights of arms, such as ``{"pam": "weights.safetensors"}``; their sizes are those of the files.
        match: What arms are matched on: ``parameters``, ``flops``, ``width``, ``state-bytes`` or ``none``.
        model_dim: Own size of PAM: complex channels of the residual stream.
        heads: Own size of PAM: heads.
        head_dim: Own size of PAM: complex channels of one head.
        depth: Own size of PAM: blocks.
        hidden_dim: Own size of PAM: complex channels inside the gate unit.
        vocabulary_size: Own size of every arm: tokens of the vocabulary.
        chunk_size: Chunk length of PAM as published, tokens. Default: 256.
        state_count: States of a head of PAM. Default: those of the preset, mostly 1.
        activation: Of PAM: ``modswish`` (default) or ``modrelu``.
        dropout: Of every arm in training, 0 to 1. Default: 0.
        price: Your rate of one device, USD per hour; on a CPU of the vCPUs used. Default: that of the price list.
        prices: Your price list, CSV as ``pamprof prices list --csv`` prints it.
        gpu: Price it as this device, such as ``H100-SXM``. Default: the one measured.
        provider: Of the rate, such as ``aws``. Default: the median provider.
        instance: Price it as on this machine of the price list, such as ``c7i.2xlarge``.
        purchase_option: ``on-demand``, ``spot``, or a committed option of the price list.
        perplexity: Quality beside the cost, such as ``{"pam": 30.0}``.
        output_dir: Folder of the records. Default: a temporary one, which is removed with the result; jobs of Slurm
            need one that all machines see.
        resume: Measure only what ``output_dir`` does not hold yet.
        effort: ``quick``, ``standard`` or ``reference``.
        time_budget: After this no further point begins. Default: that of the effort.
        on: Run the groups (a point and its arms) on a fleet: ``ray``, ``ray:HOST:PORT``, ``slurm`` or
            ``slurm:PARTITION``. Default: this machine.
        repeat: Fresh processes for each point. Default: 3 with effort reference, else 1.
        ranks: Devices of this machine that share every arm's step once one has measured it.
        parallel: How they share it: ``ddp``, ``fsdp`` or ``tp``.
        activation_checkpointing: With ``ranks`` only: training keeps each block's input alone and computes the
            rest again.
        time_limit: Sampling time of one point. Default: that of the effort.
        half_width: Relative half width of the ratio's interval at which sampling stops. Default: that of the effort.
        monitor: Window of a point for utilisation and energy; 0: none. Default: that of the effort.
        point_timeout: Time without a sign of life after which a point is skipped.
        cold_cache: Flush the device's cache before each sample.
        seed: Of weights and inputs.
        trace: Write a Chrome trace of one step of each arm and phase into ``traces`` of ``output_dir``.
        progress: Say on standard error what is measured, and how long it will take.

    Raises:
        UsageError: An argument that cannot be, or records in ``output_dir`` without ``resume``.
        DeviceError: The device is not there.
        PriceError: The price that was asked for cannot be had.
        PamprofError: Nothing could be measured.
    """
    options: CompareOptions = {
        "preset": preset,
        "batch_size": _size_lists(batch_size),
        "sequence_length": _size_lists(sequence_length),
        "phase": _joined(phases),
        "scope": scope,
        "dtype": dtype,
        "device": device,
        "implementation": _joined(implementations),
        "execution": _joined(executions),
        "layer": None,
        "layer_arg": None if layer_arg is None else [f"{name}={value}" for name, value in layer_arg.items()],
        "checkpoint": None if checkpoint is None else [f"{name}={file}" for name, file in checkpoint.items()],
        "match": match,
        "model_dim": model_dim,
        "heads": heads,
        "head_dim": head_dim,
        "depth": depth,
        "hidden_dim": hidden_dim,
        "vocabulary_size": vocabulary_size,
        "chunk_size": chunk_size,
        "state_count": state_count,
        "activation": activation,
        "dropout": None if dropout is None else float(dropout),
        "perplexity": None if perplexity is None else [f"{layer}={value}" for layer, value in perplexity.items()],
        "effort": effort,
        "time_budget": _duration(time_budget),
        "on": on,
        "repeat": repeat,
        "ranks": ranks,
        "parallel": parallel,
        "activation_checkpointing": activation_checkpointing,
        "time_limit": _duration(time_limit),
        "half_width": half_width,
        "monitor": _duration(monitor),
        "point_timeout": str(point_timeout),
        "cold_cache": cold_cache,
        "seed": seed,
        "trace": trace,
    }
    look_up = price_lookup(
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    if resume and output_dir is None:
        raise UsageError("resume=True needs the output_dir of an earlier comparison")
    if output_dir is None and on is not None and on.partition(":")[0] == "slurm" and on != "slurm:local":
        raise UsageError(
            f"on={on!r} needs an output_dir that every machine sees, such as one in your home, for what jobs write"
        )
    folder = Path(tempfile.mkdtemp(prefix="pamprof-") if output_dir is None else output_dir)
    try:
        options["layer"] = _layers(layers, folder)
        shown = None if options["layer"] is None else [text.replace(f"{folder}/", "") for text in options["layer"]]
        command = command_of({**options, "layer": shown})
        request = compare_request(command=command, output_dir=folder, resume=resume, **options)
        result = Result(_measured(request, look_up, progress=progress))
    except BaseException:
        if output_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if output_dir is None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _measured(request: CompareRequest, price: PriceLookup, *, progress: bool) -> RecordFile:
    """Everything in the file of a session that measured ``request``, however it ended; at least one run."""
    from rich.console import Console

    from pamprof.measure.comparison.request import COMPARISON
    from pamprof.measure.fleet.run import run_fleet
    from pamprof.measure.session.run import run_session
    from pamprof.records.store import read_records
    from pamprof.render.formats.progress import ProgressReporter

    console = Console(stderr=True, force_jupyter=False, quiet=not progress)
    reporter = ProgressReporter(console)
    if request.on is None:
        outcome = run_session(request, COMPARISON, reporter=reporter, price=price)
    else:
        outcome = run_fleet(request, reporter=reporter, price=price)
    records = read_records(request.path)
    if not records.runs:
        reason = f"; the first reason: {records.skips[0].reason}" if records.skips else ""
        how = "interrupted before a point was measured" if outcome.interrupted else "nothing could be measured"
        raise PamprofError(f"{how}{reason}")
    return records


def command_of(options: CompareOptions) -> str:
    """The shell command that measures the same; like that of the command line it names no path of this machine."""
    words = ["pamprof", "compare"]
    defaults = {
        _SINGULAR.get(name, name): ",".join(given.default) if isinstance(given.default, tuple) else given.default
        for name, given in inspect.signature(compare).parameters.items()
    }
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value in (None, "", 0, False) or value == defaults[name]:
            continue
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            given = [file_name_alone(each) for each in value] if name == "checkpoint" else value
            words += [word for each in given for word in (option, str(each))]
        else:
            words += [option, engine_alone(str(value)) if name == "on" else str(value)]
    return shlex.join(words)


def _layers(layers: Layers | None, folder: Path) -> Sequence[str] | None:
    """Texts for ``--layer``; a function that workers cannot import is kept in ``folder``."""
    if layers is None:
        return None
    from pamprof.workloads.layers.foreign.declared import declared_factory

    given = [layers] if isinstance(layers, str) or callable(layers) else list(layers)
    parts = [part for each in given for part in (each.split(",") if isinstance(each, str) else [each])]
    known = [declared_factory(part.strip()) or part if isinstance(part, str) else part for part in parts]
    return [",".join(layer if isinstance(layer, str) else _text_of(layer, folder) for layer in known)]


def _text_of(factory: Factory, folder: Path) -> str:
    """``name=module:factory`` of what a module holds; else ``name=file.pickle:name``, where the function is kept.

    Functions of a notebook, of the script that is running, and inside others have no module that a worker could import.
    """
    from pamprof.workloads.layers.foreign.declared import declaration_of

    if not callable(factory):
        raise UsageError(
            f"layer {factory!r} is no layer; give a registry name, such as pam, NAME=module:factory, or a function of "
            "the width that makes a torch module"
        )
    name = declaration_of(factory).name or getattr(factory, "__name__", "layer").strip("<>").lower()
    module, qualified = getattr(factory, "__module__", None), getattr(factory, "__qualname__", "")
    if module != "__main__" and _found(module, qualified) is factory:
        return f"{name}={module}:{qualified}"
    import cloudpickle

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pickle"
    path.write_bytes(cloudpickle.dumps(factory))
    return f"{name}={path}:{name}"


def _found(module: str | None, qualified: str) -> object:
    """What an importable module holds under a name with dots; None where there is no such thing."""
    found: object = sys.modules.get(module or "")
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found


def _joined(names: Iterable[str] | str) -> str:
    return names if isinstance(names, str) else ",".join(names)


def _duration(value: float | str | None) -> str | None:
    return None if value is None else str(value)


def _size_lists(sizes: Sizes | None) -> Sequence[str] | None:
    """``["1,64"]``, or by phase ``["train=3,18"]``."""
    if sizes is None:
        return None
    if isinstance(sizes, Mapping):
        return [f"{phase}={_size_list(of_phase)}" for phase, of_phase in sizes.items()]
    return [_size_list(sizes)]


def _size_list(sizes: int | str | Iterable[int | str]) -> str:
    return str(sizes) if isinstance(sizes, int | str) else ",".join(map(str, sizes))
