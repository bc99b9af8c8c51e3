"""Running Snakemake as a user does, in a folder of its own, on the files of this checkout."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from forks import DPI

from rsa.pipeline import stages

ROOT = Path(__file__).parents[2]
LINKED = ("Snakefile", "workflow", "config", "config.yaml", "profiles", "envs")


@dataclass(frozen=True)
class Sandbox:
    """A folder that looks like a checkout, with results of its own."""

    folder: Path
    python: str
    """What runs Snakemake, and what Snakemake runs."""
    quick_python: str
    """The same, in forks (see `forks`)."""

    def command(self, *options: str) -> list[str]:
        return [self.python, "-m", "snakemake", "--cores", "2", *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; what it says is in `stdout`."""
        return subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def succeed(self, *options: str) -> str:
        """Run Snakemake and insist that it succeeds."""
        result = self.run(*options)
        assert result.returncode == 0, result.stdout[-6000:]
        return result.stdout

    def dry_run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Let Snakemake say what it would do."""
        return self.quick().run("--dry-run", *options)

    def quick(self) -> "Sandbox":
        """Return the same folder, whose jobs are forks."""
        return replace(self, python=self.quick_python)

    def planned(self, *options: str) -> str:
        """Return what a dry run says, and insist that it succeeds."""
        result = self.dry_run(*options)
        assert result.returncode == 0, result.stdout[-6000:]
        return result.stdout

    def configured(self, name: str, **changes: Any) -> str:
        """Write a copy of a configuration with some sections changed; a section that is None is removed."""
        settings = yaml.safe_load((ROOT / name).read_text())
        for key, value in changes.items():
            if value is None:
                settings.pop(key)
            else:
                settings[key] = {**settings[key], **value} if isinstance(value, dict) and key in settings else value
        path = self.folder / f"{settings['study']}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return str(path)

    def rules(self, *options: str) -> set[str]:
        """Return the rules that a dry run would run."""
        said = self.planned(*options)
        return {row[1] for row in re.finditer(r"^ +[\d,]+ (\w+)", said, flags=re.M)}


def environment() -> dict[str, str]:
    """Return the environment of a user: no settings of this test run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SNAKEMAKE"))}


SMALL = {
    "study": "small",
    "models": [
        {"architecture": "alexnet", "weights": "untrained", "layers": ["features.1", "features.7", "classifier.2"]}
    ],
    "brain": {"subjects": ["01", "02"], "runs": ["1", "2"]},
    "searchlight": {"radius_mm": 16, "min_voxels": 10},
    "meeg": None,
    "movie": None,
    "fusion": None,
    "film_times_s": None,
    "noise_ceiling": None,
    "simulate": {"images_per_category": 4, "voxel_size_mm": 8, "noise_fwhm_mm": 8, "epochs": None},
}
"""The default study, smaller: 24 pictures, 3 layers, 2 subjects x 2 runs on the 8 mm grid, no EEG."""


def redrawn(results: Path, folder: Path, names: Sequence[str]) -> None:
    """Make figures again, byte for byte as the rules made them."""
    for name in names:
        stages.figure(name, results=results, output=folder, dpi=DPI)
        for ending in (".png", ".svg"):
            made, first = ((place / name).with_suffix(ending) for place in (folder, results / "figures"))
            assert made.read_bytes() == first.read_bytes(), name
    assert {path.stem for path in folder.rglob("*.svg")} == {Path(name).name for name in names}


def pages_of(results: Path) -> str:
    """Return what all pages of a study say, without their style, script and pictures."""
    pages = [results / "report.html", *sorted((results / "pages").glob("*.html"))]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    return "\n".join(re.sub(r"<(style|script)>.*?</\1>|base64,[^\"]*", "", text, flags=re.DOTALL) for text in texts)
