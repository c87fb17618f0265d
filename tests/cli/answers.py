"""What a failing command said, and how a file of records is damaged."""

from __future__ import annotations


def one_sentence(result, status):
    """The one sentence on standard error of a command that ended with ``status``."""
    assert result.exit_code == status, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("pamprof: ")
    return line


def damage_last_line(path):
    """Change one digit of the last record, which its checksum then refuses; the line's name as commands say it."""
    lines = path.read_bytes().splitlines(keepends=True)
    head, digits, rest = lines[-1].rpartition(b'"batch_size":')
    lines[-1] = head + digits + (b"9" if rest[:1] != b"9" else b"8") + rest[1:]
    path.write_bytes(b"".join(lines))
    return f"{path.name} line {len(lines)}"
