import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pamprof.cli import output
from pamprof.cli.options import reporting_errors
from pamprof.errors import RecordError
from pamprof.records.codec import decode
from tests.synthetic import synthetic_records

ACTING = ("\x1b[2J", "\x9b2J", "\x7f", "\u202e", "\u2028", "\u200b", "\U000e0041")
HOSTILE = f"evil{''.join(ACTING)}[red]name"


@pytest.mark.parametrize("text", [*ACTING, HOSTILE])
def test_printed_json_holds_the_value_and_no_character_that_acts(text, capsys):
    output.print_json({"name": text, "numbers": [1, 2.5]})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": text, "numbers": [1, 2.5]}
    assert not set("".join(ACTING).replace("[2J", "").replace("2J", "")) & set(printed)


def test_a_table_cell_or_header_acts_on_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    output.print_table(("name", HOSTILE), [(HOSTILE, "1")])
    printed = capsys.readouterr().out
    assert printed.count("evil") == 2
    assert "[red]name" in printed
    assert not {"\x1b", "\x9b", "\x7f", "\u202e", "\u2028", "\u200b"} & set(printed)


def test_an_error_that_quotes_a_name_acts_on_no_terminal(capsys):
    @reporting_errors
    def command():
        raise RecordError(f"unknown record type {HOSTILE}\nand a second line")

    with pytest.raises(BaseException, match="1"):
        command()
    printed = capsys.readouterr().err
    assert printed.startswith("pamprof: unknown record type evil")
    assert len(printed.splitlines()) == 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(printed)


@pytest.mark.parametrize("terminal", [False, True])
def test_records_printed_into_a_file_keep_their_checksum_and_on_a_terminal_do_not_act(
    terminal, tmp_path, capsys, monkeypatch
):

    records = synthetic_records("cpu")
    run = replace(records.runs[0], notes=("evil\x9b2J\u202e",))
    told = SimpleNamespace(sentences=("told",), title="")
    monkeypatch.setattr(
        "pamprof.render.formats.write.write_report",
        lambda *args, **more: SimpleNamespace(html=tmp_path, view=told),
    )
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    output.write_and_show(replace(records, runs=(run,)), tmp_path, quote=None, json=True)
    printed = capsys.readouterr().out
    lines = printed.splitlines() if terminal else printed.split("\n")[:-1]
    if terminal:
        assert not {"\x9b", "\u202e"} & set(printed)
        assert json.loads(lines[1])["record"]["notes"] == list(run.notes)
    else:
        assert decode(lines[1].encode()) == run
