"""The configuration of a study: the single truth for names, defaults, units and help.

A study is read from YAML, checked as a whole, and frozen. Every mistake that is found is reported at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, field_validator

from rsa.analyses import Analysis
from rsa.comparisons import COMPARISONS
from rsa.datasets import Dataset, MeegDataset
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.errors import Problems, UserError, did_you_mean, listed
from rsa.files.fsaverage import N_DEPTHS
from rsa.inference.contrasts import Contrast
from rsa.inference.designs import Alternative, Design, load_design
from rsa.inference.enhance import ENHANCEMENTS
from rsa.inference.graph import Connectivity, Graph
from rsa.inference.group import GROUP_TESTS
from rsa.inference.networks import NetworkComparison
from rsa.inference.permutation import Combine
from rsa.inference.subjects import SUBJECT_STATISTICS
from rsa.inference.tally import FAMILY_WORDS, FDR, Correction
from rsa.inputs.references import Reference
from rsa.inputs.regions import Regions
from rsa.inputs.stimuli import Stimuli
from rsa.inputs.templates import Template
from rsa.maps import MAPS
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.models import Model
from rsa.noise import NORMALISATIONS, SHRINKAGES
from rsa.settings import DataPath, Label, Names, Section, alternatives, choice_of, placeholders
from rsa.simulation.settings import Simulation
from rsa.units.settings import UnitSettings

__all__ = [
    "Inference",
    "Movie",
    "Noise",
    "Ranking",
    "Searchlight",
    "Sensors",
    "Study",
    "Surfaces",
    "load_study",
    "read_yaml",
]

RESULTS = Path("results")


DistanceName = Annotated[str, *choice_of(DISTANCES, "distance")]
BRAIN_DISTANCES = DISTANCES | CROSS_VALIDATED
BrainDistanceName = Annotated[str, *choice_of(BRAIN_DISTANCES, "distance")]
ComparisonName = Annotated[str, *choice_of(COMPARISONS, "comparison")]
MapName = Annotated[str, *choice_of(MAPS, "map")]
MovieDistanceName = Annotated[str, *choice_of(MOVIE_DISTANCES, "distance")]
NormalisationName = Annotated[str, *choice_of(NORMALISATIONS, "noise normalisation")]
ShrinkageName = Annotated[str, *choice_of(SHRINKAGES, "shrinkage")]
Generalisation = Literal["within", "between"]
GroupTestName = Annotated[str, *choice_of(GROUP_TESTS, "group test")]


SubjectStatisticName = Annotated[str, *choice_of(SUBJECT_STATISTICS, "statistic over subjects")]
EnhancementName = Annotated[str, *choice_of(ENHANCEMENTS | {"none": None}, "enhancement")]
FamilyName = Annotated[str, *choice_of(FAMILY_WORDS, "family")]
FdrName = Annotated[str, *choice_of(FDR, "procedure for the false discovery rate")]


def _with_voxels(words: tuple[str, ...]) -> tuple[str, ...]:
    if "voxels" not in words:
        raise ValueError("p values are always corrected over voxels (regions, sensors); add voxels")
    return words


def _of_a_grid(number: int) -> int:
    if number not in get_args(Connectivity):
        raise ValueError("a voxel has 6, 18 or 26 neighbours")
    return number


class Searchlight(Section):
    """Spheres around the voxels of the mask."""

    radius_mm: float = Field(10.0, gt=0)
    """Radius of the spheres in mm, from voxel centre to voxel centre, inclusive."""
    min_voxels: int = Field(20, ge=2)
    """Spheres with fewer usable voxels have no score."""
    stride: int = Field(1, ge=1)
    """Take only every n-th voxel in each direction as a centre."""
    reliability: bool = False
    """Also map the split-half reliability: the score of the RDM of odd runs with that of even runs."""


class Surfaces(Section):
    """Maps on the surface of the cortex, for those in a space of MNI152."""

    mesh: Literal["fsaverage5"] = "fsaverage5"
    """The surface: that of nilearn's wheel, 10,242 vertices in each hemisphere."""

    def methods(self) -> str:
        """Return a sentence for the methods text."""
        return (
            f"Maps were brought to the surface {self.mesh} (Fischl et al., 1999): scores as the mean of {N_DEPTHS} "
            "points from the white to the pial surface at each vertex, linear between voxels; p values, thresholded "
            "maps and numbers of layers or times from the voxel half way between them. Coordinates of MNI152 were "
            "taken for those of the surface, which differ by some millimetres."
        )


