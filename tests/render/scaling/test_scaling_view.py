"""The section on several ranks: what it says in every format, and that it is there only where ranks measured."""

import csv
import io
from dataclasses import replace

import pytest

from pamprof.analysis.comparison.names import names_of
from pamprof.records import SkipKind, Unknown
from pamprof.records.codec import decode, encode
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.terminal import terminal_text
from pamprof.render.scaling.export import scaling_csv
from pamprof.render.scaling.view import scaling_view
from pamprof.units import UNKNOWN
from tests.render.browser import asked, needs_browser
from tests.synthetic import ranked_run, synthetic_quote, synthetic_records, synthetic_skip

QUOTE = synthetic_quote()


def view_of(*runs, skips=()):
    return scaling_view(runs, skips, names_of((), [each.workload for each in (*runs, *skips)]), quote=QUOTE)


class TestSentence:
    def test_gain_and_what_messages_cost(self):
        (sentence,) = view_of(ranked_run(seconds=0.0125, alone_seconds=0.010)).sentences
        sentence = sentence.replace("\u202f", " ")
        assert "data parallel × 2, weak" in sentence
        assert ": 2 ranks, each with as many tokens as one device, process 1.60× the tokens per second" in sentence
        assert " of one device, an efficiency of 80 %; " in sentence
        messages = "each sends 381 MiB a step at 400 GB/s: 8.0 % of the step is messages, and nothing else runs during"
        assert sentence.endswith(f"{messages} 4.0 % of it.")

    def test_without_a_time_line_nothing_is_said_of_exposure(self):
        (sentence,) = view_of(ranked_run(under_way=None, exposed=None)).sentences
        assert sentence.endswith("each sends 381 MiB a step.")


class TestTables:
    def test_dollars_are_those_of_all_devices(self):
        # 6 x 2,048 tokens in 1 s on two devices at the quoted rate.
        (row,) = view_of(ranked_run(seconds=1.0)).tables[0].rows
        dollars = 2 * float(QUOTE.chosen.usd_per_device_hour) / 3600 / (6 * 2048) * 1e6
        assert row[8] == f"${dollars:.3g}"

    def test_dollars_of_one_device_stand_beside_them(self):
        # Alone it does 3 x 2,048 tokens in 0.5 s: 12,288 tokens a second on one device at the quoted rate.
        table = view_of(ranked_run(seconds=1.0, alone_seconds=0.5)).tables[0]
        cell = dict(zip(table.columns, table.rows[0], strict=True))["$/M, one device"]
        assert cell == f"${float(QUOTE.chosen.usd_per_device_hour) / 3600 / 12288 * 1e6:.3g}"

    def test_the_share_of_the_step_is_the_sentences_own(self):
        # 1 ms of 12.5 under way and half of it exposed.
        table = view_of(ranked_run(seconds=0.0125)).tables[1]
        cells = dict(zip(table.columns, table.rows[0], strict=True))
        assert cells["under way"].replace("\u202f", " ") == "1.00 ms [8.0 %]"
        assert cells["exposed"].replace("\u202f", " ") == "500 µs [4.0 %]"
        unseen = view_of(ranked_run(seconds=0.0125, exposed=None)).tables[1]
        cells = dict(zip(unseen.columns, unseen.rows[0], strict=True))
        assert cells["under way"].replace("\u202f", " ") == "1.00 ms [8.0 %]"
        assert cells["exposed"] == "–"

    def test_why_no_energy_is_known_is_said_once(self):
        run = ranked_run()
        unread = replace(run, ranks=tuple(replace(rank, monitor=None) for rank in run.ranks))
        other = replace(unread, workload=replace(run.workload, batch_size=12))
        assert view_of(unread, other).tables[0].notes == ("No energy of any of them: rank 0: no energy was read.",)
        (note,) = view_of(unread, replace(run, workload=other.workload)).tables[0].notes
        assert "(data parallel × 2, weak): rank 0: no energy was read." in note

    def test_ranks_of_a_cpu_are_one_machine(self):
        (row,) = view_of(ranked_run(seconds=1.0, device="cpu")).tables[0].rows
        dollars = float(QUOTE.chosen.usd_per_device_hour) / 3600 / (6 * 2048) * 1e6
        assert row[8] == f"${dollars:.3g}"

    def test_bytes_stand_beside_those_of_one_device(self):
        run = ranked_run()
        halves = tuple(replace(rank, weight_bytes=2**29) for rank in run.ranks)
        (row,) = view_of(replace(run, ranks=halves, alone_weight_bytes=2**30)).tables[2].rows
        assert row[3] == "512 MiB [1.00 GiB]"

    def test_where_the_devices_sit(self):
        assert any("18 NVLinks, PCIe meets at system; PCIe 5 × 16" in note for note in view_of(ranked_run()).notes)


