"""fMRI: patterns or ready RDMs, searchlights, regions, and maps of subjects and of the group."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rsa import neighbourhood, rdm
from rsa import searchlight as engine
from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.core import MAP_COLUMNS, Patterns, RDMs, ScoreMap, on_voxels, shared_volume
from rsa.datasets import Dataset
from rsa.files import io, memory
from rsa.files.fsaverage import has_cortex
from rsa.files.maps import clusters_path, write_maps
from rsa.files.stored import stored_patterns, stored_scores
from rsa.inference import group as groups
from rsa.inference.bootstrap import BOTH_COLUMNS, about_few, bootstrapped_regions
from rsa.inference.ceiling import noise_ceilings
from rsa.inference.clusters import CLUSTER_COLUMNS, cluster_table
from rsa.inference.contrasts import known_contrasts
from rsa.inference.graph import voxel_graph
from rsa.inference.regions import REGION_GROUP_COLUMNS, permuted_regions, region_group, with_numbers_of
from rsa.inputs.regions import Regions, read_regions, region_files
from rsa.inputs.stimuli import Stimuli
from rsa.inputs.templates import Template, resample_scores, template_files, template_volume, transform_path
from rsa.maps import stack
from rsa.measures import Measure
from rsa.noise import prepared
from rsa.pipeline.config import (
    BrainDistanceName,
    ComparisonName,
    GroupTestName,
    Inference,
    MapName,
    Noise,
    Searchlight,
    ShrinkageName,
    Surfaces,
)
from rsa.pipeline.stages.common import dictionary, patterns_of_voxels, provenance_of, stacked
from rsa.progress import progress
from rsa.rdm import own_references
from rsa.searchlight import RdmSettings, RunSettings

__all__ = ["brain", "group", "maps", "noise_ceiling", "region_fits", "region_rdms", "resample", "searchlight"]

log = logging.getLogger(__name__)


def brain(
    brain: Dataset,
    subject: str,
    output: Path,
    stimuli: Stimuli | None = None,
    noise: Noise | None = None,
    remove_mean: bool = False,
) -> None:
    """Read the brain data of one subject: patterns over voxels, or ready RDMs of regions.

    Parameters
    ----------
    noise : Noise
        How patterns are brought into units of their noise; where spheres do that, residuals are kept for them.
    remove_mean : bool
        Take the mean over conditions out of each voxel, run by run.
    """
    conditions = None if stimuli is None else stimuli.conditions()
    residuals = noise is not None and noise.source == "residuals"
    preparation = {"remove_mean": remove_mean, **({} if noise is None else noise.model_dump())}
    files = brain.files(subject, conditions, residuals=residuals)
    with provenance_of(files, dataset=brain.model_dump(), subject=subject, **preparation) as provenance:
        data = brain.load(subject, conditions, residuals=residuals)
    if isinstance(data, Patterns):
        data = prepared(data, **preparation)
    io.save(output, data, provenance)


def searchlight(
    patterns: Path,
    references: list[Path],
    output: Path,
    subject: str,
    searchlight: Searchlight,
    distance: BrainDistanceName = "correlation",
    shrinkage: ShrinkageName | None = None,
    comparison: ComparisonName = "spearman",
    analysis: Analysis | PlainComparison = PLAIN,
    others: list[Path] | None = None,
    device: str = "auto",
    threads: int = 1,
    memory_mb: int | None = None,
) -> None:
    """Compare the RDM of the sphere around every voxel with all reference RDMs.

    Parameters
    ----------
    references : list of path
        Reference RDMs (HDF5): layers, files, models.
    others : list of path
        Patterns of the other subjects (HDF5), where weights are fitted to them.
    device : str
        auto (CUDA where there is one that can do what is asked), cpu, cuda, cuda:1.
    """
    rdm_settings = RdmSettings(distance, shrinkage, searchlight.min_voxels)
    settings = {**searchlight.model_dump(), "distance": distance, "shrinkage": shrinkage, "comparison": comparison}
    with provenance_of(
        [patterns, *references, *(others or ())], **settings, **analysis.provenance(comparison)
    ) as provenance:
        subjects = [patterns_of_voxels(path) for path in (patterns, *(others or ()))]
        own = own_references(stacked(references), subject)
    volumes = [one.volume for one in subjects if one.volume is not None]
    spheres = neighbourhood.shared_spheres(volumes, searchlight.radius_mm, stride=searchlight.stride)
    rest = list(zip(subjects, spheres, strict=True))[1:]
    measure = analysis.measure_of(subjects[0].conditions, comparison)(own)
    with_reliability = analysis.is_main and searchlight.reliability
    n_walks = (1 + with_reliability) * max(1, len(subjects[0].delays_s))
    with progress(n_walks * len(spheres[0]), "spheres") as advance:
        room, what = memory.room_bytes(memory_mb), (subjects[0], spheres[0], measure)
        run = RunSettings(n_threads=threads, device=device, progress=advance, room_bytes=room)
        if with_reliability:
            scores = engine.scan_with_reliability(*what, comparison, rdm_settings, run)
        else:
            scores = engine.scan(*what, others=rest, rdm=rdm_settings, run=run)
    table = scores.table.assign(subject=subject)
    scores = replace(scores, table=table[[name for name in MAP_COLUMNS if name in table]])
    io.save(output, scores, provenance)


def noise_ceiling(
    patterns: list[Path],
    output: Path,
    searchlight: Searchlight,
    distance: BrainDistanceName = "correlation",
    shrinkage: ShrinkageName | None = None,
    comparison: ComparisonName = "spearman",
    threads: int = 1,
    memory_mb: int | None = None,
) -> None:
    """Map the noise ceiling over subjects in the sphere around every voxel.

    Parameters
    ----------
    patterns : list of path
        Patterns of all subjects (HDF5).
    """
    settings = {**searchlight.model_dump(), "distance": distance, "shrinkage": shrinkage, "comparison": comparison}
    with provenance_of(patterns, **settings) as provenance:  # patterns are read bit by bit, until the end
        subjects = [stored_patterns(path) for path in patterns]
        shared = shared_volume([one.volume for one in subjects])
        n_spheres = len(neighbourhood.sphere_centres(shared, searchlight.stride))
        with progress(n_spheres * max(1, len(subjects[0].delays_s)), "spheres") as advance:
            bounds = noise_ceilings(
                subjects,
                searchlight.radius_mm,
                stride=searchlight.stride,
                comparison=comparison,
                rdm=RdmSettings(distance, shrinkage, searchlight.min_voxels),
                run=RunSettings(n_threads=threads, progress=advance, room_bytes=memory.room_bytes(memory_mb)),
            )
    io.save(output, bounds, provenance)


def resample(scores: Path, subject: str, template: Template, output: Path) -> None:
    """Bring the maps of one subject to the grid of a template.

    Parameters
    ----------
    scores : path
        Scores of the subject (HDF5).
    template : Template
        The grid, and the transform to it.
    """
    settings = io.read_provenance(scores)["settings"] | {"template": template.model_dump()}
    with provenance_of([scores, *template_files(template, subject)], **settings) as provenance:
        grid, transform = template_volume(template), transform_path(template, subject)
        resampled = resample_scores(io.load_scores(scores), grid, transform)
    io.save(output, resampled, provenance)


def region_rdms(
    patterns: Path,
    regions: Regions,
    subject: str,
    output: Path,
    distance: BrainDistanceName = "correlation",
    shrinkage: ShrinkageName | None = None,
) -> None:
    """Build the RDM of every region of interest of one subject.

    Parameters
    ----------
    regions : Regions
        Atlas, masks or spheres.
    """
    settings = {"regions": regions.model_dump(), "distance": distance, "shrinkage": shrinkage}
    with provenance_of([patterns, *region_files(regions, subject)], **settings) as provenance:
        data = io.load_patterns(patterns)
        around = read_regions(regions, subject, data.volume)
    rdms = engine.region_rdms(data, around, RdmSettings(distance, shrinkage))
    rdms = replace(rdms, table=rdms.table.assign(subject=subject))
    io.save(output, rdms, provenance)


def region_fits(
    brain: list[Path],
    references: list[Path],
    output: Path,
    comparison: ComparisonName = "spearman",
    analysis: Analysis | PlainComparison = PLAIN,
    inference: Inference | None = None,
    group: Path | None = None,
    threads: int = 1,
) -> None:
    """Compare the RDMs of regions of all subjects with all reference RDMs: a table with noise ceilings.

    Parameters
    ----------
    brain : list of path
        RDMs of the regions of each subject (HDF5).
    output : path
        Table (TSV), with a JSON data dictionary beside it.
    group : path
        Table of the mean over subjects of each region, with intervals and p values (TSV), if there is inference.
    """
    regions, own = stacked(brain), stacked(references)
    measure_of = analysis.measure_of(regions.conditions, comparison)
    fits = rdm.measured_regions(regions, own, measure_of)
    table = rdm.with_ceilings(fits, regions, comparison) if analysis.is_main else fits
    io.save_table(output, table, dictionary(table, rdm.REGION_FIT_COLUMNS, analysis, comparison))
    if inference is None or group is None:
        return
    if inference.over_subjects:
        means = over_subjects(fits, inference, tested=analysis.tested, distance=regions.distance)
    else:
        means = with_numbers_of(without_tests(fits), over_conditions(regions, own, measure_of, inference, threads))
    if analysis.is_main and inference.resamples_regions(comparison):
        means = with_numbers_of(means, over_both(regions, own, comparison, inference, fits, threads))
    io.save_table(group, means, dictionary(means, REGION_GROUP_COLUMNS | BOTH_COLUMNS, analysis, comparison))


def over_subjects(fits: pd.DataFrame, inference: Inference, *, tested: bool, distance: str) -> pd.DataFrame:
    """Test scores in regions over subjects, with their groups and covariates; see `region_group`."""
    return region_group(
        fits,
        statistic=inference.statistic or "t",
        correction=inference.correction(None),
        n_permutations=inference.permutations,
        seed=inference.seed,
        design=inference.design([str(name) for name in dict.fromkeys(fits["subject"])]),
        contrasts=known_contrasts(inference.contrasts, fits),
        tested=tested,
        distance=distance,
    )


def without_tests(fits: pd.DataFrame) -> pd.DataFrame:
    """Average scores in regions over subjects, with intervals alone."""
    return region_group(fits, tested=False).drop(columns=["t", "p", "p_corrected", "q"])


def over_conditions(
    brain: RDMs, references: RDMs, measure_of: Callable[[RDMs], Measure], inference: Inference, threads: int
) -> pd.DataFrame:
    """Test scores in regions over conditions; see `permuted_regions`."""
    how: dict[str, Any] = {"n_permutations": inference.permutations, "seed": inference.seed}
    run = RunSettings(n_threads=threads)
    return permuted_regions(brain, references, measure_of, inference.correction(None), **how, run=run)


def over_both(
    brain: RDMs, references: RDMs, comparison: str, inference: Inference, fits: pd.DataFrame, threads: int
) -> pd.DataFrame:
    """Resample subjects and conditions, and show how far it is; see `bootstrapped_regions`."""
    assert inference.bootstrap is not None, "regions are resampled"
    with progress(inference.bootstrap * fits["region"].nunique(), "samples of regions") as advance:
        found = bootstrapped_regions(
            brain,
            references,
            comparison,
            inference.correction(None),
            contrasts=known_contrasts(inference.contrasts, fits),
            n_samples=inference.bootstrap,
            seed=inference.seed,
            tested=rdm.chance_is_0(comparison, brain.distance),
            run=RunSettings(n_threads=threads, progress=advance),
        )
    if few := about_few(found):
        log.warning(few)
    return found


def maps(
    scores: list[Path],
    subject: str,
    space: list[str],
    folder: Path,
    derived: list[MapName] | None = None,
    inference: Path | None = None,
    surfaces: Surfaces | None = None,
) -> None:
    """Write the scores of one subject as NIfTI maps with sidecars, derived maps, and a table of peaks.

    Parameters
    ----------
    scores : list of path
        Scores of the subject, in one space or several (HDF5).
    space : list of str
        BIDS labels of these spaces.
    folder : path
        Folder of the study's results.
    inference : path
        p values of the scores in the first space (HDF5).
    surfaces : Surfaces
        The surface on which maps in MNI152 are written as well.
    """
    for number, (path, label) in enumerate(zip(scores, space, strict=True)):
        found = io.load_scores(path)
        tests: dict[tuple[str, str], Any] = {}
        if inference is not None and number == 0:
            found, tests = with_tests(found, [inference])
        on_cortex = surfaces is not None and has_cortex(label)
        write_maps(found, folder, subject, label, derived, io.read_provenance(path), path, tests, on_cortex=on_cortex)


def group(
    scores: list[Path],
    space: str,
    folder: Path,
    output: Path,
    tests: list[GroupTestName],
    ceiling: Path | None = None,
    inference: list[Path] | None = None,
    regions: Regions | None = None,
    derived: list[MapName] | None = None,
    surfaces: Surfaces | None = None,
) -> None:
    """Bring the maps of all subjects together and write the maps of the group.

    Parameters
    ----------
    folder : path
        Folder of the study's results.
    tests : list of str
        mean, t (one-sample, of Fisher's z, not corrected).
    ceiling : path
        Noise ceiling of the same subjects (HDF5): written beside the maps, and mean maps as a share of it.
    inference : list of path
        p values of the group (HDF5): written beside the maps, with a table of clusters.
    regions : Regions
        Where clusters are: the same atlas, masks or spheres for all subjects, on the grid of the maps.
    surfaces : Surfaces
        The surface on which maps in MNI152 are written as well.
    """
    settings = io.read_provenance(scores[0])["settings"]
    distance = str(settings.get("distance", "unknown"))
    inputs = [*scores, *([] if ceiling is None else [ceiling]), *(inference or ())]
    with provenance_of(inputs, **{**settings, "tests": tests}) as provenance:
        subjects = [stored_scores(path) for path in scores]
        bounds = None if ceiling is None else io.load_scores(ceiling)
        result = stack([groups.combine(subjects, test, distance=distance) for test in tests])
    if bounds is not None:
        result = groups.with_ceiling(result, bounds)
    about: dict[Any, Any] = {test: groups.GROUP_TESTS[test].about(len(subjects)) for test in tests}
    if inference:
        result, tested = with_tests(result, inference)
        provenance["settings"]["inference"] = io.read_provenance(inference[0])["settings"]["inference"]
        about |= tested
    io.save(output, result, provenance)
    on_cortex = surfaces is not None and has_cortex(space)
    write_maps(result, folder, "", space, derived, provenance, output, about, on_cortex=on_cortex)
    if inference:
        write_clusters(result, provenance["settings"], folder, space, regions)


def write_clusters(
    scores: ScoreMap, settings: Mapping[str, Any], folder: Path, space: str, regions: Regions | None
) -> None:
    """Write the table of clusters of significant voxels of the maps of a group."""
    inference, volume = Inference.model_validate(settings["inference"]), scores.volume
    assert volume is not None, "maps of a group are over voxels"
    around = None if regions is None else read_regions(regions, "", volume)
    graph = voxel_graph(volume, inference.connectivity, int(settings.get("stride", 1)))
    table = cluster_table(scores, graph, inference.alpha, in_time="times" in inference.family, regions=around)
    analysis = (settings.get("analysis") or {}).get("name", "")
    io.save_table(clusters_path(folder, space, analysis), table, CLUSTER_COLUMNS)


def with_tests(scores: ScoreMap, paths: list[Path]) -> tuple[ScoreMap, dict[tuple[str, str], Any]]:
    """Stack what tests found below the scores, over their voxels, and return what sidecars say of it.

    That is by model and statistic: some models may be tested over subjects, and others over conditions.
    """
    volume = scores.volume
    about: dict[tuple[str, str], Any] = {}
    assert volume is not None, "tests are of maps over voxels"
    for path in paths:
        found = on_voxels(io.load_scores(path), volume)
        scores = groups.above_tests(scores, found)
        said = io.read_provenance(path)["settings"]["tests"]
        about |= {(model, name): of for model in found.table["model"].unique() for name, of in said.items()}
    return scores, about
