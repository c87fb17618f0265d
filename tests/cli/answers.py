"""What a failing command said."""

from __future__ import annotations


def one_sentence(result, status):
    """The one sentence on standard error of a command that ended with ``status``."""
    assert result.exit_code == status, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("pamprof: ")
    return line