class Movie(Section):
    """How an RDM is made of the epochs of a subject at every time."""

    distance: MovieDistanceName = "correlation"
    """How dissimilar the responses of the sensors to two conditions are."""
    folds: int | None = Field(None, ge=2)
    """Number of random parts of the trials of each condition, for distances between folds and decoding. By default the
    runs are the folds; without runs every trial is one, or for decoding there are 5."""
    n_repeats: int = Field(20, ge=1)
    """How often random parts are drawn, over which distances are averaged."""
    whiten: ShrinkageName | None = None
    """Whiten the sensors by the covariance of their noise before onset (`meeg.baseline_s`), shrunken like this."""
    window_s: float = Field(0.0, ge=0)
    """Average the responses over a window of this length around each time."""
    seed: int = Field(0, ge=0)
    """Seed of the random parts."""


class Sensors(Section):
    """A searchlight over the sensors of epochs: each sensor with its neighbours, at every time.

    RDMs are made as `movie` says. `sensors: {}` asks for it with all defaults.
    """

    min_sensors: int = Field(3, ge=1)
    """Sensors with fewer usable ones in their neighbourhood, themselves included, have no score."""


class Noise(Section):
    """Bring patterns into units of their noise before distances are measured."""

    normalisation: NormalisationName = "multivariate"
    """What is done: each voxel divided by the standard deviation of its noise, or patterns whitened by its covariance
    over voxels."""
    scope: Literal["sphere", "brain"] = "sphere"
    """Over which voxels a covariance goes: those of each sphere or region, or all."""
    shrinkage: ShrinkageName = "ledoit_wolf"
    """How the covariance is made invertible."""
    source: Literal["residuals", "runs"] = "residuals"
    """Where the noise is seen: in the residuals of the GLM, or in how the patterns of a condition differ from run to
    run."""

    @property
    def is_multivariate(self) -> bool:
        """Whether patterns are whitened by a covariance."""
        return self.normalisation == "multivariate"

    def shown(self) -> list[str]:
        """Return the settings that say something."""
        covariance = (self.scope, self.shrinkage) if self.is_multivariate else ()
        return [self.normalisation, *covariance, self.source]

    def methods(self, *, between_runs: bool) -> list[str]:
        """Return sentences for the methods text: how patterns were normalised, for distances between runs or not."""
        source = {"residuals": " of the residuals", "runs": " between runs"}[self.source]
        where = {"sphere": " of each searchlight or region", "brain": " of the whole brain"}[self.scope]
        sentences = [f"Each voxel was divided by the standard deviation of its noise{source} (Walther et al., 2016)."]
        if self.is_multivariate:
            sentences = [
                f"In multivariate noise normalisation (Walther et al., 2016), patterns were whitened by the covariance "
                f"of the noise{source} over the voxels{where}, shrunken {SHRINKAGES[self.shrinkage].summary}."
            ]
        if self.source == "runs" and between_runs:
            sentences.append(
                "Each run was compared with the mean of the others, and the noise is that between the others."
            )
        return sentences


