"""First levels of SPM: betas, contrasts or t maps, named by SPM.mat."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import h5py
import numpy as np
from pydantic import model_validator

from rsa.core import Residuals, Volume
from rsa.datasets.brain_images import BrainImages, Source
from rsa.errors import UserError, listed
from rsa.files.images import read_patterns
from rsa.files.io import reading
from rsa.files.sources import Version, version_of
from rsa.settings import DataPath, fill

__all__ = ["Spm"]

SUFFIXES = (".nii", ".nii.gz", ".img")
REGRESSOR = re.compile(r"Sn\((?P<run>\d+)\) (?P<name>.+)\*bf\((?P<basis>\d+)\)")
"""A regressor of events; motion, other covariates and constants have no ``*bf``."""
PER_SESSION = re.compile(r"(?P<name>.+) - Session (?P<run>\d+)")
"""A contrast that SPM made of another for each session."""
ALL_SESSIONS = " - All Sessions"
WANTED = ("xX.name", "xX.trRV", "xBF.name", "xBF.length", "xCon.name", "xCon.STAT", "nscan", "Vbeta")
"""What is read of the struct SPM."""


@dataclass(frozen=True)
class Design:
    """What is needed of SPM.mat.

    Parameters
    ----------
    path : Path
        The file.
    regressors : tuple of str
        Names of the columns of the design matrix, in the order of the beta images.
    basis : str
        Name of the basis functions of a response.
    basis_length_s : float
        How long they are.
    contrasts : tuple of (name, statistic)
        In the order of the contrast images.
    n_scans : int
        Number of scans of all sessions.
    trace : float
        Trace of R V: SPM divides the sum of squared residuals by it, so it is their degrees of freedom.
    """

    path: Path
    regressors: tuple[str, ...]
    basis: str
    basis_length_s: float
    contrasts: tuple[tuple[str, str], ...]
    n_scans: int
    trace: float


class Spm(BrainImages):
    """Images of a first-level analysis of SPM, with the names that its SPM.mat gives them.

    Raises
    ------
    ValidationError
        If a placeholder is unknown, or subjects would share a folder.
    """

    located_by = "folder"
    templates = dict.fromkeys(("folder", "mask"), ("subject",))

    kind: Literal["spm"] = "spm"
    """A folder per subject with SPM.mat, the images and mask.nii, as SPM leaves it."""
    folder: DataPath
    """Template ({subject}) of the folders of the first levels."""
    images: Literal["beta", "con", "spmT"] = "beta"
    """What to take: beta images (one for each run and condition; derivatives, parametric modulators and nuisance
    regressors are left out), or the images or t maps of all t contrasts, which are called as the contrasts are."""
    mask: DataPath | None = None
    """Template ({subject}) of the masks, above 0 inside; by default the mask of the first level."""

    @model_validator(mode="after")
    def _folders_differ(self) -> Self:
        self._require_subject("folder")
        return self

    def _responses(self) -> str:
        what = {"beta": "parameter estimates", "con": "contrast images", "spmT": "t maps"}[self.images]
        return f"Responses were the {what} of first-level models of SPM"

    def files(self, subject: str, conditions: Sequence[str] | None = None, *, residuals: bool = False) -> list[Path]:
        """Return every file that `load` reads; only SPM.mat where that cannot be read."""
        design = self._folder(subject) / "SPM.mat"
        if not design.exists():
            return [design]
        return [design, *super().files(subject, conditions, residuals=residuals)]

    # --------------------------------------------------------------------------------------- the parts

    def _folder(self, subject: str) -> Path:
        return fill(self.folder, subject=subject)

    def _masks(self, subject: str) -> list[Path]:
        return super()._masks(subject) or [_existing(self._folder(subject) / "mask")]

    def _sources(self, subject: str, conditions: Sequence[str] | None = None) -> list[Source]:
        folder = self._folder(subject)
        design = _read_design(folder / "SPM.mat")
        found = list(_betas(design) if self.images == "beta" else _contrasts(design, self.images))
        if not found:
            what = "regressor of events" if self.images == "beta" else "t contrast"
            raise UserError(f"{folder / 'SPM.mat'} has no {what}; see `images`.")
        by_run = {source.condition for source in found if source.run is not None}
        return [source for source in found if source.run is not None or source.condition not in by_run]

    def _found_problems(self, subject: str, conditions: Sequence[str] | None, residuals: bool) -> Iterator[str]:
        yield from super()._found_problems(subject, conditions, residuals)
        kept = [source for source in self._sources(subject) if len(self._kept_rows(source, conditions))]
        of_all = [str(source.condition) for source in kept if source.run is None]
        if 0 < len(of_all) < len(kept):
            yield (
                f"{self._folder(subject) / 'SPM.mat'} has contrasts of single sessions, and {listed(of_all)} of all; "
                "put what is not a condition into `exclude`."
            )

    def _residual_images(self, subject: str) -> list[Path]:
        if self.images == "spmT":
            raise UserError(
                f"Residuals are the noise of betas, and images is {self.images!r}, which are in units of it "
                "already; take beta or con, or set noise.source to runs."
            )
        folder = self._folder(subject)
        n_scans = _read_design(folder / "SPM.mat").n_scans
        first = _existing(folder / "Res_0001")
        if not first.exists():
            raise UserError(
                f"Residuals are needed and {folder} has none: estimate the model with 'Write residuals' switched on, "
                "or call spm_write_residuals(SPM, NaN)."
            )
        return [_existing(folder / f"Res_{number + 1:04d}") for number in range(n_scans)]

    def _residual_degrees_of_freedom(self, subject: str) -> float:
        return _read_design(self._folder(subject) / "SPM.mat").trace

    def _residuals(self, subject: str, volume: Volume) -> Residuals:
        """Read the residuals and compare their variance with that which SPM found."""
        residuals = super()._residuals(subject, volume)
        path = _existing(self._folder(subject) / "ResMS")
        variance = (residuals.values**2).sum(axis=0, dtype=np.float64) / residuals.degrees_of_freedom
        expected = read_patterns(path, [0], volume.mask)[0]
        both = np.isfinite(variance) & np.isfinite(expected)
        if both.any() and np.median(variance[both]) > 1.1 * np.median(expected[both]):
            raise UserError(
                f"The images Res_*.nii of {self._folder(subject)} vary more than ResMS.nii says, so the effects were "
                "not taken out of them; write them again: spm_write_residuals(SPM, NaN)."
            )
        return residuals


def _read_design(path: Path) -> Design:
    """Read what is needed of SPM.mat."""
    if not path.exists():
        raise UserError(f"There is no file {path}.")
    return _read_once(path, version_of(path))


@lru_cache(maxsize=128)
def _read_once(path: Path, version: Version) -> Design:
    """Read a file that did not change since."""
    with reading(path, "an SPM.mat"):
        found = _from_hdf5(path) if h5py.is_hdf5(path) else _from_mat(path)
    lacking = [f"SPM.{name}" for name in ("xX.name", "xBF.name", "nscan") if not found[name]]
    if lacking:
        raise UserError(f"{path} has no {listed(lacking)}; specify and estimate the model.")
    if not found["xX.trRV"] and not found["Vbeta"]:
        raise UserError(f"The model of {path} was specified and never estimated, so it has no images; estimate it.")
    with reading(path, "an SPM.mat"):
        contrasts = zip(found["xCon.name"], found["xCon.STAT"], strict=True)
        return Design(
            path,
            tuple(map(str, found["xX.name"])),
            str(found["xBF.name"][0]),
            float(*found["xBF.length"] or [np.nan]),
            tuple((str(name).strip(), str(statistic)) for name, statistic in contrasts),
            int(sum(found["nscan"])),
            float(*found["xX.trRV"] or [np.nan]),
        )


def _from_mat(path: Path) -> dict[str, list[Any]]:
    """Read the wanted fields, each as a list of texts, numbers or structs; empty where there is none."""
    from scipy.io import loadmat

    spm = loadmat(path, variable_names=["SPM"], squeeze_me=True, struct_as_record=False)["SPM"]
    return {name: _values(spm, name.split(".")) for name in WANTED}


def _values(value: Any, names: Sequence[str]) -> list[Any]:
    """Return the values of a field in all structs of an array of MATLAB, of which there may be one, several or none."""
    items = np.atleast_1d(np.asarray(value, dtype=object)).ravel()
    if not names:
        return list(items)
    fields = [getattr(struct, names[0]) for struct in items if hasattr(struct, names[0])]
    return [one for field in fields for one in _values(field, names[1:])]


def _from_hdf5(path: Path) -> dict[str, list[Any]]:
    """Read the same of a file of MATLAB 7.3, which is HDF5; not the rest, of which there is much."""
    with h5py.File(path, "r") as file:
        spm = file["SPM"]
        return {name: _values_in_hdf5(file, spm, name.split(".")) for name in WANTED}


def _values_in_hdf5(file: h5py.File, item: Any, names: Sequence[str]) -> list[Any]:
    """Return the values of a field: a struct is a group; cells, and fields of arrays of structs, refer to others."""
    if isinstance(item, h5py.Group):
        if not names:
            return [item.name]
        return _values_in_hdf5(file, item[names[0]], names[1:]) if names[0] in item else []
    if item.dtype == h5py.ref_dtype:
        return [one for reference in np.ravel(item[()]) for one in _values_in_hdf5(file, file[reference], names)]
    if names:  # an array without structs
        return []
    is_empty = "MATLAB_empty" in item.attrs
    if item.attrs.get("MATLAB_class") == b"char":
        return ["" if is_empty else "".join(map(chr, np.ravel(item[()])))]
    return [] if is_empty else list(np.ravel(item[()]))


def _betas(design: Design) -> Iterator[Source]:
    """Yield the beta image of each condition in each run; of several basis functions that which is a response."""
    matches = [REGRESSOR.fullmatch(name) for name in design.regressors]
    events = [(number, match) for number, match in enumerate(matches, start=1) if match is not None]
    named = {(match["run"], match["name"]) for _, match in events}
    delays_s = _delays_s(design, max((int(match["basis"]) for _, match in events), default=1))
    for number, match in events:
        delay_s = delays_s.get(int(match["basis"]))
        is_response = int(match["basis"]) == 1 or delay_s is not None
        if is_response and not _is_modulator(match["run"], match["name"], named):
            image = _existing(design.path.with_name(f"beta_{number:04d}"))
            yield Source(image, run=match["run"], condition=match["name"], delay_s=delay_s)


def _is_modulator(run: str, name: str, named: set[tuple[str, str]]) -> bool:
    """Say whether a regressor is called as SPM calls a modulator of a condition: facexrating^1."""
    cut = [place.start() for place in re.finditer("x", name)] if re.search(r"x.+\^\d+$", name) else []
    return any((run, name[:place]) in named for place in cut)


def _delays_s(design: Design, n_basis: int) -> dict[int, float]:
    """Return the middle of each bin of a finite impulse response, in s after onset; nothing for the canonical HRF."""
    is_fir = design.basis.startswith("Finite Impulse Response")
    if design.basis.startswith("hrf") or (n_basis == 1 and not is_fir):
        return {}
    if is_fir:
        step_s = design.basis_length_s / n_basis
        if not step_s > 0:
            raise UserError(f"{design.path} does not say how long its finite impulse response is (SPM.xBF.length).")
        return {number: (number - 0.5) * step_s for number in range(1, n_basis + 1)}
    raise UserError(
        f"{design.path} has the basis functions {design.basis!r}, of which none is a response; estimate it with the "
        "canonical HRF or a finite impulse response."
    )


def _contrasts(design: Design, prefix: str) -> Iterator[Source]:
    """Yield the image of each t contrast, with the run that SPM wrote into its name."""
    for number, (name, statistic) in enumerate(design.contrasts, start=1):
        if statistic == "T":
            image = _existing(design.path.with_name(f"{prefix}_{number:04d}"))
            match = PER_SESSION.fullmatch(name)
            if match is not None:
                yield Source(image, run=match["run"], condition=match["name"])
            else:
                yield Source(image, condition=name.removesuffix(ALL_SESSIONS))


def _existing(stem: Path) -> Path:
    """Return the first file of this name that is there, whatever its ending; .nii if there is none."""
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.exists()), paths[0])
