"""What Snakemake says of a run: one line for each job, what went wrong and what to do then, and where the report is.

All that Snakemake says otherwise is in its own log, below ``.snakemake/log``. What a job says is in its log, from which
its line is taken: jobs, which may run on other machines, write nothing else while this listens.
"""

import logging
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep, time
from typing import Any, TextIO

from rsa.errors import flattened
from rsa.progress import duration

__all__ = ["Run", "config_of", "listen"]

QUIET = {"RSA_MESSAGES": "log", "TQDM_DISABLE": "1"}
"""What tells jobs to write to their logs alone."""

FIRST_NEWS_S = 30.0
"""After this time a job that still runs is told of; and then whenever twice the time has passed."""

LATE_S = 3.0
"""So long the log of a job on another machine may take to come to this one, after its results did."""

N_LINES = 15
"""So many last lines of a log are shown of a job that failed."""

CHATTER = (
    "Assuming unrestricted shared filesystem", "At least one job did not complete", "Building DAG of jobs",
    "Cleaning up SLURM log files", "Complete log(s):", "Conda environments: ignored", "Elapsed time:",
    "Error in group ", "Execute ", "Exiting because a job execution", "Group jobs: inactive", "Guessed SLURM account",
    "No SLURM account given", "No account was given", "Reasons:", "Removing output files of",
    "Removing temporary output", "SLURM run ID: ", "Select jobs to execute", "Shutting down, this might",
    "Singularity containers: ignored", "This was a dry-run", "Unable to guess SLURM account", "Using shell:",
    "WorkflowError:\nAt least one job did not complete", "Would remove temporary output",
    "You are running snakemake in a SLURM job context",
)  # fmt: skip
"""How messages begin that are in Snakemake's log and nowhere else."""

SILENT = ("job_started", "progress", "resources_info", "workflow_started", "group_info", "rulegraph")
"""Events of which nothing is said."""

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
"""How an entry of a job's log begins."""

STATUS = re.compile(
    r"CalledProcessError in .*(?:returned non-zero exit status (\d+)|died with <Signals[.]\w+: (\d+))", re.S
)
"""How Snakemake says that the command of a job failed, before it says of which job."""

SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\d+) ")
"""How the executor of Slurm says by which number it knows a job."""

AGAIN = re.compile(r"Trying to restart job (\S+)\.$")
"""How Snakemake says that a job that failed is tried again."""

STATE = re.compile(r"SLURM-job '(\d+)' failed.*?status is: '(\w+)'", re.S)
"""How the executor of Slurm says what became of a job."""

ENDS = {
    "CANCELLED": "it was cancelled (scancel)",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "its memory ran out",
    "TIMEOUT": "its time ran out",
}
"""What the states of jobs in Slurm mean in which a job says nothing more."""

SAID_IN_QUEUE = {
    re.compile(r"exceeded (?:job )?memory limit|oom[-_ ]kill|Out Of Memory", re.I): "OUT_OF_MEMORY",
    re.compile(r"CANCELLED AT .* DUE TO TIME LIMIT"): "TIMEOUT",
    re.compile(r"CANCELLED AT .* DUE TO NODE FAILURE"): "NODE_FAIL",
    re.compile(r"(?:JOB|STEP) \S+ ON \S+ CANCELLED AT"): "CANCELLED",
}
"""What Slurm writes into the log of a job that it ends, and the state that means; the first that is found counts."""

LOCKED = "Error: Directory cannot be locked"
"""How Snakemake begins where a run goes on, or was killed."""

KILLED = 128
"""Shells add this to the number of the signal that ended a command."""

KILLED_WORDS = "it was killed, perhaps because memory ran out"
UNKNOWN = "it ended without a word why"

IN_GROUP = re.compile(r"^Error in rule (\w+)", re.M)
"""How the Snakemake that runs a group names a job of it that failed, in the log of the queue."""

COLOURS = {"good": 32, "warning": 33, "bad": 31, "plain": 0}


