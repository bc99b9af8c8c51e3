"""First levels of FSL: what FEAT estimates in each run, named by its contrasts."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsa.core import Patterns
from rsa.datasets.brain_images import BrainImages, Source
from rsa.errors import UserError, listed
from rsa.files.sources import load_text
from rsa.settings import DataPath, Names, fill, placeholders

__all__ = ["Feat"]

logger = logging.getLogger(__name__)

CONTRAST = re.compile(r"^/ContrastName(\d+)[ \t]*(.*?)[ \t\r]*$", flags=re.M)
N_CONTRASTS = re.compile(r"^/NumContrasts[ \t]+(\d+)", flags=re.M)
SETTING = re.compile(r'^set fmri\((\w+)\) "?(.*?)"?\s*$', flags=re.M)
INPUT = re.compile(r'^set feat_files\(\d+\) "(.*?)"', flags=re.M)
ONE_REGRESSOR = {"0", "1", "2", "3"}
"""Shapes of responses in design.fsf that make one regressor of an event: none, Gaussian, gamma, double gamma."""


class Feat(BrainImages):
    """Images of first levels of FSL, one FEAT folder per run.

    Raises
    ------
    ValidationError
        If the template, subjects and runs do not belong together.
    """

    located_by = "folder"
    templates: ClassVar = {"folder": ("subject", "run"), "mask": ("subject",)}

    kind: Literal["feat"] = "feat"
    """A folder .feat per subject and run, as FEAT leaves it."""
    runs: Names = Field(min_length=1)
    """Runs as they appear in the names of the folders, quoted: ["01", "02"]."""
    folder: DataPath
    """Template ({subject}, {run}) of the folders: sub-{subject}/run-{run}.feat."""
    estimate: Literal["cope", "tstat", "zstat", "pe"] = "cope"
    """What to take: the estimate, t map or z map of each contrast (called as the contrast), or the parameter estimates
    (called as the explanatory variable; temporal derivatives are left out). One without a title is called contrast3,
    or ev3, by its number."""
    reg_standard: bool = False
    """Read the images that featregapply brought to standard space (in reg_standard/); without it the runs of a subject
    have to be aligned before FEAT, since each FEAT folder is in the space of its own run."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside; by default what is in the masks of all runs."""

    @model_validator(mode="after")
    def _folders_differ(self) -> Self:
        self._require_subject("folder")
        if len(self.runs) > 1 and "run" not in placeholders(self.folder):
            raise ValueError("folder has no {run}, so all runs would be the same; put it there")
        return self

    def _responses(self) -> str:
        what = {"cope": "contrast estimates", "tstat": "t maps", "zstat": "z maps", "pe": "parameter estimates"}
        return f"Responses were the {what[self.estimate]} of first-level analyses of FEAT (FSL)"

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> Patterns:
        """Read the patterns of a subject; see `BrainImages.load`."""
        if len(self.runs) > 1 and not self.reg_standard:
            logger.warning(
                f"subject {subject!r}: FEAT leaves each run in its own space; unless the runs were aligned before "
                "FEAT, run featregapply on each folder and set brain.reg_standard: true"
            )
        return super().load(subject, conditions, residuals=residuals)

    # --------------------------------------------------------------------------------------- the parts

    def _folder(self, subject: str, run: str) -> Path:
        return fill(self.folder, subject=subject, run=run)

    def _images_folder(self, subject: str, run: str) -> Path:
        folder = self._folder(subject, run)
        return folder / "reg_standard" if self.reg_standard else folder

    def files(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[Path]:
        """Return every file that `load` reads; only the designs where one of them is not there."""
        designs = [_design_file(self._folder(subject, run), self.estimate) for run in self.runs]
        if not all(path.exists() for path in designs):
            return designs
        noise = [self._folder(subject, run) / "stats" / "dof" for run in self.runs] if residuals else []
        return [*designs, *super().files(subject, conditions, residuals=residuals), *noise]

    def _masks(self, subject: str) -> list[Path]:
        return super()._masks(subject) or [self._images_folder(subject, run) / "mask.nii.gz" for run in self.runs]

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        return [
            Source(self._images_folder(subject, run) / "stats" / f"{self.estimate}{number}.nii.gz", None, run, name)
            for run in self.runs
            for number, name in _named_estimates(self._folder(subject, run), self.estimate).items()
        ]

    def _residual_images(self, subject: str) -> list[Path]:
        if self.estimate in ("tstat", "zstat"):
            raise UserError(
                f"Residuals are the noise of betas, and estimate is {self.estimate!r}, which are in units of it "
                "already; take cope or pe, or set noise.source to runs."
            )
        paths = [self._images_folder(subject, run) / "stats" / "res4d.nii.gz" for run in self.runs]
        missing = [str(path) for path in paths if not path.exists()]
        if missing:
            raise UserError(
                f"Residuals are needed and there is no {listed(missing, 3)}; keep res4d (FEAT does), and bring it to "
                "standard space as the other images if reg_standard is set."
            )
        return paths

    def _residual_degrees_of_freedom(self, subject: str) -> float:
        return sum(_read_dof(self._folder(subject, run) / "stats" / "dof") for run in self.runs)


def _design_file(folder: Path, estimate: str) -> Path:
    return folder / ("design.fsf" if estimate == "pe" else "design.con")


def _named_estimates(folder: Path, estimate: str) -> dict[int, str]:
    """Return the conditions of a run by the number in the file names; a `UserError` if the design names nothing."""
    _require_first_level(folder)
    path = _design_file(folder, estimate)
    text = _text_of(path)
    found = _explanatory_variables(path, text) if estimate == "pe" else _contrasts(text)
    if not found:
        raise UserError(
            f"{path} names no {'explanatory variable' if estimate == 'pe' else 'contrast'}; run FEAT again."
        )
    return found


def _text_of(path: Path) -> str:
    return "\n".join(load_text(path, "file of FEAT").splitlines())


def _require_first_level(folder: Path) -> None:
    """Refuse an analysis over runs or subjects, and say of which first levels it is."""
    design = folder / "design.fsf"
    if not design.exists():
        return
    text = _text_of(design)
    if dict(SETTING.findall(text)).get("level", "1") != "1":
        inputs = INPUT.findall(text)
        raise UserError(
            f"{folder} is a higher-level analysis of FEAT, in which runs or subjects are averaged; give the first "
            f"levels, a .feat folder for each run{': ' + listed(inputs, 2) if inputs else ''}."
        )


def _contrasts(text: str) -> dict[int, str]:
    """Return the contrasts of design.con by their numbers; one without a title is called by its number."""
    titles = {int(number): title for number, title in CONTRAST.findall(text)}
    told = N_CONTRASTS.search(text)
    numbers = range(1, int(told[1]) + 1) if told else sorted(titles)
    return {number: titles.get(number) or f"contrast{number}" for number in numbers}


def _explanatory_variables(path: Path, text: str) -> dict[int, str]:
    """Return the explanatory variables of design.fsf by the number of their estimate; a derivative has the next one."""
    settings = dict(SETTING.findall(text))
    found, number = {}, 1
    for variable in range(1, int(settings.get("evs_orig", 0)) + 1):
        shape = settings.get(f"convolve{variable}", "")
        if shape not in ONE_REGRESSOR:
            raise UserError(
                f"{path} makes several regressors of explanatory variable {variable} (convolve {shape!r}), of which "
                "none is its response; use contrasts (estimate: cope)."
            )
        found[number] = settings.get(f"evtitle{variable}") or f"ev{variable}"
        number += 1 + int(settings.get(f"deriv_yn{variable}", 0))
    if found and number - 1 != int(settings.get("evs_real", number - 1)):
        raise UserError(
            f"{path} has {settings['evs_real']} real explanatory variables where {number - 1} are expected; use "
            "contrasts (estimate: cope)."
        )
    return found


def _read_dof(path: Path) -> float:
    try:
        return float(path.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path} should hold the degrees of freedom of the run, one number; run FEAT again.") from error
