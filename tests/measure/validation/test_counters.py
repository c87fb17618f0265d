"""Nsight Compute as pamprof calls it, with a script in its place."""

from __future__ import annotations

import os
import sys
import time

import pytest

from pamprof.errors import OutputError, UnsupportedError
from pamprof.measure.validation import counters
from pamprof.measure.validation.counters import (
    DRAM_BYTES,
    TENSOR_BFLOAT16,
    NsightCompute,
    first_available,
    parse_kernels,
)

RAW_PAGE = """\
==PROF== Connected to process 4242 (/usr/bin/python3.12)
==PROF== Profiling "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNN": 0%....50%....100% - 2 passes
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"dram__bytes_read.sum","sm__ops_path_tensor_src_bf16_dst_fp32.sum"
"","","","","","","","","","","","byte","inst"
"0","4242","python3","127.0.0.1","nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNN","1","7","(384, 1, 1)","(132, 1, 1)","0",\
"9.0","16,777,216","17,179,869,184"
"1","4242","python3","127.0.0.1","void reduce<float, 4>(float *, int)","1","7","(128, 1, 1)","(1, 1, 1)","0","9.0",\
"512","n/a"
==PROF== Disconnected from process 4242
"""
DETAILS_PAGE = """\
"ID","Process ID","Process Name","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","7","python3","copy","dram__bytes_read.sum","byte","2,048"
"0","7","python3","copy","dram__bytes_write.sum","byte","1,024"
"1","7","python3","copy","dram__bytes_read.sum","byte","1"
"""
QUERY = """\
Device NVIDIA H200 (GH100)
-------------------------- ---------- ------------------------------
Metric Name                Metric Type Metric Unit Metric Description
dram__bytes_read           Counter byte # of bytes read from DRAM
dram__bytes_write          Counter byte # of bytes written to DRAM
  sm__ops_path_tensor_src_bf16_dst_fp32 Counter # of math ops
"""


@pytest.fixture
def fake_ncu(tmp_path):
    """Makes an ``ncu`` from the body of a Python program that finds its arguments in ``arguments``."""

    def make(body: str) -> NsightCompute:
        path = tmp_path / "ncu"
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\narguments = sys.argv[1:]\n{body}\n")
        path.chmod(0o755)
        return NsightCompute(str(path))

    return make


def profile(ncu, timeout_seconds=20.0):
    return ncu.profile(["dram__bytes_read"], "pamprof.nothing", ["a"], timeout_seconds=timeout_seconds)


def test_the_raw_page_is_read_with_commas_gaps_and_talk_around_it():
    product, reduction = parse_kernels(RAW_PAGE)
    assert product.name.startswith("nvjet")
    assert product.total(("sm__ops_path_tensor_src_bf16_dst_fp32",)) == 2 * 2048**3
    assert reduction.total(("dram__bytes_read",)) == 512


def test_a_missing_value_is_never_a_zero():
    reduction = parse_kernels(RAW_PAGE)[1]
    with pytest.raises(UnsupportedError, match="no value of sm__ops_path_tensor_src_bf16_dst_fp32 for void reduce"):
        reduction.total(("sm__ops_path_tensor_src_bf16_dst_fp32",))


def test_pages_with_a_line_for_each_metric_are_read_too():
    first, second = parse_kernels(DETAILS_PAGE)
    assert first.total(("dram__bytes_read", "dram__bytes_write")) == 3072
    assert second.total(("dram__bytes_read",)) == 1


def test_scaled_units_are_refused():
    with pytest.raises(UnsupportedError, match="Mbyte"):
        parse_kernels(RAW_PAGE.replace('"byte"', '"Mbyte"'))


def test_text_without_a_table_has_no_kernels():
    assert parse_kernels("==PROF== Disconnected from process 1\n") == ()


def test_the_first_alternative_that_exists_whole_is_taken():
    later = TENSOR_BFLOAT16[1]
    assert first_available(TENSOR_BFLOAT16, frozenset((*TENSOR_BFLOAT16[0], *later))) == TENSOR_BFLOAT16[0]
    assert first_available(TENSOR_BFLOAT16, frozenset(later)) == later
    assert first_available(TENSOR_BFLOAT16, frozenset(later[:1])) is None
    assert first_available(DRAM_BYTES, frozenset({"dram__bytes"})) == ("dram__bytes",)


def test_the_gpu_is_asked_once_which_counters_it_has(fake_ncu, tmp_path):
    ncu = fake_ncu(f"open({str(tmp_path / 'calls')!r}, 'a').write(' '.join(arguments) + chr(10))\nprint('''{QUERY}''')")
    assert ncu.metrics() == {"dram__bytes_read", "dram__bytes_write", "sm__ops_path_tensor_src_bf16_dst_fp32"}
    ncu.metrics()
    assert (tmp_path / "calls").read_text() == "--query-metrics\n"


