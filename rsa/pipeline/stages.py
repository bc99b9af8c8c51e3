"""The pipeline on one page: each stage loads, makes one call, and saves.

The command line is derived from these signatures, the Snakemake rules call the command line, and a notebook calls these
functions or the library below them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.analyses import Analysis
from rsa.core import Patterns, RDMs, align, concatenate
from rsa.datasets import Dataset, EpochFiles, MeegDataset
from rsa.datasets.maps import Maps
from rsa.files import io
from rsa.inputs.references import Reference
from rsa.inputs.regions import Regions
from rsa.inputs.stimuli import Stimuli
from rsa.inputs.templates import Template
from rsa.measures import Measure
from rsa.models import Model
from rsa.pipeline.config import Movie, Noise, Searchlight, Sensors
from rsa.progress import progress
from rsa.simulation.settings import Simulation

__all__ = [
    "check",
    "verify",
    "layers",
    "fetch",
    "simulate_stimuli",
    "simulate_brain",
    "simulate_epochs",
    "extract",
    "layer_rdms",
    "reference",
    "brain",
    "movie",
    "group_movie",
    "layer_time",
    "sensor_searchlight",
    "sensor_group",
    "sensor_peaks",
    "searchlight",
    "noise_ceiling",
    "resample",
    "region_rdms",
    "region_fits",
    "maps",
    "group",
    "describe",
    "draw_references",
    "draw_subject",
    "draw_group",
    "draw_regions",
    "draw_time",
    "draw_sensors",
    "draw_fusion",
    "report",
]


def check(config: Path, /) -> None:
    """Check a configuration and all files that it names, and say what a run would do.

    Parameters
    ----------
    config : path
        The YAML file.
    """
    from rsa.pipeline.checks import summary
    from rsa.pipeline.plan import read_plan

    print(summary(read_plan(config, check=True).study))


def verify(config: Path, /) -> None:
    """Look for results that are missing, or not as they were written; say which, and how to make them again.

    Parameters
    ----------
    config : path
        The YAML file of the study.
    """
    from rsa.pipeline.plan import read_plan
    from rsa.pipeline.results import verified

    plan = read_plan(config, check=False)
    print(verified(plan.folder, plan.outputs(), config))


def layers(architecture: str, /) -> None:
    """List the layers of a network, in forward order.

    Parameters
    ----------
    architecture : str
        A model of torchvision, such as alexnet.
    """
    from rsa.models import MODELS

    print(MODELS["torchvision"](architecture=architecture).describe().to_string(index=False))


def fetch(dataset: str, folder: Path, subjects: list[str]) -> None:
    """Download a public data set and lay it out as BIDS; what is there already stays.

    Parameters
    ----------
    dataset : str
        Its name: haxby.
    folder : path
        Where to: the root of the data set.
    subjects : list of str
        Labels of the subjects.
    """
    from rsa.datasets import fetch as fetching

    fetching.fetch(dataset, folder, subjects)


def simulate_stimuli(simulation: Simulation, stimuli: Stimuli) -> None:
    """Draw the pictures of a simulated study and write them with their table.

    Parameters
    ----------
    simulation : Simulation
        How many pictures, and the seed.
    stimuli : Stimuli
        Where they are written: the pictures beside the table.
    """
    from rsa.simulation.write import write_stimuli

    write_stimuli(simulation, stimuli)


def simulate_brain(simulation: Simulation, dataset: Maps, subject: str, rdms: list[Path]) -> None:
    """Write brain images of one subject in which layers are planted in regions.

    Parameters
    ----------
    simulation : Simulation
        What is planted where, and the noise.
    dataset : Maps
        The files are written where this dataset is going to read them.
    subject : str
        Label of the subject.
    rdms : list of path
        RDMs of the layers (HDF5).
    """
    from rsa.simulation.write import write_brain

    write_brain(simulation, dataset, subject, _stacked(rdms))


def simulate_epochs(simulation: Simulation, dataset: EpochFiles, subject: str, rdms: list[Path]) -> None:
    """Write M/EEG epochs of one subject in which layers appear one after the other.

    Parameters
    ----------
    simulation : Simulation
        What is planted when, and the noise.
    dataset : EpochFiles
        The file is written where this dataset is going to read it.
    subject : str
        Label of the subject.
    rdms : list of path
        RDMs of the layers (HDF5).
    """
    from rsa.errors import UserError
    from rsa.settings import fill
    from rsa.simulation.write import write_epochs

    if simulation.epochs is None:
        raise UserError("There are no epochs to simulate; set simulate.epochs.")
    stack = _stacked(rdms)
    number, path = dataset.subjects.index(subject), fill(dataset.file, subject=subject)
    write_epochs(simulation.epochs, path, stack, seed=simulation.seed, number=number)


def extract(model: Model, stimuli: Stimuli, output: Path, device: str = "auto", batch_size: int | None = None) -> None:
    """Run the stimuli through a network and save the responses of its layers.

    Parameters
    ----------
    model : Model
        The network, its weights and layers.
    stimuli : Stimuli
        The pictures.
    output : path
        Activations (HDF5).
    device : str
        auto (CUDA where there is one), cpu, cuda, cuda:1, mps.
    batch_size : int
        Pictures per forward pass; chosen for the device if it is not given.
    """
    from rsa.models import features

    inputs = [*model.files(), *stimuli.files()]
    with (
        io.writing(output, recorded=False) as temporary,
        _made_of(inputs, model=model.model_dump(), stimuli=stimuli.model_dump()) as made,
    ):
        features.extract(model, stimuli.load(), temporary, device=device, batch_size=batch_size, made=made)


def layer_rdms(activations: Path, output: Path, distance: str = "correlation") -> None:
    """Build the RDM of every layer from its activations, block by block of features.

    The provenance of the activations, which are deleted when they are used, is kept in that of the RDMs.

    Parameters
    ----------
    activations : path
        Activations (HDF5).
    output : path
        RDMs (HDF5).
    distance : str
        How dissimilar two images are.
    """
    from rsa.models import features

    with _made_of([activations], distance=distance) as made:
        rdms = features.layer_rdms(activations, distance)
        made["source"] = io.read_provenance(activations)
    io.save(output, rdms, made)


def reference(reference: Reference, output: Path, stimuli: Stimuli | None = None) -> None:
    """Make a reference RDM from a file, from a column of the stimulus table, or from the pixels of the pictures.

    Parameters
    ----------
    reference : Reference
        Where it comes from.
    output : path
        RDMs (HDF5).
    stimuli : Stimuli
        The table or the pictures, where the reference needs them.
    """
    inputs = [*reference.files(), *([] if stimuli is None or stimuli.table is None else [Path(stimuli.table)])]
    pictures = stimuli.files() if stimuli is not None and reference.needs_pictures else []
    with (
        _made_of(inputs, reference=reference.model_dump()) as made,
        _made_of(pictures, stimuli=None if stimuli is None else stimuli.model_dump()) as source,
    ):
        rdms = reference.build(None if stimuli is None else stimuli.load())
    io.save(output, rdms, made | ({"source": source} if pictures else {}))


def brain(
    dataset: Dataset,
    subject: str,
    output: Path,
    stimuli: Stimuli | None = None,
    noise: Noise | None = None,
    remove_mean: bool = False,
) -> None:
    """Read the brain data of one subject: patterns over voxels, or ready RDMs of regions.

    Parameters
    ----------
    dataset : Dataset
        The kind of data and where they are.
    subject : str
        Label of the subject.
    output : path
        Patterns or RDMs (HDF5).
    stimuli : Stimuli
        The conditions that are expected; without it, those of the data.
    noise : Noise
        How patterns are brought into units of their noise; where spheres do that, residuals are kept for them.
    remove_mean : bool
        Take the mean over conditions out of each voxel, run by run.
    """
    from rsa.core import Patterns
    from rsa.noise import prepared

    conditions = None if stimuli is None else stimuli.conditions()
    residuals = noise is not None and noise.source == "residuals"
    preparation = {"remove_mean": remove_mean, **({} if noise is None else noise.model_dump())}
    files = dataset.files(subject, conditions, residuals=residuals)
    with _made_of(files, dataset=dataset.model_dump(), subject=subject, **preparation) as made:
        data = dataset.load(subject, conditions, residuals=residuals)
    if isinstance(data, Patterns):
        data = prepared(data, **preparation)
    io.save(output, data, made)


def movie(
    dataset: MeegDataset,
    subject: str,
    output: Path,
    movie: Movie | None = None,
    stimuli: Stimuli | None = None,
    threads: int = 1,
) -> None:
    """Read the M/EEG data of one subject, and build an RDM at every time.

    Parameters
    ----------
    dataset : MeegDataset
        The kind of data and where they are.
    subject : str
        Label of the subject.
    output : path
        RDMs (HDF5).
    movie : Movie
        How RDMs are made of epochs; ready ones stay as they are.
    stimuli : Stimuli
        The conditions that are expected; without it, those of the data.
    threads : int
        Number of threads; changes no result.
    """
    from dataclasses import replace

    from rsa.core import Epochs
    from rsa.meeg.timecourse import MovieSettings, rdm_movie
    from rsa.rdm import MEEG
    from rsa.searchlight import RunSettings

    conditions, how = None if stimuli is None else stimuli.conditions(), movie or Movie()
    files = dataset.files(subject, conditions)
    with _made_of(files, dataset=dataset.model_dump(), **how.model_dump()) as made:
        data = dataset.load(subject, conditions, noise=dataset.has_baseline)
    if isinstance(data, Epochs):
        with progress(len(data.times_s), "times") as advance:
            data = rdm_movie(data, MovieSettings(**how.model_dump()), RunSettings(n_threads=threads, progress=advance))
    table = data.table.assign(subject=subject, model=MEEG, layer="")
    io.save(output, replace(data, table=table), made)


def group_movie(movies: list[Path], output: Path, comparison: str = "spearman") -> None:
    """Average the RDMs over time of all subjects, as a reference for fMRI data.

    Parameters
    ----------
    movies : list of path
        RDMs over time of each subject (HDF5).
    output : path
        Mean RDMs (HDF5).
    comparison : str
        On whose scale RDMs are averaged.
    """
    from rsa.rdm import average_over_subjects

    with _made_of(movies, comparison=comparison) as made:
        each = _stacked(movies)
    io.save(output, average_over_subjects(each, comparison), made)


def layer_time(
    movies: list[Path],
    references: list[Path],
    folder: Path,
    comparison: str = "spearman",
    generalisation: str | None = None,
    analysis: Analysis | None = None,
) -> None:
    """Compare M/EEG RDMs with all references at every time: scores, group courses, latencies, their order along layers.

    Parameters
    ----------
    movies : list of path
        RDMs over time of each subject (HDF5).
    references : list of path
        Reference RDMs (HDF5).
    folder : path
        Where the tables go (TSV, each with a JSON data dictionary).
    comparison : str
        How alike two RDMs are.
    generalisation : str
        Also compare the RDMs of all times with each other: within or between subjects.
    analysis : Analysis
        What is measured instead of the plain comparison.
    """
    from rsa.meeg import latencies
    from rsa.meeg import scores as over_time

    stacks = [_stacked(paths) for paths in (movies, references)]
    chance: dict[str, Any] = {"tested": analysis is None or analysis.tested, "distance": stacks[0].distance}
    measure_of: Callable[[RDMs], Measure] | str = comparison
    if analysis is None:
        scores = over_time.layer_time(stacks[0], stacks[1], comparison)
    else:
        measure_of = partial(analysis.measure, comparison=comparison)
        scores = over_time.measured_over_time(stacks[0], stacks[1], measure_of)
    one_subject = scores["subject"].nunique() == 1
    orders = over_time.relabelled(stacks[0], stacks[1], measure_of) if one_subject else None
    tables = {
        "scores": (scores, over_time.LAYER_TIME_COLUMNS),
        "courses": (latencies.group_courses(scores, **chance), latencies.COURSE_COLUMNS),
        "latencies": (latencies.latencies(scores, **chance, chance=orders), latencies.LATENCY_COLUMNS),
        "hierarchy": (latencies.hierarchy(scores), latencies.HIERARCHY_COLUMNS),
    }
    if generalisation is not None:
        between = generalisation == "between"
        tables["generalisation"] = over_time.generalisation_table(stacks[0], comparison, between=between)
    for name, (table, columns) in tables.items():
        io.save_table(folder / f"{name}.tsv", table, _dictionary(table, columns, analysis, comparison))


def sensor_searchlight(
    dataset: EpochFiles,
    subject: str,
    references: list[Path],
    output: Path,
    evokeds: Path,
    sensors: Sensors | None = None,
    movie: Movie | None = None,
    stimuli: Stimuli | None = None,
    comparison: str = "spearman",
    threads: int = 1,
) -> None:
    """Compare the RDMs of every M/EEG sensor with its neighbours, at every time, with all reference RDMs.

    Parameters
    ----------
    dataset : EpochFiles
        Where the epochs are.
    subject : str
        Label of the subject.
    references : list of path
        Reference RDMs (HDF5).
    output : path
        Scores (HDF5).
    evokeds : path
        The same scores as evoked responses of MNE (.fif).
    sensors : Sensors
        The smallest neighbourhood.
    movie : Movie
        How RDMs are made of epochs.
    stimuli : Stimuli
        The conditions that are expected; without it, those of the data.
    comparison : str
        How alike two RDMs are.
    threads : int
        Number of threads; changes no result.
    """
    from dataclasses import replace

    from rsa.datasets.sensors import neighbours_of
    from rsa.files.evokeds import write_evokeds
    from rsa.measures import comparison_measure
    from rsa.meeg import sensors as engine
    from rsa.meeg.timecourse import MovieSettings
    from rsa.rdm import own_references
    from rsa.searchlight import RunSettings

    conditions = None if stimuli is None else stimuli.conditions()
    made_by, min_sensors = (movie or Movie()).model_dump(), (sensors or Sensors()).min_sensors
    how = {**made_by, "min_sensors": min_sensors, "comparison": comparison}
    inputs = [*dataset.files(subject, conditions), *references]
    with _made_of(inputs, dataset=dataset.model_dump(), **how) as made:
        epochs = dataset.load(subject, conditions, noise=dataset.has_baseline)
        info, stack = dataset.sensor_info(subject), own_references(_stacked(references), subject)
    with progress(len(epochs.times_s), "times") as advance:
        measure = comparison_measure(align(epochs.conditions, stack, "epochs", "reference RDMs"), comparison)
        settings, run = MovieSettings(**made_by), RunSettings(n_threads=threads, progress=advance)
        scores = engine.sensor_searchlight(
            epochs, neighbours_of(info), measure, movie=settings, min_sensors=min_sensors, run=run
        )
    table = scores.table.assign(subject=subject)
    io.save(output, replace(scores, table=table[["subject", *scores.table]]), made)
    write_evokeds(evokeds, scores, info)


def sensor_group(scores: list[Path], evokeds: Path, output: Path) -> None:
    """Bring the scores of all subjects over sensors together: their mean, and t.

    Parameters
    ----------
    scores : list of path
        Scores of each subject (HDF5).
    evokeds : path
        Evoked responses of a subject, for where the sensors are (.fif).
    output : path
        Scores of the group (HDF5); beside it evoked responses, a file for the mean and one for t (.fif).
    """
    from rsa.core import select
    from rsa.files.evokeds import evoked_path, read_info, write_evokeds
    from rsa.meeg.sensors import combine_sensors

    settings = io.read_provenance(scores[0])["settings"]
    distance = str(settings.get("distance", "unknown"))
    with _made_of(scores, **settings) as made:
        group = combine_sensors([io.load_scores(path) for path in scores], distance=distance)
    io.save(output, group, made)
    for test in dict.fromkeys(group.table["statistic"]):
        path = evoked_path(output.parent, "group", test)
        write_evokeds(path, select(group, statistic=test), read_info(evokeds), n_averaged=len(scores))


def sensor_peaks(scores: list[Path], output: Path) -> None:
    """List at which sensor and time each reference scores highest.

    Parameters
    ----------
    scores : list of path
        Scores over sensors of subjects, and of the group (HDF5).
    output : path
        Table (TSV), with a JSON data dictionary beside it.
    """
    from rsa.meeg import sensors

    io.save_table(output, sensors.sensor_peaks([io.load_scores(path) for path in scores]), sensors.SENSOR_PEAK_COLUMNS)


def searchlight(
    patterns: Path,
    references: list[Path],
    output: Path,
    subject: str,
    searchlight: Searchlight,
    distance: str = "correlation",
    shrinkage: str | None = None,
    comparison: str = "spearman",
    analysis: Analysis | None = None,
    others: list[Path] | None = None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Compare the RDM of the sphere around every voxel with all reference RDMs.

    Parameters
    ----------
    patterns : path
        Patterns of the subject (HDF5).
    references : list of path
        Reference RDMs (HDF5): layers, files, models.
    output : path
        Scores (HDF5).
    subject : str
        Label of the subject.
    searchlight : Searchlight
        Radius and smallest number of voxels.
    distance : str
        How dissimilar two patterns are.
    shrinkage : str
        How the noise covariance of each sphere is shrunken, by which its patterns are whitened; if not given, they
        aren't.
    comparison : str
        How alike two RDMs are.
    analysis : Analysis
        What is measured instead of the plain comparison; on the CPU.
    others : list of path
        Patterns of the other subjects (HDF5), where weights are fitted to them.
    device : str
        auto (CUDA where there is one that can do what is asked), cpu, cuda, cuda:1.
    threads : int
        Number of threads on the CPU; changes no result.
    """
    from dataclasses import replace

    from rsa import neighbourhood
    from rsa import searchlight as engine
    from rsa.core import MAP_COLUMNS
    from rsa.rdm import own_references

    how: dict[str, Any] = {"distance": distance, "shrinkage": shrinkage, "min_voxels": searchlight.min_voxels}
    settings = {**searchlight.model_dump(), **how, "comparison": comparison, **_measured_by(analysis, comparison)}
    with _made_of([patterns, *references, *(others or ())], **settings) as made:
        subjects = [_patterns_of_voxels(path) for path in (patterns, *(others or ()))]
        stack = own_references(_stacked(references), subject)
    volumes = [one.volume for one in subjects if one.volume is not None]
    around = neighbourhood.shared_spheres(volumes, searchlight.radius_mm, stride=searchlight.stride)
    n_walks, rdm = 1 + (analysis is None and searchlight.reliability), engine.RdmSettings(**how)
    with progress(n_walks * len(around[0]) * max(1, len(subjects[0].delays_s)), "spheres") as advance:
        run = engine.RunSettings(n_threads=threads, device=device, progress=advance)
        if analysis is None:
            reliability = searchlight.reliability
            scores = engine.compare(
                subjects[0], around[0], stack, comparison=comparison, reliability=reliability, rdm=rdm, run=run
            )
        else:
            rest, measure = list(zip(subjects, around, strict=True))[1:], analysis.measure(stack, comparison)
            scores = engine.scan(subjects[0], around[0], measure, others=rest, rdm=rdm, run=run)
    table = scores.table.assign(subject=subject)
    scores = replace(scores, table=table[[name for name in MAP_COLUMNS if name in table]])
    io.save(output, scores, made)


