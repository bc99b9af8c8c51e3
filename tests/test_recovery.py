"""Going on after a run that was killed, and whether a run fits the queue: with programs that answer as Slurm does."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rsa.errors import UserError
from rsa.files.records import NOTES_OF_RUNS
from rsa.pipeline import cli, fit, recovery, slurm, watch
from rsa.pipeline.fit import Submission
from rsa.pipeline.recovery import Note

RUN, OTHER = "b1c7-run", "77aa-other"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("results/small")


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a queue: a file of lines `number|run|state`, which programs named as those of Slurm read and change."""
    programs, jobs = tmp_path / "bin", tmp_path / "queue.txt"
    programs.mkdir()
    jobs.write_text("")
    texts = {
        "squeue": f'case "$*" in *%A*) cut -d"|" -f1,3 "{jobs}";; *) cat "{jobs}";; esac',
        "scancel": f'for n in "$@"; do sed -i "s/^\\($n|.*|\\).*/\\1CANCELLED/" "{jobs}"; done',
        "scontrol": "echo 'AccountingStorageType   = accounting_storage/none'; echo 'MinJobAge = 300 sec'",
        "sinfo": "echo 'main*|4|16000|4:00:00|gpu:a100:2(S:0)'; echo 'long|64|256000+|infinite|(null)'",
    }
    for name, text in texts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return jobs


