"""The errors pamprof raises at its door: each names the subject, the value and the remedy in one sentence."""

from __future__ import annotations


class PamprofError(Exception):
    """Base of every error a caller may want to catch; its text is one sentence fit for a terminal."""

    exit_code = 1


class UsageError(PamprofError):
    """The request itself is wrong: an unknown preset, a negative batch, two options that exclude each other."""

    exit_code = 2


class SpecError(UsageError):
    """Sizes that no layer can have, such as a head_dim that does not divide the width."""


class LayerError(UsageError):
    """A registered layer that cannot be used: its package does not load, or what it offers is no layer."""


class RecordError(PamprofError):
    """A record file that cannot be read, was truncated, or was written by a newer schema."""


class PriceError(PamprofError):
    """A price file with missing columns, an unknown GPU or provider, or a rate that cannot be true."""


class PredictionError(PamprofError):
    """A GPU that nothing at hand supports a prediction for, with the reason."""


class StoppedError(PamprofError):
    """The user ended it; the text says what is kept and how to go on."""


class UnsupportedError(PamprofError):
    """A point this machine cannot run, with the reason; measurement turns it into a ``Skip``."""


class DeviceError(PamprofError):
    """A device that was asked for and is not there, or was lost."""


class OutputError(PamprofError):
    """A folder that cannot be written."""
