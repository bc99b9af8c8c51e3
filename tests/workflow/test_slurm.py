"""A study through a real Slurm, with all that can go wrong on one: the results are those of a run without it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from sandbox import SMALL, Sandbox, environment
from slurm import NoSlurmError, Slurm, running_slurm

from rsa.pipeline.groups import GROUPS, GROUPS_OF_SMALL

pytestmark = pytest.mark.slow

STUDY: dict[str, Any] = {
    **{key: value for key, value in SMALL.items() if key not in ("meeg", "movie", "fusion", "film_times_s")},
    "noise_ceiling": True,
    "meeg": {"subjects": ["01", "02"]},
    "simulate": {**SMALL["simulate"], "epochs": {"n_trials": 4, "sampling_hz": 20}},  # type: ignore[dict-item]
}
"""The default study, smaller, with a job of every rule that the default study has."""

TIGHT_MB, ENOUGH_MB = 100, 1500
"""Memory of the jobs of the comparison: when they are tried first, less than Snakemake itself takes; then enough."""

PATIENCE_S = 1200.0
"""So long the test waits for something to happen before it fails."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    try:
        with running_slurm(tmp_path_factory.mktemp("slurm") / "base") as slurm:
            yield slurm
    except NoSlurmError as reason:
        pytest.skip(f"no Slurm: {reason}")


class Driver:
    """Snakemake, which submits jobs."""

    def __init__(self, sandbox: Sandbox, options: list[str], said: Path) -> None:
        self.said = said
        with said.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("impatient.py")), *options],
                cwd=sandbox.folder,
                env=environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def until(self, what: str, happened: Callable[[], Any]) -> Any:
        """Wait until something has happened, and return it."""
        begun = monotonic()
        while not (found := happened()):
            assert self.process.poll() is None, f"the run ended, and not: {what}\n{self.said.read_text()}"
            assert monotonic() - begun < PATIENCE_S, f"not in time: {what}\n{self.said.read_text()}"
            sleep(0.05)
        return found


def stages_of(slurm: Slurm, group: str) -> list[tuple[str, int]]:
    """Return the processes that do the work of a group that runs: the number of the job in the queue, and theirs."""
    found = []
    for job in slurm.active():
        if job.comment.startswith(f"rule_{group}_") and job.state == "RUNNING":
            for pid in slurm.processes(job.number):
                try:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if words[1:3] == [b"-m", b"rsa"]:
                    found.append((job.number, pid))
    return found