def noise_ceiling(
    patterns: list[Path],
    output: Path,
    searchlight: Searchlight,
    distance: str = "correlation",
    shrinkage: str | None = None,
    comparison: str = "spearman",
    threads: int = 1,
) -> None:
    """Map the noise ceiling over subjects in the sphere around every voxel.

    Parameters
    ----------
    patterns : list of path
        Patterns of all subjects (HDF5).
    output : path
        Lower and upper bound (HDF5).
    searchlight : Searchlight
        Radius and smallest number of voxels.
    distance : str
        How dissimilar two patterns are.
    shrinkage : str
        As for the searchlight.
    comparison : str
        How alike two RDMs are.
    threads : int
        Number of threads; changes no result.
    """
    from rsa.core import shared_volume
    from rsa.inference.ceiling import noise_ceilings
    from rsa.neighbourhood import sphere_centres
    from rsa.searchlight import RdmSettings, RunSettings

    settings = {**searchlight.model_dump(), "distance": distance, "shrinkage": shrinkage, "comparison": comparison}
    with _made_of(patterns, **settings) as made:
        subjects = [io.load_patterns(path) for path in patterns]
    shared = shared_volume([patterns.volume for patterns in subjects if patterns.volume is not None])
    n_spheres = len(sphere_centres(shared, searchlight.stride))
    with progress(n_spheres * max(1, len(subjects[0].delays_s)), "spheres") as advance:
        bounds = noise_ceilings(
            subjects,
            searchlight.radius_mm,
            stride=searchlight.stride,
            comparison=comparison,
            rdm=RdmSettings(distance, shrinkage, searchlight.min_voxels),
            run=RunSettings(n_threads=threads, progress=advance),
        )
    io.save(output, bounds, made)