class Inference(Section):
    """p values of all scores, and how they are corrected."""

    over: Literal["subjects", "conditions"]
    """What is random. subjects: other subjects like these, with these pictures (flips of signs, or other orders, of
    subjects). conditions: these subjects, with other pictures like these (permutations of conditions). M/EEG RDMs that
    all fMRI subjects share (`fusion: mean`) are tested over conditions in any case."""
    permutations: int = Field(10_000, ge=1)
    """How many flips, or orders of conditions; all that there are, if they are fewer."""
    statistic: SubjectStatisticName | None = None
    """What is tested over subjects: by default t, and pseudo_t of layers over time. Over conditions it is the score, or
    its mean over subjects."""
    enhance: EnhancementName = "tfce"
    """What the family-wise correction compares: the statistic enhanced by its neighbours, or the statistic alone."""
    cluster_p: float = Field(0.001, gt=0, lt=0.5)
    """Uncorrected p above whose statistic clusters are formed, for cluster mass and size."""
    connectivity: Annotated[
        int, AfterValidator(_of_a_grid), WithJsonSchema({"type": "integer", "enum": [6, 18, 26]})
    ] = 26
    """Voxels that share a face (6), a face or an edge (18), or a corner as well (26) are neighbours."""
    family: Annotated[tuple[FamilyName, ...], AfterValidator(_with_voxels)] = ("voxels", "times")
    """Over what p values are corrected together: voxels (regions, sensors) always; times; layers of a model; models,
    references and contrasts. With all of them, a result that is significant by chance is as rare in the whole study as
    alpha says; otherwise, in each family."""
    alternative: Alternative = "greater"
    """Whether high scores alone, or low ones as well, count."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Up to which corrected p a score is significant."""
    fdr: FdrName = "bh"
    """Control of the false discovery rate: Benjamini-Hochberg, or Benjamini-Yekutieli for any dependence."""
    contrasts: tuple[Contrast, ...] = ()
    """Differences of references, layers or models that are tested as well, over subjects."""
    participants: DataPath | None = None
    """Table of the subjects (BIDS: participants.tsv), for groups and covariates."""
    groups: str | None = None
    """Column of that table with two groups, whose difference is tested instead of the mean."""
    levels: tuple[str, str] | None = None
    """The two groups, first less second; by default in order of the alphabet."""
    covariates: Names = ()
    """Columns of that table that are adjusted for (Freedman and Lane, 1983)."""
    combine: Combine = "same_order"
    """Over conditions: the same order in all subjects, or orders of their own, of whose maps one of each subject is
    drawn again and again (Stelzer et al., 2013)."""
    permutations_each: int = Field(100, ge=1)
    """How many orders of their own, if they are drawn like this."""
    bootstrap: int | None = Field(1000, ge=100)
    """How many times conditions are drawn anew, with replacement, for intervals and p of regions that hold for other
    subjects and other pictures at once (Schütt et al., 2023); null for none. Not with groups or covariates."""
    each_subject: bool = False
    """Test the maps of each subject as well, over conditions; the maps of a single subject are in any case."""
    seed: int = Field(0, ge=0)
    """Of flips and orders."""

    @property
    def over_subjects(self) -> bool:
        """Whether subjects are random."""
        return self.over == "subjects"

    @property
    def family_over_time(self) -> str:
        """The family of layers over time: a key of `rsa.meeg.latencies.FAMILIES`."""
        words = [word for word in ("times", "layers", "models") if word in self.family or word == "times"]
        return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))

    def over_conditions(self) -> "Inference":
        """Return the same for the maps of one subject, where only conditions can be random."""
        alone = {"over": "conditions", "combine": "same_order", "contrasts": (), "each_subject": False}
        of_subjects = dict.fromkeys(("participants", "groups", "levels"), None)
        return self.model_copy(update={**alone, **of_subjects, "covariates": (), "statistic": None})

    def resamples_regions(self, comparison: str) -> bool:
        """Whether scores in regions, by this comparison, get intervals over subjects and conditions."""
        of_mean = self.groups is None and not self.covariates
        return self.bootstrap is not None and of_mean and COMPARISONS[comparison].drawn is not None

    def correction(self, graph: Graph | None) -> Correction:
        """Return how p values are corrected, on a graph of places; without one, by the maximum alone."""
        enhance = None if self.enhance == "none" or graph is None else self.enhance
        return Correction(self.alternative, self.family, enhance, graph, self.alpha, self.fdr)

    def design(self, subjects: Sequence[str]) -> Design:
        """Read groups and covariates of some subjects, if there are any; see `rsa.inference.designs.load_design`."""
        if self.participants is None:
            return Design(len(subjects))
        how = {"covariates": self.covariates, "groups": self.groups, "levels": self.levels}
        return load_design(self.participants, subjects, **how)  # type: ignore[arg-type]


