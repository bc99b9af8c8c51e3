"""What is known to disturb a run: regressors of no interest and volumes that are left out, from fMRIPrep's tables."""

import tempfile
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsa.core import Array
from rsa.datasets.bids.files import Run
from rsa.errors import UserError, did_you_mean
from rsa.files.io import load_table
from rsa.files.sources import load_text
from rsa.settings import Section

__all__ = ["Confounds", "read_confounds"]

SCRUBBED_BY = ("framewise_displacement", "std_dvars")
"""Columns that say which volumes are scrubbed."""

Terms = Literal["basic", "power2", "derivatives", "full"]
"""Of each signal: itself, with its square, with its change from volume to volume, or with all of them."""

GROUPS = {
    "motion": "the 6 motion parameters",
    "wm_csf": "the mean signals of white matter and cerebrospinal fluid",
    "global_signal": "the mean signal of the brain",
    "compcor": "CompCor components",
    "high_pass": "cosine drifts",
}
TERMS = {
    "power2": " with their squares",
    "derivatives": " with their derivatives",
    "full": " with their squares, derivatives and squared derivatives",
}
"""What the methods text calls groups of columns, and the terms of their signals."""


class Confounds(Section):
    """Which columns of fMRIPrep's table become regressors of no interest, and which volumes are left out.

    The parts and their settings are those of `nilearn.interfaces.fmriprep.load_confounds` [1]_. Volumes that fMRIPrep
    calls not yet in a steady state are always left out.

    References
    ----------
    .. [1] Wang HT et al. (2024). Continuous evaluation of denoising strategies in resting-state fMRI connectivity
       using fMRIPrep and Nilearn. PLOS Computational Biology 20:e1011942.

    Raises
    ------
    ValidationError
        If CompCor is wanted without the cosines that it was computed with.
    """

    strategy: tuple[Literal["motion", "wm_csf", "global_signal", "compcor", "high_pass", "scrub"], ...] = ("motion",)
    """Groups of columns: motion, wm_csf (white matter and fluid), global_signal, compcor, high_pass (cosines; then
    `glm.drift` has to be none), scrub (volumes with much motion are left out)."""
    motion: Terms = "basic"
    """Of the motion parameters: basic (6), power2 or derivatives (12), full (24)."""
    wm_csf: Terms = "basic"
    """Of the mean signals of white matter and fluid: basic (2), power2 or derivatives (4), full (8)."""
    global_signal: Terms = "basic"
    """Of the mean signal of the brain: basic (1), power2 or derivatives (2), full (4)."""
    compcor: Literal[
        "anat_combined", "anat_separated", "temporal", "temporal_anat_combined", "temporal_anat_separated"
    ] = "anat_combined"
    """Kind of CompCor components."""
    n_compcor: int | Literal["all"] = 5
    """Number of CompCor components (of each tissue, if separated), or all that fMRIPrep kept."""
    fd_threshold_mm: float = Field(default=0.5, gt=0)
    """With scrub: volumes whose framewise displacement is above this are left out, mm."""
    std_dvars_threshold: float = Field(default=1.5, gt=0)
    """With scrub: so are volumes whose standardised DVARS is above this."""
    min_segment_volumes: int = Field(default=5, ge=0)
    """With scrub: so are stretches shorter than this between volumes that are left out."""
    columns: tuple[str, ...] = ()
    """Further columns by name; * and ? stand for any text and letter, as in "a_comp_cor_0*"."""

    @model_validator(mode="after")
    def _compcor_has_its_cosines(self) -> Self:
        if "compcor" in self.strategy and "high_pass" not in self.strategy:
            raise ValueError(
                "fMRIPrep computes CompCor after its high-pass filter, so strategy compcor needs high_pass beside it "
                "(and glm.drift: none)"
            )
        return self

    def methods(self) -> list[str]:
        """Return sentences for the methods text: regressors of no interest, and volumes that were left out."""
        words = []
        for name in [name for name in self.strategy if name in GROUPS]:
            number = f" ({self.n_compcor}, {self.compcor})" if name == "compcor" else ""
            words.append(f"{GROUPS[name]}{number}{TERMS.get(getattr(self, name, ''), '')}")
        words += [f"the columns {', '.join(self.columns)}"] if self.columns else []
        named = " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
        sentences = [f"Regressors of no interest were {named} of fMRIPrep."] if words else []
        if "scrub" in self.strategy:
            sentences.append(
                f"Volumes with a framewise displacement above {self.fd_threshold_mm:g} mm or standardised DVARS above "
                f"{self.std_dvars_threshold:g} were left out, and stretches of fewer than {self.min_segment_volumes} "
                "volumes between them."
            )
        return sentences