def resample(scores: Path, subject: str, template: Template, output: Path) -> None:
    """Bring the maps of one subject to the grid of a template.

    Parameters
    ----------
    scores : path
        Scores of the subject (HDF5).
    subject : str
        Label of the subject.
    template : Template
        The grid, and the transform to it.
    output : path
        Scores on that grid (HDF5).
    """
    from rsa.inputs.templates import resample_scores, template_files, template_volume, transform_path

    settings = io.read_provenance(scores)["settings"] | {"template": template.model_dump()}
    with _made_of([scores, *template_files(template, subject)], **settings) as made:
        grid, transform = template_volume(template), transform_path(template, subject)
        resampled = resample_scores(io.load_scores(scores), grid, transform)
    io.save(output, resampled, made)


def region_rdms(
    patterns: Path,
    regions: Regions,
    subject: str,
    output: Path,
    distance: str = "correlation",
    shrinkage: str | None = None,
) -> None:
    """Build the RDM of every region of interest of one subject.

    Parameters
    ----------
    patterns : path
        Patterns of the subject (HDF5).
    regions : Regions
        Atlas, masks or spheres.
    subject : str
        Label of the subject.
    output : path
        RDMs (HDF5).
    distance : str
        How dissimilar two patterns are.
    shrinkage : str
        As for the searchlight, for the covariance of each region.
    """
    from dataclasses import replace

    from rsa import searchlight as engine
    from rsa.inputs.regions import read_regions, region_files

    settings = {"regions": regions.model_dump(), "distance": distance, "shrinkage": shrinkage}
    with _made_of([patterns, *region_files(regions, subject)], **settings) as made:
        data = io.load_patterns(patterns)
        around = read_regions(regions, subject, data.volume)
    rdms = engine.region_rdms(data, around, engine.RdmSettings(distance, shrinkage))
    rdms = replace(rdms, table=rdms.table.assign(subject=subject))
    io.save(output, rdms, made)


