"""M/EEG: RDMs over time, layers over time, and the searchlight over sensors."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.core import Epochs, select
from rsa.datasets import EpochFiles, MeegDataset
from rsa.datasets.sensors import neighbours_of
from rsa.files import io
from rsa.files.evokeds import evoked_path, read_info, write_evokeds
from rsa.inference.contrasts import known_contrasts
from rsa.inference.group import GROUP_TESTS, above_tests
from rsa.inference.subjects import about_of
from rsa.inputs.stimuli import Stimuli
from rsa.meeg import latencies
from rsa.meeg import scores as over_time
from rsa.meeg import sensors as over_sensors
from rsa.meeg.timecourse import MovieSettings, rdm_movie
from rsa.pipeline.config import ComparisonName, Generalisation, GroupTestName, Inference, Movie, Sensors
from rsa.pipeline.stages.common import dictionary, provenance_of, stacked
from rsa.progress import progress
from rsa.rdm import MEEG, average_over_subjects, own_references
from rsa.searchlight import RunSettings

__all__ = ["group_movie", "layer_time", "movie", "sensor_group", "sensor_peaks", "sensor_searchlight"]


def movie(
    meeg: MeegDataset,
    subject: str,
    output: Path,
    movie: Movie | None = None,
    stimuli: Stimuli | None = None,
    threads: int = 1,
) -> None:
    """Read the M/EEG data of one subject, and build an RDM at every time.

    Parameters
    ----------
    movie : Movie
        How RDMs are made of epochs; ready ones stay as they are.
    """
    conditions, how = None if stimuli is None else stimuli.conditions(), movie or Movie()
    files = meeg.files(subject, conditions)
    with provenance_of(files, dataset=meeg.model_dump(), **how.model_dump()) as provenance:
        data = meeg.load(subject, conditions, noise=meeg.has_baseline)
    if isinstance(data, Epochs):
        with progress(len(data.times_s), "times") as advance:
            data = rdm_movie(data, MovieSettings(**how.model_dump()), RunSettings(n_threads=threads, progress=advance))
    table = data.table.assign(subject=subject, model=MEEG, layer="")
    io.save(output, replace(data, table=table), provenance)


def group_movie(movies: list[Path], output: Path, comparison: ComparisonName = "spearman") -> None:
    """Average the RDMs over time of all subjects, as a reference for fMRI data.

    Parameters
    ----------
    comparison : str
        On whose scale RDMs are averaged.
    """
    with provenance_of(movies, comparison=comparison) as provenance:
        each = stacked(movies)
    io.save(output, average_over_subjects(each, comparison), provenance)


def layer_time(
    movies: list[Path],
    references: list[Path],
    folder: Path,
    comparison: ComparisonName = "spearman",
    generalisation: Generalisation | None = None,
    analysis: Analysis | PlainComparison = PLAIN,
    inference: Inference | None = None,
) -> None:
    """Compare M/EEG RDMs with all references at every time: scores, group courses, latencies, their order along layers.

    Parameters
    ----------
    folder : path
        Where the tables go (TSV, each with a JSON data dictionary).
    """
    rdms, own = stacked(movies), stacked(references)
    chance: dict[str, Any] = {"tested": analysis.tested, "distance": rdms.distance}
    scores = over_time.measured_over_time(rdms, own, analysis.measure_of(rdms.conditions, comparison))
    if analysis.is_main:
        scores = over_time.with_ceilings(scores, rdms, comparison)
    one_subject = scores["subject"].nunique() == 1
    measure_of = partial(analysis.measure, comparison=comparison)
    of_onsets: dict[str, Any] = {}
    if inference is not None:
        of_onsets["alpha"] = inference.alpha
        chance |= {
            "family": inference.family_over_time,
            "n_permutations": inference.permutations,
            "seed": inference.seed,
        }
    if inference is not None and not inference.over_subjects:
        how: dict[str, Any] = {"n_permutations": inference.permutations, "seed": inference.seed}
        in_order = analysis.measure_of(rdms.conditions, comparison)
        chance["permuted"] = over_time.permuted_over_time(rdms, own, in_order, inference.correction(None), **how)
    elif one_subject:
        of_onsets["chance"] = over_time.relabelled(rdms, own, measure_of)
    tables = {
        "scores": (scores, over_time.LAYER_TIME_COLUMNS),
        "courses": (latencies.group_courses(scores, **chance), latencies.COURSE_COLUMNS),
        "latencies": (latencies.latencies(scores, **chance, **of_onsets), latencies.LATENCY_COLUMNS),
        "hierarchy": (latencies.hierarchy(scores), latencies.HIERARCHY_COLUMNS),
    }
    if generalisation is not None:
        between = generalisation == "between"
        tables["generalisation"] = over_time.generalisation_table(rdms, comparison, between=between)
    for name, (table, columns) in tables.items():
        io.save_table(folder / f"{name}.tsv", table, dictionary(table, columns, analysis, comparison))


def sensor_searchlight(
    meeg: EpochFiles,
    subject: str,
    references: list[Path],
    output: Path,
    evokeds: Path,
    sensors: Sensors | None = None,
    movie: Movie | None = None,
    stimuli: Stimuli | None = None,
    comparison: ComparisonName = "spearman",
    analysis: Analysis | PlainComparison = PLAIN,
    threads: int = 1,
) -> None:
    """Compare the RDMs of every M/EEG sensor with its neighbours, at every time, with all reference RDMs.

    Parameters
    ----------
    meeg : EpochFiles
        Where the epochs are.
    evokeds : path
        The same scores as evoked responses of MNE (.fif).
    sensors : Sensors
        The smallest neighbourhood.
    movie : Movie
        How RDMs are made of epochs.
    """
    conditions = None if stimuli is None else stimuli.conditions()
    made_by, min_sensors = (movie or Movie()).model_dump(), (sensors or Sensors()).min_sensors
    how = {**made_by, "min_sensors": min_sensors, "comparison": comparison, **analysis.provenance(comparison)}
    inputs = [*meeg.files(subject, conditions), *references]
    with provenance_of(inputs, dataset=meeg.model_dump(), **how) as provenance:
        epochs = meeg.load(subject, conditions, noise=meeg.has_baseline)
        info, own = meeg.sensor_info(subject), own_references(stacked(references), subject)
    with progress(len(epochs.times_s), "times") as advance:
        measure = analysis.measure_of(epochs.conditions, comparison)(own)
        settings, run = MovieSettings(**made_by), RunSettings(n_threads=threads, progress=advance)
        scores = over_sensors.sensor_searchlight(
            epochs, neighbours_of(info), measure, movie=settings, min_sensors=min_sensors, run=run
        )
    table = scores.table.assign(subject=subject)
    io.save(output, replace(scores, table=table[["subject", *scores.table]]), provenance)
    write_evokeds(evokeds, scores, info)


def sensor_group(
    scores: list[Path],
    evokeds: Path,
    output: Path,
    tests: list[GroupTestName] | None = None,
    inference: Inference | None = None,
    threads: int = 1,
) -> None:
    """Bring the scores of all subjects over sensors together: their mean, t, and p values over subjects.

    Parameters
    ----------
    evokeds : path
        Evoked responses of a subject, for where the sensors are (.fif).
    output : path
        Scores of the group (HDF5); beside it evoked responses, a file for each test (.fif).
    """
    settings = io.read_provenance(scores[0])["settings"]
    distance = str(settings.get("distance", "unknown"))
    with provenance_of(scores, **settings) as provenance:
        subjects = [io.load_scores(path) for path in scores]
        group = over_sensors.combine_sensors(subjects, tests or tuple(GROUP_TESTS), distance=distance)
    plain, info = group, read_info(evokeds)
    if inference is not None and inference.over_subjects and "t" in (tests or GROUP_TESTS):
        correction = replace(inference.correction(None), enhance=None)
        found, test, tested = over_sensors.sensor_tests(
            subjects,
            neighbours_of(info),
            correction,
            statistic=inference.statistic or "t",
            n_permutations=inference.permutations,
            seed=inference.seed,
            design=inference.design([str(scores.table["subject"].iloc[0]) for scores in subjects]),
            contrasts=known_contrasts(inference.contrasts, subjects[0].table),
            cluster_p=inference.cluster_p,
            enhance=None if inference.enhance == "none" else inference.enhance,
            distance=distance,
            n_threads=threads,
        )
        group = above_tests(group, found)
        plain = replace(plain, values=group.values[: len(plain)])
        provenance["settings"] |= {"inference": inference.model_dump(), "tests": about_of(test, tested)}
    io.save(output, group, provenance)
    for name in dict.fromkeys(plain.table["statistic"]):
        path = evoked_path(output.parent, "group", name)
        write_evokeds(path, select(plain, statistic=name), info, n_averaged=len(scores))


def sensor_peaks(scores: list[Path], output: Path) -> None:
    """List at which sensor and time each reference scores highest.

    Parameters
    ----------
    scores : list of path
        Scores over sensors of subjects, and of the group (HDF5).
    output : path
        Table (TSV), with a JSON data dictionary beside it.
    """
    io.save_table(
        output, over_sensors.sensor_peaks([io.load_scores(path) for path in scores]), over_sensors.SENSOR_PEAK_COLUMNS
    )