class TestReport:
    def test_every_format_has_the_section_where_ranks_measured(self, undrawn):
        records = replace(synthetic_records(), ranked=(ranked_run(),))
        view = build_view(records)
        assert "Several GPUs of one machine" in render_markdown(view)
        assert 'id="scaling-section"' in render_html(view)
        assert "data parallel × 2" in terminal_text(view)

    def test_points_that_ranks_did_not_reach_are_said_until_they_are_measured(self, undrawn):
        strong, weak = ranked_run(batch_size=4, alone_batch_size=4), ranked_run(batch_size=8, alone_batch_size=4)
        cut = synthetic_skip(weak.workload, SkipKind.INTERRUPTED, "the time budget ended before ranks measured it")
        records = replace(synthetic_records(), ranked=(strong,))
        planned = len({key for session in records.sessions for key in session.planned})
        alerts = build_view(replace(records, skips=(*records.skips, cut))).alerts
        assert alerts[0].startswith(f"Incomplete: 1 of {planned + 2} planned points were not reached")
        measured = replace(records, skips=(*records.skips, cut), ranked=(strong, weak))
        assert build_view(measured).alerts == build_view(records).alerts == ()

    def test_without_messages_their_cells_and_a_note_say_so(self):
        reason = "the profiled step failed on rank 1: OSError: no space left"
        run = replace(ranked_run(), communication=None, unknowns=(Unknown(field="communication", reason=reason),))
        view = view_of(run)
        (row,) = view.tables[1].rows
        assert row[3:8] == (UNKNOWN,) * 5
        assert f"Messages are not known of every point: {reason}." in view.notes

    def test_no_format_has_it_otherwise(self, undrawn):
        view = build_view(synthetic_records())
        assert view.scaling is None
        assert "scaling-section" not in render_html(view)


class TestWidth:
    pytestmark = needs_browser

    def test_no_table_is_cut_off_on_a_wide_page(self, undrawn, tmp_path):
        slow = ranked_run(seconds=0.0125, alone_seconds=0.0071)
        noisy = tuple(sample * (1 + 0.01 * place) for place, sample in enumerate(slow.wall_time_seconds))
        run = replace(slow, wall_time_seconds=noisy)
        html = render_html(build_view(replace(synthetic_records(), ranked=(run,))))
        boxes = "[...document.querySelectorAll('#scaling-section .scroll')]"
        sizes = asked(html, f"async () => {boxes}.map((e) => [e.scrollWidth, e.clientWidth])", tmp_path)
        assert len(sizes) == 3
        assert [wanted for wanted, _ in sizes] == [given for _, given in sizes]


def test_the_table_for_programs_has_a_row_a_point():
    text = scaling_csv([ranked_run(seconds=0.0125, alone_seconds=0.010)], quote=QUOTE)
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["parallel"], row["ranks"], row["scaling"], row["message_bytes"]) == ("ddp", "2", "weak", "400000000")
    assert float(row["efficiency"]) == pytest.approx(0.8)
    assert float(row["exposed_communication_seconds"]) == 0.0005


def test_a_record_of_ranks_is_read_as_it_was_written():
    run = ranked_run()
    assert decode(encode(run)) == run


def test_a_layout_is_part_of_a_workloads_key():
    run = ranked_run()
    assert run.workload.key == replace(run.workload, layout=None).key + " ddp2"