def region_fits(
    brain: list[Path],
    references: list[Path],
    output: Path,
    comparison: str = "spearman",
    analysis: Analysis | None = None,
) -> None:
    """Compare the RDMs of regions of all subjects with all reference RDMs: a table with noise ceilings.

    Parameters
    ----------
    brain : list of path
        RDMs of the regions of each subject (HDF5).
    references : list of path
        Reference RDMs (HDF5).
    output : path
        Table (TSV), with a JSON data dictionary beside it.
    comparison : str
        How alike two RDMs are.
    analysis : Analysis
        What is measured instead of the plain comparison; without noise ceilings.
    """
    from rsa import rdm

    stacks = [_stacked(paths) for paths in (brain, references)]
    if analysis is None:
        fits = rdm.region_fits(stacks[0], stacks[1], comparison)
    else:
        fits = rdm.measured_regions(stacks[0], stacks[1], lambda own: analysis.measure(own, comparison))
    io.save_table(output, fits, _dictionary(fits, rdm.REGION_FIT_COLUMNS, analysis, comparison))


def maps(scores: list[Path], subject: str, space: list[str], folder: Path, derived: list[str] | None = None) -> None:
    """Write the scores of one subject as NIfTI maps with sidecars, derived maps, and a table of peaks.

    Parameters
    ----------
    scores : list of path
        Scores of the subject, in one space or several (HDF5).
    subject : str
        Label of the subject.
    space : list of str
        BIDS labels of these spaces.
    folder : path
        Folder of the study's results.
    derived : list of str
        Maps made of others: best_layer, layer_gradient, peak_time, onset_time, time_of_best_layer.
    """
    from rsa.files.maps import write_maps

    for path, label in zip(scores, space, strict=True):
        write_maps(io.load_scores(path), folder, subject, label, derived or [], io.read_provenance(path), path)


