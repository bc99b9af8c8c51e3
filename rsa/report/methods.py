"""What a study did, in numbers and in a paragraph for a paper."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Summary", "counts", "methods_text", "mixed_versions"]

DISTANCE_WORDS = {
    "correlation": "1 minus Pearson's correlation",
    "cosine": "the cosine distance",
    "euclidean": "the Euclidean distance",
    "sqeuclidean": "the squared Euclidean distance",
    "crossnobis": "the cross-validated Mahalanobis (crossnobis) distance",
}
COMPARISON_WORDS = {
    "spearman": "Spearman's rank correlation",
    "pearson": "Pearson's correlation",
    "cosine": "cosine similarity",
    "rho_a": "Spearman's rho-a",
    "kendall_tau_a": "Kendall's tau-a",
}
CITATIONS = {
    "rsa": "Kriegeskorte N, Mur M, Bandettini P (2008). Representational similarity analysis: connecting the "
    "branches of systems neuroscience. Front Syst Neurosci 2:4.",
    "searchlight": "Kriegeskorte N, Goebel R, Bandettini P (2006). Information-based functional brain mapping. "
    "Proc Natl Acad Sci USA 103:3863-3868.",
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
    n_runs : int, optional
        Runs over which responses were averaged.
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
        The space of the maps.
    regions : sequence of str
        Regions of interest.
    version, commit : str, optional
        Of this package.
    """

    study: str
    n_subjects: int
    n_conditions: int
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    n_runs: int | None = None
    n_voxels: int | tuple[int, int] | None = None
    n_centres: int | tuple[int, int] | None = None
    radius_mm: float | None = None
    distance: str | None = None
    comparison: str | None = None
    reference_distance: str | None = None
    min_voxels: int | None = None
    space: str | None = None
    regions: Sequence[str] = ()
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
        "runs averaged": _number(summary.n_runs),
        "models": "; ".join(references),
        "voxels in the mask": _number(summary.n_voxels),
        "searchlight centres": _number(summary.n_centres),
        "searchlight radius": f"{summary.radius_mm:g} mm" if summary.radius_mm is not None else "",
        "distance": summary.distance or "",
        "comparison": summary.comparison or "",
        "space": summary.space or "",
        "regions": ", ".join(summary.regions),
    }
    return {name: text for name, text in rows.items() if text}


def methods_text(summary: Summary) -> str:
    """Write the methods of a study as a paragraph for a paper, with the numbers of the summary and its references."""
    sentences = [*_reference_sentences(summary), *_brain_sentences(summary), *_score_sentences(summary)]
    if summary.version:
        commit = f", commit {summary.commit[:12]}" if summary.commit else ""
        sentences.append(f"Computed with brain-model-rsa {summary.version}{commit}.")
    cited = ["rsa"] + ["searchlight"] * (summary.radius_mm is not None) + ["ceiling"] * _has_ceiling(summary)
    return " ".join(sentences) + "\n\nReferences: " + " ".join(CITATIONS[key] for key in cited)


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


def _brain_sentences(summary: Summary) -> list[str]:
    sentences = []
    measure = f" ({_words(DISTANCE_WORDS, summary.distance)})" if summary.distance else ""
    if summary.n_runs and summary.n_runs > 1:
        sentences.append(f"Responses were averaged over {_number(summary.n_runs)} runs.")
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
    if _has_ceiling(summary):
        sentences.append(
            "The noise ceiling of a region runs from the mean score of each subject's RDM with the average of the "
            "others to that with the average of all (Nili et al., 2014)."
        )
    return sentences


def mixed_versions(made: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a warning if outputs were made by different versions of the package or of a library.

    Parameters
    ----------
    made : iterable of mapping
        The provenance of each output (`rsa.io.read_provenance`); those without `versions` are passed over.
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
    return bool(summary.regions) and summary.n_subjects > 1


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
