"""What is looked at when a run begins, and noted until it ends: so that it does not wait for ever, nor work twice."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from rsa.errors import UserError, told
from rsa.pipeline import fit, recovery, slurm
from rsa.pipeline.running import config_of

__all__ = ["Watch", "require_answers", "watch"]

NAMED = "SLURM run ID: "
"""How the executor of Slurm says by which name the jobs of a run are in the queue."""
LONGEST_PAUSE_S = 180
"""So seldom the executor may ask for the state of jobs."""


class RunNames(logging.Handler):
    """Hears by which names the jobs of this run are in the queue of Slurm."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a name."""
        text = str(record.msg or "")
        if text.startswith(NAMED):
            self.names.append(text.removeprefix(NAMED).strip())


class Watch:
    """Watches over a run.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        What a Snakefile knows by this name.
    results : path
        `results/<study>`.
    """

    def __init__(self, workflow: Any, results: Path) -> None:
        self.workflow, self.results, self.config = workflow, results, config_of(workflow)
        self.inside = os.environ.get("SLURM_JOB_ID", "")
        self.heard = RunNames()
        self.note: Path | None = None
        logging.getLogger("snakemake.logging").addHandler(self.heard)

    def begin(self) -> None:
        """Look whether the run can come to its end, and note that it goes on.

        What hinders it is said in one line, and ends the run with exit code 2.
        """
        try:
            if self.heard.names:
                recovery.require_no_jobs_left(self.results, self.config)
                self._require_slurm_serves()
            self.note = recovery.note_of_this_run(self.heard.names, self.inside).written(self.results)
        except UserError as error:
            print(f"error: {told(error)}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None

    def _require_slurm_serves(self) -> None:
        settings = self.workflow.executor_settings
        accounts, age_s = slurm.memory_of_jobs()
        odd = require_answers(settings.status_command, settings.init_seconds_before_status_checks, accounts, age_s)
        again = fit.require_fit(self.workflow.dag, self.workflow.execution_settings.retries)
        for line in [*odd, *(f"If it had to be tried again with more memory and time: {line}" for line in again)]:
            print(f"warning: {line}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Note that the run has ended."""
        if self.note is not None:
            self.note.unlink(missing_ok=True)


def require_answers(command: str | None, first_s: int, accounts: bool, age_s: float) -> list[str]:
    """Insist that a run learns what becomes of its jobs, without which it would wait for ever.

    Parameters
    ----------
    command : str or None
        The program that is asked: "squeue" or "sacct".
    first_s : int
        Seconds after which it is asked first.
    accounts : bool
        Whether Slurm keeps accounts.
    age_s : float
        Seconds for which the queue knows a job that has ended.

    Returns
    -------
    list of str
        What is odd: a line, or none.

    Raises
    ------
    UserError
        If nothing would be learnt.
    """
    if accounts:
        return []
    if command != "squeue":
        raise UserError(
            "This Slurm keeps no accounts, so sacct never learns that a job has ended, and the run would wait for "
            "ever; add --slurm-status-command squeue."
        )
    if age_s < 3 * first_s:  # the executor would ask sacct then
        raise UserError(
            f"This Slurm keeps no accounts and forgets jobs {age_s:g} s after their end (MinJobAge), so the run would "
            f"wait for ever; set slurm-init-seconds-before-status-checks to {max(1, int(age_s // 3))} or less, not "
            f"{first_s}."
        )
    if age_s < LONGEST_PAUSE_S:
        return [
            f"This Slurm keeps no accounts and forgets jobs {age_s:g} s after their end (MinJobAge), and after some "
            f"time without news a run asks every {LONGEST_PAUSE_S} s only: it may miss the end of a long job and wait "
            "for ever. Then stop it and start it again."
        ]
    return []


def watch(workflow: Any, results: Path) -> Watch | None:
    """Watch over a run, if this is one, and not a job of one.

    Parameters
    ----------
    workflow, results
        As in `Watch`.
    """
    return Watch(workflow, results) if workflow.is_main_process else None
