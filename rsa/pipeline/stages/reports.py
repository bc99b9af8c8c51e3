"""For people: the pictures of each part of a study, and the page."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.core import REFERENCE, TEST, ScoreMap, on_voxels, select
from rsa.errors import UserError, did_you_mean, listed
from rsa.files import io
from rsa.files.evokeds import read_info
from rsa.files.images import read_anatomy
from rsa.files.stored import stored_scores
from rsa.inference.contrasts import DIFFERENCE
from rsa.inputs.stimuli import Stimuli, condition_table
from rsa.maps import derive_all, stack
from rsa.pipeline.config import ComparisonName, Generalisation, MapName, Study
from rsa.pipeline.plan import Plan, plan_of_results
from rsa.pipeline.stages.common import stacked
from rsa.rdm import MEEG, of_one_subject
from rsa.report.assemble import StudyPages
from rsa.report.courses import course_figures, save_generalisation
from rsa.report.dots import ranking_figures
from rsa.report.film import film_figures, rdm_film_figures
from rsa.report.links import OVERVIEW
from rsa.report.networks import network_figure
from rsa.report.study import group_figures, reference_figures, region_figures, subject_figures
from rsa.report.style import DPI, only
from rsa.report.topographies import sensor_figures
from rsa.report.units.draw import unit_figures
from rsa.report.units.learning import change_figures
from rsa.significance import Significance, significance_of, without_tests

__all__ = [
    "draw_fusion",
    "draw_group",
    "draw_networks",
    "draw_ranking",
    "draw_unit_changes",
    "draw_units",
    "draw_references",
    "draw_regions",
    "draw_sensors",
    "draw_subject",
    "draw_time",
    "figure",
    "report",
]


def draw_references(
    references: list[Path], folder: Path, comparison: ComparisonName = "spearman", stimuli: Stimuli | None = None
) -> None:
    """Draw the reference RDMs and how similar they are.

    Parameters
    ----------
    stimuli : Stimuli
        Conditions are in the order of its table, sorted by the column `category` if it has one.
    """
    stack = of_one_subject(stacked(references))
    reference_figures(stack, folder, categories=_categories(stimuli), comparison=comparison)


def _categories(stimuli: Stimuli | None) -> pd.Series | None:
    """Return the category of each condition, in the order of the stimulus table; "" where it has no `category`."""
    if stimuli is None:
        return None
    table = condition_table(stimuli.load()).set_index("condition")
    return table["category"].astype(str) if "category" in table else pd.Series("", table.index)


def draw_subject(
    scores: Path,
    subject: str,
    space: str,
    folder: Path,
    derived: list[MapName] | None = None,
    inference: Path | None = None,
    anatomy: Path | None = None,
) -> None:
    """Draw the maps of one subject: glass brains, slices, layer preference.

    Parameters
    ----------
    scores : path
        Scores of the subject (HDF5).
    inference : path
        p values of these scores (HDF5): what is not significant is faded.
    anatomy : path
        Anatomical image on which slices are drawn.
    """
    maps, distance = io.load_scores(scores), str(io.read_provenance(scores)["settings"].get("distance", "unknown"))
    made = derive_all(maps, derived, distance=distance)
    significance = None
    if inference is not None and maps.volume is not None:
        found = on_voxels(io.load_scores(inference), maps.volume)
        significance = _significance(stack([maps, found]), inference)
    look: dict[str, Any] = {"space": space, "background": None if anatomy is None else read_anatomy(anatomy)}
    subject_figures(maps, made, folder=folder, title=f"subject {subject}", significance=significance, **look)


def _significance(maps: ScoreMap, path: Path) -> Significance | None:
    """Return what is significant of a stack, by the settings of the file that has the tests."""
    return significance_of(maps, io.read_provenance(path)["settings"])


def draw_group(
    scores: list[Path],
    space: str,
    folder: Path,
    group: Path | None = None,
    derived: list[MapName] | None = None,
    models: list[str] | None = None,
    anatomy: Path | None = None,
) -> None:
    """Draw the maps of all subjects beside each other, and those of the group.

    Parameters
    ----------
    group : path
        Scores of the group (HDF5).
    models : list of str
        All models and references of the study, in order: so each has one colour in all figures.
    anatomy : path
        Anatomical image on which slices are drawn.
    """
    subjects = [(str(one.table["subject"].iloc[0]), one) for one in map(stored_scores, scores)]
    together = None if group is None else io.load_scores(group)
    made = None
    look: dict[str, Any] = {"background": None if anatomy is None else read_anatomy(anatomy)}
    if together is not None and group is not None:
        look["comparison"] = str(io.read_provenance(group)["settings"].get("comparison", ""))
        look["significance"] = _significance(together, group)
        look["differences"], look["settings"] = _differences(together), io.read_provenance(group)["settings"]
        together = without_tests(together)
        made = derive_all(select(together, statistic=together.table["statistic"].iloc[0]), derived)
    group_figures(subjects, together, made, space=space, folder=folder, models=models or [], **look)


def _differences(maps: ScoreMap) -> ScoreMap | None:
    """Return differences of references or groups as scores, and all tests; None without any."""
    is_difference = (maps.table["statistic"] == DIFFERENCE).to_numpy()
    chosen = is_difference | (maps.table["role"] == TEST).to_numpy()
    table = maps.table.assign(role=maps.table["role"].where(~is_difference, REFERENCE))
    return replace(maps, values=maps.values[chosen], table=table[chosen]) if is_difference.any() else None


def draw_regions(
    fits: Path, folder: Path, tests: Path | None = None, alpha: float = 0.05, models: list[str] | None = None
) -> None:
    """Draw how well the references fit each region, with the noise ceiling.

    Parameters
    ----------
    tests : path
        Table of the tests of regions over subjects (TSV).
    alpha : float
        Times with this corrected p or a lower one are marked.
    models : list of str
        All models and references of the study, in order: so each has one colour in all figures.
    """
    found = None if tests is None else io.load_table(tests)
    found = found if found is not None and "p_corrected" in found else None
    region_figures(io.load_table(fits).fillna({"layer": ""}), folder, found, alpha=alpha, models=models or [])


def draw_ranking(table: Path, folder: Path, models: list[str] | None = None) -> None:
    """Draw models in order in each region, with intervals and the noise ceiling.

    Parameters
    ----------
    table : path
        The ranking (TSV).
    models : list of str
        All models and references of the study, in order: so each has one colour in all figures.
    """
    ranking_figures(io.load_table(table), folder, models or [])


def draw_units(tables: Path, folder: Path) -> None:
    """Draw what the units of a network see: fields, preferred pictures, codes, and the rest of what was asked.

    Parameters
    ----------
    tables : path
        Folder of the tables and arrays of the network.
    """
    folder.mkdir(parents=True, exist_ok=True)  # also where nothing is drawn
    unit_figures(tables, folder)


def draw_unit_changes(tables: Path, units: list[Path], folder: Path) -> None:
    """Draw what learning changes in the units of networks: before and after a training, and along it.

    Parameters
    ----------
    tables : path
        Folder of the tables, and of the names of the networks of each comparison.
    units : list of path
        Folders of the units of networks, model-<label>.
    """
    folders = {one.name.removeprefix("model-"): one for one in units}
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in json.loads((tables / "networks.json").read_text(encoding="utf-8")).items():
        change_figures(tables, name, {label: folders[label] for label in labels}, folder)


def draw_networks(study: Path, tables: Path, folder: Path) -> None:
    """Draw networks among themselves: with their seeds, before and after a training, and along it.

    Parameters
    ----------
    study : path
        Settings (JSON).
    tables : path
        Folder of the tables.
    """
    settings = Study.model_validate_json(study.read_text(encoding="utf-8"))
    models = [model.label for model in settings.models]
    for one in settings.network_comparisons:
        network_figure(io.load_table(tables / f"{one.name}.tsv"), one.kind, folder / f"{one.name}.png", models)


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
        Conditions are in the order of its table, sorted by the column `category` if it has one.
    times_s : list of float
        Times of the strips, in s after onset; chosen if they are not given.
    """
    maps, mean = io.load_scores(scores), io.load_rdms(movie)
    found, maps = _significance(maps, scores), without_tests(maps)
    statistics = list(dict.fromkeys(maps.table["statistic"]))
    statistic = "mean" if "mean" in statistics else statistics[0]
    shown = select(maps, model=MEEG, statistic=statistic)
    film_figures(shown, folder, space=space, title="fusion", times_s=times_s, significance=found)
    rdm_film_figures(mean, folder, categories=_categories(stimuli), title="M/EEG RDM", times_s=times_s)


