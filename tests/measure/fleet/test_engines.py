"""What ``--on`` names, what a machine says of itself, and every sentence about what is missing."""

import json
import sys
from dataclasses import fields, replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.errors import DeviceError, UsageError
from pamprof.measure.comparison.efforts import effort_rules
from pamprof.measure.fleet import slurm
from pamprof.measure.fleet.engine import open_engine
from pamprof.measure.fleet.messages import (
    FleetTask,
    Said,
    Versions,
    decode_message,
    decode_task,
    encode_task,
    own_versions,
)
from pamprof.measure.fleet.node import lines_of_task
from pamprof.measure.session.groups import GroupsTask
from pamprof.measure.session.settings import Settings
from pamprof.records import Effort
from pamprof.version import __version__
from tests.cli.answers import one_sentence
from tests.synthetic import synthetic_workload


def task(*, head=None, **changes):
    workload = synthetic_workload()
    given = GroupsTask(
        session_id="s", device="cpu", groups=((workload,),), settings=Settings(), expected_seconds={workload.key: 1.0}
    )
    return encode_task(FleetTask(head=head or own_versions(), task=replace(given, **changes)))


def said(line):
    return [(found.said, found.text) for each in lines_of_task(line, node="node-7") if (found := decode_message(each))]


@pytest.mark.parametrize("on", ["dask", "ray:", "slurm:", "rays:host:1", ""])
def test_another_engine_is_refused(on, tmp_path):
    with pytest.raises(UsageError, match=r"use ray, ray:HOST:PORT, slurm or slurm:PARTITION"):
        open_engine(on, folder=tmp_path)


@pytest.mark.parametrize(("on", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_a_missing_extra_is_named_with_its_command(on, package, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as refused:
        open_engine(on, folder=tmp_path)
    assert str(refused.value).endswith(f"which is not installed; pip install 'pamprof[{extra}]'")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (
            replace(own_versions(), pamprof="99.1"),
            f"node-7 has pamprof {__version__} and the head 99.1; install pamprof==99.1 on every machine",
        ),
        (
            replace(own_versions(), torch="1.0.0"),
            f"node-7 has torch {own_versions().torch} and the head 1.0.0; install torch==1.0.0 on every machine",
        ),
    ],
)
def test_a_machine_of_another_version_refuses_before_it_reads_the_group(head, text):
    line = json.loads(task(head=head))
    line["task"] = "what another version would send"
    assert said(json.dumps(line).encode()) == [(Said.REFUSED, text)]


def test_builds_of_torch_for_a_cpu_and_for_cuda_are_one_version(monkeypatch):
    monkeypatch.setattr("pamprof.measure.fleet.messages.version", lambda package: "2.13.0+cu130")
    assert own_versions() == Versions(pamprof=__version__, torch="2.13.0")


def test_weights_that_a_machine_cannot_read_are_named():
    line = task(checkpoints={"pam@abc": "/nowhere/weights.safetensors"})
    assert said(line) == [
        (
            Said.FAILED,
            "node-7 has no file /nowhere/weights.safetensors for pam@abc; put weights where every machine reads them",
        )
    ]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Commands of Slurm that answer what they are told to; submitit itself is not asked for anything."""
    pytest.importorskip("submitit")
    folder = tmp_path / "bin"
    folder.mkdir()

    def answer(sinfo, *, status=0):
        for name, text in (("sbatch", "exit 1"), ("sinfo", f"printf '{sinfo}'; exit {status}")):
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return slurm.SlurmQueue(None, folder=tmp_path)

    return answer


@pytest.mark.parametrize(
    ("sinfo", "kind", "devices"),
    [
        (r"gpu:h100:8(S:0-1)\ngpu:a100:4\n(null)\n", "cuda", ("h100", "a100")),
        (r"gpu:8\n", "cuda", ()),
        (r"gpu:h200:8,nvme:1\n", "cuda", ("h200",)),
        (r"(null)\n", "cpu", ()),
    ],
)
def test_what_slurm_schedules_decides_where_groups_run(cluster, sinfo, kind, devices):
    found = cluster(sinfo).capacity("auto")
    assert (found.device_kind, found.devices, found.slots) == (kind, devices, None)


def test_a_gpu_that_slurm_has_not_is_refused(cluster):
    with pytest.raises(DeviceError, match=r"Slurm has no GPU in any partition; name another"):
        cluster(r"(null)\n").capacity("cuda")
    with pytest.raises(DeviceError, match="Slurm does not answer"):
        cluster("", status=1).capacity("auto")


def test_a_machine_without_sbatch_is_told_where_to_go(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="run it on a login node"):
        open_engine("slurm", folder=tmp_path)


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("10.0.0.1:6379", DeviceError, r"no Ray cluster answers at 10\.0\.0\.1:6379 \(refused\); start one with ray"),
        ("ray://head:10001", UsageError, "give that of the cluster's head"),
        ("nonsense", UsageError, "ray:nonsense is no address"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_refused_at_once(address, error, said, monkeypatch, tmp_path):
    pytest.importorskip("ray")

    def refuse(*_):
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.raises(error, match=said):
        open_engine(f"ray:{address}", folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trace",), "--trace writes beside the records of one machine; leave it out with --on"),
        (("--device", "cuda:1"), "numbers a GPU of one machine; use --device cuda with --on"),
        (("--on", "dask"), "'dask' is not known"),
    ],
)
def test_options_that_do_not_fit_a_fleet_are_refused(options, said, tmp_path):
    words = ["compare", "--on", "ray", "--preset", "tiny", *options, "-o", str(tmp_path / "out")]
    assert said in one_sentence(CliRunner().invoke(app, words), 2)
    assert not (tmp_path / "out").exists()


def test_a_group_travels_with_everything_that_measuring_it_takes():
    workload = synthetic_workload()
    given = GroupsTask(
        session_id="s", device="cuda", groups=((workload, replace(workload, batch_size=7)),), done=("k",),
        settings=effort_rules(Effort.REFERENCE, "cuda").settings, expected_seconds={"k": 1.5},
        monitor_seconds={"k": 0.3}, references=(workload,), fresh_processes=1, compiled_ahead=(workload,),
        checkpoints={"pam@abc": "weights"}, ceilings=False, substitutes=True,
    )  # fmt: skip
    sent = FleetTask(head=own_versions(), task=given, time_budget_seconds=9.0, with_ceilings=("A100",))
    assert decode_task(encode_task(sent)) == sent
    default = {field.name: field.default for field in fields(GroupsTask)}
    assert not [name for name, value in default.items() if getattr(given, name) == value]  # each was told apart
