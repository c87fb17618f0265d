import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.measure.calibration import calibrate as module
from pamprof.records import read_calibration
from tests.cli.answers import one_sentence
from tests.measure.calibration.test_calibrate import failing, product


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "measure_ceilings", lambda *args, **keywords: 1 / 0)
    monkeypatch.setattr(module, "launch_times", lambda device: None)

    def run(*arguments, cases=None):
        monkeypatch.setattr(module, "cases", lambda kind: iter(cases or [product(8)]))
        return CliRunner().invoke(app, ["calibrate", "--device", "cpu", *arguments])

    return run


def test_a_calibration_goes_to_its_file_and_a_summary_to_standard_output(run, tmp_path):
    result = run("-o", "new/cpu.json")
    assert result.exit_code == 0
    found = read_calibration(tmp_path / "new" / "cpu.json")
    assert len(found.kernels) == 1
    assert found.ceilings == ()
    assert found.left_out[0] == "ceilings in float32: ZeroDivisionError: division by zero"
    assert "left out" in result.stdout
    assert result.stderr == "Calibration: new/cpu.json\n"


def test_without_a_file_it_is_printed(run, tmp_path):
    (tmp_path / "c.json").write_text(run().stdout)
    assert read_calibration(tmp_path / "c.json").kernels


def test_ctrl_c_writes_what_was_measured_and_says_so(run, tmp_path):
    result = run("-o", "c.json", cases=(product(8), failing(KeyboardInterrupt())))
    assert result.exit_code == 1
    assert "interrupted; what was measured before is kept" in result.stderr
    assert len(read_calibration(tmp_path / "c.json").kernels) == 1


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_measured(run, tmp_path):
    (tmp_path / "file").touch()
    said = one_sentence(run("-o", "file/c.json", cases=(failing(AssertionError()),)), 1)
    assert "cannot write file: File exists; choose another folder with --output" in said


@pytest.mark.parametrize("budget", ["0s", "soon"])
def test_a_budget_that_is_no_time_is_refused(run, budget):
    assert "--time-budget" in one_sentence(run("--time-budget", budget), 2)