@dataclass
class Log:
    """What the log of a job tells.

    Parameters
    ----------
    entries : list of (level, text)
        In order; a text may have several lines.
    """

    entries: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, paths: Collection[str]) -> "Log":
        """Read the logs of a job; what is not there says nothing."""
        entries: list[tuple[str, str]] = []
        for path in paths:
            try:
                text = Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            for line in text.splitlines():
                if begin := LINE.match(line):
                    entries.append((begin[1], line[begin.end() :]))
                elif entries:
                    entries[-1] = (entries[-1][0], f"{entries[-1][1]}\n{line}")
                elif line.strip():
                    entries.append(("INFO", line))
        return cls(entries)

    @classmethod
    def of_finished(cls, paths: Collection[str], patience_s: float) -> "Log":
        """Read the logs of a job that has ended well, and wait for their last lines if they come late."""
        end = time() + patience_s
        while not (log := cls.read(paths)).done and paths and time() < end:
            sleep(0.2)
        return log

    @property
    def done(self) -> str:
        """What was done and how long that took, as the last line says it; "" if the job did not come so far."""
        texts = [text for _, text in self.entries if text.startswith("done: ")]
        return texts[-1].removeprefix("done: ") if texts else ""

    @property
    def warnings(self) -> list[str]:
        """The warnings, each once, in a line."""
        return list(dict.fromkeys(flattened(text) for level, text in self.entries if level == "WARNING"))

    @property
    def news(self) -> str:
        """How far the job is, as its last message says."""
        texts = [text for level, text in self.entries if level == "INFO"]
        return flattened(texts[-1]) if texts else ""

    @property
    def error(self) -> str:
        """Why the job failed, in a line: a mistake of the user's, or the last line of a traceback; "" if unknown."""
        for level, text in reversed(self.entries):
            if level in ("ERROR", "CRITICAL"):
                return text.removeprefix("error: ")
            if "\nTraceback (most recent call last)" in text:
                return text.rstrip().splitlines()[-1]
        return ""

    @property
    def has_traceback(self) -> bool:
        """Whether the job failed by a mistake of the program's."""
        return any("\nTraceback (most recent call last)" in text for _, text in self.entries)

    def tail(self) -> list[str]:
        """Return the last lines."""
        return "\n".join(text for _, text in self.entries).splitlines()[-N_LINES:]


@dataclass
class Job:
    """A job that was begun, or submitted."""

    name: str
    logs: list[str]
    began: float
    news_at: float

    @property
    def is_waiting(self) -> bool:
        """Whether it has written nothing since it was submitted."""
        return not any(_changed(path) >= self.began - 1 for path in self.logs)