def figure(name: str = "", /, *, results: Path, output: Path | None = None, dpi: int = DPI) -> None:
    """Make one figure again from the files of a study; without a name, list the names of all figures.

    Parameters
    ----------
    name : str
        Name of a figure, as its file is called below `figures/`: group/glass, for example.
    results : path
        Folder of the study's results.
    output : path
        Folder for the figure (PNG and SVG; of a film its frames as well); by default `figures/` of the results.
    dpi : int
        Pixels per inch.
    """
    plan = plan_of_results(results)
    figures = results / "figures"
    files = [path for kind in ("png", "json") for path in figures.rglob(f"*.{kind}")]
    names = sorted({path.relative_to(figures).with_suffix("").as_posix() for path in files})
    if not name:
        print("\n".join(names))
        return
    folder, stem = figures / Path(name).parent, Path(name).name
    if name not in names:
        raise UserError(
            f"There is no figure {name!r} in {figures}.{did_you_mean(name, names)} They are {listed(names, 99)}."
        )
    stage, arguments = drawings(plan)[folder]
    with only(stem, dpi):
        stage(**arguments, folder=(output or figures) / Path(name).parent)


def drawings(plan: Plan) -> dict[Path, tuple[Callable[..., None], dict[str, Any]]]:
    """Return, for each folder of figures, the stage that draws it and its arguments, as the rules give them."""
    study, found = plan.study, {}
    alpha = {} if study.inference is None else {"alpha": study.inference.alpha}
    derived = {"derived": list(study.maps)} if plan.derived_option() else {}

    def draws(kind: str, part: str, stage: Callable[..., None], **arguments: Any) -> None:
        found.update(dict.fromkeys(plan.all(kind, part), (stage, arguments)))

    def first(kind: str, part: str) -> Path | None:
        return next(iter(plan.all(kind, part)), None)

    for part in plan.parts():
        for subject, folder in zip(study.subjects, plan.all("subject_figures", part), strict=False):
            arguments = {"scores": plan.path("scores", part=part, subject=subject), "subject": subject}
            inference = next(iter(plan.subject_inference(part, subject)), None)
            arguments |= {"inference": inference, "anatomy": next(iter(plan.anatomy(subject)), None)}
            found[folder] = (draw_subject, {**arguments, "space": plan.space, **derived})
        of_all: dict[str, Any] = {"scores": plan.all_scores(part), "group": first("group_scores", part)}
        of_all |= {"anatomy": next(iter(plan.anatomy()), None)}
        draws("group_figures", part, draw_group, **of_all, space=plan.group_space, **derived, models=plan.names())
        of_regions = {"fits": first("region_fits", part), "tests": first("region_group", part)}
        draws("region_figures", part, draw_regions, **of_regions, **alpha, models=plan.names())
        draws("networks_figures", part, draw_networks, study=plan.path("settings"), tables=first("networks", part))
        of_units = zip(plan.all("units", part), plan.all("units_figures", part), strict=True)
        found.update({figures: (draw_units, {"tables": tables}) for tables, figures in of_units})
        draws("ranking_figures", part, draw_ranking, table=first("ranking", part), models=plan.names())
        over_time: dict[str, Any] = {
            "comparison": study.comparison,
            "generalisation": plan.generalisation(part) or None,
        }
        draws("time_figures", part, draw_time, tables=first("time", part), **over_time, **alpha)
        if plan.all("sensor_figures", part):
            scores, evokeds = plan.drawn_sensors(part)
            draws("sensor_figures", part, draw_sensors, scores=scores, evokeds=evokeds, title=plan.sensor_title())
    of_references = {"references": plan.references(), "comparison": study.comparison, "stimuli": study.stimuli}
    draws("references_figures", "", draw_references, **of_references)
    if (changes := plan.path("unit_changes")).is_dir():  # which networks are compared stands there
        units = sorted(plan.folder.glob("units/model-*"))
        found[plan.path("unit_changes_figures")] = (draw_unit_changes, {"tables": changes, "units": units})
    if plan.has_films:
        filmed = {"scores": plan.filmed_scores(), "movie": plan.path("group_movie"), "space": plan.group_space}
        draws("fusion_figures", "", draw_fusion, **filmed, stimuli=study.stimuli, times_s=study.film_times_s)
    return found


def report(
    study: Path,
    references: list[Path],
    folder: Path,
    output: Path,
    pages: Path,
    brain: list[Path] | None = None,
    scores: list[Path] | None = None,
    resampled: list[Path] | None = None,
    fits: Path | None = None,
    movies: list[Path] | None = None,
    time: Path | None = None,
    sensors: list[Path] | None = None,
) -> None:
    """Write the pages of a study: what was found, its pictures, peaks and tables, and what was run.

    Parameters
    ----------
    study : path
        Settings (JSON).
    brain : list of path
        Brain data of all subjects (HDF5).
    folder : path
        Folder of the study's results, with the pictures in `figures/`.
    output : path
        The first page (HTML): report.html in that folder.
    pages : path
        Folder of the others: pages/ in that folder.
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
    made = StudyPages(
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
    for at, html in made.html().items():
        io.save_text(output if at == OVERVIEW else pages / Path(at).name, html)