def test_only_the_range_is_profiled_and_clocks_are_left_alone(fake_ncu, tmp_path):
    seen = tmp_path / "arguments"
    ncu = fake_ncu(
        f"open({str(seen)!r}, 'w').write(' '.join(arguments))\n"
        f"open(arguments[arguments.index('--log-file') + 1], 'w').write('''{RAW_PAGE}''')"
    )
    assert len(profile(ncu)) == 2
    given = seen.read_text()
    for option in ("--profile-from-start off", "--clock-control none", "--cache-control none", "--page raw"):
        assert option in given
    assert "--metrics dram__bytes_read.sum " in given
    assert given.endswith(f"{sys.executable} -m pamprof.nothing a")


def test_a_table_on_standard_output_is_taken_as_well(fake_ncu):
    assert len(profile(fake_ncu(f"print('''{RAW_PAGE}''')"))) == 2


def test_tables_are_kept_without_the_talk_that_names_paths(fake_ncu, tmp_path):
    fake_ncu(f"print('''{RAW_PAGE}''')")
    ncu = NsightCompute(str(tmp_path / "ncu"), tables=tmp_path / "kept")
    profile(ncu)
    kept = (tmp_path / "kept" / "ncu-a.csv").read_text()
    assert parse_kernels(kept) == parse_kernels(RAW_PAGE)
    assert "/usr/bin" not in kept
    with pytest.raises(OutputError, match="cannot be written: File exists; choose another folder"):
        profile(NsightCompute(str(tmp_path / "ncu"), tables=tmp_path / "ncu"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "print('==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance "
            "Counters on the target device 0.'); sys.exit(1)",
            "administrators alone read the counters",
        ),
        (
            "print('==ERROR== Failed to initialize the profiler: LibraryNotLoaded. Check that a compatible driver "
            "library is loaded.'); sys.exit(9)",
            "LibraryNotLoaded",
        ),
        ("print('==WARNING== No kernels were profiled.')", "no kernel between cudaProfilerStart"),
        (
            "print('==ERROR== Profiling failed because a driver resource was unavailable. Ensure that no other tool "
            "(like DCGM) is concurrently collecting profiling data.'); sys.exit(1)",
            "another profiler holds the counters",
        ),
        (
            "print('==ERROR== Unknown metric dram__bytes_read'); sys.stderr.write('KeyError: 3\\n'); sys.exit(2)",
            "status 2: Unknown metric dram__bytes_read; KeyError: 3",
        ),
        ("print('==ERROR== Odd.'); sys.exit(3)", "ncu ended with status 3: Odd."),
        ("sys.exit(5)", "status 5: it said nothing"),
        (f"print('''{RAW_PAGE}'''); sys.exit(1)", "status 1"),
    ],
    ids=["permission", "library", "no kernel", "busy", "other error", "one word", "silent", "failed after kernels"],
)
def test_every_failure_has_a_sentence(fake_ncu, body, said):
    with pytest.raises(UnsupportedError) as caught:
        profile(fake_ncu(body))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ncu_that_names_no_counter_is_refused(fake_ncu):
    with pytest.raises(UnsupportedError, match="status 0"):
        fake_ncu("print('no device')").metrics()


def test_a_hanging_ncu_is_ended_with_what_it_started(fake_ncu, tmp_path):
    started = tmp_path / "child"
    ncu = fake_ncu(
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(started)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(UnsupportedError, match=r"ncu was not done after 2 s and was ended; give --timeout"):
        profile(ncu, timeout_seconds=2.0)
    assert ended(int(started.read_text()))


def ended(process_id: int) -> bool:
    """Whether a process is gone, or dead and not yet collected, within five seconds."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            with open(f"/proc/{process_id}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        os.sched_yield()
    return False


def test_an_executable_that_is_not_there_is_named(monkeypatch, tmp_path):
    with pytest.raises(UnsupportedError, match=r"no /nowhere/ncu; install NVIDIA Nsight Compute, or give --ncu"):
        NsightCompute("/nowhere/ncu")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(counters, "_DEFAULT_PLACES", (f"{tmp_path}/*/ncu",))
    with pytest.raises(UnsupportedError, match="no ncu on the PATH"):
        NsightCompute()


def test_the_newest_of_the_usual_places_is_taken(monkeypatch, tmp_path):
    for version in ("2024.1", "2025.3"):
        (tmp_path / version).mkdir()
        executable = tmp_path / version / "ncu"
        executable.write_text(f"#!/bin/sh\necho from__{version.replace('.', '_')}\n")
        executable.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(counters, "_DEFAULT_PLACES", (f"{tmp_path}/*/ncu",))
    assert NsightCompute().metrics() == {"from__2025_3"}


def test_a_program_that_is_no_program_is_refused(tmp_path):
    path = tmp_path / "ncu"
    path.write_text("this is no program")
    path.chmod(0o755)
    with pytest.raises(UnsupportedError, match="cannot be run: Exec format error"):
        NsightCompute(str(path)).metrics()
