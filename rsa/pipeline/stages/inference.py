"""p values of maps: over subjects by flips, and over conditions by permutations in the searchlight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rsa import neighbourhood
from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.core import MAP_COLUMNS, ScoreMap, shared_volume
from rsa.files import io, memory
from rsa.files.stored import stored_scores
from rsa.inference.contrasts import known_contrasts, with_contrasts
from rsa.inference.graph import voxel_graph
from rsa.inference.group import require_same_maps
from rsa.inference.permutation import ConditionTest, Places
from rsa.inference.subjects import about_of, flippable_rows, maps_of, over_subjects
from rsa.inference.tally import families_of, rows_of
from rsa.measures import some_rows
from rsa.pipeline.config import BrainDistanceName, ComparisonName, Inference, Searchlight, ShrinkageName
from rsa.pipeline.stages.common import patterns_of_voxels, provenance_of, stacked
from rsa.progress import progress
from rsa.rdm import MEEG, own_references
from rsa.searchlight import RdmSettings, RunSettings

__all__ = ["permute_conditions", "flip_subjects"]


def permute_conditions(
    patterns: list[Path],
    references: list[Path],
    subjects: list[str],
    output: Path,
    searchlight: Searchlight,
    inference: Inference,
    distance: BrainDistanceName = "correlation",
    shrinkage: ShrinkageName | None = None,
    comparison: ComparisonName = "spearman",
    analysis: Analysis | PlainComparison = PLAIN,
    threads: int = 1,
    memory_mb: int | None = None,
) -> None:
    """Test the scores of the spheres of one subject, or their means over several, by permutations of conditions.

    Parameters
    ----------
    patterns : list of path
        Patterns of the subjects (HDF5).
    subjects : list of str
        Their labels.
    output : path
        p values and what belongs to them (HDF5). Where inference is over subjects, those of M/EEG RDMs alone.
    """
    how = {**searchlight.model_dump(), "distance": distance, "shrinkage": shrinkage, "comparison": comparison}
    how |= {"inference": inference.model_dump(), **analysis.provenance(comparison)}
    with provenance_of([*patterns, *references], **how) as provenance:
        data = [patterns_of_voxels(path) for path in patterns]
        stack = stacked(references)
    measure_of, fused = analysis.measure_of(data[0].conditions, comparison), inference.over_subjects
    for_all = measure_of(stack) if "subject" not in stack.table else None
    measures = [for_all or measure_of(own_references(stack, subject)) for subject in subjects]
    if fused:
        rows = np.flatnonzero(measures[0].table["model"] == MEEG)
        few = {id(measure): some_rows(measure, rows) for measure in measures}
        measures = [few[id(measure)] for measure in measures]
    volumes = [one.volume for one in data if one.volume is not None]
    around = neighbourhood.shared_spheres(volumes, searchlight.radius_mm, stride=searchlight.stride)
    settings = RdmSettings(distance, shrinkage, searchlight.min_voxels)
    places = Places.of_patterns(list(zip(data, around, strict=True)), measures[0].conditions, settings)
    graph = voxel_graph(shared_volume(volumes), inference.connectivity, searchlight.stride)
    test = ConditionTest(
        places,
        measures,
        inference.correction(graph),
        n_permutations=inference.permutations,
        seed=inference.seed,
        combine=inference.combine,
        n_each=inference.permutations_each,
        cluster_p=inference.cluster_p,
    )
    room = memory.room_bytes(memory_mb)
    with progress(test.n_steps(room), "steps") as advance:
        scores, tested = test.result(RunSettings(n_threads=threads, progress=advance, room_bytes=room))
    who = "mean over subjects of the score" if len(subjects) > 1 else "score"
    labels = scores.table if len(subjects) > 1 else scores.table.assign(subject=subjects[0])
    values, table = rows_of(labels, tested.maps(scores.values))
    about = tested.about(f"{who}; conditions of the references are permuted")
    shared: dict[str, object] = {"Subjects": len(subjects), "Seed": inference.seed}
    provenance["settings"]["tests"] = {name: said | shared for name, said in about.items()}
    io.save(output, replace(scores, values=values, table=_ordered(table)), provenance)


def flip_subjects(
    scores: list[Path], output: Path, inference: Inference, paired: bool = False, stride: int = 1, threads: int = 1
) -> None:
    """Test the scores of all subjects: their mean, a difference of groups, and differences of references.

    Parameters
    ----------
    output : path
        Statistics, p values and what belongs to them (HDF5).
    paired : bool
        Whether each subject has M/EEG RDMs of its own.
    stride : int
        Of the centres of spheres.
    """
    how = io.read_provenance(scores[0])["settings"]
    extra = [] if inference.participants is None else [Path(inference.participants)]
    with provenance_of([*scores, *extra], **{**how, "inference": inference.model_dump()}) as provenance:
        maps = [stored_scores(path) for path in scores]
        require_same_maps(maps)
        design = inference.design([str(one.table["subject"].iloc[0]) for one in maps])
        volumes = [one.volume for one in maps if one.volume is not None]
        volume = shared_volume(volumes)
        rows = flippable_rows(maps[0].table, str(how.get("distance", "unknown")), paired=paired)
        inside = [volume.mask[own.mask] for own in volumes]
        values = np.stack([one.rows(rows)[:, own] for one, own in zip(maps, inside, strict=True)])
    table = maps[0].table.iloc[rows].drop(columns="subject", errors="ignore").reset_index(drop=True)
    z, effect, table = with_contrasts(values, table, known_contrasts(inference.contrasts, table), design)
    correction = inference.correction(voxel_graph(volume, inference.connectivity, stride))
    n_flips = design.n_transforms(inference.permutations)[0] - 1
    n_maps = correction.n_enhanced(families_of(table, inference.family), n_flips)
    with progress(n_maps, "maps") as advance:
        test, tested = over_subjects(
            z,
            table,
            correction,
            statistic=inference.statistic or "t",
            n_permutations=inference.permutations,
            seed=inference.seed,
            design=design,
            cluster_p=inference.cluster_p,
            n_threads=threads,
            progress=advance,
        )
    numbers, labels = maps_of(test, tested, effect, table)
    shared: dict[str, object] = {"Seed": inference.seed}
    provenance["settings"]["tests"] = {name: said | shared for name, said in about_of(test, tested).items()}
    n_members = np.isfinite(z).all(axis=1).sum(axis=0)
    io.save(output, ScoreMap(numbers, _ordered(labels), volume, n_members=n_members), provenance)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in MAP_COLUMNS if name in table]]