def dead_process() -> tuple[int, str]:
    """Return the number of a process that has ended, and when it was started."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = recovery._began(process.pid)
    process.communicate(b"\n")
    return process.pid, began


def note(**changes: Any) -> Note:
    pid, began = dead_process()
    own = recovery.note_of_this_run([RUN], "")
    about = {**own.__dict__, "pid": pid, "began": began, "command": "snakemake --cores 2", **changes}
    return Note(**about)


def lock(folder: Path, number: int, inputs: str, outputs: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.input.lock").write_text(f"{inputs}\n")
    (folder / f"{number}.output.lock").write_text(f"{outputs}\n")


def test_jobs_and_locks_of_a_killed_run_go_and_those_of_others_stay(results: Path, queue: Path) -> None:
    queue.write_text(f"1|{RUN}|RUNNING\n2|{RUN}|PENDING\n3|{RUN}|COMPLETED\n4|{OTHER}|RUNNING\n")
    note().written(results)
    locks = Path(".snakemake/locks")
    lock(locks, 0, "data/a.nii", "results/other/a.h5")
    lock(locks, 1, "data/a.nii", "results/small/a.h5")
    lock(locks, 2, "data/a.nii", "data/simulated.nii")
    said = recovery.recovered(results, [results / "a.h5", Path("data/simulated.nii")])
    assert said == (
        "results/small: 2 jobs ended in the queue of Slurm, locks taken away. The same command goes on: "
        "snakemake --cores 2"
    )
    assert [line.split("|")[2] for line in queue.read_text().split()] == [
        "CANCELLED", "CANCELLED", "COMPLETED", "RUNNING",
    ]  # fmt: skip
    assert sorted(path.name for path in locks.iterdir()) == ["0.input.lock", "0.output.lock"]
    assert recovery.notes_in(results) == {}
    assert recovery.recovered(results, []).endswith("nothing to do.")


def test_a_run_that_goes_on_is_left_alone(results: Path, queue: Path) -> None:
    queue.write_text(f"1|{RUN}|RUNNING\n")
    recovery.note_of_this_run([RUN], "").written(results)
    with pytest.raises(
        UserError, match=rf"is being run, by process {os.getpid()} on .*; wait .*kill -INT {os.getpid()}"
    ):
        recovery.recovered(results, [], is_dead=True)
    assert queue.read_text() == f"1|{RUN}|RUNNING\n"
    assert len(recovery.notes_in(results)) == 1


def test_a_process_with_the_number_of_the_dead_one_is_not_taken_for_it(results: Path) -> None:
    assert note(pid=os.getpid(), began="1").is_alive() is False
    assert note(pid=os.getpid(), began="").is_alive() is True
    assert note(began="").is_alive() is False
    assert note(inside="9").is_alive() is False, "killed in an allocation that goes on"


def test_a_run_on_another_machine_is_dead_only_if_a_user_says_so(results: Path, queue: Path) -> None:
    queue.write_text(f"1|{RUN}|RUNNING\n")
    note(host="login2").written(results)
    with pytest.raises(
        UserError, match=r"on login2, which cannot be seen from .*; do this on login2, or add --is-dead"
    ):
        recovery.recovered(results, [])
    assert "1 job ended" in recovery.recovered(results, [], is_dead=True)


@pytest.mark.parametrize(("state", "goes_on"), [("RUNNING", True), ("TIMEOUT", False)])
def test_a_run_inside_a_job_goes_on_as_long_as_that_job(results: Path, queue: Path, state: str, goes_on: bool) -> None:
    queue.write_text(f"9|driver|{state}\n")
    note(host="node7", inside="9").written(results)
    if goes_on:
        with pytest.raises(UserError, match=r"by job 9 of Slurm; .*scancel --signal=INT --full 9"):
            recovery.recovered(results, [])
    else:
        assert "The same command goes on" in recovery.recovered(results, [])


def test_jobs_that_are_left_stop_a_new_run(results: Path, queue: Path) -> None:
    note().written(results)
    recovery.require_no_jobs_left(results, "my study.yaml")
    queue.write_text(f"1|{RUN}|RUNNING\n2|{RUN}|COMPLETING\n")
    with pytest.raises(
        UserError, match=r"2 jobs of an earlier run .* are still .*`python -m rsa recover 'my study.yaml'`"
    ):
        recovery.require_no_jobs_left(results, "my study.yaml")


def test_jobs_that_do_not_end_are_told_of(queue: Path) -> None:
    queue.write_text(f"1|{RUN}|COMPLETING\n")
    (queue.parent / "bin/scancel").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match=r"asked to end the jobs '1', but after 0 s they are still in the queue"):
        slurm.cancel(slurm.jobs_in_queue([RUN]), patience_s=0)


def test_a_note_that_cannot_be_read_is_none(results: Path) -> None:
    folder = results / NOTES_OF_RUNS
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text(json.dumps({"host": "a"}))
    assert recovery.notes_in(results) == {}


def test_without_slurm_the_message_says_where_to_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=r"no squeue here to ask Slurm; run this on the machine from which jobs are sub"
    ):
        slurm.jobs_in_queue([RUN])


def test_what_slurm_complains_of_is_told(queue: Path) -> None:
    (queue.parent / "bin/squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: down' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"squeue failed: slurm_load_jobs error: down"):
        slurm.jobs_in_queue([RUN])


def test_the_command_is_there(results: Path, queue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text("study: small\nmodels: [{architecture: alexnet, weights: untrained}]\n")
    assert cli.main(["recover", "my.yaml"]) in (0, 2)
    said = capsys.readouterr()
    assert "nothing to do" in said.out or "error: " in said.err


# ---------------------------------------------------------------------------------------------------- what fits


def test_what_the_nodes_have_is_read(queue: Path) -> None:
    main, long = slurm.nodes()
    assert (main.partition, main.is_default, main.n_cpus, main.memory_mb, main.minutes, main.n_gpus) == (
        "main", True, 4, 16000, 240.0, 2,
    )  # fmt: skip
    assert (long.partition, long.is_default, long.memory_mb, long.minutes, long.n_gpus) == (
        "long", False, 256000, float("inf"), 0,
    )  # fmt: skip
    assert slurm.nodes("long") == [long]
    assert slurm.nodes("main,long") == [main, long]
    with pytest.raises(UserError, match=r"no partition 'lon', only 'main', 'long'; set slurm_partition to one"):
        slurm.nodes("lon")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Submission("a", 4, 16000, 240, 2), None),
        (Submission("a", 5, 100, 1, 0), r"a asks for 5 CPUs, and no node of the partition 'main' has that: .* 4 CPUs"),
        (Submission("a", 1, 16001, 1, 0), r"a asks for 16,001 MB, .* the most is 16,000 MB; it would wait for ever"),
        (Submission("a", 1, 1, 241, 0), r"241 min, .* the most is 240 min"),
        (Submission("a", 64, 1, 999999, 0, "long"), None),
        (Submission("a", 64, 1, 1, 1, "main,long"), r"64 CPUs and 1 MB and 1 min and 1 GPUs, .* has that together"),
    ],
    ids=["fits", "CPUs", "memory", "time", "partition", "together"],
)  # fmt: skip
def test_what_fits_nowhere_is_named_with_the_numbers(queue: Path, asked: Submission, why: str | None) -> None:
    lines = fit.problems_of_fit([asked, asked], {asked.partition: slurm.nodes(asked.partition)})
    assert len(lines) == (why is not None)
    if why is not None:
        (line,) = lines
        assert re.search(why, line), line
        assert "choose another slurm_partition" in line


class Whole:
    """A job, or a group of jobs, as Snakemake's."""

    def __init__(self, name: str, memory_mb: Any, jobs: tuple["Whole", ...] = (), is_local: bool = False) -> None:
        self.rule, self.groupid, self.memory_mb, self.jobs, self.is_local = (
            SimpleNamespace(name=name),
            name,
            memory_mb,
            jobs,
            is_local,
        )
        self.attempt = 1

    def is_group(self) -> bool:
        return bool(self.jobs)

    def finalize(self) -> None:
        pass

    @property
    def resources(self) -> dict[str, Any]:
        memory = self.memory_mb * self.attempt if isinstance(self.memory_mb, int) else self.memory_mb
        return {"_cores": 2, "mem_mb": memory, "runtime": 30}


