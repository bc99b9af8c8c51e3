"""What is said while Snakemake runs: `rsa.pipeline.running`, from records as Snakemake makes them."""

import io as text_io
import logging
import os
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest

from rsa.pipeline import running
from rsa.pipeline.running import CHATTER, FIRST_NEWS_S, QUIET, Log, Run, listen

STAMP = "2026-11-30 01:57:45,336"


class Told:
    """A run of one job or more, told to a `Run` as Snakemake does."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.said = folder, text_io.StringIO()
        self.run = Run("small", folder / "report.html", stream=self.said, **options)

    def hear(self, message: str | None = None, level: int = logging.INFO, **extra: Any) -> list[str]:
        """Tell one thing; return the lines that were said since the last time."""
        record = logging.makeLogRecord({"msg": message, "levelno": level, "levelname": "INFO", **extra})
        self.run.handle(record)
        return self.lines()

    def lines(self) -> list[str]:
        text = self.said.getvalue()
        self.said.seek(0)
        self.said.truncate()
        return text.splitlines()

    def begin(self, jobid: int = 1, rule: str = "searchlight", **wildcards: str) -> list[str]:
        log = [str(self.folder / f"{rule}.log")]
        about = {"rule_name": rule, "wildcards": wildcards, "log": log, "shellcmd": f"python -m rsa {rule}"}
        return self.hear(event="job_info", jobid=jobid, reason="Missing output files: a, b", **about)

    def fail(self, jobid: int = 1, rule: str = "searchlight") -> list[str]:
        about = {"rule_name": rule, "log": [str(self.folder / f"{rule}.log")], "aux": {}}
        return self.hear("Error in rule", logging.ERROR, event="job_error", jobid=jobid, **about)

    def log(self, *entries: str, rule: str = "searchlight") -> None:
        (self.folder / f"{rule}.log").write_text("".join(f"{STAMP} {entry}\n" for entry in entries))


STATS = {"searchlight": 2, "report": 1, "all": 1, "total": 4}


@pytest.fixture
def told(tmp_path: Path) -> Told:
    told = Told(tmp_path)
    assert told.hear("Job stats: ...", event="run_info", stats=STATS) == ["3 jobs to run for the study small."]
    return told


def test_a_job_is_one_line_with_what_it_did(told: Told) -> None:
    assert told.begin(subject="01", part="") == []
    told.log("DEBUG searchlight with {}", "INFO 9 spheres in 0.2 s, 45 per s", "DEBUG done: 29,398 spheres, 1.1 s")
    assert told.hear("Finished jobid: 1", event="job_finished", job_id=1) == [
        "[1/3] searchlight sub-01: 29,398 spheres, 1.1 s"
    ]


def test_a_job_whose_log_is_elsewhere_is_a_line_as_well(told: Told) -> None:
    told.begin(rule="extract", model="alexnet")
    assert told.hear(event="job_finished", job_id=1) == ["[1/3] extract alexnet"]


def test_warnings_stand_below_their_job_once_and_in_a_line(told: Told) -> None:
    told.begin(subject="01", part="analyses/pure/")
    told.log("WARNING few\n  voxels", "WARNING few\n  voxels", "WARNING other", "DEBUG done: 1.0 s")
    assert told.hear(event="job_finished", job_id=1) == [
        "[1/3] searchlight sub-01 (pure): 1.0 s",
        "    warning: few voxels",
        "    warning: other",
    ]


def test_a_mistake_is_said_in_its_one_line_and_then_what_to_do(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/snakemake", "--cores", "2", "--configfile", "my study.yaml"])
    told.begin(subject="01")
    told.log("INFO reads", "ERROR error: a.h5 is damaged; delete it.")
    raised = (
        "RuleException:\nCalledProcessError in file \"a.smk\", line 1:\nCommand 'x' returned non-zero exit status 2."
    )
    assert told.hear(raised, logging.ERROR, event="error", exception="RuleException") == []
    first, second = told.fail()
    assert first == "[failed] searchlight sub-01: a.h5 is damaged; delete it."
    assert second == f"    Its log is {told.folder / 'searchlight.log'}."
    told.run.failed([str(told.folder / "all.log")])
    counted, todo, logs = told.lines()
    assert counted.startswith("0 of 3 jobs done, 1 failed, after ")
    assert "Mend what failed" in todo
    assert todo.endswith("snakemake --cores 2 --configfile 'my study.yaml'")
    assert logs.endswith("all.log")


def test_of_a_bug_the_end_of_the_log_is_shown(told: Told) -> None:
    told.begin()
    frames = [f"  File {i}" for i in range(30)]
    told.log("\n".join(["DEBUG searchlight failed", "Traceback (most recent call last):", *frames, "KeyError: 'x'"]))
    first, second, *rest = told.fail()
    assert first == "[failed] searchlight: KeyError: 'x'"
    assert second.endswith("it ends:")
    assert rest == [f"    | {line}" for line in [*frames[-14:], "KeyError: 'x'"]]


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ("returned non-zero exit status 137.", "it was killed, perhaps because memory"),
        ("died with <Signals.SIGKILL: 9>.", "it was killed, perhaps because memory"),
        ("returned non-zero exit status 1.", "it ended without a"),
    ],
)
def test_a_job_that_says_nothing_is_told_by_how_it_ended(told: Told, ended: str, why: str) -> None:
    told.begin()
    told.log("INFO 5 of 9 spheres")
    told.hear(f"RuleException:\nCalledProcessError in x, line 1:\nCommand 'y' {ended}", logging.ERROR)
    first, _, last = told.fail()
    assert first.startswith(f"[failed] searchlight: {why}")
    assert last == "    | 5 of 9 spheres"


def test_long_jobs_are_told_of_less_and_less_often(told: Told) -> None:
    told.begin(subject="01")
    began = told.run.jobs[1].began
    told.log("INFO 1,000 spheres of 2,000 (50 %)")
    times = [began + FIRST_NEWS_S * factor for factor in (0.5, 1, 1.5, 2, 3, 4.1, 7, 8.5)]
    said = [told.run.long_jobs(now) for now in times]
    assert [len(lines) for lines in said] == [0, 1, 0, 1, 0, 1, 0, 1]
    assert said[1] == ["    searchlight sub-01 has run for 30 s: 1,000 spheres of 2,000 (50 %)"]


def test_the_end_tells_of_the_report_where_it_was_made(told: Told) -> None:
    told.run.succeeded()
    assert [line.split(" in ")[0] for line in told.lines()] == ["0 jobs done"]
    (told.folder / "report.html").write_text("")
    told.run.succeeded()
    assert told.lines()[1] == f"Report: {told.folder / 'report.html'}"
    told.run.rules["report"] = 0
    told.run.succeeded()
    assert len(told.lines()) == 1


def test_what_is_touched_is_not_said_to_be_made(tmp_path: Path) -> None:
    told = Told(tmp_path, touched=lambda: True)
    (told.folder / "report.html").write_text("")
    assert told.hear("Job stats: ...", event="run_info", stats=STATS) == []
    told.begin()
    told.log("INFO done: 2 x 30 spheres, 1.5 s")
    assert told.hear(event="job_finished", job_id=1) == []
    told.run.succeeded()
    (line,) = told.lines()
    assert line.startswith(
        "Nothing was made again: what 1 job of the study small made before is taken to be up to date"
    )


def test_nothing_to_do_is_said_with_where_the_report_is(told: Told) -> None:
    (told.folder / "report.html").write_text("")
    (line,) = told.hear("Nothing to be done (all requested files are present and up to date).")
    assert line.startswith("Nothing to be done: all results of the study small are there")
    assert line.endswith(f"Report: {told.folder / 'report.html'}")


def test_a_stopped_run_says_so_and_blames_no_job(told: Told) -> None:
    told.begin()
    assert told.hear("Terminating processes on user request, this might take some time.")
    assert told.fail() == []
    told.run.failed()
    stopped, todo = told.lines()
    assert stopped.startswith("Stopped: 0 of 3 jobs done, after ")
    assert todo.startswith("The same command goes on from here")


@pytest.mark.parametrize("text", CHATTER)
def test_chatter_is_left_to_the_log_of_snakemake(told: Told, text: str) -> None:
    assert told.hear(f"{text} and so on") == []


def test_all_else_that_snakemake_says_is_passed_on(told: Told) -> None:
    assert told.hear("Unlocked working directory.") == ["Unlocked working directory."]
    assert told.hear("MissingOutputException: x", logging.ERROR, event="error") == ["MissingOutputException: x"]


def test_a_dry_run_is_a_short_table(tmp_path: Path) -> None:
    told = Told(tmp_path, dry=True)
    assert told.hear(event="run_info", stats=STATS) == []
    for number, subject in enumerate(["02", "01"]):
        assert told.begin(number, subject=subject) == []
    told.begin(2, rule="report")
    assert told.hear(event="run_info", stats=STATS)[:-1] == [
        "3 jobs to run for the study small:",
        "     2 searchlight  missing output files (sub-01 to sub-02)",
        "     1 report       missing output files",
    ]


def test_a_quiet_dry_run_is_a_table_as_well(tmp_path: Path) -> None:
    told = Told(tmp_path, dry=True, quiet=["progress", "rules"])
    assert told.hear(event="run_info", stats=STATS)[1] == "     2 searchlight"


def test_commands_are_shown_where_they_are_wanted(tmp_path: Path) -> None:
    told = Told(tmp_path, dry=True, commands=True)
    assert told.begin(subject="01") == ["searchlight sub-01:", "  python -m rsa searchlight"]


@pytest.mark.parametrize(("quiet", "n_lines", "n_of_failure"), [([], 1, 2), (["progress"], 0, 2), (["all"], 0, 0)])
def test_quiet_runs_say_less_but_what_failed(tmp_path: Path, quiet: list[str], n_lines: int, n_of_failure: int) -> None:
    told = Told(tmp_path, quiet=quiet)
    told.log("ERROR error: no.")
    told.begin()
    told.begin(2)
    assert len(told.hear(event="job_finished", job_id=2)) == n_lines
    assert len(told.fail()) == n_of_failure


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    told = Told(tmp_path, coloured=True)
    told.begin()
    assert told.hear(event="job_finished", job_id=1) == ["\033[32m[1/0] searchlight\033[0m"]


def test_a_log_that_is_none_of_ours_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("Killed\n")
    assert Log.read([str(tmp_path / "a.log"), str(tmp_path / "no.log")]).tail() == ["Killed"]


# --------------------------------------------------------------------------------------- jobs in a queue


@pytest.fixture
def remote(tmp_path: Path) -> Told:
    told = Told(tmp_path, remote=lambda: True, config="my study.yaml")
    told.hear(event="run_info", stats=STATS)
    return told


def fail_in_queue(told: Told, message: str, of_queue: str, jobid: int = 1) -> list[str]:
    """Tell that a job failed in the queue, in whose log Slurm has written something."""
    path = told.folder / "7.log"
    path.write_text(of_queue)
    about = {"rule_name": "searchlight", "log": [str(told.folder / "searchlight.log"), str(path)]}
    told_of = {"rule_msg": message, "aux": {"external_jobid": "7"}, "jobid": jobid, **about}
    return told.hear("Error in rule", logging.ERROR, event="job_error", **told_of)


SAID = "SLURM-job '7' failed, SLURM status is: '{}'. Detailed failure reason unavailable"
OVER = "slurmstepd-vm: error: StepId=7.0 exceeded memory limit (433 > 209), being killed\n"
CANCELLED = "slurmstepd-vm: error: *** JOB 7 ON vm CANCELLED AT 2026-11-30T08:40:25 ***\n"
LATE = CANCELLED.replace(" ***\n", " DUE TO TIME LIMIT ***\n")


@pytest.mark.parametrize(
    ("state", "of_queue", "why"),
    [
        ("FAILED", OVER + CANCELLED, "its memory ran out, as Slurm says"),
        ("CANCELLED", CANCELLED, "it was cancelled (scancel), as Slurm says"),
        ("FAILED", LATE, "its time ran out, as Slurm says"),
        ("NODE_FAIL", "", "its node failed, as Slurm says"),
        ("FAILED", "srun: error\n", "it ended without a word why"),
    ],
    ids=["memory", "cancelled", "time", "node", "unknown"],
)
def test_a_job_that_the_queue_ended_is_told_by_how(remote: Told, state: str, of_queue: str, why: str) -> None:
    remote.begin()
    remote.log("INFO 5 of 9 spheres")
    first, *rest = fail_in_queue(remote, SAID.format(state), of_queue)
    assert first == f"[failed] searchlight: {why}"
    assert "    | 5 of 9 spheres" in rest
    assert rest[-1] == "    number in the queue: 7"
    assert ("    | srun: error" in rest) == (of_queue == "srun: error\n"), "shown where nothing else says why"


def test_the_log_of_an_earlier_run_is_not_that_of_a_job_that_never_began(remote: Told) -> None:
    remote.log("ERROR error: of long ago")
    os.utime(remote.folder / "searchlight.log", (1, 1))
    remote.begin()
    said = fail_in_queue(remote, SAID.format("CANCELLED"), CANCELLED)
    assert said[0] == "[failed] searchlight: it was cancelled (scancel), as Slurm says"
    assert not any("long ago" in line for line in said)


def test_what_is_tried_again_has_not_failed(remote: Told) -> None:
    remote.begin(subject="01")
    fail_in_queue(remote, SAID.format("FAILED"), OVER)
    assert remote.hear("Trying to restart job 1.") == ["    searchlight sub-01 will be tried again."]
    remote.begin(subject="01")
    remote.log("DEBUG done: 9 spheres, 1.1 s")
    assert remote.hear(event="job_finished", job_id=1) == ["[1/3] searchlight sub-01: 9 spheres, 1.1 s"]
    remote.begin(2, subject="02")
    fail_in_queue(remote, SAID.format("FAILED"), OVER, jobid=2)
    remote.run.failed()
    assert remote.lines()[0].startswith("1 of 3 jobs done, 1 failed, after ")


def test_of_a_group_the_jobs_that_failed_are_told(remote: Told) -> None:
    for number, rule in enumerate(["brain", "searchlight", "maps"]):
        remote.begin(number, rule=rule)
    remote.log("DEBUG done: 1 s", rule="brain")
    remote.log("ERROR error: no sphere.", rule="searchlight")
    errors = [
        {"jobid": i, "rule_name": rule, "log": [str(remote.folder / f"{rule}.log")], "aux": {}}
        for i, rule in enumerate(["brain", "searchlight", "maps"])
    ]
    about = {"groupid": "subject", "aux_logs": [str(remote.folder / "7.log")], "job_error_info": errors}
    said = remote.hear("Error in group", logging.ERROR, event="group_error", **about)
    assert said == ["[failed] searchlight: no sphere.", f"    Its log is {remote.folder / 'searchlight.log'}."]
    assert [remote.hear("Error", logging.ERROR, event="job_error", **error) for error in errors] == [[], [], []]
    assert remote.hear("Trying to restart job 0f-1e.") == ["    searchlight will be tried again."]


GROUP = ("brain", "searchlight", "maps")


@pytest.mark.parametrize(
    ("of_queue", "why"),
    [
        (OVER + CANCELLED, ["[failed] brain, searchlight: its memory ran out, as Slurm says"]),
        ("srun: error", ["[failed] brain, searchlight: it ended without a word why", "srun: error"]),
        (
            "CalledProcessError in file x, line 1:\nCommand 'y' returned non-zero exit status 137.\n"
            "Error in rule searchlight:\n    message: None\n    Error in rule maps:\n",
            ["[failed] searchlight: it was killed, perhaps because memory ran out"],
        ),
    ],
    ids=["at once", "unknown", "one of them"],
)
def test_a_group_that_the_queue_ended_is_told_once(remote: Told, of_queue: str, why: list[str]) -> None:
    (remote.folder / "7.log").write_text(of_queue)
    errors = []
    for number, rule in enumerate(GROUP):
        remote.begin(number, rule=rule)
        errors += [{"jobid": number, "rule_name": rule, "log": [str(remote.folder / f"{rule}.log")], "aux": {}}]
    for rule in GROUP[:2]:
        remote.log("INFO 5 of 9 spheres", rule=rule)
    about = {"groupid": "subject", "aux_logs": [str(remote.folder / "7.log")], "job_error_info": errors}
    said = remote.hear("Error in group", logging.ERROR, event="group_error", **about)
    assert said[0] == why[0]
    assert [line for line in said if "[failed]" in line] == why[:1]
    assert all(any(words in line for line in said) for words in why)
    assert remote.run.jobs == {}


def test_a_job_that_has_written_nothing_waits_in_the_queue(remote: Told) -> None:
    remote.begin(subject="01")
    began = remote.run.jobs[1].began
    assert remote.run.long_jobs(began + FIRST_NEWS_S) == ["    searchlight sub-01 has waited for 30 s"]
    remote.log("INFO half of it")
    assert remote.run.long_jobs(began + 3 * FIRST_NEWS_S)[0].endswith("has run for 1 min 30 s: half of it")
    remote.log("DEBUG done: 9 spheres, 1.1 s")
    assert remote.run.long_jobs(began + 9 * FIRST_NEWS_S) == [], "the others of its group go on"


def test_a_log_that_comes_late_is_waited_for(remote: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LATE_S", 600.0)  # the test is no race with a busy machine
    remote.begin()
    remote.log("INFO half of it")
    timer = Timer(0.3, remote.log, ["INFO half of it", "DEBUG done: 9 spheres, 1.1 s"])
    timer.start()
    assert remote.hear(event="job_finished", job_id=1) == ["[1/3] searchlight: 9 spheres, 1.1 s"]
    timer.join()


def test_what_is_locked_says_what_to_do(remote: Told) -> None:
    text = "LockException:\nError: Directory cannot be locked. Please make sure that ..."
    (line,) = remote.hear(text, logging.ERROR)
    assert "Another run of the study small goes on in this folder, or was killed." in line
    assert "`python -m rsa recover 'my study.yaml'`" in line


def test_submissions_are_left_to_the_log_of_snakemake(remote: Told) -> None:
    assert remote.hear("Job 3 has been submitted with SLURM jobid 7 (log: /a/7.log).") == []


@pytest.fixture
def snakemakes_log(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Give Snakemake's logger the handler that it has on a terminal, and the environment of a user."""
    log, plain = logging.getLogger("snakemake.logging"), logging.StreamHandler(text_io.StringIO())
    plain.name = "DefaultStreamHandler"
    monkeypatch.setattr(log, "handlers", [plain])
    for name in QUIET:
        monkeypatch.setenv(name, "")
    return log