def results_of(folder: Path) -> dict[str, bytes]:
    """Read what a study has computed."""
    paths = [
        path for path in folder.rglob("*") if path.name.endswith((".h5", ".nii.gz", ".nii", ".tsv", ".gii", ".fif"))
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_study_through_slurm_survives_all_injuries_and_has_the_results_of_a_local_run(
    slurm: Slurm, make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = make_sandbox("queue", forked=False)
    study = Path(sandbox.configured("config.yaml", **STUDY)).name
    tight = f"mem_mb={TIGHT_MB} if attempt == 1 else {ENOUGH_MB}"
    present = sandbox.rules("--configfile", study)
    options = [
        "--workflow-profile", "profiles/slurm", "--configfile", study, "--cores", "4",
        "--slurm-init-seconds-before-status-checks", "1",
        "--set-resources", "layer_rdms:gpu=1",
        *(f"{rule}:{tight}" for rule in GROUPS_OF_SMALL["compare"] if rule in present),
    ]  # fmt: skip

    first = Driver(sandbox, options, tmp_path / "first.txt")
    number, _ = first.until("the first group runs", lambda: stages_of(slurm, "prepare"))[0]
    subprocess.run(["scancel", number], check=True)
    first.until("the comparison was tried twice", lambda: len(attempts(slurm, "compare")) == 2)
    number, pid = first.until("the second try runs", lambda: stages_of(slurm, "compare"))[0]
    assert number == attempts(slurm, "compare")[1].number
    os.kill(pid, signal.SIGKILL)
    first.until("the last group runs", lambda: stages_of(slurm, "tell"))
    first.process.kill()
    first.process.wait()
    assert [job.comment.split("_")[1] for job in slurm.active()] == ["tell"], "its job runs on"

    said = first.said.read_text()
    for why in ("was cancelled (scancel), as Slurm says", "s memory ran out, as Slurm says", "it was killed, perhaps"):
        assert len(re.findall(rf"^\[failed\] .*{re.escape(why)}", said, re.M)) == 1, said
    assert said.count("will be tried again.") == 3
    assert re.search(r" will be tried again.\n.*\[ *\d+/20\] searchlight: 2 x ", said, re.S), said
    cancelled, complete = attempts(slurm, "prepare")
    assert (cancelled.state, complete.state) == ("CANCELLED", "COMPLETED")
    over, killed, complete = attempts(slurm, "compare")
    assert (over.state, killed.state, complete.state) == ("FAILED", "FAILED", "COMPLETED")
    assert memory_mb(over) < memory_mb(killed), "tried again with more memory"

    again = Driver(sandbox, options, tmp_path / "locked.txt")
    assert again.process.wait() == 1
    assert f"`python -m rsa recover {study}`" in again.said.read_text()
    recovered = subprocess.run(
        [sys.executable, "-m", "rsa", "recover", study],
        cwd=sandbox.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert recovered.returncode == 0, recovered.stderr
    assert "results/small: 1 job ended in the queue of Slurm, locks taken away. The same command" in recovered.stdout
    assert slurm.active() == []

    second = Driver(sandbox, options, tmp_path / "second.txt")
    local = make_sandbox("local")
    (local.folder / study).write_bytes((sandbox.folder / study).read_bytes())
    local.succeed("--configfile", study)
    assert second.process.wait() == 0, second.said.read_text()
    assert {job.comment.split("_")[1] for job in slurm.jobs() if job.run == run_of(slurm)} == {"tell"}
    assert re.search(r"^Report: results/small/report.html$", second.said.read_text(), re.M)
    assert not list((sandbox.folder / "results/small/logs/runs").iterdir()), "no note is left"

    expected, found = (results_of(one.folder / "results/small") for one in (local, sandbox))
    assert found.keys() == expected.keys()
    assert len(found) > 50
    assert [name for name in found if found[name] != expected[name]] == []


def test_nothing_outside_of_a_group_of_a_large_study_stands_between_its_jobs(
    make_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = make_sandbox("large")
    study = sandbox.configured(
        "config.yaml",
        study="large",
        simulate={"voxel_size_mm": 2},
        sensors={},
        inference={"each_subject": True},
        analyses=[{"kind": "partial", "nuisance": ["category"]}, {"kind": "weighted", "fitted_to": "others"}],
    )
    rules = sandbox.rules("--workflow-profile", "profiles/slurm", "--configfile", study)
    assert {rule for rules in GROUPS.values() for rule in rules} & rules >= {"searchlight", "movie", "sensor_peaks"}


def attempts(slurm: Slurm, group: str) -> list[Any]:
    return [job for job in slurm.jobs() if job.comment.startswith(f"rule_{group}_")]


def run_of(slurm: Slurm) -> str:
    """Return the name of the last run."""
    return slurm.jobs()[-1].run


def memory_mb(job: Any) -> float:
    return float(job.memory[:-1]) * {"M": 1, "G": 1024}[job.memory[-1]]


def test_a_run_that_would_wait_for_ever_does_not_begin(slurm: Slurm, make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox("endless")
    study = Path(sandbox.configured("config.yaml", **STUDY)).name
    options = ["--workflow-profile", "profiles/slurm", "--configfile", study, "--until", "describe"]
    for more, why in (
        (["--cores", "4", "--slurm-status-command", "sacct"], "error: This Slurm keeps no accounts, so sacct never"),
        (
            ["--set-resources", "describe:mem_mb=900000"],
            r"asks for 900,000 MB, and no node of the partition 'main' has",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *options, *more],
            cwd=sandbox.folder, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr
        assert not (sandbox.folder / ".snakemake/locks").exists(), "nothing is locked"