def read_confounds(run: Run, settings: Confounds) -> tuple[pd.DataFrame, Array]:
    """Read the confounds of a run.

    Parameters
    ----------
    run : Run
        Its table of confounds lies beside its images.
    settings : Confounds
        Which columns, and which volumes.

    Returns
    -------
    confounds : DataFrame, n_scans rows
        No value is missing: the first row of derivatives, which have none, repeats the second.
    kept : array of bool, shape (n_scans,)
        False for volumes that are to be left out.

    Raises
    ------
    UserError
        If there is no table, or columns or values are missing.
    """
    path = run.confounds()
    if path is None:
        raise UserError("there is no desc-confounds_timeseries.tsv beside the images; or set confounds: null.")
    cells = load_table(path)
    table = cells.apply(pd.to_numeric, errors="coerce")
    groups, kept = _groups(path, table, settings)
    single = _columns(path, table, settings.columns)
    confounds = pd.concat([groups, single[[name for name in single if name not in groups]]], axis=1)
    _require_numbers(path, cells, confounds)
    if "scrub" in settings.strategy:  # the first volume has no change
        _require_numbers(path, cells, table.loc[1:, list(SCRUBBED_BY)])
    return confounds, kept


def _require_numbers(path: Path, cells: pd.DataFrame, used: pd.DataFrame) -> None:
    """Raise a `UserError` that names the first cell, of those that are used, without a number."""
    missing = np.argwhere(~np.isfinite(used.to_numpy(dtype=float)))
    if len(missing):
        row, column = used.index[missing[0][0]], used.columns[missing[0][1]]
        cell = cells.loc[row, column]
        came = "no value" if pd.isna(cell) else f"{cell!r}, which is no number,"
        raise UserError(f"{path} has {came} in column {column!r} on line {row + 2}.")


def _groups(path: Path, table: pd.DataFrame, settings: Confounds) -> tuple[pd.DataFrame, Array]:
    """Read the columns of `strategy`, and which volumes are kept."""
    # Not load_confounds, which finds the table by the names of images that lack no entity, and reads it by itself.
    from nilearn.interfaces.fmriprep.load_confounds import _load_single_confounds_file

    options: dict[str, Any] = settings.model_dump(include={"motion", "wm_csf", "global_signal", "compcor", "n_compcor"})
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty strategy, and of no volume left: said by our own checks
            copy, described = Path(folder, "confounds.tsv"), path.with_suffix(".json")
            table.to_csv(copy, sep="\t", index=False, na_rep="n/a")
            if described.exists():
                copy.with_suffix(".json").write_text(load_text(described, "JSON sidecar"), encoding="utf-8")
            kept, confounds = _load_single_confounds_file(
                str(copy),
                settings.strategy,
                demean=False,
                confounds_json_file=str(copy.with_suffix(".json")),
                scrub=settings.min_segment_volumes,
                fd_threshold=settings.fd_threshold_mm,
                std_dvars_threshold=settings.std_dvars_threshold,
                **options,
            )
    except (LookupError, ValueError, TypeError, AttributeError) as error:  # also of a strange sidecar
        raise UserError(f"{path} does not fit the settings of `confounds`: {_in_one_line(error)}") from error
    if confounds is None or confounds.empty or not settings.strategy:
        confounds = pd.DataFrame(index=range(len(table)))
    everything = np.arange(len(table))
    return confounds, np.isin(everything, everything if kept is None else kept)


def _columns(path: Path, table: pd.DataFrame, wanted: tuple[str, ...]) -> pd.DataFrame:
    """Choose columns by name or pattern."""
    names: dict[str, None] = {}
    for pattern in wanted:
        matching = [name for name in table if fnmatchcase(name, pattern)]
        if not matching:
            hint = did_you_mean(pattern, table.columns)
            raise UserError(f"{path} has no column {pattern!r}, which confounds.columns asks for.{hint}")
        names |= dict.fromkeys(matching)
    chosen = table[list(names)].astype(float)
    return chosen.fillna(chosen.iloc[[1]].set_axis([0])) if len(chosen) > 1 else chosen


def _in_one_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]!r}."
    return " ".join(str(error).split())