def graph(*jobs: Whole, group: Whole | None = None) -> Any:
    members = () if group is None else group.jobs
    return SimpleNamespace(
        needrun_jobs=lambda: [*jobs, *members], get_job_group=lambda job: group if job in members else None
    )


def test_groups_are_asked_for_as_a_whole_and_local_jobs_not_at_all(queue: Path) -> None:
    parts = (Whole("brain", 1000), Whole("maps", 1000))
    dag = graph(Whole("all", 99999, is_local=True), Whole("later", "<TBD>"), group=Whole("subject", 9000, parts))
    asked = fit.submissions(dag)
    assert [(one.name, one.memory_mb) for one in asked] == [
        ("later", 0),
        ("the group subject (2 jobs: brain, maps)", 9000),
    ]
    (again,) = fit.require_fit(dag, n_retries=1)
    assert "the group subject (2 jobs: brain, maps) asks for 18,000 MB" in again
    assert all(job.attempt == 1 for job in parts)


def test_a_run_that_does_not_fit_is_stopped(queue: Path) -> None:
    with pytest.raises(UserError, match=r"The profile for Slurm has a problem: searchlight asks for 17,000 MB"):
        fit.require_fit(graph(Whole("searchlight", 17000)))


@pytest.mark.parametrize(
    ("command", "first_s", "age_s", "why"),
    [
        ("sacct", 40, 300, r"keeps no accounts, so sacct never .*; add --slurm-status-command squeue"),
        ("squeue", 40, 60, r"set slurm-init-seconds-before-status-checks to 20 or less, not 40"),
    ],
)
def test_a_run_that_would_never_end_is_stopped(command: str, first_s: int, age_s: float, why: str) -> None:
    with pytest.raises(UserError, match=why):
        watch.require_answers(command, first_s, accounts=False, age_s=age_s)
    assert watch.require_answers(command, first_s, accounts=True, age_s=age_s) == []


def test_a_run_that_may_miss_an_end_is_warned() -> None:
    (line,) = watch.require_answers("squeue", 10, accounts=False, age_s=60)
    assert "forgets jobs 60 s after their end" in line
    assert watch.require_answers("squeue", 10, accounts=False, age_s=300) == []


@pytest.fixture
def snakemakes_log(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    log = logging.getLogger("snakemake.logging")
    monkeypatch.setattr(log, "handlers", [])
    return log


def watched(results: Path, dag: Any, command: str = "squeue") -> watch.Watch:
    settings = SimpleNamespace(status_command=command, init_seconds_before_status_checks=10)
    flow = SimpleNamespace(
        is_main_process=True,
        configfiles=[str(Path.cwd() / "my.yaml")],
        dag=dag,
        executor_settings=settings,
        execution_settings=SimpleNamespace(retries=1),
    )
    found = watch.watch(flow, results)
    assert found is not None
    return found


def test_a_run_is_noted_until_it_ends(
    results: Path, queue: Path, capsys: pytest.CaptureFixture[str], snakemakes_log: logging.Logger
) -> None:
    one = watched(results, graph(Whole("searchlight", 9000)))
    snakemakes_log.warning(f"SLURM run ID: {RUN}")
    one.begin()
    (noted,) = recovery.notes_in(results).values()
    assert noted.jobs == [RUN]
    assert noted.is_alive()
    assert one.config == "my.yaml"
    assert "warning: If it had to be tried again with more memory and time: searchlight asks for 18,000 MB" in (
        capsys.readouterr().err
    )
    one.end()
    assert recovery.notes_in(results) == {}
    assert watch.watch(SimpleNamespace(is_main_process=False), results) is None


def test_what_hinders_a_run_ends_it_with_one_line(
    results: Path, queue: Path, capsys: pytest.CaptureFixture[str], snakemakes_log: logging.Logger
) -> None:
    one = watched(results, graph(Whole("searchlight", 9000)), "sacct")
    one.heard.names.append(RUN)
    with pytest.raises(SystemExit) as ended:
        one.begin()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: This Slurm keeps no accounts")
    assert recovery.notes_in(results) == {}
