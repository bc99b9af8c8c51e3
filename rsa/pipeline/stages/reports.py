"""For people: the pictures of each part of a study, and the page."""

from pathlib import Path
from typing import Any

from rsa.core import ScoreMap, on_voxels, select
from rsa.files import io
from rsa.files.evokeds import read_info
from rsa.inputs.stimuli import Stimuli
from rsa.maps import derive_all, stack
from rsa.pipeline.config import ComparisonName, Generalisation, MapName, Study
from rsa.pipeline.stages.common import stacked
from rsa.rdm import MEEG, of_one_subject
from rsa.report.assemble import StudyPage, categories_of
from rsa.report.courses import course_figures, save_generalisation
from rsa.report.film import film_figures, rdm_film_figures
from rsa.report.study import group_figures, reference_figures, region_figures, subject_figures
from rsa.report.topographies import sensor_figures
from rsa.significance import Significance, significance_of, without_tests

__all__ = [
    "draw_fusion",
    "draw_group",
    "draw_references",
    "draw_regions",
    "draw_sensors",
    "draw_subject",
    "draw_time",
    "report",
]


def draw_references(
    references: list[Path], folder: Path, comparison: ComparisonName = "spearman", stimuli: Stimuli | None = None
) -> None:
    """Draw the reference RDMs and how similar they are.

    Parameters
    ----------
    stimuli : Stimuli
        If its table has a column `category`, conditions are sorted by it.
    """
    stack = of_one_subject(stacked(references))
    reference_figures(stack, folder, categories=categories_of(stimuli, stack), comparison=comparison)


def draw_subject(
    scores: Path,
    subject: str,
    space: str,
    folder: Path,
    derived: list[MapName] | None = None,
    inference: Path | None = None,
) -> None:
    """Draw the maps of one subject: glass brains, slices, layer preference.

    Parameters
    ----------
    scores : path
        Scores of the subject (HDF5).
    inference : path
        p values of these scores (HDF5): what is not significant is faded.
    """
    maps, distance = io.load_scores(scores), str(io.read_provenance(scores)["settings"].get("distance", "unknown"))
    made = derive_all(maps, derived, distance=distance)
    significance = None
    if inference is not None and maps.volume is not None:
        found = on_voxels(io.load_scores(inference), maps.volume)
        significance = _significance(stack([maps, found]), inference)
    title = f"subject {subject}"
    subject_figures(maps, made, space=space, folder=folder, title=title, significance=significance)


def _significance(maps: ScoreMap, path: Path) -> Significance | None:
    """Return what is significant of a stack, by the settings of the file that has the tests."""
    return significance_of(maps, io.read_provenance(path)["settings"])


def draw_group(
    scores: list[Path], space: str, folder: Path, group: Path | None = None, derived: list[MapName] | None = None
) -> None:
    """Draw the maps of all subjects beside each other, and those of the group.

    Parameters
    ----------
    group : path
        Scores of the group (HDF5).
    """
    subjects = [(str(one.table["subject"].iloc[0]), one) for one in map(io.load_scores, scores)]
    together = None if group is None else io.load_scores(group)
    made = None
    look: dict[str, Any] = {}
    if together is not None and group is not None:
        look["comparison"] = str(io.read_provenance(group)["settings"].get("comparison", ""))
        look["significance"] = _significance(together, group)
        together = without_tests(together)
        made = derive_all(select(together, statistic=together.table["statistic"].iloc[0]), derived)
    group_figures(subjects, together, made, space=space, folder=folder, **look)


def draw_regions(fits: Path, folder: Path, tests: Path | None = None, alpha: float = 0.05) -> None:
    """Draw how well the references fit each region, with the noise ceiling.

    Parameters
    ----------
    tests : path
        Table of the tests of regions over subjects (TSV).
    alpha : float
        Times with this corrected p or a lower one are marked.
    """
    found = None if tests is None else io.load_table(tests)
    found = found if found is not None and "p_corrected" in found else None
    region_figures(io.load_table(fits).fillna({"layer": ""}), folder, found, alpha=alpha)