def group(
    scores: list[Path],
    space: str,
    folder: Path,
    output: Path,
    tests: list[str],
    ceiling: Path | None = None,
    derived: list[str] | None = None,
) -> None:
    """Bring the maps of all subjects together and write the maps of the group.

    Parameters
    ----------
    scores : list of path
        Scores of each subject (HDF5).
    space : str
        BIDS label of the space.
    folder : path
        Folder of the study's results.
    output : path
        Scores of the group (HDF5).
    tests : list of str
        mean, t (one-sample, of Fisher's z, not corrected).
    ceiling : path
        Noise ceiling of the same subjects (HDF5): written beside the maps, and mean maps as a share of it.
    derived : list of str
        Maps made of all layers of a model, from the first test.
    """
    from rsa.files.maps import write_maps
    from rsa.inference import group as groups
    from rsa.maps import stack

    settings = io.read_provenance(scores[0])["settings"]
    distance = str(settings.get("distance", "unknown"))
    inputs = [*scores, *([] if ceiling is None else [ceiling])]
    with _made_of(inputs, **{**settings, "tests": tests}) as made:
        subjects = [io.load_scores(path) for path in scores]
        bounds = None if ceiling is None else io.load_scores(ceiling)
    result = stack([groups.combine(subjects, test, distance=distance) for test in tests])
    if bounds is not None:
        result = groups.with_ceiling(result, bounds)
    io.save(output, result, made)
    write_maps(result, folder, "", space, derived or [], made, output)


