"""p values of maps: over subjects by flips, and over conditions by permutations in the searchlight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr

from rsa import neighbourhood
from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.core import MAP_COLUMNS, Array, ScoreMap, Volume, on_voxels, shared_volume
from rsa.errors import UserError
from rsa.files import io
from rsa.inference.contrasts import DIFFERENCE, contrast_rows
from rsa.inference.flips import fisher_z
from rsa.inference.graph import voxel_graph
from rsa.inference.group import require_same_maps
from rsa.inference.permutation import ConditionTest, Places
from rsa.inference.subjects import SUBJECT_STATISTICS, over_subjects, why_not_flipped
from rsa.inference.tally import families_of, rows_of
from rsa.measures import some_rows
from rsa.pipeline.config import BrainDistanceName, ComparisonName, Inference, Searchlight, ShrinkageName
from rsa.pipeline.stages.common import patterns_of_voxels, provenance_of, stacked
from rsa.progress import progress
from rsa.rdm import MEEG, own_references
from rsa.searchlight import RdmSettings, RunSettings

__all__ = ["permute_conditions", "flip_subjects"]

Z_OF_T = "z that is exceeded as rarely as the t, by Student's distribution; uncorrected"


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
    shared = measure_of(stack) if "subject" not in stack.table else None
    measures = [shared or measure_of(own_references(stack, subject)) for subject in subjects]
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
    with progress(test.n_steps, "steps") as advance:
        scores, tested = test.result(RunSettings(n_threads=threads, progress=advance))
    who = "mean over subjects of the score" if len(subjects) > 1 else "score"
    labels = scores.table if len(subjects) > 1 else scores.table.assign(subject=subjects[0])
    values, table = rows_of(labels, tested.maps(scores.values))
    provenance["settings"]["tests"] = tested.about(f"{who}; conditions of the references are permuted")
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
        maps = [io.load_scores(path) for path in scores]
    require_same_maps(maps)
    design = inference.design([str(one.table["subject"].iloc[0]) for one in maps])
    volume = shared_volume([one.volume for one in maps if one.volume is not None])
    graph = voxel_graph(volume, inference.connectivity, stride)
    values, table = _flipped_scores(maps, volume, str(how.get("distance", "unknown")), paired)
    z = fisher_z(values)
    scores_of = design.effect(values)
    if inference.contrasts:
        differences, named = contrast_rows(z, table, inference.contrasts)
        z, table = np.concatenate([z, differences], axis=1), pd.concat([table, named], ignore_index=True)
        scores_of = np.concatenate([scores_of, design.effect(differences)])
    correction, statistic = inference.correction(graph), inference.statistic or "t"
    n_maps = correction.n_enhanced(families_of(table, inference.family), inference.permutations)
    with progress(n_maps, "maps") as advance:
        test, tested = over_subjects(
            z,
            table,
            correction,
            statistic=statistic,
            n_permutations=inference.permutations,
            seed=inference.seed,
            design=design,
            cluster_p=inference.cluster_p,
            n_threads=threads,
            progress=advance,
        )
    summary, df = SUBJECT_STATISTICS[statistic].summary, test.degrees_of_freedom
    z_of_t = None if df is None else _z_of_t(test.observed, df)
    made = [(statistic, test.observed), *tested.maps(scores_of, z_of_t)]
    if inference.contrasts or inference.groups:
        made.insert(0, (DIFFERENCE, scores_of))
    about = tested.about(f"{summary}; {design.words}", "" if df is None else Z_OF_T)
    shared: dict[str, object] = {"Subjects": len(maps), **({} if df is None else {"DegreesOfFreedom": df})}
    about[statistic] = {
        **about["z"],
        "Description": f"{summary}; {design.words}",
        "Units": statistic,
    }
    about[DIFFERENCE] = {"Description": f"Difference of means of Fisher's z; {design.words}", "Units": "Fisher's z"}
    provenance["settings"]["tests"] = {name: said | shared for name, said in about.items()}
    numbers, labels = rows_of(table, made)
    io.save(
        output,
        ScoreMap(numbers, _ordered(labels), volume, n_members=np.isfinite(z).all(axis=1).sum(axis=0)),
        provenance,
    )


def _flipped_scores(maps: list[ScoreMap], volume: Volume, distance: str, paired: bool) -> tuple[Array, pd.DataFrame]:
    """Return the scores that flips can test, (n_subjects, n_rows, n_voxels), and their labels, without a subject."""
    table = maps[0].table
    named = zip(table["statistic"], table["role"], table["model"], strict=True)
    why = [why_not_flipped(name, distance, role=role, model=model, paired=paired) for name, role, model in named]
    rows = np.flatnonzero([not reason for reason in why])
    if not len(rows):
        raise UserError(f"No score can be tested over subjects: {why[0]}")
    values = np.stack([on_voxels(one, volume).values[rows] for one in maps])
    return values, table.iloc[rows].drop(columns="subject", errors="ignore").reset_index(drop=True)


def _z_of_t(t: Array, degrees_of_freedom: int) -> Array:
    """Return the standard normal value that is exceeded as rarely as t."""
    return np.asarray(-np.sign(t) * ndtri(stdtr(degrees_of_freedom, -np.abs(t))))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in MAP_COLUMNS if name in table]]