def draw_time(
    tables: Path,
    folder: Path,
    comparison: ComparisonName = "spearman",
    generalisation: Generalisation | None = None,
    alpha: float = 0.05,
) -> None:
    """Draw how well the references fit M/EEG RDMs over time, and when each fits best.

    Parameters
    ----------
    tables : path
        Folder of the tables of `layer_time`.
    generalisation : str
        What the table of all times with each other was made of: within or between subjects.
    alpha : float
        Times with this corrected p or a lower one are marked.
    """
    read = {name: io.load_table(tables / f"{name}.tsv") for name in ("courses", "latencies", "hierarchy")}
    read = {name: table.fillna({"layer": ""}) if "layer" in table else table for name, table in read.items()}
    course_figures(read["courses"], read["latencies"], folder, hierarchy=read["hierarchy"], alpha=alpha)
    if generalisation is not None:
        matrix = io.load_table(tables / "generalisation.tsv").set_index("time_s")
        between = generalisation == "between"
        path = folder / "generalisation.png"
        save_generalisation(matrix.to_numpy(), matrix.index.to_numpy(), path, comparison=comparison, between=between)


def draw_sensors(scores: Path, evokeds: Path, folder: Path, title: str = "") -> None:
    """Draw scores over sensors: each reference at its best time, and the best reference over time.

    Parameters
    ----------
    scores : path
        Scores of the group, of which the first test is drawn, or of a subject (HDF5).
    evokeds : path
        Evoked responses with the same sensors (.fif).
    title : str
        Who it is, for the captions.
    """
    maps = io.load_scores(scores)
    shown = select(without_tests(maps), statistic=maps.table["statistic"].iloc[0])
    sensor_figures(shown, read_info(evokeds), folder, title=title, significance=_significance(maps, scores))


def draw_fusion(
    scores: Path,
    movie: Path,
    space: str,
    folder: Path,
    stimuli: Stimuli | None = None,
    times_s: list[float] | None = None,
) -> None:
    """Draw the fMRI maps of the M/EEG RDM over time, and that RDM over time, as strips and films.

    Parameters
    ----------
    scores : path
        Scores of the group, or of a subject (HDF5).
    movie : path
        Mean M/EEG RDMs (HDF5).
    stimuli : Stimuli
        If its table has a column `category`, conditions are sorted by it.
    times_s : list of float
        Times of the strips, in s after onset; chosen if they are not given.
    """
    maps, mean = io.load_scores(scores), io.load_rdms(movie)
    found, maps = _significance(maps, scores), without_tests(maps)
    statistics = list(dict.fromkeys(maps.table["statistic"]))
    statistic = "mean" if "mean" in statistics else statistics[0]
    shown = select(maps, model=MEEG, statistic=statistic)
    film_figures(shown, folder, space=space, title="fusion", times_s=times_s, significance=found)
    categories = categories_of(stimuli, mean)
    rdm_film_figures(mean, folder, categories=categories, title="M/EEG RDM", times_s=times_s)


def report(
    study: Path,
    references: list[Path],
    folder: Path,
    output: Path,
    brain: list[Path] | None = None,
    scores: list[Path] | None = None,
    resampled: list[Path] | None = None,
    fits: Path | None = None,
    movies: list[Path] | None = None,
    time: Path | None = None,
    sensors: list[Path] | None = None,
) -> None:
    """Write one page with the pictures, peaks and tables of a study, and what was run.

    Parameters
    ----------
    study : path
        Settings (JSON).
    brain : list of path
        Brain data of all subjects (HDF5).
    folder : path
        Folder of the study's results, with the pictures in `figures/`.
    output : path
        The page (HTML).
    scores : list of path
        Scores of all subjects, in the space of their images (HDF5).
    resampled : list of path
        The same scores on the grid of a template (HDF5): what they were made of is listed.
    movies : list of path
        M/EEG RDMs of all subjects (HDF5).
    time : path
        Folder of the tables of layers over time.
    sensors : list of path
        Scores over sensors of all subjects (HDF5).
    """
    page = StudyPage(
        Study.model_validate_json(study.read_text(encoding="utf-8")),
        folder,
        references,
        brain=brain or [],
        scores=scores or [],
        resampled=resampled or [],
        fits=fits,
        movies=movies or [],
        time=time,
        sensors=sensors or [],
    )
    io.save_text(output, page.html())