class Run(logging.Handler):
    """Says what becomes of a run.

    Parameters
    ----------
    study : str
        Its name.
    report : path
        The page that a run ends with.
    quiet : collection of str
        Of what Snakemake was asked to say nothing: "progress", "rules", "reason", "host" or "all".
    dry : bool
        Whether jobs are only listed.
    commands : bool
        Whether to show the command of each job.
    stream : text stream
        Where to.
    coloured : bool
        Whether that is a terminal with colours.
    remote : callable
        Says whether jobs run on other machines, through a queue; asked when jobs run.
    touched : callable
        Says whether results are only given the date of now (``--touch``); asked when jobs run.
    config : str
        The configuration, for commands that are shown.
    """

    def __init__(
        self,
        study: str,
        report: str | Path,
        *,
        quiet: Collection[str] = (),
        dry: bool = False,
        commands: bool = False,
        stream: TextIO | None = None,
        coloured: bool = False,
        remote: Callable[[], bool] = bool,
        touched: Callable[[], bool] = bool,
        config: str = "config.yaml",
    ) -> None:
        super().__init__()
        self.study, self.report, self.quiet, self.dry, self.commands = study, Path(report), set(quiet), dry, commands
        self.remote, self.touched, self.config = remote, touched, config
        self.stream, self.coloured = stream or sys.stderr, coloured
        self.total, self.n_done = 0, 0
        self.began = time()
        self.jobs: dict[Any, Job] = {}
        self.failures: dict[Any, str] = {}  # jobs that have failed and were not tried again, by number
        self.told: set[Any] = set()  # jobs whose failure was told of with their group
        self.planned: list[tuple[str, str, str]] = []  # rule, of what, why
        self.rules: Counter[str] = Counter()
        self.status, self.stopped = 0, False
        self.ended, self.saying = Event(), Lock()

    # ------------------------------------------------------------------------------------ what happens

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of what Snakemake says, and say what a user wants to know."""
        event = str(getattr(record, "event", None) or "")
        heard = getattr(self, f"_{event}", None)
        try:
            if heard is not None:
                heard(record)
            elif event not in SILENT:
                self._other(record)
        except BrokenPipeError:
            raise
        except Exception:  # as all handlers of logs: what is said of a run must not end it
            self.handleError(record)

    def _run_info(self, record: logging.LogRecord) -> None:
        stats = getattr(record, "stats", None)
        if not isinstance(stats, Mapping):
            return
        of_rules = {str(rule): int(n) for rule, n in stats.items() if rule not in ("total", "all")}
        if self.dry and self.rules:  # said twice; the second time all jobs are known
            self._table()
            return
        self.rules, self.total = Counter(of_rules), sum(of_rules.values())
        if self.dry and {"progress", "rules"} <= self.quiet:  # Snakemake ends here
            self._table()
        elif not (self.dry or self.touched()):
            self._say(f"{_jobs(self.total)} to run for the study {self.study}.")
            Thread(target=self._tell_of_long_jobs, daemon=True).start()

    def _job_info(self, record: logging.LogRecord) -> None:
        told = vars(record)
        if told["rule_name"] == "all":
            return
        rule, of_what = told["rule_name"], _of(told["wildcards"])
        job = Job(f"{rule.replace('_', '-')} {of_what}".rstrip(), list(told["log"]), record.created, FIRST_NEWS_S)
        with self.saying:
            self.jobs[told["jobid"]] = job
        if self.dry:
            self.planned.append((rule, of_what, _reason(told["reason"])))
        if self.commands:
            self._say(f"{job.name}:\n  {told['shellcmd']}")

    def _shellcmd(self, record: logging.LogRecord) -> None:
        """Say nothing: the command was shown with its job."""

    def _job_finished(self, record: logging.LogRecord) -> None:
        with self.saying:
            job = self.jobs.pop(vars(record)["job_id"], None)
        if job is None:
            return
        self.n_done += 1
        self.failures.pop(vars(record)["job_id"], None)
        if self.touched():  # its log is of when it ran
            return
        log = Log.of_finished(job.logs, LATE_S if self.remote() else 0)
        self._say(f"{self._number()} {job.name}{f': {log.done}' if log.done else ''}", "good", about="progress")
        for warning in log.warnings:
            self._say(f"    warning: {warning}", "warning")

    def _group_error(self, record: logging.LogRecord) -> None:
        """Tell of the jobs of a group that have failed: the others were done, ended with them, or never begun."""
        told = vars(record)
        logs = list(told.get("aux_logs") or [])
        errors = [dict(error) for error in told["job_error_info"]]
        began = [error for error in errors if not self._waits(error["jobid"]) and not Log.read(error["log"]).done]
        named = {rule for path in logs for rule in IN_GROUP.findall(_text_of(path))}
        own = [error for error in began if error["rule_name"] in named or Log.read(error["log"]).error]
        together = not own or _end_in_queue("", logs) not in ("", KILLED_WORDS)
        self.told |= {error["jobid"] for error in errors}
        if together:
            self._fail_together(began or errors, logs)
        else:
            for error in own:
                self._fail(error, logs)
        with self.saying:
            for error in errors:
                self.jobs.pop(error["jobid"], None)

    def _fail_together(self, errors: Collection[Mapping[str, Any]], logs: Collection[str]) -> None:
        """Tell of jobs that were ended at once, as one submission."""
        with self.saying:
            jobs = {error["jobid"]: self.jobs.pop(error["jobid"], None) for error in errors}
        if self.stopped:
            return
        names = {error["jobid"]: error["rule_name"] for error in errors}
        names |= {number: job.name for number, job in jobs.items() if job is not None}
        self.failures |= names
        end = _end_in_queue("", logs)
        self._say(f"[failed] {', '.join(names.values())}: {end or UNKNOWN}", "bad")
        self._show(logs, [] if end else Log.read(logs).tail())

    def _job_error(self, record: logging.LogRecord) -> None:
        told = vars(record)
        if told["jobid"] in self.told:
            self.told.discard(told["jobid"])
        else:
            self._fail(told, [])

    def _fail(self, told: Mapping[str, Any], logs_of_queue: Collection[str]) -> None:
        with self.saying:
            job = self.jobs.pop(told["jobid"], None)
        if self.stopped:
            return
        own = list(told["log"]) if job is None else job.logs
        beside = [path for path in [*told["log"], *logs_of_queue] if path not in own]
        name = told["rule_name"] if job is None else job.name
        log = Log() if job is not None and self.remote() and job.is_waiting else Log.read(own)
        end = _end_in_queue(str(told.get("rule_msg") or ""), beside)
        self.failures[told["jobid"]] = name
        unknown = end or (KILLED_WORDS if self.status > KILLED else UNKNOWN)
        self._say(f"[failed] {name}: {log.error or unknown}", "bad")
        for warning in log.warnings:
            self._say(f"    warning: {warning}", "warning")
        shown = log.tail() if log.has_traceback or not log.error else []
        self._show(own if log.entries or not beside else [], shown)
        if not log.error:
            self._show(beside, Log.read(beside).tail() if not end else [])
        for what, value in (told.get("aux") or {}).items():
            self._say(f"    {WORDS.get(what, what)}: {value}")

    def _show(self, logs: Collection[str], lines: Collection[str]) -> None:
        """Name logs, and show their last lines."""
        if logs:
            self._say(f"    Its log is {', '.join(logs)}{'; it ends:' if lines else '.'}")
            for line in lines:
                self._say(f"    | {line}")

    def _waits(self, jobid: Any) -> bool:
        job = self.jobs.get(jobid)
        return job is not None and job.is_waiting

    def _other(self, record: logging.LogRecord) -> None:
        """Pass on what Snakemake says beside this, unless it is of no use to anybody."""
        text = str(record.getMessage() or "")
        if failed := STATUS.search(text):
            self.status = int(failed[1] or 0) or KILLED + int(failed[2])
            return
        if again := AGAIN.search(text):
            self._again(again[1])
            return
        if text.startswith(LOCKED) or f"\n{LOCKED}" in text:
            text = (
                f"Another run of the study {self.study} goes on in this folder, or was killed. If it was killed, "
                f"`python -m rsa recover {shlex.quote(self.config)}` ends what is left of it."
            )
        self.stopped |= text.startswith("Terminating processes on user request")
        if text.startswith("Nothing to be done"):
            where = f" Report: {self.report}" if self.report.exists() else ""
            self._say(
                f"Nothing to be done: all results of the study {self.study} are there and up to date.{where}", "good"
            )
        elif text and not self._is_chatter(text) and record.levelno > logging.DEBUG:
            self._say(text, "bad" if record.levelno >= logging.ERROR else "warning")

    @staticmethod
    def _is_chatter(text: str) -> bool:
        return text.strip().startswith(CHATTER) or SUBMITTED.match(text) is not None

    def _again(self, jobid: str) -> None:
        """Say that what failed is tried again; of a group, Snakemake says another number than of its jobs."""
        known = {str(number): number for number in self.failures}
        again = [known[jobid]] if jobid in known else list(self.failures)
        names = [self.failures.pop(number) for number in again]
        self._say(f"    {', '.join(names) or 'It'} will be tried again.")

    # ----------------------------------------------------------------------------------------- the end

    def succeeded(self) -> None:
        """Say that all is done, how long it took, and where the report is."""
        self.ended.set()
        if self.touched():
            self._say(
                f"Nothing was made again: what {_jobs(self.n_done)} of the study {self.study} made before is taken to "
                "be up to date from now on, whatever has changed. `--forceall` instead of `--touch` makes it anew.",
                "warning",
            )
            return
        self._say(f"{_jobs(self.n_done)} done in {duration(time() - self.began)}.", "good")
        if self.rules["report"] and self.report.exists():
            self._say(f"Report: {self.report}", "good")

    def failed(self, logs: Collection[str] = ()) -> None:
        """Say how much is done, and how to go on.

        Parameters
        ----------
        logs : collection of str
            Snakemake's own log.
        """
        self.ended.set()
        n_failed = len(self.failures)
        stopped = "" if n_failed else "Stopped: "
        of_all = f"{self.n_done} of {_jobs(self.total)} done"
        failures = f", {n_failed} failed" * bool(n_failed)
        self._say(f"{stopped}{of_all}{failures}, after {duration(time() - self.began)}.", "bad")
        first = "Mend what failed; then the same command goes on" if n_failed else "The same command goes on"
        command = shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "snakemake"), *sys.argv[1:]])
        self._say(f"{first} from here, and does nothing again that is done: {command}")
        if n_failed and logs:
            self._say(f"All that Snakemake said: {', '.join(map(os.path.relpath, logs))}")

    # ------------------------------------------------------------------------------------- how it is said

    def long_jobs(self, now: float) -> list[str]:
        """Say of each job that has run for a while, now and then, how far it is."""
        lines = []
        with self.saying:
            for job in self.jobs.values():
                if now - job.began < job.news_at:
                    continue
                while job.news_at <= now - job.began:
                    job.news_at *= 2
                lines += self._news_of(job, now)
        return lines

    def _news_of(self, job: Job, now: float) -> list[str]:
        """Say how far a job is; of one that is done, of whose end the queue has not said yet, nothing."""
        since = duration(now - job.began)
        if self.remote() and job.is_waiting:
            return [f"    {job.name} has waited for {since}"]
        log = Log.read(job.logs)
        if log.done and self.remote():
            return []
        return [f"    {job.name} has run for {since}{f': {log.news}' if log.news else ''}"]

    def _tell_of_long_jobs(self) -> None:
        while not self.ended.wait(5):
            for line in self.long_jobs(time()):
                self._say(line, about="progress")

    def _table(self) -> None:
        """List the jobs of a dry run: how many of each rule, and why."""
        self._say(f"{_jobs(self.total)} to run for the study {self.study}:")
        width = max(map(len, self.rules), default=0)
        for rule, n in self.rules.items():
            why = list(dict.fromkeys(reason for of, _, reason in self.planned if of == rule))
            names = sorted(name for of, name, _ in self.planned if of == rule and name)
            whose = " to ".join(dict.fromkeys([names[0], names[-1]])) if names else ""
            self._say(f"{n:6,} {rule:{width}s}  {'; '.join(why)}{f' ({whose})' if whose else ''}".rstrip())
        self._say("This was a dry run: nothing was done. With -p it shows the command of each job.")

    def _number(self) -> str:
        return f"[{self.n_done:{len(str(self.total))}d}/{self.total}]"

    def _say(self, text: str, kind: str = "plain", *, about: str = "") -> None:
        if ("all" in self.quiet and not self.dry) or about in self.quiet:
            return
        colour = COLOURS[kind] if self.coloured else 0
        with self.saying:
            self.stream.write(f"\033[{colour}m{text}\033[0m\n" if colour else f"{text}\n")
            self.stream.flush()


def listen(workflow: Any, study: str, report: str | Path) -> Run | None:
    """Let a run be told in place of all that Snakemake says by itself, if that is what it would do.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        What a Snakefile knows by this name.
    study, report
        Of the run.

    Returns
    -------
    Run or None
        None in the jobs of a run, and where a user asked for more (``--verbose``, ``--debug-dag``) or another logger.
    """
    settings = workflow.output_settings
    log = logging.getLogger("snakemake.logging")
    plain = [handler for handler in log.handlers if handler.name == "DefaultStreamHandler"]
    if not workflow.is_main_process or settings is None or settings.verbose or settings.debug_dag or not plain:
        return None
    (handler,) = plain
    assert isinstance(handler, logging.StreamHandler)
    run = Run(
        study,
        report,
        quiet=[str(name).rpartition(".")[2].lower() for name in settings.quiet or ()],
        dry=settings.dryrun,
        commands=settings.printshellcmds,
        stream=handler.stream,
        coloured=not getattr(handler, "nocolor", True),
        remote=lambda: not workflow.local_exec,
        touched=lambda: bool(workflow.touch),
        config=config_of(workflow),
    )
    log.removeHandler(handler)
    log.addHandler(run)
    os.environ.update(QUIET)
    return run


def config_of(workflow: Any) -> str:
    """Return the configuration of a run, as a user would name it.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        What a Snakefile knows by this name.
    """
    path = Path(next(iter(workflow.configfiles), "config.yaml"))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


# ----------------------------------------------------------------------------------------------- words


WORDS = {"external_jobid": "number in the queue"}
"""What to call what Snakemake knows beside of a job that failed."""


def _changed(path: str) -> float:
    """Return when a file was written last; minus infinity if there is none."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return float("-inf")