class Ranking(Section):
    """Models in order in each region, each with its best layer, which is chosen by other subjects and conditions.

    `ranking: {}` asks for it with all defaults.
    """

    n_splits: int = Field(20, ge=1)
    """How many times the conditions are split at random into two halves: one chooses the layer, the other scores it."""
    level: float = Field(0.95, gt=0, lt=1)
    """Level of the confidence intervals over subjects."""
    permutations: int = Field(10_000, ge=1)
    """Number of sign flips of subjects by which differences between models are tested; all that exist, if fewer."""
    seed: int = Field(0, ge=0)
    """Seed of the splits and flips."""

    def methods(self, n_subjects: int) -> list[str]:
        """Return sentences for the methods text."""
        several = n_subjects > 1
        by_whom = "the highest mean score of the other subjects" if several else "the highest score"
        sentences = [
            "Models were ranked in each region (as in Brain-Score; Schrimpf et al., 2018), each with one layer, so "
            f"that a model with more layers has no advantage: the layer with {by_whom} on a random half of the "
            "conditions was scored on the other half, both ways (Storrs et al., 2021; Conwell et al., 2024); scores "
            f"are means over {self.n_splits} splits."
        ]
        if several:
            sentences += [
                f"Intervals of the ranking are {100 * self.level:g} % confidence intervals over subjects: its errors "
                "are those of bootstrap samples of the subjects, in each of which layers were chosen anew, or of the "
                "scores of subjects, whichever are larger. The noise ceiling is that of the same halves.",
                "Pairs of models were compared by the differences of their scores, divided by such errors, with t "
                "under flips of the signs of subjects, two-sided, corrected by the highest t of all pairs and regions "
                "(Nichols & Holmes, 2002).",
            ]
        return sentences


