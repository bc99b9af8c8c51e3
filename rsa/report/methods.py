"""What a study did, in numbers and in a paragraph for a paper."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsa.distances import CROSS_VALIDATED

__all__ = ["Summary", "counts", "methods_text", "mixed_versions"]

DISTANCE_WORDS = {
    "correlation": "1 minus Pearson's correlation",
    "cosine": "the cosine distance",
    "euclidean": "the Euclidean distance",
    "sqeuclidean": "the squared Euclidean distance",
    "crossnobis": "the cross-validated Mahalanobis (crossnobis) distance",
    "cv_correlation": "1 minus the cross-validated Pearson correlation",
    "decoding_lda": "accuracy of pairwise decoding by linear discriminants",
    "decoding_svm": "accuracy of pairwise decoding by linear support vector machines",
}
COMPARISON_WORDS = {
    "spearman": "Spearman's rank correlation",
    "pearson": "Pearson's correlation",
    "cosine": "cosine similarity",
    "rho_a": "Spearman's rho-a",
    "kendall_tau_a": "Kendall's tau-a",
}
ESTIMATES = {
    "conditions": "by a general linear model of each run with one regressor per condition",
    "trials": "by a general linear model for each trial (least squares separate; Mumford et al., 2012)",
    "fir": "by a finite impulse response model of each run, one regressor per condition and delay",
    "volumes": "as the signal itself after each onset (confounds and drift taken out, linear interpolation between "
    "volumes), averaged over presentations",
}
SHRINKAGE_WORDS = {
    "ledoit_wolf": "the estimator of Ledoit and Wolf (2004)",
    "schaefer_strimmer": "the estimator of Schäfer and Strimmer (2005)",
}
CONFOUND_WORDS = {
    "motion": "the 6 motion parameters",
    "wm_csf": "the mean signals of white matter and cerebrospinal fluid",
    "global_signal": "the mean signal of the brain",
    "compcor": "CompCor components",
    "high_pass": "cosine drifts",
}
TERM_WORDS = {
    "power2": " with their squares",
    "derivatives": " with their derivatives",
    "full": " with their squares, derivatives and squared derivatives",
}
ANALYSIS_PAPERS = {
    "partition": "Nimon & Oswald, 2013",
    "commonality": "Hebart et al., 2018",
    "weighted": "Storrs et al., 2021",
}
CITATIONS = {
    "rsa": "Kriegeskorte N, Mur M, Bandettini P (2008). Representational similarity analysis: connecting the "
    "branches of systems neuroscience. Front Syst Neurosci 2:4.",
    "searchlight": "Kriegeskorte N, Goebel R, Bandettini P (2006). Information-based functional brain mapping. "
    "Proc Natl Acad Sci USA 103:3863-3868.",
    "trials": "Mumford JA, Turner BO, Ashby FG, Poldrack RA (2012). Deconvolving BOLD activation in event-related "
    "designs for multivoxel pattern classification analyses. NeuroImage 59:2636-2643.",
    "noise": "Walther A, Nili H, Ejaz N, Alink A, Kriegeskorte N, Diedrichsen J (2016). Reliability of dissimilarity "
    "measures for multi-voxel pattern analysis. NeuroImage 137:188-200.",
    "cv_correlation": "Guggenmos M, Sterzer P, Cichy RM (2018). Multivariate pattern analysis for MEG: a comparison of "
    "dissimilarity measures. NeuroImage 173:434-447.",
    "ledoit_wolf": "Ledoit O, Wolf M (2004). A well-conditioned estimator for large-dimensional covariance matrices. "
    "J Multivar Anal 88:365-411.",
    "schaefer_strimmer": "Schäfer J, Strimmer K (2005). A shrinkage approach to large-scale covariance matrix "
    "estimation and implications for functional genomics. Stat Appl Genet Mol Biol 4:32.",
    "meeg": "Cichy RM, Pantazis D, Oliva A (2014). Resolving human object recognition in space and time. Nat "
    "Neurosci 17:455-462.",
    "layers over time": "Cichy RM, Khosla A, Pantazis D, Torralba A, Oliva A (2016). Comparison of deep neural "
    "networks to spatio-temporal cortical dynamics of human visual object recognition reveals hierarchical "
    "correspondence. Sci Rep 6:27755.",
    "commonality": "Hebart MN, Bankson BB, Harel A, Baker CI, Cichy RM (2018). The representational dynamics of task "
    "and object processing in humans. eLife 7:e32816.",
    "partition": "Nimon K, Oswald FL (2013). Understanding the results of multiple linear regression: beyond "
    "standardized regression coefficients. Organ Res Methods 16:650-674.",
    "weighted": "Storrs KR, Kietzmann TC, Walther A, Mehrer J, Kriegeskorte N (2021). Diverse deep neural networks all "
    "predict human inferior temporal cortex well, after training and fitting. J Cogn Neurosci 33:2044-2064.",
    "ceiling": "Nili H, Wingfield C, Walther A, Su L, Marslen-Wilson W, Kriegeskorte N (2014). A toolbox for "
    "representational similarity analysis. PLoS Comput Biol 10:e1003553.",
}


@dataclass(frozen=True)
class Summary:
    """The numbers of a study; what is None was not done, or is not known, and is left out of all texts.

    Parameters
    ----------
    study : str
        Its name.
    n_subjects, n_conditions : int
        How many.
    models : mapping
        The layers of each model, in order; an empty list for a reference without layers.
    n_runs : int or (smallest, largest), optional
        Runs over which responses were averaged, or between which distances were measured, of each subject.
    n_voxels, n_centres : int or (smallest, largest), optional
        Voxels of the mask and centres of searchlights, of each subject.
    radius_mm : float, optional
        Of the searchlight.
    distance, comparison : str, optional
        How brain RDMs were measured and compared.
    reference_distance : str, optional
        How model RDMs were measured; by default as those of the brain.
    min_voxels : int, optional
        The smallest searchlight.
    space : str, optional
        The space in which searchlights were measured.
    template_space : str, optional
        The space to which maps were brought then.
    regions : sequence of str
        Regions of interest.
    glm : mapping, optional
        Settings of the general linear model (`rsa.datasets.bids.glm.Glm`), where responses were estimated from time
        series.
    confounds : mapping, optional
        Settings of the regressors of no interest (`rsa.datasets.bids.confounds.Confounds`) of that model.
    smoothing_fwhm_mm : float
        Of the images before that.
    delays_s : sequence of float
        Delays after onset at which responses were measured, in s.
    noise : mapping, optional
        Settings of noise normalisation: `normalisation`, `scope`, `shrinkage`, `source`.
    remove_mean : bool
        Whether the mean over conditions was taken out of each voxel.
    reliability, noise_ceiling : bool
        Whether split-half reliability and the noise ceiling of searchlights were measured.
    n_meeg_subjects : int
        Subjects of M/EEG data.
    meeg_distance, meeg_whitened : str, optional
        How RDMs of sensors were measured, and the shrinkage of the covariance by which sensors were whitened.
    meeg_times_s : sequence of float
        Times of these RDMs.
    meeg_given : bool
        Whether these RDMs were ready, and not made of epochs.
    sensors : bool
        Whether there was a searchlight over M/EEG sensors.
    fusion : bool or str
        Whether fMRI data were compared with M/EEG RDMs; "paired" if each subject with its own.
    analyses : sequence of (kind, text)
        What other analyses measured.
    version, commit : str, optional
        Of this package.
    """

    study: str
    n_subjects: int
    n_conditions: int
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    n_runs: int | tuple[int, int] | None = None
    n_voxels: int | tuple[int, int] | None = None
    n_centres: int | tuple[int, int] | None = None
    radius_mm: float | None = None
    distance: str | None = None
    comparison: str | None = None
    reference_distance: str | None = None
    min_voxels: int | None = None
    space: str | None = None
    template_space: str | None = None
    regions: Sequence[str] = ()
    glm: Mapping[str, Any] | None = None
    confounds: Mapping[str, Any] | None = None
    smoothing_fwhm_mm: float = 0.0
    delays_s: Sequence[float] = ()
    noise: Mapping[str, Any] | None = None
    remove_mean: bool = False
    reliability: bool = False
    noise_ceiling: bool = False
    n_meeg_subjects: int = 0
    meeg_distance: str | None = None
    meeg_whitened: str | None = None
    meeg_times_s: Sequence[float] = ()
    meeg_given: bool = False
    sensors: bool = False
    fusion: bool | str = False
    analyses: Sequence[tuple[str, str]] = ()
    version: str | None = None
    commit: str | None = None

    @property
    def n_pairs(self) -> int:
        """Number of pairs of conditions."""
        return self.n_conditions * (self.n_conditions - 1) // 2


def counts(summary: Summary) -> dict[str, str]:
    """Return the numbers of a study as the rows of a table."""
    references = [
        f"{model} ({_number(len(layers))} layers)" if layers else model for model, layers in summary.models.items()
    ]
    rows = {
        "subjects": _number(summary.n_subjects),
        "conditions": f"{_number(summary.n_conditions)} ({_number(summary.n_pairs)} pairs)",
        _runs_word(summary): _number(summary.n_runs),
        "delays after onset": _delays(summary.delays_s),
        "models": "; ".join(references),
        "voxels in the mask": _number(summary.n_voxels),
        "searchlight centres": _number(summary.n_centres),
        "searchlight radius": f"{summary.radius_mm:g} mm" if summary.radius_mm is not None else "",
        "distance": summary.distance or "",
        "noise normalisation": ", ".join(_noise_words(summary)),
        "comparison": summary.comparison or "",
        "space": summary.space or "",
        "space of the template": summary.template_space or "",
        "regions": ", ".join(summary.regions),
        "M/EEG subjects": _number(summary.n_meeg_subjects) if summary.n_meeg_subjects else "",
        "M/EEG distance": (summary.meeg_distance or "") if summary.n_meeg_subjects else "",
        "M/EEG": _span_ms(summary.meeg_times_s),
    }
    return {name: text for name, text in rows.items() if text}


def methods_text(summary: Summary) -> str:
    """Write the methods of a study as a paragraph for a paper, with the numbers of the summary and its references."""
    sentences = [
        *_reference_sentences(summary),
        *_response_sentences(summary),
        *_brain_sentences(summary),
        *_meeg_sentences(summary),
        *_score_sentences(summary),
        *_analysis_sentences(summary),
    ]
    if summary.version:
        commit = f", commit {summary.commit[:12]}" if summary.commit else ""
        sentences.append(f"Computed with brain-model-rsa {summary.version}{commit}.")
    return " ".join(sentences) + "\n\nReferences: " + " ".join(CITATIONS[key] for key in _cited(summary))


def _span_ms(times_s: Sequence[float]) -> str:
    """Say how many times there are, from when to when."""
    if not len(times_s):
        return ""
    first, last = (f"{1000 * time_s:g}".replace("-", "\N{MINUS SIGN}") for time_s in (times_s[0], times_s[-1]))
    return f"{_number(len(times_s))} times from {first} to {last} ms"


def _meeg_sentences(summary: Summary) -> list[str]:
    """Say how RDMs were made of M/EEG data, and what they were compared with."""
    if not summary.n_meeg_subjects:
        return []
    distance, times_s = _meeg_distance_words(summary), summary.meeg_times_s
    white = _words(SHRINKAGE_WORDS, summary.meeg_whitened) if summary.meeg_whitened else ""
    origin = " were taken ready-made and" if summary.meeg_given else ""
    sentences = [
        f"M/EEG RDMs{distance} of {_counted(summary.n_meeg_subjects, 'subject')} at {_span_ms(times_s)} after onset"
        f"{origin} were compared with the same references at every time (Cichy et al., 2014, 2016)."
    ]
    if white:
        sentences.append(
            f"Sensors were whitened by the covariance of their baseline noise, shrunken by {white} (multivariate noise "
            "normalisation; Guggenmos et al., 2018)."
        )
    if summary.sensors:
        own = ", whitened by the noise of these sensors" if white else ""
        sentences.append(
            "In a searchlight over sensors, RDMs of each sensor with its neighbours (MNE-Python)"
            f"{own} were compared with them as well."
        )
    if summary.fusion:
        whose = "of the same subject" if summary.fusion == "paired" else "averaged over subjects"
        sentences.append(
            f"The M/EEG RDM at every time, {whose}, was also a reference for the fMRI data (fusion; Cichy et al., "
            "2014)."
        )
    return sentences


def _analysis_sentences(summary: Summary) -> list[str]:
    """Say what other analyses measured."""
    if not summary.analyses:
        return []
    cited = {kind: f" ({paper})" for kind, paper in ANALYSIS_PAPERS.items()}
    measures = [about + cited.get(kind, "") for kind, about in summary.analyses]
    return [f"Further measures of the same RDMs were: {'; '.join(measures)}."]


def _meeg_distance_words(summary: Summary) -> str:
    """Name the distance between responses of sensors, in brackets; "" if it is not known."""
    name = summary.meeg_distance or "unknown"
    if name == "crossnobis" and summary.meeg_whitened is None:
        return " (the cross-validated crossnobis distance)"
    return "" if name == "unknown" else f" ({_words(DISTANCE_WORDS, name)})"


def _cited(summary: Summary) -> list[str]:
    """Return the keys of the papers that the text names."""
    noise, glm = summary.noise or {}, summary.glm or {}
    is_named = {
        "rsa": True,
        "searchlight": summary.radius_mm is not None,
        "trials": glm.get("method") == "trials",
        "noise": bool(noise) or summary.distance == "crossnobis",
        "cv_correlation": summary.distance == "cv_correlation" or summary.meeg_whitened is not None,
        **{
            name: (_is_multivariate(noise) and noise.get("shrinkage") == name) or summary.meeg_whitened == name
            for name in SHRINKAGE_WORDS
        },
        "ceiling": _has_ceiling(summary),
        **{kind: kind in dict(summary.analyses) for kind in ANALYSIS_PAPERS},
        "meeg": summary.n_meeg_subjects > 0,
        "layers over time": summary.n_meeg_subjects > 0,
    }
    return [key for key, is_cited in is_named.items() if is_cited]


def _reference_sentences(summary: Summary) -> list[str]:
    named = [
        f"{_counted(len(layers), 'layer')} of {model}" if layers else f"the model {model}"
        for model, layers in summary.models.items()
    ]
    distance = summary.reference_distance or summary.distance
    first = (
        f"By representational similarity analysis (Kriegeskorte, Mur & Bandettini, 2008), the brain responses of "
        f"{_counted(summary.n_subjects, 'subject')} to {_counted(summary.n_conditions, 'condition')} were compared "
        f"with {_joined(named) or 'reference models'}."
    )
    if not any(summary.models.values()) or not distance:
        return [first]
    second = (
        f"The representational dissimilarity matrix (RDM) of a layer held {_words(DISTANCE_WORDS, distance)} between "
        f"its activations for each of the {_number(summary.n_pairs)} pairs of conditions."
    )
    return [first, second]


def _response_sentences(summary: Summary) -> list[str]:
    """Say how responses were estimated, at which delays, and what became of their runs and noise."""
    sentences = []
    if summary.glm:
        smoothed = f"Images were smoothed ({summary.smoothing_fwhm_mm:g} mm FWHM). " * (summary.smoothing_fwhm_mm > 0)
        sentences.append(f"{smoothed}Responses were estimated {_glm_words(summary.glm)}.")
        sentences += _confound_sentences(summary.confounds or {})
    if summary.delays_s:
        sentences.append(
            f"Responses at {_counted(len(summary.delays_s), 'delay')} after onset ({_delays(summary.delays_s)}) have "
            f"RDMs and scores of their own."
        )
    if summary.n_runs and summary.n_runs != 1 and summary.distance not in CROSS_VALIDATED:
        sentences.append(f"Responses were averaged over {_number(summary.n_runs)} runs.")
    if summary.remove_mean:
        sentences.append("The mean over conditions was taken out of each voxel, run by run.")
    if summary.noise:
        sentences.append(_noise_sentence(summary.noise))
        if summary.noise.get("source") == "runs" and summary.distance in CROSS_VALIDATED:
            sentences.append(
                "Each run was compared with the mean of the others, and the noise is that between the others."
            )
    if summary.n_runs and summary.distance in CROSS_VALIDATED:
        paper = "Guggenmos et al., 2018" if summary.distance == "cv_correlation" else "Walther et al., 2016"
        sentences.append(
            f"Distances were cross-validated over {_number(summary.n_runs)} runs: products of patterns were averaged "
            f"over all pairs of different runs ({paper})."
        )
    return sentences


def _confound_sentences(confounds: Mapping[str, Any]) -> list[str]:
    """Say which regressors of no interest there were, and which volumes were left out."""
    groups = [name for name in confounds.get("strategy", ()) if name in CONFOUND_WORDS]
    words = []
    for name in groups:
        terms = TERM_WORDS.get(str(confounds.get(name)), "")
        number = f" ({confounds.get('n_compcor')}, {confounds.get('compcor')})" if name == "compcor" else ""
        words.append(f"{CONFOUND_WORDS[name]}{number}{terms}")
    words += [f"the columns {', '.join(confounds['columns'])}"] if confounds.get("columns") else []
    sentences = [f"Regressors of no interest were {_joined(words)} of fMRIPrep."] if words else []
    if "scrub" in confounds.get("strategy", ()):
        sentences.append(
            f"Volumes with a framewise displacement above {confounds['fd_threshold_mm']:g} mm or standardised DVARS "
            f"above {confounds['std_dvars_threshold']:g} were left out, and stretches of fewer than "
            f"{confounds['min_segment_volumes']} volumes between them."
        )
    return sentences


def _glm_words(glm: Mapping[str, Any]) -> str:
    """Say what the general linear model was."""
    method = str(glm.get("method", "conditions"))
    words = [_words(ESTIMATES, method)]
    if method in ("conditions", "trials"):
        words.append(f"convolved with the haemodynamic response function '{glm.get('hrf', 'spm')}'")
    drifts = {
        "cosine": f"with cosine drifts (high-pass {glm.get('high_pass_hz', 0.01):g} Hz)",
        "polynomial": f"with polynomial drifts of order {glm.get('drift_order', 1)}",
    }
    words.append(drifts.get(str(glm.get("drift", "cosine")), ""))
    if method != "volumes":
        is_ar1 = glm.get("noise_model", "ar1") == "ar1"
        words.append("with first-order autoregressive noise" if is_ar1 else "by ordinary least squares")
        words.append("patterns are t values" if glm.get("patterns") == "t" else "patterns are regression coefficients")
    if method == "trials":
        words.append("averaged per condition and run")
    return ", ".join(filter(None, words))


def _noise_sentence(noise: Mapping[str, Any]) -> str:
    """Say how patterns were brought into units of their noise."""
    source = {"residuals": " of the residuals", "runs": " between runs"}.get(str(noise.get("source")), "")
    if not _is_multivariate(noise):
        return f"Each voxel was divided by the standard deviation of its noise{source} (Walther et al., 2016)."
    where = {"sphere": " of each searchlight or region", "brain": " of the whole brain"}.get(
        str(noise.get("scope")), ""
    )
    shrunken = _words(SHRINKAGE_WORDS, str(noise.get("shrinkage")))
    return (
        f"Patterns were whitened by the covariance of the noise{source} over the voxels{where}, shrunken by {shrunken} "
        f"(multivariate noise normalisation; Walther et al., 2016)."
    )


def _distance_words(summary: Summary) -> str:
    """Name the distance between patterns; only with the covariance of the noise is crossnobis one of Mahalanobis."""
    if summary.distance == "crossnobis" and not _is_multivariate(summary.noise or {}):
        return "the cross-validated squared Euclidean distance"
    return _words(DISTANCE_WORDS, summary.distance or "")


def _noise_words(summary: Summary) -> list[str]:
    """Return the settings of noise normalisation that say something."""
    noise = summary.noise or {}
    names = (
        ("normalisation", "scope", "shrinkage", "source") if _is_multivariate(noise) else ("normalisation", "source")
    )
    return [str(noise[name]) for name in names if noise.get(name)]


def _is_multivariate(noise: Mapping[str, Any]) -> bool:
    return noise.get("normalisation") == "multivariate"


def _runs_word(summary: Summary) -> str:
    return "runs" if summary.distance in CROSS_VALIDATED else "runs averaged"


def _delays(delays_s: Sequence[float]) -> str:
    """Write delays: all of a few, the ends of many."""
    shown = [f"{delay:g}" for delay in delays_s]
    many = f"{shown[0]} to {shown[-1]}" if len(shown) > 6 else ", ".join(shown)
    return f"{many} s" if many else ""


def _brain_sentences(summary: Summary) -> list[str]:
    sentences = []
    measure = f" ({_distance_words(summary)})" if summary.distance else ""
    if summary.radius_mm is not None:
        centres = f" around each of {_number(summary.n_centres)} voxels" if summary.n_centres else " around each voxel"
        space = f" in {summary.space} space" if summary.space else ""
        sentences.append(
            f"In a searchlight (Kriegeskorte, Goebel & Bandettini, 2006){centres}{space}, an RDM{measure} was computed "
            f"from the voxels of the mask whose centres lay within {summary.radius_mm:g} mm."
        )
        if summary.min_voxels:
            sentences.append(f"Searchlights of fewer than {summary.min_voxels} voxels were left out.")
    if summary.regions:
        sentences.append(
            f"RDMs{measure} were also computed for {_counted(len(summary.regions), 'region')} of interest."
        )
    return sentences


def _score_sentences(summary: Summary) -> list[str]:
    if not summary.comparison:
        return []
    sentences = [
        f"Each brain RDM was compared with each reference RDM by {_words(COMPARISON_WORDS, summary.comparison)} over "
        f"the pairs of conditions; an RDM without variance has no score."
    ]
    if summary.template_space:
        sentences.append(
            f"The maps of subjects were brought to {summary.template_space} space, by linear interpolation between "
            f"voxels with a score."
        )
    if summary.reliability:
        sentences.append("Split-half reliability is the score of the RDM of odd runs with that of even runs.")
    if _has_ceiling(summary):
        places = [place for place, has in (("searchlight", summary.noise_ceiling), ("region", summary.regions)) if has]
        highest = "that with the average of all"
        if summary.comparison == "kendall_tau_a":
            highest = "that of the order which most subjects have of each two pairs of conditions"
        sentences.append(
            f"The noise ceiling of a {' or '.join(places)} runs from the mean score of each subject's RDM with the "
            f"average of the others to {highest} (Nili et al., 2014)."
        )
    return sentences


def mixed_versions(made: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a warning if outputs were made by different versions of the package or of a library.

    Parameters
    ----------
    made : iterable of mapping
        The provenance of each output (`rsa.files.io.read_provenance`); those without `versions` are passed over.
    """
    found = [dict(one["versions"]) for one in made if one.get("versions")]
    packages = dict.fromkeys((one.get("brain-model-rsa", "?"), one.get("commit", "")) for one in found)
    warnings = []
    if len(packages) > 1:
        names = [f"{version} (commit {commit[:12]})" if commit else str(version) for version, commit in packages]
        warnings.append(
            f"The results were made by different versions of brain-model-rsa: {_joined(names)}. Run all of them again "
            f"with one version before you compare them."
        )
    libraries = dict.fromkeys(name for one in found for name in one if name not in ("brain-model-rsa", "commit"))
    for name in libraries:
        versions = list(dict.fromkeys(str(one[name]) for one in found if name in one))
        if len(versions) > 1:
            warnings.append(f"The results were made with different versions of {name}: {_joined(versions)}.")
    return warnings


def _has_ceiling(summary: Summary) -> bool:
    return (bool(summary.regions) or summary.noise_ceiling) and summary.n_subjects > 1


def _words(table: Mapping[str, str], name: str) -> str:
    return table.get(name, name)


def _number(value: int | tuple[int, int] | None) -> str:
    """Write a number with commas between thousands, or a range; "" for None."""
    if value is None:
        return ""
    low, high = value if isinstance(value, tuple) else (value, value)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