def _end_in_queue(message: str, logs: Collection[str]) -> str:
    """Say how Slurm ended a job, by its state and what Slurm wrote into the log; "" if it did not.

    Examples
    --------
    >>> _end_in_queue("SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason ...", [])
    'its time ran out, as Slurm says'
    """
    text = "\n".join(map(_text_of, logs))
    said = [state for pattern, state in SAID_IN_QUEUE.items() if pattern.search(text)]
    known = STATE.search(message)
    state = [*said, known[2] if known else ""][0]
    if state in ENDS:
        return f"{ENDS[state]}, as Slurm says"
    was_killed = any(signal or int(status) > KILLED for status, signal in STATUS.findall(text))
    return KILLED_WORDS if was_killed else ""


def _text_of(path: str) -> str:
    """Read a log; what is not there is empty."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _jobs(n: int) -> str:
    return f"{n:,} job{'s' * (n != 1)}"


def _of(wildcards: Mapping[str, str] | None) -> str:
    """Say what a job is of.

    Examples
    --------
    >>> _of({"part": "analyses/pure/", "subject": "01"}), _of({"model": "alexnet"})
    ('sub-01 (pure)', 'alexnet')
    """
    of = dict(wildcards or {})
    part = of.pop("part", "").removeprefix("analyses/").strip("/")
    subject = of.pop("subject", "")
    words = [f"sub-{subject}"] * bool(subject) + [*map(str, of.values())] + [f"({part})"] * bool(part)
    return " ".join(words)


def _reason(text: str) -> str:
    """Shorten why a job has to run: what is not known by itself, without names of files.

    Examples
    --------
    >>> _reason("Missing output files: a.h5, b.h5; Input files updated by another job: c.h5")
    'missing output files'
    >>> _reason("Input files updated by another job: c.h5")
    'input files updated by another job'
    """
    parts = [part.strip().split(":")[0] for part in text.split("; ")]
    own = [part for part in parts if not part.startswith("Input files updated by another job")]
    return ", ".join(dict.fromkeys(part[:1].lower() + part[1:] for part in own or parts))