def describe(settings: list[str], folder: Path) -> None:
    """Write the settings of a study, and the files by which BIDS tools recognise its results as a derivative.

    Parameters
    ----------
    settings : list of str
        The settings, as JSON: in several pieces, if it is long.
    folder : path
        Folder of the study's results.
    """
    from rsa.files.maps import write_description
    from rsa.pipeline.config import Study

    study = Study.model_validate_json("".join(settings))
    sources = [data.location for data in (study.brain, study.meeg) if data is not None]
    write_description(folder, study.model_dump(mode="json"), sources)


def draw_references(
    references: list[Path], folder: Path, comparison: str = "spearman", stimuli: Stimuli | None = None
) -> None:
    """Draw the reference RDMs and how alike they are.

    Parameters
    ----------
    references : list of path
        Reference RDMs (HDF5).
    folder : path
        Where the pictures go.
    comparison : str
        How alike two RDMs are.
    stimuli : Stimuli
        If its table has a column `category`, conditions are sorted by it.
    """
    from rsa.rdm import of_one_subject
    from rsa.report.assemble import categories_of
    from rsa.report.study import reference_figures

    stack = of_one_subject(_stacked(references))
    reference_figures(stack, folder, categories=categories_of(stimuli, stack), comparison=comparison)


def draw_subject(scores: Path, subject: str, space: str, folder: Path, derived: list[str] | None = None) -> None:
    """Draw the maps of one subject: glass brains, slices, layer preference.

    Parameters
    ----------
    scores : path
        Scores of the subject (HDF5).
    subject : str
        Label of the subject.
    space : str
        BIDS label of the space.
    folder : path
        Where the pictures go.
    derived : list of str
        Maps made of all layers of a model.
    """
    from rsa.maps import derive_all
    from rsa.report.study import subject_figures

    maps, distance = io.load_scores(scores), str(io.read_provenance(scores)["settings"].get("distance", "unknown"))
    made = derive_all(maps, derived or [], distance=distance)
    subject_figures(maps, made, space=space, folder=folder, title=f"subject {subject}")


