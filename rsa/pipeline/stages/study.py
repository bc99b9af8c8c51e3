"""A study as a whole: check it, verify its results, go on after a run that was killed, describe it."""

from pathlib import Path

from rsa.errors import Problems
from rsa.files.maps import write_description
from rsa.pipeline.budget import budget_of
from rsa.pipeline.checks import summary
from rsa.pipeline.config import Study
from rsa.pipeline.plan import read_plan
from rsa.pipeline.recovery import recovered
from rsa.pipeline.results import verified

__all__ = ["check", "describe", "recover", "verify"]


def check(config: Path, /, *, memory_mb: int | None = None) -> None:
    """Check a configuration and all files that it names, and say what a run would do and need.

    Parameters
    ----------
    config : path
        The YAML file.
    memory_mb : int
        Memory that a job may have where the study will run, in MB: on a cluster, that of a node. By default that of
        this machine.
    """
    plan = read_plan(config, check=True)
    budget = budget_of(plan, memory_mb)
    if problems := list(budget.problems()):
        raise Problems("The study", problems)
    print("\n".join([summary(plan.study), *budget.lines()]))


def verify(config: Path, /) -> None:
    """Look for results that are missing, or not as they were written; say which, and how to make them again.

    Parameters
    ----------
    config : path
        The YAML file of the study.
    """
    plan = read_plan(config, check=False)
    print(verified(plan.folder, plan.outputs(), config))


def recover(config: Path, /, *, is_dead: bool = False) -> None:
    """End what is left of a run that was killed: its own jobs in the queue of Slurm, and its locks; then go on.

    Parameters
    ----------
    config : path
        The YAML file of the study.
    is_dead : bool
        The run has ended, though that cannot be seen from here.
    """
    plan = read_plan(config, check=False)
    print(recovered(plan.folder, plan.outputs(), is_dead=is_dead))


def describe(settings: list[str], folder: Path) -> None:
    """Write the settings of a study, and the files by which BIDS tools recognise its results as a derivative.

    Parameters
    ----------
    settings : list of str
        The settings, as JSON: in several pieces, if it is long.
    folder : path
        Folder of the study's results.
    """
    study = Study.model_validate_json("".join(settings))
    sources = [data.location for data in (study.brain, study.meeg) if data is not None]
    if not sources and study.stimuli is not None:
        sources = [str(study.stimuli.folder or Path(str(study.stimuli.table)).parent)]
    write_description(folder, study.model_dump(mode="json"), sources)