def workflow(*, is_main_process: bool = True, **settings: Any) -> Any:
    asked = {"verbose": False, "debug_dag": False, "dryrun": False, "printshellcmds": False, "quiet": None}
    output = SimpleNamespace(**asked | settings)
    return SimpleNamespace(
        is_main_process=is_main_process, output_settings=output, local_exec=False, configfiles=["my.yaml"]
    )


def test_a_run_is_told_in_place_of_what_snakemake_says(snakemakes_log: logging.Logger) -> None:
    (plain,) = snakemakes_log.handlers
    run = listen(workflow(), "small", "report.html")
    assert snakemakes_log.handlers == [run]
    assert run is not None
    assert isinstance(plain, logging.StreamHandler)
    assert run.stream is plain.stream
    assert run.remote()
    assert run.config == "my.yaml"
    assert os.environ["RSA_MESSAGES"] == "log"


@pytest.mark.parametrize("asked", [{"verbose": True}, {"debug_dag": True}, {"is_main_process": False}])
def test_whoever_wants_more_of_snakemake_gets_it(snakemakes_log: logging.Logger, asked: dict[str, bool]) -> None:
    before = list(snakemakes_log.handlers)
    assert listen(workflow(**asked), "small", "report.html") is None
    assert snakemakes_log.handlers == before
    assert os.environ["RSA_MESSAGES"] == ""


def test_another_logger_is_left_alone(snakemakes_log: logging.Logger) -> None:
    snakemakes_log.handlers[0].name = "of a plug-in"
    assert listen(workflow(), "small", "report.html") is None
