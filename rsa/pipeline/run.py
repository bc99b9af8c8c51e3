"""``brain-model-rsa run my.yaml``: the workflow from any folder, in a checkout or installed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import rsa
from rsa.errors import UserError

__all__ = ["HELP", "command_of", "environment", "run", "workflow_folder"]

HELP = """usage: brain-model-rsa run [study.yaml] [options of Snakemake]

Run a study in this folder. Without a file it is the default study: simulated, no download, some minutes.

  brain-model-rsa run my.yaml                     on all cores
  brain-model-rsa run my.yaml --cores 8
  brain-model-rsa run my.yaml --dry-run           say which jobs there are
  brain-model-rsa run my.yaml --workflow-profile slurm

Results go to results/<study>/ in this folder. All other options are Snakemake's: see snakemake --help."""

FOLDER = "_workflow"
"""Where the workflow is in an installed package; in a checkout it is at the root."""

WHERE = ("--cores", "-c", "--jobs", "-j", "--executor", "-e", "--profile", "--workflow-profile")
"""Options that say where jobs run, or how many at a time."""

OURS = ("--snakefile", "-s", "--configfile", "--configfiles")
"""Options that say which workflow or study it is."""

ENVIRONMENTS = ("--sdm", "--software-deployment-method", "--deployment-method", "--deployment", "--use-conda")
"""Options by which Snakemake makes environments for jobs."""


def workflow_folder() -> Path:
    """Return the folder of the Snakefile, the rules, the profiles and the default study.

    Raises
    ------
    UserError
        If the package was installed without them.
    """
    package = Path(rsa.__file__).parent
    for folder in (package / FOLDER, package.parent):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "rules").is_dir():
            return folder
    raise UserError(
        f"The workflow is not beside the package in {package}: install brain-model-rsa again, or run Snakemake in a "
        "checkout."
    )


def command_of(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a study: that of Snakemake, with its workflow and the file of the study.

    Parameters
    ----------
    arguments : sequence of str
        The file of a study, if it is not the default one, and options of Snakemake, which are passed on.

    Raises
    ------
    UserError
        If there is no such file, or an option says what the file and the command say already.
    """
    has_file = bool(arguments) and not arguments[0].startswith("-")
    config, options = (Path(arguments[0]) if has_file else None), list(arguments[has_file:])
    named = [option.split("=")[0] for option in options]
    if twice := [option for option in named if option in OURS]:
        raise UserError(f"{twice[0]} is not for this command: write the file of the study first, as in run my.yaml.")
    if config is None and any(option.endswith((".yaml", ".yml")) for option in options if not option.startswith("-")):
        raise UserError("The file of the study comes before all options, as in run my.yaml --cores 2.")
    if config is not None and not config.is_file():
        raise UserError(f"There is no file {config}: a study is a YAML file, and comes before all options.")
    folder = workflow_folder()
    if folder.name == FOLDER and any(option in ENVIRONMENTS for option in named):
        raise UserError(
            "Environments that Snakemake makes have no brain-model-rsa in them; run in a checkout, whose files "
            "they use."
        )
    study = folder / "config.yaml" if config is None else config
    where = [] if any(_is_about(option, WHERE) for option in named) else ["--cores", "all"]
    workflow = ["--configfile", str(study), "--snakefile", str(folder / "Snakefile")]
    return [sys.executable, "-m", "snakemake", *workflow, *where, *options]


def _is_about(option: str, names: Sequence[str]) -> bool:
    """Say whether an option is one of these, also where its value follows at once: -j8."""
    return option in names or option[:2] in [name for name in names if not name.startswith("--")]


def environment() -> dict[str, str]:
    """Return the environment of Snakemake: jobs find this package also where their environment has none."""
    if workflow_folder().name == FOLDER:
        return dict(os.environ)
    paths = [str(workflow_folder()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(arguments: Sequence[str]) -> int:
    """Become Snakemake, running a study; signals then reach it, and its exit status is that of this command."""
    if not any(one in ("-h", "--help") for one in arguments):
        command = command_of(arguments)
        sys.stdout.flush()
        os.execve(command[0], command, environment())
    print(HELP)
    return 0
