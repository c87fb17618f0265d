"""How busy a GPU was by the driver's own counters: GPM activity between two samples, and its utilisation samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pynvml

from pamprof.hardware.nvml.words import describe
from pamprof.hardware.probe import Reading, known, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAMPLE_FIELDS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}

# Signal names of the GPM metrics (Hopper and later), with their NVML_GPM_METRIC_* numbers.
GPM_SIGNALS: dict[str, int] = {
    "sm_activity_ratio": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "sm_occupancy_ratio": pynvml.NVML_GPM_METRIC_SM_OCCUPANCY,
    "tensor_activity_ratio": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_bandwidth_ratio": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    "fp32_activity_ratio": pynvml.NVML_GPM_METRIC_FP32_UTIL,
}


def activity_between(previous: object, current: object) -> Mapping[str, Reading[float]]:
    """Mean activity ratios, 0..1, between two GPM samples, by signal name."""
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(GPM_SIGNALS)
    request.sample1, request.sample2 = previous, current
    for position, metric in enumerate(GPM_SIGNALS.values()):
        request.metrics[position].metricId = metric
    pynvml.nvmlGpmMetricsGet(request)
    return {signal: _gpm_value(request.metrics[position]) for position, signal in enumerate(GPM_SIGNALS)}


def _gpm_value(metric: pynvml.c_nvmlGpmMetric_t) -> Reading[float]:
    if metric.nvmlReturn != pynvml.NVML_SUCCESS:
        return unknown(describe(pynvml.NVMLError(metric.nvmlReturn)))
    if not math.isfinite(metric.value):
        return unknown("the driver returned no number")
    return known(float(metric.value) / 100)


def busy_samples(handle: object, since_epoch_seconds: float) -> tuple[tuple[float, float], ...]:
    """(epoch seconds, busy ratio) of the driver's own samples newer than the given time, in order.

    Raises:
        NVMLError: The driver refuses them, or in a type of number that is not known.
    """
    microseconds = int(since_epoch_seconds * 1e6)
    try:
        kind, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES, microseconds)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NOT_FOUND:  # NVML's way to say "nothing newer"
            return ()
        raise
    field = _SAMPLE_FIELDS.get(kind)
    if field is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_DATA)
    pairs = ((sample.timeStamp / 1e6, float(getattr(sample.sampleValue, field)) / 100) for sample in samples)
    # The ring buffer can hold entries that were never written, or older ones than were asked for.
    return tuple(sorted((at, ratio) for at, ratio in pairs if at > since_epoch_seconds and 0 <= ratio <= 1))