def draw_group(
    scores: list[Path], space: str, folder: Path, group: Path | None = None, derived: list[str] | None = None
) -> None:
    """Draw the maps of all subjects beside each other, and those of the group.

    Parameters
    ----------
    scores : list of path
        Scores of each subject (HDF5).
    space : str
        BIDS label of the space.
    folder : path
        Where the pictures go.
    group : path
        Scores of the group (HDF5).
    derived : list of str
        Maps made of all layers of a model.
    """
    from rsa.core import select
    from rsa.maps import derive_all
    from rsa.report.study import group_figures

    subjects = [(str(one.table["subject"].iloc[0]), one) for one in map(io.load_scores, scores)]
    together = None if group is None else io.load_scores(group)
    made = None
    if together is not None:
        made = derive_all(select(together, statistic=together.table["statistic"].iloc[0]), derived or [])
    group_figures(subjects, together, made, space=space, folder=folder)


def draw_regions(fits: Path, folder: Path) -> None:
    """Draw how well the references fit each region, with the noise ceiling.

    Parameters
    ----------
    fits : path
        Table of region fits (TSV).
    folder : path
        Where the picture goes.
    """
    from rsa.report.study import region_figures

    region_figures(io.load_table(fits).fillna({"layer": ""}), folder)


def draw_time(tables: Path, folder: Path, comparison: str = "spearman", generalisation: str | None = None) -> None:
    """Draw how well the references fit M/EEG RDMs over time, and when each fits best.

    Parameters
    ----------
    tables : path
        Folder of the tables of `layer_time`.
    folder : path
        Where the pictures go.
    comparison : str
        How alike two RDMs are.
    generalisation : str
        What the table of all times with each other was made of: within or between subjects.
    """
    from rsa.report.courses import course_figures, save_generalisation

    read = {name: io.load_table(tables / f"{name}.tsv") for name in ("courses", "latencies", "hierarchy")}
    read = {name: table.fillna({"layer": ""}) if "layer" in table else table for name, table in read.items()}
    course_figures(read["courses"], read["latencies"], folder, hierarchy=read["hierarchy"])
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
    folder : path
        Where the pictures go.
    title : str
        Who it is, for the captions.
    """
    from rsa.core import select
    from rsa.files.evokeds import read_info
    from rsa.report.topographies import sensor_figures

    maps = io.load_scores(scores)
    shown = select(maps, statistic=maps.table["statistic"].iloc[0])
    sensor_figures(shown, read_info(evokeds), folder, title=title)


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
    space : str
        BIDS label of the space.
    folder : path
        Where the pictures go.
    stimuli : Stimuli
        If its table has a column `category`, conditions are sorted by it.
    times_s : list of float
        Times of the strips, in s after onset; chosen if they are not given.
    """
    from rsa.core import select
    from rsa.rdm import MEEG
    from rsa.report.assemble import categories_of
    from rsa.report.film import film_figures, rdm_film_figures

    maps, mean = io.load_scores(scores), io.load_rdms(movie)
    statistics = list(dict.fromkeys(maps.table["statistic"]))
    statistic = "mean" if "mean" in statistics else statistics[0]
    film_figures(select(maps, model=MEEG, statistic=statistic), folder, space=space, title="fusion", times_s=times_s)
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
    references : list of path
        Reference RDMs (HDF5).
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
    fits : path
        Table of region fits (TSV).
    movies : list of path
        M/EEG RDMs of all subjects (HDF5).
    time : path
        Folder of the tables of layers over time.
    sensors : list of path
        Scores over sensors of all subjects (HDF5).
    """
    import json

    from rsa.report.assemble import page_of

    settings = json.loads(study.read_text(encoding="utf-8"))
    made_of = (scores or [], brain or [], fits, folder, resampled or [], movies or [], time, sensors or [])
    io.save_text(output, page_of(settings, references, *made_of))


# ------------------------------------------------------------------------------------------- shared


def _stacked(paths: list[Path]) -> RDMs:
    """Read RDMs over the same conditions from several files, as one stack."""
    return concatenate([io.load_rdms(path) for path in paths])


def _patterns_of_voxels(path: Path) -> Patterns:
    """Read patterns, which have to be over the voxels of a volume."""
    from rsa.errors import UserError

    patterns = io.load_patterns(path)
    if patterns.volume is None:
        raise UserError(f"The patterns in {path} are not over voxels; a searchlight needs a volume.")
    return patterns


def _measured_by(analysis: Analysis | None, comparison: str) -> dict[str, Any]:
    """Say in the provenance of scores what they are, if they are not plain comparisons."""
    return {} if analysis is None else {"analysis": analysis.model_dump(), "measure": analysis.about(comparison)}


def _dictionary(
    table: pd.DataFrame, columns: dict[str, str], analysis: Analysis | None, comparison: str
) -> dict[str, str]:
    """Say what the columns of a table are; of an analysis, what its scores are."""
    scores = {} if analysis is None else {"score": analysis.about(comparison)}
    return {name: text for name, text in {**columns, **scores}.items() if name in table}


def _made_of(inputs: list[Path], **settings: Any) -> AbstractContextManager[dict[str, Any]]:
    """Give the provenance of what a stage makes of the files that it reads in a block."""
    return io.made_of(inputs, settings)
