"""Everything about a study that can be checked before any long work starts, found at once."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.analyses import Partial, Weighted
from rsa.core import FEWEST_CONDITIONS, Volume, require_enough
from rsa.datasets.fetch import FETCHED_SUBJECTS, fetched_files, not_fetched
from rsa.distances import CROSS_VALIDATED
from rsa.errors import Problems, UserError, did_you_mean, listed
from rsa.files.fsaverage import has_cortex
from rsa.files.images import opened, require_one_volume
from rsa.files.records import copies
from rsa.files.sources import NoContentError, problems_of_content, quoted
from rsa.inference.contrasts import contrast_problems
from rsa.inference.designs import Design
from rsa.inference.networks import problems_of_names
from rsa.inference.permutation import smallest_p_of_orders
from rsa.inference.ranking import FEWEST_FOR_HALVES
from rsa.inputs.references import FileReference
from rsa.inputs.regions import known_names, problems_of_regions, region_files, region_labels, warnings_of_labels
from rsa.inputs.templates import problems_of_template, template_files
from rsa.maps import DATA_QUALITY, MAPS
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.models import Model
from rsa.names import label_of, map_path, require_distinct_labels
from rsa.neighbourhood import sphere_offsets
from rsa.pipeline.config import Inference, Movie, Searchlight, Study, load_study, read_yaml
from rsa.rdm import MEEG, chance_is_0
from rsa.settings import by_subject, fill, placeholders
from rsa.simulation.settings import PlantedLatency, PlantedRegion
from rsa.simulation.write import files_of_stimuli, not_simulated
from rsa.units.choosing import problems_of_units
from rsa.units.codes import problems_of_codes, problems_of_layers
from rsa.units.fields import problems_of_fields
from rsa.units.heat_maps import problems_of_heat_maps
from rsa.units.learning import problems_of_changes
from rsa.units.naming import problems_of_classes

NO_DATA = re.compile(r"mask|design|SPM\.mat|\.(json|tsv|csv|txt)$", re.IGNORECASE)
"""Names of files that are often the same in all subjects and runs."""
LONG_TFCE = 500
"""Permutations from which on TFCE through space and time is warned of."""
LONGEST_NAME = 210
"""Letters of the name of a file: 255 bytes, less what is added while it is written."""
MOST_SETTINGS = 500_000
"""Bytes of all settings: systems take 1 MB (macOS) or 2 MB (Linux) for the words of a command."""

__all__ = [
    "problems_of",
    "reference_labels",
    "require_no_problems",
    "simulated_brain",
    "simulated_files",
    "simulated_meeg",
    "simulates_stimuli",
    "stimulus_table",
    "study_conditions",
    "summary",
    "validated",
    "warnings_of",
]

COMPANIONS = {".set": ".fdt", ".hdr": ".img", ".img": ".hdr"}
"""Suffixes of files that hold a header or its data alone, and those of the other file beside them."""


def validated(path: str | Path) -> Study:
    """Read a configuration and check it with all files that it names.

    Raises
    ------
    UserError
        Listing every problem that was found.
    """
    study = load_study(read_yaml(path))
    require_no_problems(study)
    return study


def require_no_problems(study: Study) -> None:
    """Raise a `UserError` that lists all problems of a study, if it has any."""
    if problems := problems_of(study):
        raise Problems("The configuration", problems)


def problems_of(study: Study) -> list[str]:
    """Return everything that is wrong with a study: one line each, none twice.

    Files that the study itself is going to simulate or to fetch are not looked for.
    """
    of_networks = [(model, model.problems()) for model in study.networks]  # reads files of weights, so once
    if long := list(_too_long(study, [model for model, problems in of_networks if not problems])):
        return long  # before a file of such a name is looked for
    if absent := _contents(study):
        return list(dict.fromkeys([*_structure(study), *absent]))
    stimuli, models = list(_stimuli(study)), list(_models(study, of_networks))
    few = [] if stimuli else list(_few_conditions(study)) or list(_few_for_halves(study))
    problems = [*_structure(study), *few, *stimuli, *models, *_regions(study), *_simulation(study)]
    problems += _references(study) if not (stimuli or few) else _missing_references(study)
    problems += _ready(study) if not (stimuli or few or models) else ()
    problems += [*_planted(study), *_networks(study), *_units(study)] if not models else ()
    problems += _analyses(study) if not (stimuli or models) else ()
    problems += _inference(study)
    problems += _codes(study) if not stimuli else ()
    problems += _heat_maps(study, None if stimuli else stimulus_table(study)) if not models else ()
    problems += _contrasts(study) if not (stimuli or models) else ()
    expected = None if stimuli else study_conditions(study)
    if study.meeg is not None and not (few and study.meeg.is_ready):
        meeg = [] if awaits_epochs(study) else study.meeg.problems(expected)
        problems += meeg or [*_sensors(study), *_film_times(study, expected)]
    is_there = study.simulate is None and not awaits_fetch(study)
    if study.brain is not None and is_there and not (few and study.brain.is_ready):
        brain = study.brain.problems(expected, residuals=study.needs_residuals)
        problems += brain or [*_grids(study), *_runs(study), *_delays(study)]
    return list(dict.fromkeys(problems))


def warnings_of(study: Study) -> list[str]:
    """Return what is odd about a study without problems, and may be meant: one line each."""
    odd = [*_odd_references(study), *_odd_rdms(study), *_barely_enough_conditions(study)]
    return [*odd, *_copies(study), *_labels_of_regions(study), *_untested(study)]


def _odd_references(study: Study) -> Iterator[str]:
    """Look for similarities among the RDMs of files, and for RDMs without a difference."""
    table = stimulus_table(study) if study.references else None
    for reference in study.references if not awaits_stimuli(study) else ():
        if isinstance(reference, FileReference):
            yield from reference.oddities(table)


def _odd_rdms(study: Study) -> Iterator[str]:
    """Look for the same among ready RDMs of the brain and of M/EEG, and for times in another unit."""
    for data in (study.brain, study.meeg):
        if data is not None and data.is_ready:
            yield from data.oddities(study_conditions(study))


def _few_for_halves(study: Study) -> Iterator[str]:
    """Check that half of the conditions are enough for a score."""
    conditions = study_conditions(study) or _conditions_of_data(study)
    if study.ranking is not None and conditions is not None and len(conditions) < FEWEST_FOR_HALVES:
        yield (
            f"`ranking` scores halves of the conditions, which needs {FEWEST_FOR_HALVES} or more, and there are "
            f"{len(conditions)}: leave it out."
        )


def _barely_enough_conditions(study: Study) -> Iterator[str]:
    """Say what can be told by three conditions."""
    conditions = study_conditions(study) or _conditions_of_data(study) or ()
    if len(conditions) == FEWEST_CONDITIONS:
        yield (
            f"there are {FEWEST_CONDITIONS} conditions, so 3 dissimilarities, whose ranks have 6 orders: any "
            "two RDMs are alike by chance in one case of 6, and scores have few values."
        )


def _copies(study: Study) -> Iterator[str]:
    """Look for images and recordings of which one is a copy of another."""
    files = []
    if study.brain is not None and study.simulate is None and not awaits_fetch(study):
        files += [path for subject in study.subjects for path in study.brain.files(subject, study_conditions(study))]
    if study.meeg is not None and not awaits_epochs(study):
        files += [path for one in study.meeg_subjects for path in study.meeg.files(one, study_conditions(study))]
    for first, *others in copies(path for path in files if not NO_DATA.search(path.name)):
        yield f"{first} has the same content as {listed(list(map(str, others)), 3)}: is one a copy by mistake?"


def _labels_of_regions(study: Study) -> list[str]:
    """Look for numbers of an atlas that have two names."""
    labels = None if study.regions is None else region_labels(study.regions)
    return [] if labels is None else warnings_of_labels(labels)


def simulates_stimuli(study: Study) -> bool:
    """Say whether the pictures of a study are drawn by it."""
    return study.simulate is not None and study.simulate.images_per_category > 0


def fetched(study: Study) -> list[Path]:
    """Return the files that are written last when the data set of a study is fetched; none where none is."""
    if study.fetch is None or study.brain is None or study.brain.bids_root is None:
        return []
    return fetched_files(study.brain.bids_root, study.brain.subjects)


def awaits_fetch(study: Study) -> bool:
    """Say whether a study is going to fetch its data."""
    return not all(path.exists() for path in fetched(study))


def awaits_epochs(study: Study) -> bool:
    """Say whether the M/EEG data of a study are not there before it runs."""
    return study.simulate is not None and study.simulate.epochs is not None


def awaits_stimuli(study: Study) -> bool:
    """Say whether the stimuli of a study are not there before it runs."""
    return simulates_stimuli(study) or awaits_fetch(study)


def reference_labels(study: Study) -> list[tuple[str, str]]:
    """Return (model, layer) of every reference RDM, in order: layers of the models, then the other references."""
    labels = [(model.label, layer) for model in study.networks for layer in model.layer_names()]
    table = stimulus_table(study) if study.references else None
    for reference in study.references:
        layers = reference.build(table).table["layer"] if isinstance(reference, FileReference) else [""]
        labels += [(reference.name, str(layer)) for layer in dict.fromkeys(layers)]
    return labels


def study_conditions(study: Study) -> list[str] | None:
    """Return the conditions that the study expects of its brain data; None where only the data know."""
    return None if study.stimuli is None or awaits_stimuli(study) else study.stimuli.conditions()


# --------------------------------------------------------------------------------------------- checks


def _structure(study: Study) -> Iterator[str]:
    """Check what the sections need of each other."""
    for part in (
        *(_what_is_compared, _chance, _fused, _over_time, _over_voxels, _mapped, _anatomical, _named),
        _ranked,
    ):
        yield from part(study)
    if study.fetch is not None:
        yield from _problems_of_fetch(study)


def _contents(study: Study) -> list[str]:
    """Name the files of a study that are here by name only, with their content in git-annex or Git LFS."""
    files: list[Path] = []
    for part in _parts(study):
        try:
            files += part()
        except NoContentError as error:
            files.append(error.path)
        except UserError:
            continue  # the checks of this part say why
    beside = [path.with_suffix(COMPANIONS[path.suffix]) for path in files if path.suffix in COMPANIONS]
    return problems_of_content([*files, *beside])


def _parts(study: Study) -> Iterator[Callable[[], Sequence[Path]]]:
    """Return functions that list the files that a study reads, part by part; none of what it makes or fetches."""
    if study.stimuli is not None and not awaits_stimuli(study):
        yield study.stimuli.files
    for part in (*study.networks, *study.references):
        yield part.files
    for subject in study.subjects:
        if study.anatomy is not None:
            yield partial(_anatomy_files, study.anatomy, subject)
        if study.regions is not None:
            yield partial(region_files, study.regions, subject)
        if study.template is not None:
            yield partial(template_files, study.template, subject)
        if study.brain is not None and study.simulate is None and not awaits_fetch(study):
            yield partial(_data_files, study, study.brain, subject, residuals=study.needs_residuals)
    for subject in study.meeg_subjects if not awaits_epochs(study) else ():
        yield partial(_data_files, study, study.meeg, subject)


def _anatomy_files(anatomy: str, subject: str) -> list[Path]:
    return [fill(anatomy, subject=subject)]


def _data_files(study: Study, data: Any, subject: str, **options: bool) -> list[Path]:
    """List the files of a subject; only now, since the conditions may not be known."""
    files: list[Path] = data.files(subject, study_conditions(study), **options)
    return files


def _what_is_compared(study: Study) -> Iterator[str]:
    """Check that there are references and data."""
    if not study.models and not study.references:
        yield "there is nothing to compare the brain with: list `models` or `references`."
    if any(model.needs_pictures for model in study.models) and study.stimuli is None:
        yield "models need pictures: set `stimuli`."
    if not study.has_data and study.units is None and not study.network_comparisons:
        yield "there are no data: set `brain`, `meeg` or both; or `units`, which looks at networks alone."


def _chance(study: Study) -> Iterator[str]:
    """Check that 0 is what unrelated RDMs score: tests, shares of ceilings, best layers and times are read against it.

    All of them: maps, regions, M/EEG over time, and what a reader makes of a mean.
    """
    distances = {}
    if study.brain is not None:
        distances["brain.distance" if study.brain.is_ready else "brain_distance"] = study.brain_rdm_distance
    if study.meeg is not None:
        distances["meeg.distance" if study.meeg.is_ready else "movie.distance"] = study.meeg_rdm_distance
    for setting, distance in distances.items():
        if not chance_is_0(study.comparison, distance):
            yield (
                f"by {study.comparison}, unrelated RDMs score above 0 unless distances of noise are 0 on average, so "
                f"none can be read against 0: set another `comparison`, or crossnobis for {setting}, not {distance}."
            )


def _fused(study: Study) -> Iterator[str]:
    """Check what fusion needs of both kinds of data."""
    if study.film_times_s and not (study.fusion and study.searchlight is not None):
        yield "film_times_s are those of the films of fusion: set `fusion` and `searchlight`, or leave them out."
    if not study.fusion:
        return
    if study.brain is None or study.meeg is None:
        yield "fusion needs fMRI data (`brain`) and M/EEG data (`meeg`)."
        return
    if study.brain.delays_setting:
        yield f"fusion needs one response per condition, and {study.brain.delays_setting} has several delays."
    alone = [subject for subject in study.subjects if subject not in study.meeg.subjects]
    if study.fusion == "paired" and alone:
        yield f"paired fusion needs M/EEG data of each fMRI subject, and meeg.subjects lacks {listed(alone)}."


def _over_time(study: Study) -> Iterator[str]:
    """Check what is said of M/EEG data."""
    if study.generalisation is not None and study.meeg is None:
        yield "`generalisation` compares times of M/EEG data: set `meeg`."
    if study.generalisation == "between" and study.meeg is not None and len(study.meeg.subjects) < 2:
        yield "generalisation between subjects needs 2 or more in meeg.subjects."
    has_epochs = study.meeg is not None and study.meeg.provides == "epochs"
    if study.meeg is not None and has_epochs and study.movie.whiten is not None and not study.meeg.has_baseline:
        yield "movie.whiten needs the noise before onset: set meeg.baseline_s, such as [-0.1, 0]."
    if not has_epochs and study.movie != Movie():
        yield "`movie` says how RDMs are made of epochs, and there are none: set meeg.kind to epochs, or leave it out."
    if study.sensors is not None and not has_epochs:
        kind = "no M/EEG data" if study.meeg is None else "ready RDMs, which have no sensors"
        yield f"`sensors` is a searchlight over those of epochs, and there are {kind}: set meeg.kind to epochs."
    if study.movie.folds is not None and MOVIE_DISTANCES[study.movie.distance].least_folds == 1:
        yield f"movie.distance {study.movie.distance} is one of means over all trials: leave movie.folds out."


def _over_voxels(study: Study) -> Iterator[str]:
    """Check what is said of brain images."""
    kind = "none" if study.brain is None else study.brain.kind
    if study.has_images and study.searchlight is None and study.regions is None:
        yield "there is nothing to do with the brain images: set `searchlight`, `regions` or both."
    if not study.has_images and (study.searchlight is not None or study.regions is not None):
        yield f"`searchlight` and `regions` need brain images, not `kind: {kind}`; leave them out."
    prepared = study.noise is not None or study.remove_mean or study.brain_distance != "correlation"
    if not study.has_images and prepared:
        yield f"`noise`, `remove_mean` and `brain_distance` need brain images, not `kind: {kind}`."
    if study.noise is not None and study.noise.normalisation == "univariate" and study.noise.scope == "brain":
        yield "noise.scope says over which voxels a covariance goes, and `univariate` has none: leave it out."


def _mapped(study: Study) -> Iterator[str]:
    """Check what maps of the group and on a template need."""
    for wanted, name in ((study.group, "group"), (study.noise_ceiling, "noise_ceiling"), (study.template, "template")):
        if wanted and study.searchlight is None:
            yield f"`{name}` maps need a `searchlight`."
    for wanted, name in ((study.group, "group"), (study.noise_ceiling, "noise_ceiling")):
        if wanted and len(study.subjects) < 2:
            yield f"`{name}` maps need 2 subjects or more."
    if study.noise_ceiling and "mean" not in study.group:
        yield "the noise ceiling is written beside the mean over subjects: add `mean` to `group`."
    if study.noise_ceiling and study.template is not None:
        yield "a noise ceiling needs patterns on one grid, and `template` brings maps there: leave one of them out."
    if study.template is not None and study.searchlight is not None and study.searchlight.stride > 1:
        yield "maps with a searchlight.stride above 1 have gaps, so they can't be resampled: set it to 1."
    if study.template is not None:
        yield from problems_of_template(study.template, study.subjects)
        if study.brain is not None and study.brain.space.lower() == study.template.space.lower():
            yield (
                f"template.space is {study.template.space}, as that of the images, so their maps would have the names "
                f"of those on the template; set another label, such as {study.template.space}2mm."
            )

    spaces = [one.space for one in (study.brain, study.template) if one is not None]
    asked = "surfaces" in study.model_fields_set and study.surfaces is not None
    if asked and (study.searchlight is None or not any(map(has_cortex, spaces))):
        yield (
            "`surfaces` are made of maps of a `searchlight` in a space whose label starts with MNI152, and here there "
            f"are {'none' if study.searchlight is None else f'maps in {listed(spaces)}'}; bring them there by "
            "`template`, or leave `surfaces` out."
        )


def _ranked(study: Study) -> Iterator[str]:
    """Check what a ranking needs."""
    if study.ranking is None:
        return
    n_models = len(_names(study))
    if n_models == 1:
        yield "`ranking` compares models and references, and there is one: add another, or leave `ranking` out."
    if study.regions is None and (study.brain is None or not study.brain.is_ready):
        yield "`ranking` is of models in regions: set `regions`, or leave `ranking` out."
    if study.brain is not None and study.brain.delays_setting:
        yield f"`ranking` needs one response per condition, and {study.brain.delays_setting} has several delays."


def _networks(study: Study) -> Iterator[str]:
    """Check what comparisons of networks need, of models without problems."""
    if not study.network_comparisons:
        return
    has_regions = study.regions is not None or (study.brain is not None and study.brain.is_ready)
    for one in [] if has_regions else study.network_comparisons:
        if one.needs_regions:
            yield f"the comparison {one.name!r} is of fits in regions: set `regions`, or leave it out."
    if study.brain is not None and study.brain.delays_setting:
        yield (
            f"`network_comparisons` need one response per condition, and {study.brain.delays_setting} has several "
            "delays."
        )
    layers = {model.label: model.layer_names() for model in study.networks}
    yield from problems_of_names(study.network_comparisons, study.named, layers)


def _units(study: Study) -> Iterator[str]:
    """Check what looking at units needs, of models without problems."""
    asked = study.asked_of_units
    if asked is None:
        return
    if unknown := [name for name in asked.models if name not in study.named]:
        hint = did_you_mean(unknown[0], study.named)
        yield f"`units.models` names {listed(unknown)}, and no model is called so.{hint}"
        return
    watched = [model for model in study.networks if model.label in study.watched]
    if not watched:
        yield "`units` looks at networks that pictures pass, and `models` has none; add one, or leave `units` out."
        return
    regions = known_names(study.regions) if study.regions is not None else _ready_regions(study)
    problems = problems_of_units(asked, watched, regions)
    yield from problems
    yield from problems_of_fields(asked, watched)
    yield from problems_of_layers(asked.layers, watched)
    yield from problems_of_classes(asked, watched)
    if not problems:
        yield from problems_of_changes(asked, study.unit_comparisons, study.named, watched)


def _heat_maps(study: Study, stimuli: pd.DataFrame | None) -> Iterator[str]:
    """Check what heat maps need, of models without problems, and of stimuli where they are known."""
    if (asked := study.asked_of_units) is not None:
        watched = [model for model in study.networks if model.label in study.watched]
        yield from problems_of_heat_maps(asked, watched, stimuli)


def _codes(study: Study) -> Iterator[str]:
    """Check the categories that are read out, of stimuli without problems."""
    codes = None if study.units is None else study.units.codes
    if codes is not None and (table := stimulus_table(study)) is not None:
        yield from problems_of_codes(codes, table)


def _ready_regions(study: Study) -> list[str] | None:
    """Return the names of regions of a study without `regions`; None where only the data tell."""
    if study.brain is None or not study.brain.is_ready:
        return []
    return [str(name) for name in getattr(study.brain, "regions", ())] or None


def _anatomical(study: Study) -> Iterator[str]:
    """Check the images on which maps are drawn."""
    if study.anatomy is None:
        return
    if study.searchlight is None:
        yield "`anatomy` is what maps are drawn on, and there are none: set a `searchlight`, or leave it out."
    if study.template is not None and "subject" not in placeholders(study.anatomy):
        yield "`anatomy` of a study with a `template` is that of each subject: write {subject} into its name."
    told = []
    for subject in study.subjects:
        try:
            path = fill(study.anatomy, subject=subject)
            require_one_volume(opened(path), str(path))
        except UserError as error:
            told.append((subject, f"anatomy: {error}"))
    yield from by_subject(told)


def _named(study: Study) -> Iterator[str]:
    """Check that names tell what they name."""
    twice = [name for name, n in Counter(_names(study)).items() if n > 1]
    if twice:
        yield f"two models or references are called {listed(twice)}; set their `name`."
    networks = {model.label for model in study.networks}
    for name in _names(study):  # rows that tell how good the data are have files of their own, without a layer
        taken = ({MEEG: "M/EEG RDMs"} | ({} if name in networks else DATA_QUALITY)).get(name.lower())
        if taken:
            yield f"the name {name!r} is that of the {taken}; give the model or reference another `name`."
    yield from _shared_labels(_names(study), "names of models and references")
    yield from _shared_labels([analysis.name for analysis in study.analyses], "names of analyses")
    for what, subjects in (("brain.subjects", study.subjects), ("meeg.subjects", study.meeg_subjects)):
        yield from _shared_labels(subjects, what)


def _too_long(study: Study, networks: Sequence[Model]) -> Iterator[str]:
    """Check that the names of maps, the longest of all files, are no longer than file systems take.

    Layers are those of networks without problems.
    """
    space = "" if study.brain is None else study.brain.space
    template = "" if study.template is None else study.template.space
    layers = [label_of(layer) for model in networks for layer in model.layer_names()]
    labels = {
        "subject": [*study.subjects, *study.meeg_subjects],
        "space": [space, template],
        "model": _names(study),
        "layer": layers,
        "analysis": [analysis.name for analysis in study.analyses],
    }
    longest = {name: max(found, key=len, default="") for name, found in labels.items()}
    n_bytes = len(map_path("", **longest, statistic=max(MAPS, key=len)).name)
    which = max(longest, key=lambda name: len(longest[name]))
    if n_bytes > LONGEST_NAME:
        yield (
            f"names of files would have up to {n_bytes} letters, and {LONGEST_NAME} are possible: shorten the {which} "
            f"{longest[which][:20]}..., which has {len(longest[which])}."
        )
    if len(study.study) > LONGEST_NAME:
        yield f"study: the name of a folder has up to {LONGEST_NAME} letters, not {len(study.study)}; shorten it."
    n_bytes = len(study.model_dump_json().encode())
    if n_bytes > MOST_SETTINGS:
        yield (
            f"the settings have {n_bytes / 1e3:.0f} kB, and systems let commands have {MOST_SETTINGS / 1e3:.0f}: put "
            "long lists into files, such as many regions into one atlas with a table of `labels`."
        )


def _problems_of_fetch(study: Study) -> Iterator[str]:
    """Check that the data are read from where they are put."""
    if study.brain is None or study.brain.bids_root is None:
        kind = "none" if study.brain is None else study.brain.kind
        yield f"`fetch` lays data out as BIDS: set brain.kind to bids, not {kind}."
        return
    if study.simulate is not None:
        yield "a study either fetches its data or simulates them: leave `fetch` or `simulate` out."
    unknown = [subject for subject in study.subjects if subject not in FETCHED_SUBJECTS[str(study.fetch)]]
    if unknown:
        there = listed(list(FETCHED_SUBJECTS[str(study.fetch)]))
        yield f"brain.subjects: {study.fetch} has no subject {listed(unknown)}; there are {there}."
    if foreign := not_fetched(study.brain.bids_root, study.brain.subjects):
        yield (
            f"`fetch` would write over {listed(foreign, 3)}, which it did not write, or which changed since: remove "
            "`fetch` to use data of your own, or set brain.root to a folder for what is fetched."
        )
    table = Path(study.brain.bids_root) / "stimuli.tsv"
    if study.stimuli is not None and study.stimuli.table != str(table):
        yield f"stimuli.table: the stimuli are going to be fetched to {table}; set it to that."


def _sensors(study: Study) -> list[str]:
    """Check that the sensors of epochs without problems have neighbours, if there is a searchlight over them."""
    if study.sensors is None or study.meeg is None or awaits_epochs(study):
        return []
    return study.meeg.problems_of_sensors(study.sensors.min_sensors)


def _stimuli(study: Study) -> Iterator[str]:
    if study.stimuli is not None and not awaits_stimuli(study):
        problems = study.stimuli.problems()  # opens every picture
        yield from problems
        seeing = any(model.needs_pictures for model in study.models)
        if seeing and not problems and "file" not in study.stimuli.load():
            yield f"models need pictures, and {study.stimuli.table} has no column {study.stimuli.file_column!r}."


def _models(study: Study, of_networks: Iterable[tuple[Model, list[str]]]) -> Iterator[str]:
    for model in study.models:
        yield from model.problems_of_variants()
    for model, problems in of_networks:
        yield from problems
        if not problems:
            yield from _shared_labels(model.layer_names(), f"layers of {model.label}")


def _ready(study: Study) -> Iterator[str]:
    """Check that ready responses of models without problems are those to the conditions, where these are known."""
    known = [] if awaits_stimuli(study) else [stimulus_table(study)]
    for model in (one for one in study.networks if not one.needs_pictures):
        alone = model.problems_of_rows(None) if study.stimuli is None else []
        yield from alone or (line for table in known for line in model.problems_of_rows(table))


def _shared_labels(names: Iterable[str], what: str) -> list[str]:
    """Say if two names become the same part of file names."""
    try:
        require_distinct_labels(names, what)
    except UserError as error:
        return [str(error)]
    return []


def _few_conditions(study: Study) -> Iterator[str]:
    """Check that there are as many conditions as RSA needs, where they are known."""
    conditions = study_conditions(study) or _conditions_of_data(study)
    if conditions is None:
        return
    try:
        require_enough(conditions, "the data" if study.stimuli is None else "the stimuli")
    except UserError as error:
        yield str(error)


def _references(study: Study) -> Iterator[str]:
    table = stimulus_table(study)
    for reference in study.references if not awaits_stimuli(study) else ():
        problems = reference.problems(table)
        yield from problems
        if not problems and isinstance(reference, FileReference):
            layers = [str(layer) for layer in reference.build(table).table["layer"]]
            if broken := [layer for layer in layers if re.search(r"[\t\n\r]", layer)]:
                yield (
                    f"Reference {reference.name!r} names RDMs {listed(broken)}, with a tab or a line break, which no "
                    "cell of a table can hold; rename them."
                )
            yield from _shared_labels(layers, f"RDMs of {reference.name}")
    for reference in study.references:
        of = reference.subjects if isinstance(reference, FileReference) else ()
        everybody = dict.fromkeys([*study.subjects, *study.meeg_subjects])
        if of and (without := [subject for subject in everybody if subject not in of]):
            yield f"Reference {reference.name!r} has an RDM of each of its `subjects`, and lacks {listed(without)}."


def _film_times(study: Study, conditions: list[str] | None) -> Iterator[str]:
    """Check that the times that are asked for are among those of the M/EEG data, which have no problems."""
    if study.film_times_s and study.meeg is not None:
        if study.simulate is not None and study.simulate.epochs is not None:
            times_s = study.simulate.epochs.times_s
        else:
            times_s = study.meeg.times_s(study.meeg_subjects[0], conditions)
        first, last = float(times_s[0]), float(times_s[-1])
        if outside := [time for time in study.film_times_s if not first <= time <= last]:
            yield f"film_times_s: M/EEG data are from {first:g} to {last:g} s after onset, and {outside[0]:g} s is not."


def _analyses(study: Study) -> Iterator[str]:
    """Check that analyses name references that there are, and have the data that they need."""
    twice = [name for name, n in Counter(analysis.name for analysis in study.analyses).items() if n > 1]
    if twice:
        yield f"two analyses are called {listed(twice)}; set their `name`."
    labels = _known_labels(study) if study.analyses else None
    n_conditions = len(study_conditions(study) or ())
    for analysis in study.analyses:
        found = []
        if labels is not None:
            timed = [(MEEG, "")] if study.fusion and analysis.takes_meeg else []
            found += analysis.problems([*labels, *timed], study.comparison)
        if analysis.needs_fusion and not study.fusion:
            found.append("it is of fMRI, M/EEG and a layer: set `fusion`.")
        if isinstance(analysis, Weighted) and 0 < n_conditions < 3 * analysis.n_folds:
            found.append(f"{analysis.n_folds} folds of 3 conditions or more need more than {n_conditions} conditions.")
        found += _across_subjects(study) if analysis.across_subjects else ()
        yield from (f"analyses, {analysis.name}: {text}" for text in found)


def _inference(study: Study) -> Iterator[str]:
    """Check that there is something to test, and that a p can be alpha or less."""
    inference = study.inference
    if inference is None:
        return
    if study.searchlight is not None and len(study.subjects) > 1 and not study.group:
        yield "inference on maps of several subjects is on those of the group: set `group: [mean]`."
    if inference.over_subjects:
        yield from _over_subjects(study, inference)
    else:
        yield from _over_conditions(study, inference)
    if inference.each_subject or (study.searchlight is not None and len(study.subjects) == 1):
        yield from _enough_orders(study, inference)


def _over_subjects(study: Study, inference: Inference) -> Iterator[str]:
    """Check what is asked of a test over subjects."""
    if inference.combine != "same_order":
        yield "inference.combine is of permutations of conditions: leave it out, or set inference.over to conditions."
    of_table = inference.covariates or inference.groups is not None or inference.levels is not None
    if of_table and inference.participants is None:
        yield "inference.groups and covariates are columns of a table of participants: set inference.participants."
        return
    if inference.participants is not None and not of_table:
        yield "inference.participants is read for groups and covariates: set one of them, or leave it out."
    if inference.levels is not None and inference.groups is None:
        yield "inference.levels are those of a column: set inference.groups."
    if inference.statistic == "wilcoxon" and (inference.groups is not None or inference.covariates):
        yield "wilcoxon is of a mean alone, without groups and covariates: set inference.statistic to t."
    if inference.statistic == "pseudo_t" and inference.covariates:
        yield "pseudo_t errs too often with covariates (docs/inference.md): set inference.statistic to t."
    for subjects, what in ((study.subjects, "brain.subjects"), (study.meeg_subjects, "meeg.subjects")):
        if not subjects:
            continue
        has_design = what == "brain.subjects" or study.sensors is not None
        try:
            design = inference.design(subjects) if has_design else Design(len(subjects))
        except UserError as error:
            yield from ([f"inference: {text}" for text in getattr(error, "problems", [str(error)])])
            continue
        smallest = design.smallest_p(inference.permutations, inference.alternative)
        if smallest > inference.alpha:
            yield (
                f"inference over the {len(subjects)} {what} can give no p below {smallest:.3g}, and alpha is "
                f"{inference.alpha:g}: take more subjects or permutations, or set inference.over to conditions."
            )


def _over_conditions(study: Study, inference: Inference) -> Iterator[str]:
    """Check what is asked of a test over conditions."""
    own = inference.over_conditions()
    for name in ("statistic", "contrasts", "participants", "groups", "levels", "covariates"):
        if getattr(inference, name) != getattr(own, name):
            why = (
                "both references are unrelated to the brain where conditions are permuted"
                if name == "contrasts"
                else ""
            )
            yield (
                f"inference.{name} is of a test over subjects{f' ({why})' if why else ''}: set inference.over to "
                "subjects, or leave it out."
            )
    if study.template is not None and study.searchlight is not None and len(study.subjects) > 1:
        yield (
            "inference over conditions needs the patterns of all subjects on one grid, and `template` brings maps "
            "there: set inference.over to subjects, or leave `template` out."
        )
    if inference.combine == "stelzer" and len(study.subjects) < 2:
        yield "inference.combine: stelzer draws from the maps of 2 subjects or more: leave it out."
    yield from _enough_orders(study, inference)


def _enough_orders(study: Study, inference: Inference) -> Iterator[str]:
    """Check that orders of conditions can give a p of alpha or less."""
    n_conditions = len(study_conditions(study) or _conditions_of_data(study) or ())
    smallest = 1 / (1 + inference.permutations)
    if n_conditions >= FEWEST_CONDITIONS:
        smallest = smallest_p_of_orders(n_conditions, inference.permutations)
    if smallest > inference.alpha:
        of = f"the orders of {n_conditions} conditions" if n_conditions else f"{inference.permutations} permutations"
        yield (
            f"inference by {of} can give no p below {smallest:.3g}, and alpha is {inference.alpha:g}: take more "
            "permutations or conditions, or set inference.over to subjects."
        )


def _contrasts(study: Study) -> list[str]:
    """Check that contrasts name references that there are, and not twice the same."""
    labels = None if study.inference is None or not study.inference.contrasts else _known_labels(study)
    if labels is None or study.inference is None:
        return []
    own = [(MEEG, "")] if study.fusion == "paired" else []
    return [f"inference.contrasts: {text}" for text in contrast_problems(study.inference.contrasts, [*labels, *own])]


def _untested(study: Study) -> Iterator[str]:
    """Say which maps have no p although p values are asked for."""
    inference = study.inference
    if inference is None:
        return
    has_maps_of_times = study.fusion and study.searchlight is not None and "times" in inference.family
    if has_maps_of_times and inference.enhance == "tfce" and inference.permutations > LONG_TFCE:
        yield (
            "TFCE through space and time takes up to seconds for a map of a whole brain, and the maps of fusion have "
            f"{inference.permutations:,} permutations: set inference.enhance to cluster_mass, which takes a hundredth, "
            "or take fewer."
        )
    if study.sensors is not None and not (inference.over_subjects and len(study.meeg_subjects) > 1):
        yield "scores over sensors are tested over subjects alone, so they have no p here."
    for analysis in study.analyses:
        if isinstance(analysis, Partial):
            yield (
                f"p values of {analysis.name} are too small where the brain is like what is controlled for, of which "
                "ranks leave something: of such simulated studies, 16 to 19 % err instead of 5 (docs/inference.md)."
            )
    if study.searchlight is None or len(study.subjects) < 2 or not inference.over_subjects:
        return
    for analysis in study.analyses:
        if not analysis.tested:
            yield (
                f"the maps of {analysis.name} are shares of variance, which flips of subjects cannot test, so they "
                "have no p; inference over conditions can."
            )
    if study.fusion and study.fusion != "paired":
        how = (
            "have no p, as `template` brings maps to one grid"
            if study.template is not None
            else ("are tested over conditions: flips of subjects would find the noise reliable that the common RDM has")
        )
        yield f"all fMRI subjects are compared with the same M/EEG RDM, so the maps of fusion {how}."


def _across_subjects(study: Study) -> Iterator[str]:
    """Check that weights can be fitted to other subjects."""
    for what, subjects in (("brain.subjects", study.subjects), ("meeg.subjects", study.meeg_subjects)):
        if len(subjects) == 1:
            yield f"weights are fitted to other subjects, and {what} has one; set `fitted_to` to subject."
    if study.template is not None and study.searchlight is not None:
        yield "weights are fitted to other subjects on one grid, and `template` brings maps there: set `fitted_to`."


def _known_labels(study: Study) -> list[tuple[str, str]] | None:
    """Return the references; None where those of the stimulus table cannot be known yet."""
    try:
        return reference_labels(study)
    except UserError:
        return None


def _missing_references(study: Study) -> Iterator[str]:
    """Look for the files of the references, where what is in them cannot be checked yet."""
    for reference in study.references:
        for path in reference.files():
            if not path.exists():
                yield f"There is no file {path} (reference {reference.name!r})."


def _grids(study: Study) -> Iterator[str]:
    """Check sphere sizes, and that subjects and regions share the grids that they have to share."""
    every = {} if study.brain is None else {subject: study.brain.grid(subject) for subject in study.subjects}
    grids = {subject: grid for subject, grid in every.items() if grid is not None}
    if not grids:
        return
    first, volume = next(iter(grids.items()))
    if study.searchlight is not None:
        yield from _sphere_sizes(study.searchlight, volume)
    if study.regions is not None and not list(_regions(study)):
        for subject, grid in grids.items():
            told = problems_of_regions(study.regions, subject, grid)
            yield from by_subject([(subject, text) for text in told])
    across_subjects = any(analysis.across_subjects for analysis in study.analyses)
    if (study.group or study.noise_ceiling or across_subjects) and study.template is None:
        apart = []
        for subject, other in grids.items():
            try:
                volume.require_grid(other.shape, other.affine, f"Subject {subject}", f"subject {first}")
            except UserError as error:
                apart.append(f"group maps need all subjects on one grid; `template` brings them to one. {error}")
        yield from apart or _shared_voxels(study)


def _shared_voxels(study: Study) -> Iterator[str]:
    """Check that the masks of subjects on one grid share a voxel, as far as there are files of them."""
    masks = [] if study.brain is None else [study.brain.masked(subject) for subject in study.subjects]
    there = [mask.mask for mask in masks if mask is not None]
    if there and not np.logical_and.reduce(there).any():
        yield "group maps need voxels that all subjects have, and their masks share none; are they in one space?"


def _sphere_sizes(searchlight: Searchlight, grid: Volume) -> Iterator[str]:
    """Check that spheres have enough voxels, and not all of them."""
    radius_mm = searchlight.radius_mm
    steps = np.subtract(grid.shape, 1) * [[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]
    across_mm = np.linalg.norm(steps @ grid.affine[:3, :3].T, axis=1).max()
    if radius_mm > across_mm:
        yield (
            f"searchlight.radius_mm is {radius_mm:g}, and the images are {across_mm:.3g} mm from corner to corner, so "
            "every sphere would have all voxels; choose a smaller one."
        )
        return
    n_voxels = len(sphere_offsets(grid.affine, radius_mm, (max(grid.shape),) * 3))
    if n_voxels < searchlight.min_voxels:
        yield (
            f"a sphere of {radius_mm:g} mm holds at most {n_voxels} voxels of these images, "
            f"fewer than searchlight.min_voxels = {searchlight.min_voxels}; choose a larger radius_mm."
        )


def _runs(study: Study) -> Iterator[str]:
    """Check that there are as many runs as distances, noise and reliability between runs need."""
    if study.brain is None or not study.has_images:
        return
    between = study.brain_distance in CROSS_VALIDATED
    reliability = study.searchlight is not None and study.searchlight.reliability
    by_runs = study.noise is not None and study.noise.source == "runs"
    without = 2 if between else 1  # noise between runs, of what is measured by itself
    least = 2 if by_runs and not between else 3 if by_runs else without
    distance = f"brain_distance {study.brain_distance}"
    needs = [
        (distance, without, without) if between else None,
        ("noise.source runs" + f" with {distance}" * between, least, without) if by_runs else None,
        ("searchlight.reliability" + " with noise.source runs" * by_runs, 2 * least, 2 * without)
        if reliability
        else None,
    ]
    found = []
    for subject in study.subjects if any(needs) else ():
        n_runs = len(study.brain.run_labels(subject))
        for name, n_needed, n_without in filter(None, needs):
            cure = f"; with noise.source residuals, {n_without} do" if n_without < n_needed else ""
            if n_runs < n_needed:
                found.append((subject, f"{name} needs {n_needed} runs or more, not {n_runs}{cure}."))
    yield from by_subject(found)


def _delays(study: Study) -> Iterator[str]:
    """Check that what needs one response per condition has no delays, where only the tables of images tell them."""
    needing = {
        "fusion needs": bool(study.fusion),
        "`ranking` needs": study.ranking is not None,
        "`network_comparisons` of fits in regions need": bool(study.network_comparisons) and study.regions is not None,
    }
    if study.brain is None or not any(needing.values()):
        return
    n_delays = {subject: len(study.brain.delays_s(subject)) for subject in study.subjects}
    for who, is_asked in needing.items():
        text = f"{who} one response per condition, and there are {{}} delays."
        yield from by_subject([(subject, text.format(n)) for subject, n in n_delays.items() if n and is_asked])


def _regions(study: Study) -> Iterator[str]:
    regions = study.regions
    if regions is None:
        return
    try:
        for name in (*regions.masks, *regions.spheres):
            quoted(name)  # which names no table of results could hold
        region_labels(regions)
        region_files(regions, study.subjects[0])
    except UserError as error:
        yield str(error)
        return
    for subject in study.subjects:
        missing = [path for path in region_files(regions, subject) if not path.exists()]
        yield from (f"There is no file {path} (regions)." for path in missing)
        if not missing:
            yield from problems_of_regions(regions, subject)


def _simulation(study: Study) -> Iterator[str]:
    """Check that a simulation can write what the readers are going to read."""
    simulation, brain = study.simulate, study.brain
    if simulation is None:
        return
    if brain is not None and not brain.simulated_files(study.subjects[0]):
        yield "a simulation writes 4-D images: set brain.images, brain.table and brain.mask, all with {subject}."
    if simulation.epochs is not None and not simulated_meeg(study, study.meeg_subjects):
        yield "simulate.epochs writes files of MNE: set meeg.kind to epochs, and meeg.file to a name with _epo.fif."
    if simulates_stimuli(study) and (study.stimuli is None or study.stimuli.table is None):
        yield "a simulation writes its pictures beside a table: set stimuli.table."
    for path in (simulation.mask, simulation.atlas, simulation.noise_images, simulation.noise_events):
        if path is not None and not Path(path).exists():
            yield f"There is no file {path} (simulate)."
    yield from _problems_of_writing(simulated_files(study), study.folder)


def simulated_files(study: Study) -> list[Path]:
    """Return all files that the simulation of a study writes."""
    simulation, stimuli = study.simulate, study.stimuli
    if simulation is None:
        return []
    found = files_of_stimuli(simulation, stimuli) if stimuli is not None and simulates_stimuli(study) else []
    return [*found, *simulated_brain(study, study.subjects), *simulated_meeg(study, study.meeg_subjects)]


def simulated_brain(study: Study, subjects: Sequence[str]) -> list[Path]:
    """Return the images, tables and masks that the simulation of a study writes for some subjects."""
    if study.simulate is None or study.brain is None:
        return []
    return [path for subject in subjects for path in study.brain.simulated_files(subject)]


def simulated_meeg(study: Study, subjects: Sequence[str]) -> list[Path]:
    """Return the files of epochs that the simulation of a study writes for some subjects, if it does."""
    if study.meeg is None or not awaits_epochs(study):
        return []
    return [path for subject in subjects for path in study.meeg.simulated_files(subject)]


def _problems_of_writing(files: list[Path], folder: Path) -> Iterator[str]:
    """Check that a simulation writes into the folder of the results alone, and over no file but its own."""
    own_data = "remove the block `simulate` to use data of your own"
    outside = [str(path) for path in files if not path.resolve().is_relative_to(folder.resolve())]
    if outside:
        yield (
            f"`simulate` would write {listed(outside, 3)}, and a study writes to {folder} alone: {own_data}, or let "
            "the paths begin with {results}."
        )
    elif foreign := not_simulated(files):
        yield (
            f"`simulate` would write over {listed(foreign, 3)}, which it did not write, or which changed since: "
            f"{own_data}, or move these files; delete them if an earlier version simulated them."
        )
    names = Counter(str(path).casefold() for path in files)
    twice = [str(path) for path in files if names[str(path).casefold()] > 1]
    if twice:
        yield f"`simulate` would write {listed(twice, 2)} twice; let names differ, not in upper and lower case alone."


def _planted(study: Study) -> Iterator[str]:
    """Look for the layers that a simulation plants, among models without problems."""
    known = {(model.label, layer) for model in study.networks for layer in model.layer_names()}
    planted: dict[str, Sequence[PlantedRegion | PlantedLatency]] = {}
    if study.simulate is not None:
        planted["regions"] = study.simulate.regions
    if study.simulate is not None and study.simulate.epochs is not None:
        planted["epochs.latencies"] = study.simulate.epochs.latencies
    for place, patterns in planted.items():
        for one in patterns:
            if (one.model, one.layer) not in known:
                yield f"simulate.{place}: {one.name!r} plants {one.model} {one.layer}, which no model has."


def _names(study: Study) -> list[str]:
    return [model.label for model in study.networks] + [reference.name for reference in study.references]


def stimulus_table(study: Study) -> pd.DataFrame | None:
    """Return what is known of the stimuli: their table, or just the names of the conditions that the data have.

    The stimuli have to be without problems.
    """
    if study.stimuli is not None:
        return None if awaits_stimuli(study) else study.stimuli.load()
    conditions = _conditions_of_data(study)
    return None if conditions is None else pd.DataFrame({"condition": conditions})


def _conditions_of_data(study: Study) -> list[str] | None:
    """Return the names that the fMRI data have, or without such data those of M/EEG; None where they aren't known."""
    data = study.brain or study.meeg
    if data is None or study.simulate is not None or awaits_fetch(study):
        return None
    try:
        return data.conditions(data.subjects[0])
    except UserError:
        return None