class Study(Section):
    """Everything that decides what a study computes."""

    study: Label
    """Name of the study; its results go to results/<study>/."""
    data_root: str = "."
    """Folder at which the relative paths below start."""
    simulate: Simulation | None = None
    """Make the data instead of reading yours."""
    fetch: Literal["haxby"] | None = None
    """Download a public data set into the folder `brain.root`, where it is not there yet; leave it out for none."""
    stimuli: Stimuli | None = None
    """The pictures and what is known of them."""
    models: tuple[Model, ...] = ()
    """The networks whose layers are compared with the brain."""
    references: tuple[Reference, ...] = ()
    """Other RDMs to compare with: files, or columns of the stimulus table."""
    brain: Dataset | None = None
    """The fMRI data; leave it out for none."""
    searchlight: Searchlight | None = None
    """Whole-brain analysis; leave it out for none."""
    anatomy: DataPath | None = None
    """An anatomical image in the space of the maps, behind them in slices and in the explorer; `{subject}` in its name
    for one of each subject, whose group is then drawn without. By default, the MNI152 template in MNI spaces, and
    elsewhere the mask."""
    regions: Regions | None = None
    """Region-of-interest analysis; leave it out for none."""
    meeg: MeegDataset | None = None
    """M/EEG data: epochs, or ready RDMs over time; leave it out for none."""
    movie: Movie = Movie()
    """How RDMs are made of epochs."""
    sensors: Sensors | None = None
    """Searchlight over the sensors of epochs, at every time; leave it out for none."""
    generalisation: Generalisation | None = None
    """Also compare the M/EEG RDMs of all times with each other: within subjects, or between each and the mean of the
    others."""
    fusion: Literal["mean", "paired"] | bool = False
    """Compare the fMRI data with M/EEG RDMs at every time as well: true or mean, with the mean over the M/EEG subjects;
    paired, each subject with its own."""
    film_times_s: tuple[float, ...] = ()
    """Times of the film strips of fusion, in s after onset (the nearest of M/EEG); by default 8 from onset to the end,
    that of the highest score among them."""
    keep_activations: bool = False
    """Keep the responses of the layers to every image; they are large, and only needed until their RDMs are built."""
    layer_distance: DistanceName = "correlation"
    """How dissimilar two images are in a layer."""
    brain_distance: BrainDistanceName = "correlation"
    """How dissimilar two patterns are in the brain."""
    noise: Noise | None = None
    """Noise normalisation of the patterns; leave it out for none."""
    remove_mean: bool = False
    """Take the mean over conditions out of each voxel, run by run. It changes what correlation distances mean."""
    comparison: ComparisonName = "spearman"
    """How similar two RDMs are."""
    ranking: Ranking | None = None
    """Rank models and references in each region, with the layer of each chosen by other subjects and on other
    conditions; leave it out for none."""
    network_comparisons: tuple[NetworkComparison, ...] = ()
    """Networks among themselves: with their seeds, before and after a training, or along it; a table and a figure each.
    In studies with regions they tell of fits as well."""
    units: UnitSettings | None = None
    """What the units of the networks see: receptive fields, what drives them, codes, and their part in a fit; leave it
    out for none. A study may have it without any data of brains."""
    analyses: tuple[Analysis, ...] = ()
    """Partial correlations, variance partitioning, commonality with M/EEG, weighted models: as well, each in a folder
    of its own, analyses/<name>/."""
    maps: tuple[MapName, ...] = tuple(MAPS)
    """Maps made of several maps of a model: those of its layers, of its times, or of both."""
    group: tuple[GroupTestName, ...] = ()
    """Maps of the group; the subjects must be on one grid, or be brought to one by `template`."""
    inference: Inference | None = None
    """p values of maps, regions, sensors and courses; leave it out for none but those of courses."""
    noise_ceiling: bool = False
    """Map the noise ceiling over subjects, and mean maps as a share of it; the images must be on one grid."""
    template: Template | None = None
    """Bring the maps of subjects in spaces of their own to one grid; leave it out for none."""
    surfaces: Surfaces | None = Surfaces()
    """Write maps that are in a space of MNI152 on a surface of the cortex as well (GIFTI); null for none."""

    @field_validator("anatomy")
    @classmethod
    def _takes_the_subject_alone(cls, value: str | None) -> str | None:
        if unknown := placeholders(value or "") - {"subject"}:
            raise ValueError(f"unknown placeholder {listed(sorted(unknown))}: it takes {{subject}}")
        return value

    @property
    def networks(self) -> tuple[Model, ...]:
        """The networks that `models` stand for: each seed and each checkpoint is one."""
        return tuple(network for model in self.models for network in model.variants())

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """What names of models stand for: a network for itself, and a model for all of its seeds or checkpoints."""
        models = {model.label: tuple(one.label for one in model.variants()) for model in self.models}
        return {label: (label,) for labels in models.values() for label in labels} | models

    @property
    def asked_of_units(self) -> UnitSettings | None:
        """What is asked of units, with the labels of networks where their model is named."""
        return None if self.units is None else self.units.of_networks(self.named)

    @property
    def watched(self) -> dict[str, UnitSettings]:
        """The networks whose units are looked at, of those that pictures pass, and what is asked of each."""
        settings, named = self.asked_of_units, self.named
        if settings is None:
            return {}
        whole = settings.model_copy(update={"models": ()})  # a job does not run again when another network is named
        labels = {label for name in settings.models for label in named.get(name, ())}
        followed = {label for one in self.network_comparisons for label in one.followed(named)}
        asked = dict.fromkeys(followed, whole.of_compared()) | dict.fromkeys(labels, whole)
        models = [model.label for model in self.networks if model.needs_pictures]
        asked = asked if settings.models else dict.fromkeys(models, settings)
        return {label: asked[label].of_network(label) for label in models if label in asked}

    @property
    def unit_comparisons(self) -> tuple[NetworkComparison, ...]:
        """The comparisons of networks that compare their units as well: those of networks whose units are looked at."""
        named, watched = self.named, self.watched
        followed = {one.name: one.followed(named) for one in self.network_comparisons}
        return tuple(
            one for one in self.network_comparisons if followed[one.name] and set(followed[one.name]) <= set(watched)
        )

    @property
    def shrinkage(self) -> str | None:
        """How the covariance of the residuals of each sphere is shrunken, where there is one.

        Patterns whose noise is seen between runs say so themselves (`rsa.core.RunNoise`).
        """
        noise = self.noise
        if noise is None or (noise.normalisation, noise.scope, noise.source) != ("multivariate", "sphere", "residuals"):
            return None
        return noise.shrinkage

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the fMRI data; none if there are no such data."""
        return () if self.brain is None else self.brain.subjects

    @property
    def meeg_subjects(self) -> tuple[str, ...]:
        """The subjects of the M/EEG data; none if there are no such data."""
        return () if self.meeg is None else self.meeg.subjects

    @property
    def has_data(self) -> bool:
        """Whether there are data of brains: fMRI, M/EEG or both."""
        return self.brain is not None or self.meeg is not None

    @property
    def has_images(self) -> bool:
        """Whether there are brain images, of which patterns are made, and not ready RDMs."""
        return self.brain is not None and self.brain.provides == "patterns"

    @property
    def brain_rdm_distance(self) -> str:
        """How the RDMs of the brain are measured, or how ready ones were; empty if there are no such data."""
        return "" if self.brain is None else self.brain.rdm_distance or self.brain_distance

    @property
    def meeg_rdm_distance(self) -> str:
        """How the M/EEG RDMs are measured, or how ready ones were; empty if there are no such data."""
        return "" if self.meeg is None else self.meeg.rdm_distance or self.movie.distance

    @property
    def needs_residuals(self) -> bool:
        """Whether the residuals of the GLM are needed."""
        return self.noise is not None and self.noise.source == "residuals"

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return RESULTS / self.study


# --------------------------------------------------------------------------------------------- reading


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as a mapping.

    Raises
    ------
    UserError
        If there is no such file, it is not a YAML mapping in UTF-8, it has a key twice, of which YAML keeps the last,
        or it holds a number that YAML does not take for what it looks like: 010 is 8 to it, and 1:30 is 90.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        content, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason}); save it as UTF-8 in your editor.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of a date such as 2024-13-45
        raise UserError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} should hold settings like 'study: demo', one per line.")
    _require_keys_once(path, root)
    for node in _nodes(root):
        if isinstance(node.value, str) and node.tag in NUMBERS and re.match(r"[-+]?0[0-9_]|.*:", node.value):
            raise UserError(
                f"{path}, line {node.start_mark.line + 1}: {node.value} is {yaml.safe_load(node.value)} to YAML; write "
                f'"{node.value}" in quotes if it is a name, and the number as it is otherwise.'
            )
    return content


NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
"""How YAML calls what it reads as a number."""


def _nodes(root: Any) -> Iterator[Any]:
    """Yield all nodes of a tree of YAML, keys among them, each once: an anchor may stand within itself."""
    seen, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        parts = node.value if isinstance(node.value, list) else []
        waiting += [part for one in reversed(parts) for part in (one if isinstance(one, tuple) else (one,))[::-1]]


def _require_keys_once(path: str | Path, root: Any) -> None:
    """Raise a `UserError` if a section has a key twice: YAML passes over the first."""
    for node in _nodes(root):
        pairs = node.value if isinstance(node.value, list) else []
        keys = [pair[0] for pair in pairs if isinstance(pair, tuple) and isinstance(pair[0].value, str)]
        lines: dict[str, int] = {}
        for key in keys:
            line = key.start_mark.line + 1
            if lines.setdefault(key.value, line) != line:
                raise UserError(
                    f"{path} has {key.value!r} twice in one section, on lines {lines[key.value]} and {line}; keep one."
                )


def _word_at(files: Sequence[str | Path], place: Sequence[Any], came: Any) -> str | None:
    """Return what stands at a place of the configuration, as the user wrote it; None where that cannot be known."""
    import yaml

    is_key = place[-1:] == ("[key]",)
    for file in reversed(files):
        node = yaml.compose(Path(file).read_text(encoding="utf-8"), yaml.SafeLoader)
        for part in place[:-2] if is_key else place:
            node = _step(node, part)
        if is_key and isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if key.style is None and yaml.safe_load(key.value) == came]
            node = keys[0] if keys else None
        if node is not None and isinstance(node.value, str):
            return str(node.value)
    return None


def _step(node: Any, part: Any) -> Any:
    """Return the node of a key, or of the position in a list; None if there is none."""
    import yaml

    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def load_study(raw: Mapping[str, Any], files: Sequence[str | Path] = ()) -> Study:
    """Check the form of a configuration: keys, types, names and ranges.

    What needs the files themselves is checked by `rsa.pipeline.checks.problems_of`.

    Parameters
    ----------
    raw : mapping
        The configuration.
    files : sequence of path
        The YAML files from which it was read, if any: a message then quotes what they say.

    Raises
    ------
    UserError
        Naming everything that is wrong, one line each.
    """
    context = {"data_root": str(raw.get("data_root", ".")), "results": RESULTS / str(raw.get("study", ""))}
    try:
        return Study.model_validate(raw, context=context)
    except ValidationError as error:
        found: list[dict[str, Any]] = [dict(one) for one in error.errors()]
        wrong = [one["loc"] for one in found]
        told = [one for one in found if not (one["type"] == "too_short" and _has_wrong_items(one["loc"], wrong))]
        raise Problems("The configuration", [_problem(one, files) for one in told]) from error


def _has_wrong_items(place: tuple[Any, ...], wrong: Sequence[tuple[Any, ...]]) -> bool:
    """Say whether items of a list are wrong, which pydantic then counts as missing."""
    return any(other[: len(place)] == place and other != place for other in wrong)


def _problem(error: dict[str, Any], files: Sequence[str | Path]) -> str:
    """Say in our words what pydantic found."""
    place = tuple(_as_written(error["loc"]))
    name = ".".join(map(str, place))
    if error["type"] == "invalid_key":
        return f"a key is {_kind(error['input'])} to YAML, and not text; write it in quotes."
    if error["type"] == "string_type" and not isinstance(error["input"], dict | list):
        where = f"a key in {'.'.join(map(str, place[:-2]))}" if place[-1] == "[key]" else name
        return f"{where}: {_quote_it(error['input'], files, place)}"
    place = error["loc"]
    if error["type"] == "extra_forbidden":
        keys = _keys_at(place[:-1])
        return f"unknown key {name!r}.{did_you_mean(str(place[-1]), keys)} Known here: {listed(keys, 30)}."
    if error["type"] == "missing":
        return f"the key {name!r} is missing."
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    came = error["input"]
    is_told = isinstance(came, str) and repr(came) in message
    shown = f" (it is {came!r})" if isinstance(came, str | int | float | None) and not is_told else ""
    return f"{name or 'configuration'}: {message[:1].lower() + message[1:]}{shown}".rstrip(".") + "."


def _quote_it(came: Any, files: Sequence[str | Path], place: Sequence[Any]) -> str:
    """Say what to do about a word that YAML takes for something else than text: no, on, null, 2024-01-15, 1.10."""
    word = _word_at(files, place, came)
    if word is None:
        word = "null" if came is None else str(came)
    if not word:
        return "a text is expected, and there is none; write one, or leave the key out."
    return f'a text is expected, and YAML reads {word} as {_kind(came)}; write it in quotes: "{word}".'


def _kind(came: Any) -> str:
    """Name what YAML made of a word."""
    if came is None or isinstance(came, bool):
        return {None: "no value", True: "true", False: "false"}[came]
    return f"the number {came}" if isinstance(came, int | float) else f"a {type(came).__name__}"


def _as_written(place: tuple[Any, ...]) -> Iterator[Any]:
    """Leave out of a place the tags by which pydantic tells the kinds of a section apart."""
    here: Any = Study
    for part in place:
        inside = _inside(here, part)
        if not (isinstance(part, str) and part not in _fields(here) and inside is not here and _is_tag(here, part)):
            yield part
        here = inside


def _keys_at(place: tuple[Any, ...]) -> list[str]:
    """Return the keys that are known at a place of the configuration."""
    here: Any = Study
    for part in place:
        here = _inside(here, part)
    return list(_fields(here))


def _inside(here: Any, part: Any) -> Any:
    """Step from a type into its field, its item, or the kind of section with that tag."""
    if part in _fields(here):
        return _fields(here)[part].annotation
    for kind in alternatives(here):
        if isinstance(part, str) and _is_tag(kind, part):
            return kind
        if part in _fields(kind):
            return kind.model_fields[part].annotation
    items = [kind for kind in alternatives(here) if get_origin(kind) in (tuple, dict)]
    return get_args(items[0])[-1 if get_origin(items[0]) is dict else 0] if items else here


def _fields(annotation: Any) -> dict[str, Any]:
    """Return the fields of a section, or of an optional one."""
    sections = [kind for kind in alternatives(annotation) if kind is not type(None)]
    return dict(getattr(sections[0], "model_fields", {})) if len(sections) == 1 else {}


def _is_tag(annotation: Any, part: str) -> bool:
    """Say whether a section's `kind` or `source` is this tag."""
    for kind in alternatives(annotation):
        fields = _fields(kind)
        if any(name in fields and part in get_args(fields[name].annotation) for name in ("kind", "source")):
            return True
    return False
