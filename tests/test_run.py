"""The workflow is in the wheel, and `brain-model-rsa run` finds it: in a checkout, and installed, from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rsa.errors import UserError
from rsa.pipeline import cli, run
from rsa.pipeline.run import command_of, environment, workflow_folder

ROOT = Path(__file__).parents[1]
SOURCES = ("rsa", "workflow", "profiles", "envs", "Snakefile", "config.yaml", "pyproject.toml", "setup.py", "README.md")
SOURCES += ("LICENSE", "MANIFEST.in")


def test_in_a_checkout_the_workflow_is_beside_the_package(tmp_path):
    (tmp_path / "my.yaml").touch()
    assert workflow_folder() == ROOT
    snakemake = [sys.executable, "-m", "snakemake"]
    own = ["--configfile", str(tmp_path / "my.yaml"), "--snakefile", str(ROOT / "Snakefile")]
    assert command_of([str(tmp_path / "my.yaml")]) == [*snakemake, *own, "--cores", "all"]
    default = ["--configfile", str(ROOT / "config.yaml"), "--snakefile", str(ROOT / "Snakefile")]
    assert command_of([]) == [*snakemake, *default, "--cores", "all"]
    for options in (
        ["--cores", "2"],
        ["-c2"],
        ["--jobs=3"],
        ["-j", "3"],
        ["--workflow-profile", "slurm"],
        ["-e", "slurm"],
    ):
        assert command_of([str(tmp_path / "my.yaml"), *options, "-n"]) == [*snakemake, *own, *options, "-n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], r"There is no file none\.yaml: a study is a YAML file, and comes before all options\."),
        (
            ["--cores", "2", "my.yaml"],
            r"The file of the study comes before all options, as in run my\.yaml --cores 2\.",
        ),
        (["--configfile", "my.yaml"], "--configfile is not for this command: write the file of the study first"),
        (["--snakefile=other"], "--snakefile is not for this command: write the file of the study first"),
    ],
)
def test_mistakes_are_one_line_before_snakemake_starts(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("Snakemake was started"))
    with pytest.raises(UserError, match=message):
        command_of(arguments)
    assert cli.main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_an_installation_without_the_workflow_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(run.rsa, "__file__", str(tmp_path / "rsa" / "__init__.py"))
    with pytest.raises(UserError, match=r"The workflow is not beside the package in .*: install brain-model-rsa again"):
        workflow_folder()


def test_environments_that_snakemake_makes_use_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "before")
    assert environment()["PYTHONPATH"] == os.pathsep.join([str(ROOT), "before"])
    monkeypatch.delenv("PYTHONPATH")
    assert environment()["PYTHONPATH"] == str(ROOT)
    assert command_of(["--sdm", "conda"])[-2:] == ["--sdm", "conda"]
    (tmp_path / "_workflow" / "workflow" / "rules").mkdir(parents=True)
    (tmp_path / "_workflow" / "Snakefile").touch()
    monkeypatch.setattr(run.rsa, "__file__", str(tmp_path / "__init__.py"))
    assert "PYTHONPATH" not in environment()
    with pytest.raises(UserError, match="Environments that Snakemake makes have no brain-model-rsa in them; run in a"):
        command_of(["--sdm", "conda"])


def test_help_is_ours(capsys):
    assert cli.main(["run", "--help"]) == 0
    assert capsys.readouterr().out == run.HELP + "\n"
    cli.main(["--help"])
    assert "python -m rsa run [study.yaml] [options of Snakemake]" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from copies of the files that it is made of."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "."]
    command += ["--no-index", "--disable-pip-version-check", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(source.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel alone into a folder; what it needs is that of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    done = subprocess.run([*command, "--disable-pip-version-check", str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def call(installed, folder, *command):
    """Run a command elsewhere with the installed package; what it says is in `stdout`."""
    path = os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(installed), "PATH": path}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
def test_the_wheel_has_the_workflow_and_nothing_twice(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {
            name.removeprefix("rsa/_workflow/"): archive.read(name)
            for name in archive.namelist()
            if "_workflow" in name
        }
    wanted = [ROOT / "Snakefile", ROOT / "config.yaml", *(ROOT / "workflow").rglob("*.smk")]
    wanted += [
        *(ROOT / "profiles").rglob("*.yaml"),
        *(ROOT / "profiles").rglob("*.sh"),
        *(ROOT / "envs").glob("*.yaml"),
    ]
    assert inside == {str(path.relative_to(ROOT)): path.read_bytes() for path in wanted}


@pytest.mark.slow
def test_an_installed_package_runs_the_default_study_from_any_folder(installed, tmp_path):
    where = call(installed, tmp_path, sys.executable, "-c", "import rsa; print(rsa.__file__)").stdout.strip()
    assert where == str(installed / "rsa" / "__init__.py")
    said = call(installed, tmp_path, "brain-model-rsa", "run", "--dry-run")
    assert said.returncode == 0, said.stdout
    assert "jobs to run for the study demo" in said.stdout
    assert "profiles/default" in said.stdout, "the default profile is found"
    missing = call(installed, tmp_path, "brain-model-rsa", "run", "none.yaml", "--cores", "2")
    assert (missing.returncode, missing.stdout.count("\n")) == (2, 1)


@pytest.mark.slow
def test_an_installed_package_runs_a_study_from_any_folder(installed, tmp_path):
    """RDMs of two subjects and a reference, without pictures: a table of regions."""
    rng, names = np.random.default_rng(0), [f"c{n}" for n in range(6)]
    for name in ("01_all", "02_all", "model"):
        pairs = np.triu(rng.random((6, 6)), 1)
        pd.DataFrame(pairs + pairs.T, names, names).to_csv(tmp_path / f"{name}.csv")
    study = {
        "study": "tiny",
        "brain": {"kind": "rdms", "subjects": ["01", "02"], "file": "{subject}_{region}.csv", "regions": ["all"]},
        "references": [{"kind": "file", "name": "model", "file": "model.csv"}],
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(study))
    command = ("run", "my.yaml", "--cores", "2", "results/tiny/regions.tsv")
    said = call(installed, tmp_path, sys.executable, "-m", "rsa", *command)
    assert said.returncode == 0, said.stdout
    fits = pd.read_csv(tmp_path / "results/tiny/regions.tsv", sep="\t", dtype={"subject": str})
    assert set(fits["subject"]) >= {"01", "02"}
    again = call(installed, tmp_path, "brain-model-rsa", *command, "--dry-run")
    assert "Nothing to be done" in again.stdout, again.stdout