# -------------------------------------------------------------------------------------------- summary


def _subject_lines(study: Study) -> list[str]:
    """Say of whom there are data."""
    lines = {"subjects    ": study.subjects, "M/EEG       ": study.meeg_subjects}
    return [f"  {name}{', '.join(subjects)}" for name, subjects in lines.items() if subjects]


def _distances(study: Study) -> list[str]:
    """Say how the RDMs of each kind of data are measured."""
    of_brain = [f"{study.brain_distance} (brain)"] if study.has_images else []
    of_meeg = [f"{study.meeg_rdm_distance} (M/EEG)"] if study.meeg is not None else []
    return [f"{study.layer_distance} (layers)", *of_brain, *of_meeg]


def summary(study: Study) -> str:
    """Say in a few lines what a study is going to do."""
    conditions = study_conditions(study) or _conditions_of_data(study)
    labels = reference_labels(study)
    lines = [
        f"Study {study.study}: no problem found.",
        *_subject_lines(study),
        f"  conditions  {len(conditions) if conditions else 'simulated'}",
        f"  references  {len(labels)}: {listed([' '.join(label).strip() for label in labels], 12)}",
        f"  distances   {'; '.join([', '.join(_distances(study)), study.comparison])}",
    ]
    if study.searchlight is not None:
        lines.append(
            f"  searchlight {study.searchlight.radius_mm:g} mm, at least {study.searchlight.min_voxels} voxels"
        )
    if study.sensors is not None:
        lines.append(f"  sensors     each with its neighbours, at least {study.sensors.min_sensors} together")
    lines += [f"  analysis    {analysis.name}: {analysis.about(study.comparison)}" for analysis in study.analyses]
    lines.append(f"  results     {study.folder}/")
    return "\n".join(lines)
