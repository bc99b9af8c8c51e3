"""What a study did, in numbers and in paragraphs for a paper.

Sections of the configuration and entries of tables say what is said of them; here it is put together.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsa.comparisons import COMPARISONS
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.files.fsaverage import has_cortex
from rsa.files.versions import short_commit
from rsa.inference.enhance import ENHANCEMENTS
from rsa.inference.subjects import SUBJECT_STATISTICS
from rsa.inference.tally import FDR
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.noise import SHRINKAGES
from rsa.papers import cited, joined
from rsa.rdm import chance_is_0

__all__ = ["Measured", "counts", "methods_text", "mixed_versions", "usual_versions"]

Range = int | tuple[int, int] | None
"""A number that all subjects have, or the smallest and the largest; None if it is not known."""


@dataclass(frozen=True)
class Measured:
    """What the files of a study tell, and its settings do not; what is None or empty is left out of all texts.

    Parameters
    ----------
    n_conditions : int
        Number of conditions.
    layers : mapping
        The layers of each reference, in order; an empty list for a reference without layers.
    n_runs : int or (smallest, largest), optional
        Runs over which responses were averaged, or between which distances were measured, of each subject.
    n_voxels, n_centres : int or (smallest, largest), optional
        Voxels of the mask and centres of searchlights, of each subject.
    delays_s : sequence of float
        Delays after onset at which responses were measured, in s.
    regions : sequence of str
        Regions of interest.
    meeg_times_s : sequence of float
        Times of the M/EEG RDMs.
    networks : mapping
        What was said of each network when pictures were shown to it, by its label.
    """

    n_conditions: int
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    n_runs: Range = None
    n_voxels: Range = None
    n_centres: Range = None
    delays_s: Sequence[float] = ()
    regions: Sequence[str] = ()
    meeg_times_s: Sequence[float] = ()
    networks: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def n_pairs(self) -> int:
        """Number of pairs of conditions."""
        return self.n_conditions * (self.n_conditions - 1) // 2


def counts(study: Any, measured: Measured) -> dict[str, str]:
    """Return the numbers of a study (`rsa.pipeline.config.Study`) as the rows of a table."""
    layers = [f"{name} ({_number(len(of))} layers)" if of else name for name, of in measured.layers.items()]
    light, is_averaged = study.searchlight, study.brain_rdm_distance not in CROSS_VALIDATED
    rows = {
        "subjects": _number(_n_subjects(study)) if study.has_data else "",
        "conditions": f"{_number(measured.n_conditions)} ({_number(measured.n_pairs)} pairs)",
        "runs" + " averaged" * is_averaged: _number(measured.n_runs),
        "delays after onset": _delays(measured.delays_s),
        "models": "; ".join(layers),
        "voxels in the mask": _number(measured.n_voxels),
        "searchlight centres": _number(measured.n_centres),
        "searchlight radius": "" if light is None else f"{light.radius_mm:g} mm",
        "distance": study.brain_rdm_distance,
        "noise normalisation": "" if study.noise is None else ", ".join(study.noise.shown()),
        "comparison": study.comparison if study.has_data else "",
        "space": study.brain.space if measured.n_centres else "",
        "space of the template": "" if study.template is None else study.template.space,
        "regions": ", ".join(measured.regions),
        "M/EEG subjects": "" if study.meeg is None else _number(len(study.meeg.subjects)),
        "M/EEG distance": study.meeg_rdm_distance,
        "M/EEG": _span_ms(measured.meeg_times_s),
    }
    return {name: text for name, text in rows.items() if text}


def methods_text(study: Any, measured: Measured, versions: Mapping[str, str] | None = None) -> str:
    """Write the methods of a study as paragraphs for a paper, with its numbers and the references that it cites.

    Paragraphs are separated by blank lines: data, models, RDMs, comparison, statistics, software, and the references.

    Parameters
    ----------
    study : rsa.pipeline.config.Study
        The settings.
    measured : Measured
        What only its files tell.
    versions : mapping, optional
        The version of this package ("brain-model-rsa") and its "commit", and those of libraries, as
        `rsa.files.versions.versions` has them.
    """
    parts = {
        "data": (_compared, _simulated, _responses),
        "models": (_models, _units),
        "RDMs": (_brain_rdms, _meeg_rdms),
        "comparison": (_scores, _further),
        "statistics": (_group, _inference, _over_time),
    }
    paragraphs = [" ".join(text for part in of for text in part(study, measured)) for of in parts.values()]
    text = "\n\n".join(filter(None, [*paragraphs, _software(study, versions or {})]))
    return f"{text}\n\nReferences: {' '.join(cited(text))}"


# ------------------------------------------------------------------------------------------- sentences


def _compared(study: Any, measured: Measured) -> list[str]:
    """Say whose responses were compared with what."""
    about = {reference.name: f" ({reference.about()})" for reference in study.references}
    named = [
        f"{_counted(len(layers), 'layer')} of {name}" if layers else f"the model {name}{about.get(name, '')}"
        for name, layers in measured.layers.items()
    ]
    conditions = f"to {_counted(measured.n_conditions, 'condition')}"
    if not study.has_data:
        return [f"Responses {conditions} were looked at in {joined(named)}."]
    return [
        f"By representational similarity analysis (Kriegeskorte, Mur & Bandettini, 2008), {joined(_whose(study))} "
        f"{conditions} were compared with {joined(named) or 'reference models'}."
    ]


def _whose(study: Any) -> list[str]:
    """Say what was measured or simulated of how many subjects."""
    who = []
    if study.brain is not None:
        what = ("simulated " if is_simulated(study, "brain") else "") + ("fMRI responses" if study.has_images else "")
        who.append(f"the {what or 'brain responses'} of {_counted(len(study.subjects), 'subject')}")
    if study.meeg is not None:
        what = "simulated M/EEG" if is_simulated(study, "meeg") else "M/EEG"
        who.append(f"the {what} responses of {_counted(len(study.meeg_subjects), 'subject')}")
    return who


def is_simulated(study: Any, what: str) -> bool:
    """Say whether brain images ("brain") or epochs ("meeg") of a study are simulated."""
    if study.simulate is None:
        return False
    return study.brain is not None if what == "brain" else study.meeg is not None and study.simulate.epochs is not None


def _simulated(study: Any, measured: Measured) -> list[str]:
    """Say what of the data and pictures is simulated."""
    if study.simulate is None:
        return []
    brain, meeg = (is_simulated(study, what) for what in ("brain", "meeg"))
    sentences = study.simulate.methods(brain=brain, meeg=meeg) if brain or meeg else []
    drawn = ["The pictures were drawn by a program, in 6 categories."] if study.simulate.images_per_category else []
    return [*sentences, *drawn]


def _models(study: Any, measured: Measured) -> list[str]:
    """Say which networks were used, and how RDMs were made of their layers."""
    if not study.models:
        return []
    sentences: list[str] = []
    for model in study.models:
        networks = model.variants()
        for first in networks[:1]:  # none where checkpoints are no longer there
            sentences += measured.networks.get(first.label) or first.methods()
        sentences += [_several(model, networks)] if len(networks) > 1 else []
    sentences.append("Activations were averaged over the pictures of a condition, where it has several.")
    sentences.append(
        f"The representational dissimilarity matrix (RDM) of a layer held {_words(study.layer_distance)} between "
        f"its activations for each of the {_number(measured.n_pairs)} pairs of conditions."
    )
    return list(dict.fromkeys(sentences))


def _several(model: Any, networks: Sequence[Any]) -> str:
    """Say of which seeds or checkpoints there is a network like the one that was described."""
    labels = f"from {networks[0].label} to {networks[-1].label}"
    if model.seeds is not None:
        return f"There were {len(networks)} such networks ({labels}), which differ in the seed of their random weights."
    return f"It is one of {len(networks)} checkpoints of a training ({labels})."


def _units(study: Any, measured: Measured) -> list[str]:
    """Say how the units of networks were looked at."""
    if study.units is None:
        return []
    sentences: list[str] = study.units.methods(has_regions=bool(measured.regions))
    return sentences


def _responses(study: Any, measured: Measured) -> list[str]:
    """Say how responses were estimated, at which delays, and what became of their runs and noise."""
    of_meeg = [] if study.meeg is None else study.meeg.methods()
    if not study.has_images:
        return of_meeg
    sentences, entry = [*of_meeg, *study.brain.methods()], CROSS_VALIDATED.get(study.brain_distance)
    if measured.delays_s:
        sentences.append(
            f"Responses at {_counted(len(measured.delays_s), 'delay')} after onset ({_delays(measured.delays_s)}) have "
            f"RDMs and scores of their own."
        )
    if measured.n_runs and measured.n_runs != 1 and entry is None:
        sentences.append(f"Responses were averaged over {_number(measured.n_runs)} runs.")
    if study.remove_mean:
        sentences.append("The mean over conditions was taken out of each voxel, run by run.")
    if study.noise is not None:
        sentences += study.noise.methods(between_runs=entry is not None)
    if measured.n_runs and entry is not None:
        sentences.append(
            f"Distances were cross-validated over {_number(measured.n_runs)} runs: products of patterns were averaged "
            f"over all pairs of different runs{_paper(entry)}."
        )
    return sentences


def _brain_rdms(study: Any, measured: Measured) -> list[str]:
    """Say of which voxels and regions RDMs were made."""
    sentences, light = [], study.searchlight
    whitened = study.noise is not None and study.noise.normalisation == "multivariate"
    distance = study.brain_rdm_distance
    measure = f" ({_words(distance, whitened=whitened)})" if study.has_images else ""
    if light is not None:
        centres = f"each of {_number(measured.n_centres)} voxels" if measured.n_centres else "each voxel"
        space = f" in {study.brain.space} space" if measured.n_centres else ""
        sentences.append(
            f"In a searchlight (Kriegeskorte, Goebel & Bandettini, 2006) around {centres}{space}, an RDM{measure} was "
            f"computed from the voxels of the mask whose centres lay within {light.radius_mm:g} mm."
        )
        sentences.append(f"Searchlights of fewer than {light.min_voxels} voxels were left out.")
    if measured.regions:
        regions = f"{_counted(len(measured.regions), 'region')} of interest ({joined(measured.regions)})"
        also = " also" * (light is not None)
        sentences.append(
            f"RDMs{measure} were{also} computed for {regions}."
            if study.has_images
            else f"The brain RDMs of {regions} were taken ready-made."
        )
    return sentences


def _meeg_rdms(study: Any, measured: Measured) -> list[str]:
    """Say how RDMs were made of M/EEG data, and what they were compared with."""
    if study.meeg is None:
        return []
    name, is_ready = study.meeg_rdm_distance, study.meeg.is_ready
    white = None if is_ready else study.movie.whiten
    distance = "" if name == "unknown" else f" ({_words(name, whitened=is_ready or white is not None)})"
    subjects = _counted(len(study.meeg.subjects), "subject")
    sentences = [
        f"M/EEG RDMs{distance} of {subjects} at {_span_ms(measured.meeg_times_s)} after onset"
        f"{' were taken ready-made and' if is_ready else ''} were compared with the same references at every time "
        f"(Cichy et al., 2014; Cichy et al., 2016)."
    ]
    if white is not None:
        sentences.append(
            f"In multivariate noise normalisation (Guggenmos et al., 2018), sensors were whitened by the covariance of "
            f"their baseline noise, shrunken {SHRINKAGES[white].summary}."
        )
    if study.sensors is not None:
        own = ", whitened by the noise of these sensors" if white is not None else ""
        sentences.append(
            f"In a searchlight over sensors, RDMs of each sensor with its neighbours (MNE-Python){own} were compared "
            f"with them as well."
        )
    if study.fusion:
        whose = "of the same subject" if study.fusion == "paired" else "averaged over subjects"
        sentences.append(
            f"The M/EEG RDM at every time, {whose}, was also a reference for the fMRI data (fusion; Cichy et al., "
            "2014)."
        )
    return sentences


def _scores(study: Any, measured: Measured) -> list[str]:
    """Say how RDMs were compared, what became of the maps, and what the data allow."""
    if not study.has_data:
        return []
    entry, has_maps = COMPARISONS[study.comparison], study.searchlight is not None
    sentences = [
        f"Each brain RDM was compared with each reference RDM by {entry.words or entry.summary}{_paper(entry)} over "
        f"the pairs of conditions; an RDM without variance has no score."
    ]
    if study.template is not None:
        sentences.append(
            f"The maps of subjects were brought to {study.template.space} space, by linear interpolation between "
            f"voxels with a score."
        )
    spaces = [one.space for one in (study.brain, study.template) if one is not None]
    if study.surfaces is not None and has_maps and any(map(has_cortex, spaces)):
        sentences.append(study.surfaces.methods())
    if has_maps and study.searchlight.reliability:
        sentences.append("Split-half reliability is the score of the RDM of odd runs with that of even runs.")
    where = ["searchlight"] * (has_maps and study.noise_ceiling) + ["region"] * bool(measured.regions)
    if where and len(study.subjects) > 1:
        sentences.append(
            f"The noise ceiling of a {' or '.join(where)} runs from the mean score of each subject's RDM with the "
            f"average of the others to that with {entry.at_most_words} (Nili et al., 2014)."
        )
    return sentences


def _further(study: Any, measured: Measured) -> list[str]:
    """Name the analyses beyond single references."""
    measures = [one.about(study.comparison) + f" ({one.paper})" * bool(one.paper) for one in study.analyses]
    many = "Further measures of the same RDMs were" if len(measures) > 1 else "A further measure of the same RDMs was"
    return [f"{many}: {'; '.join(measures)}."] if measures else []


# ------------------------------------------------------------------------------------------- statistics


def _group(study: Any, measured: Measured) -> list[str]:
    """Say what the maps and tables of the group are."""
    sentences, n, light = [], len(study.subjects), study.searchlight
    tests = {
        "mean": "the mean of the scores over subjects",
        "t": "t over subjects of Fisher's z, against 0 and not corrected",
    }
    if light is not None and study.group and n > 1:
        sentences.append(f"Maps of the group are {joined([tests[name] for name in study.group])}.")
        if "mean" in study.group and study.noise_ceiling:
            sentences.append(
                "Mean maps are also given as a share of the noise ceiling: divided by its upper bound, where the lower "
                "one is above 0."
            )
    if light is not None and any(len(layers) > 1 for layers in measured.layers.values()):
        sentences.append(
            "Maps of the best layer show, for each voxel, the layer with the highest score where that is above 0: a "
            "description, not a test."
        )
    sentences += [one.about(bool(measured.regions)) for one in study.network_comparisons]
    if study.unit_comparisons:
        sentences.append(
            "Each unit of these networks was compared with itself by Spearman's correlation, over pictures, of its "
            "highest responses."
        )
    if study.ranking is not None and measured.regions:
        sentences += study.ranking.methods(n)
    if study.inference is not None and measured.regions and n > 1:
        sentences.append("Intervals of means over subjects in regions are 95 % confidence intervals by Student's t.")
    return sentences


def _over_time(study: Any, measured: Measured) -> list[str]:
    """Say how courses of M/EEG were tested, and what onsets and peaks are."""
    if study.meeg is None:
        return []
    inference, n = study.inference, len(study.meeg_subjects)
    alpha = _p(0.05 if inference is None else inference.alpha)
    sentences = []
    if n > 1:
        sentences.append("Courses over time have 95 % confidence intervals by Student's t at each time alone.")
    if inference is None and n > 1:
        how = f"all {2**n:,} flips" if 2**n <= N_FLIPS + 1 else f"{N_FLIPS:,} random flips"
        sentences.append(
            f"Scores over time were tested over subjects: a pseudo t of Fisher's z was compared with the highest of "
            f"all times and layers of a model under {how} of the signs of subjects (one-sided; Nichols & Holmes, 2002)."
        )
    if inference is None and n == 1:
        sentences.append(
            f"Scores over time were compared with the highest of all times and layers of a model in {N_ORDERS} random "
            "orders of the conditions (one-sided; Nichols & Holmes, 2002)."
        )
    sentences.append(
        f"The onset of a reference is the first time from which on the corrected p is {alpha} or less for 20 ms; its "
        "peak is the time of the highest score, where that is above 0."
    )
    if n > 1:
        sentences.append(
            "Intervals of onsets and peaks are those between percentiles (95 %) of 1,000 bootstrap samples of subjects "
            "(Cichy et al., 2014)."
        )
    return sentences


N_FLIPS, N_ORDERS = 10_000, 199
"""How many flips of signs, or orders of conditions of a single subject, there are over time without `inference`."""

SHARED = {6: "a face", 18: "a face or an edge", 26: "a face, an edge or a corner"}
"""What neighbouring voxels have in common, by the setting `connectivity`."""


def _inference(study: Any, measured: Measured) -> list[str]:
    """Say what was tested, against what, and how p values were corrected."""
    inference = study.inference
    if inference is None:
        return []
    sentences = _over_subjects(study) if inference.over_subjects else _over_conditions(study, measured)
    if study.fusion and study.fusion != "paired" and inference.over_subjects:
        sentences.append(
            "Scores of fusion, for which all subjects share the mean M/EEG RDM and its noise, were tested over "
            f"conditions instead: their mean was compared with what it is {_orders(inference, measured)}, the same for "
            "all subjects, times and voxels."
        )
    if inference.each_subject and study.searchlight is not None and (inference.over_subjects or _n_subjects(study) > 1):
        sentences.append(
            f"The maps of each subject were tested over conditions, by their scores {_orders(inference, measured)}."
        )
    sentences += [_corrected(study, measured), *_clusters(study), *_over_both(study, measured)]
    side = "two-sided" if inference.alternative == "two-sided" else "one-sided, for scores above what permutations give"
    dependence = "any dependence" if inference.fdr == "by" else "independent or positively dependent tests"
    sentences += [
        f"Tests were {side}; scores with a corrected p of {_p(inference.alpha)} or less are called significant.",
        f"The false discovery rate was controlled by the step-up procedure for {dependence} ({FDR[inference.fdr]}).",
        f"Random numbers began with the seed {inference.seed}.",
    ]
    if _has_maps(study):
        sentences.append("Pictures fade what is not significant and outline what is (Taylor et al., 2023).")
    return sentences


def _over_subjects(study: Any) -> list[str]:
    """Say what was tested over subjects, by flips of signs or other orders of them."""
    inference, n = study.inference, _n_subjects(study)
    what = "the difference between the groups in " + str(inference.groups) if inference.groups else "the mean"
    if inference.groups:
        how = f"up to {inference.permutations:,} other orders of the subjects (all, where there are no more)"
    elif 2**n <= inference.permutations + 1:
        how = f"all {2**n:,} flips of the signs of subjects"
    else:
        how = f"{inference.permutations:,} random flips of the signs of subjects"
    sentences = [
        "Scores were tested over subjects: p values tell of other subjects like these, with these conditions.",
        f"The statistic of {what} was {SUBJECT_STATISTICS[inference.statistic or 't'].summary}; it was compared with "
        f"what it is under {how} (Nichols & Holmes, 2002), the same for all scores.",
    ]
    if inference.statistic is None and study.meeg is not None:
        sentences.append(f"Of layers over time, it was the {SUBJECT_STATISTICS['pseudo_t'].summary}.")
    if inference.covariates:
        sentences.append(
            f"It was adjusted for {joined(inference.covariates)} by the method of Freedman and Lane (Freedman & Lane, "
            "1983; Winkler et al., 2014): what covariates explain was taken out of the scores, and the rest permuted."
        )
    if inference.contrasts:
        named = joined([f"{one.name} ({one.a} less {one.b})" for one in inference.contrasts])
        sentences.append(f"Differences of Fisher's z within subjects were tested in the same way: {named}.")
    return sentences


def _over_conditions(study: Any, measured: Measured) -> list[str]:
    """Say what was tested over conditions, by other orders of them."""
    inference, n = study.inference, _n_subjects(study)
    score = "mean score over subjects" if n > 1 else "score"
    sentences = [
        "Scores were tested over conditions: p values tell of these subjects, with other conditions like these."
    ]
    if n > 1 and inference.combine == "stelzer":
        return [
            *sentences,
            f"Each subject's scores were computed with {inference.permutations_each:,} random orders of the conditions "
            f"of the reference RDMs, drawn for each subject; {inference.permutations:,} times, one of them was drawn "
            f"of each subject, and their mean taken (Stelzer et al., 2013). The {score} was compared with these.",
        ]
    shared = "places, times and references" if n == 1 else "subjects, places, times and references"
    return [
        *sentences,
        f"The {score} was compared with what it is {_orders(inference, measured)}, the same for all {shared} "
        "(Nichols & Holmes, 2002).",
    ]


def _over_both(study: Any, measured: Measured) -> list[str]:
    """Say what holds for other subjects and other conditions."""
    inference, n = study.inference, _n_subjects(study)
    if not measured.regions or n < 2 or not inference.resamples_regions(study.comparison):
        return []
    also, by = "", ""
    if _is_tested(study):
        also, by = " and p values", "; these p values were corrected by Holm's method (Holm, 1979)"
    return [
        f"Mean scores of regions also have intervals{also} for other subjects who see other conditions: conditions "
        f"were drawn {inference.bootstrap:,} times with replacement, and the variance over subjects and conditions was "
        "estimated by the corrected two-factor bootstrap (Schütt et al., 2023), with Student's t of "
        f"{min(n, measured.n_conditions) - 1} degrees of freedom{by}."
    ]


def _is_tested(study: Any) -> bool:
    """Whether scores are 0 where there is nothing."""
    return chance_is_0(study.comparison, study.brain_rdm_distance)


def _orders(inference: Any, measured: Measured) -> str:
    """Say with how many orders of conditions scores are compared."""
    n_all = math.factorial(measured.n_conditions)
    if n_all <= inference.permutations + 1:
        return f"with all {n_all:,} orders of the conditions of the reference RDMs"
    return f"with {inference.permutations:,} random orders of the conditions of the reference RDMs"


def _corrected(study: Any, measured: Measured) -> str:
    """Say over what p values were corrected, and by what."""
    inference = study.inference
    places = ["voxels"] * _has_maps(study) + ["regions"] * bool(measured.regions)
    places += ["sensors"] * (study.sensors is not None)
    words = {"voxels": " or ".join(places) or "voxels", "times": "times", "layers": "the layers of a model"}
    words["models"] = "all models and references"
    family = joined([text for name, text in words.items() if name in inference.family])
    enhanced = ENHANCEMENTS.get(inference.enhance) if _has_maps(study) or study.sensors is not None else None
    by = "each value of the statistic (Nichols & Holmes, 2002)"
    if enhanced is not None:
        by = f"each value of {enhanced.words} ({enhanced.paper})".replace(") (", "; ")
    plain = ["regions"] * bool(measured.regions) + ["layers over time"] * (study.meeg is not None)
    alone = (
        f" Those of {joined(plain)} were corrected by the highest value of the statistic." if plain and enhanced else ""
    )
    compared = f"{by} was compared with the highest of each permutation"
    return f"P values were corrected family-wise over {family}: {compared}.{alone}"


def _clusters(study: Any) -> list[str]:
    """Say what a cluster is, where there are some."""
    inference = study.inference
    enhanced = ENHANCEMENTS.get(inference.enhance)
    if enhanced is None or not (_has_maps(study) or study.sensors is not None):
        return []
    formed = f"Clusters were formed above an uncorrected p of {_p(inference.cluster_p)}."
    neighbours = f"Voxels that share {SHARED[inference.connectivity]} were neighbours"
    in_time = ", and so were a voxel at one time and at the next" if "times" in inference.family else ""
    return [formed] * enhanced.needs_threshold + [f"{neighbours}{in_time}."] * _has_maps(study)


def _has_maps(study: Any) -> bool:
    return study.searchlight is not None


def _p(value: float) -> str:
    """Write a p as papers do: .05."""
    return f"{value:g}".removeprefix("0")


# ----------------------------------------------------------------------------------------------- words


def _n_subjects(study: Any) -> int:
    return len(study.subjects or study.meeg_subjects)


def _words(distance: str, *, whitened: bool = True) -> str:
    """Name a distance; only with the covariance of the noise is crossnobis one of Mahalanobis."""
    entry = DISTANCES.get(distance) or CROSS_VALIDATED.get(distance)
    if entry is not None:
        return (not whitened and entry.words_unwhitened) or entry.words or entry.summary
    of_movies = MOVIE_DISTANCES.get(distance)
    return distance if of_movies is None else of_movies.words or of_movies.summary


def _paper(entry: Any) -> str:
    return f" ({entry.paper})" if entry.paper else ""


def _span_ms(times_s: Sequence[float]) -> str:
    """Say how many times there are, from when to when."""
    if not len(times_s):
        return ""
    first, last = (f"{1000 * time_s:g}".replace("-", "\N{MINUS SIGN}") for time_s in (times_s[0], times_s[-1]))
    return f"{_number(len(times_s))} times from {first} to {last} ms"


def _delays(delays_s: Sequence[float]) -> str:
    """Write delays: all of a few, the ends of many."""
    shown = [f"{delay:g}" for delay in delays_s]
    many = f"{shown[0]} to {shown[-1]}" if len(shown) > 6 else ", ".join(shown)
    return f"{many} s" if many else ""


def _number(value: Range) -> str:
    """Write a number with commas between thousands, or a range; "" for None."""
    if value is None:
        return ""
    low, high = value if isinstance(value, tuple) else (value, value)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


# -------------------------------------------------------------------------------------------- versions


LIBRARIES_OF_SOURCES = {"timm": "timm", "transformers": "transformers", "open_clip": "open_clip_torch"}
"""Sources of networks that are libraries, and the names of these."""


def _software(study: Any, versions: Mapping[str, str]) -> str:
    """Name what computed the results, with the versions."""
    if not versions.get("brain-model-rsa"):
        return ""
    commit = f", commit {short_commit(versions['commit'])}" if versions.get("commit") else ""
    names = {"python": "Python", "numpy": "NumPy", "scipy": "SciPy"}
    names |= {"nilearn": "nilearn"} if study.has_images else {}
    names |= {"mne": "MNE-Python"} if study.meeg is not None else {}
    names |= {"torch": "PyTorch", "torchvision": "torchvision"} if study.models else {}
    sources = {model.source for model in study.models}
    names |= {library: source for source, library in LIBRARIES_OF_SOURCES.items() if source in sources}
    used = joined([f"{shown} {versions[name]}" for name, shown in names.items() if versions.get(name)])
    cites = {"mne": "MNE-Python: Gramfort et al., 2013", "snakemake": "Snakemake: Mölder et al., 2021"}
    papers = "; ".join(
        text for name, text in cites.items() if versions.get(name) and (name in names or name == "snakemake")
    )
    with_used = f", with {used}" if used else ""
    return f"All was computed by brain-model-rsa {versions['brain-model-rsa']}{commit}{with_used}" + (
        f" ({papers})." if papers else "."
    )


def usual_versions(provenances: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the versions by which most outputs were made; empty where none says it (`mixed_versions` tells of others).

    Examples
    --------
    >>> usual_versions([{"versions": {"numpy": name}} for name in ("1.0", "2.0", "2.0")])
    {'numpy': '2.0'}
    """
    found = Counter(tuple(one["versions"].items()) for one in provenances if one.get("versions"))
    return {str(name): str(version) for name, version in found.most_common(1)[0][0]} if found else {}


def mixed_versions(provenances: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a warning if outputs were made by different versions of the package or of a library.

    Parameters
    ----------
    provenances : iterable of mapping
        The provenance of each output (`rsa.files.io.read_provenance`); those without `versions` are passed over.
    """
    found = [dict(one["versions"]) for one in provenances if one.get("versions")]
    packages = dict.fromkeys((one.get("brain-model-rsa", "?"), one.get("commit", "")) for one in found)
    warnings = []
    if len(packages) > 1:
        names = [
            f"{version} (commit {short_commit(commit)})" if commit else str(version) for version, commit in packages
        ]
        warnings.append(
            f"The results were made by different versions of brain-model-rsa: {joined(names)}. Run all of them again "
            f"with one version before you compare them."
        )
    libraries = dict.fromkeys(name for one in found for name in one if name not in ("brain-model-rsa", "commit"))
    for name in libraries:
        versions = list(dict.fromkeys(str(one[name]) for one in found if name in one))
        if len(versions) > 1:
            warnings.append(f"The results were made with different versions of {name}: {joined(versions)}.")
    return warnings
