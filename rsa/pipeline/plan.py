"""What the Snakemake rules need to know of a study: its files, by name."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.errors import Problems, UserError, is_mistake, listed, told
from rsa.files.fsaverage import has_cortex
from rsa.inference.group import GROUP_TESTS
from rsa.inputs.references import Reference
from rsa.inputs.regions import Regions, region_files
from rsa.inputs.templates import template_files
from rsa.models import Model
from rsa.pipeline import checks, sizes
from rsa.pipeline.config import RESULTS, Study, Surfaces, load_study, read_yaml
from rsa.pipeline.replaced import problems_of_inputs
from rsa.pipeline.results import problems_of_folder
from rsa.settings import fill, placeholders
from rsa.units.codes import with_own_layers
from rsa.units.settings import UnitSettings

__all__ = ["OUTPUTS", "Output", "Plan", "plan_of_results", "read_plan", "study_of"]

logger = logging.getLogger(__name__)

BRACES = re.compile(r"\{[^{}]*\}|<[a-z][a-z0-9_]*>")
"""What Snakemake takes for a wildcard, or for a name of paths, in all files of its jobs; nothing can be written before
it to change that."""


def study_of(config: Mapping[str, Any], files: Sequence[str | Path] = (), *, check: bool) -> "Plan":
    """Read the study from Snakemake's configuration; stop with one clear message and exit code 2 if it is wrong.

    Parameters
    ----------
    config : mapping
        The configuration.
    files : sequence of path
        The files from which it comes.
    check : bool
        Whether to look at the files that it names as well: once per run, not in every job.
    """
    try:
        for file in files if check else ():
            read_yaml(file)  # says what Snakemake does not: numbers that are not what they look like
        plan = Plan(load_study(config, files))
        if check:
            plan.require_no_problems()
        return plan
    except (UserError, OSError) as error:
        if not is_mistake(error):
            raise
        print(f"error: {told(error)}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None


def read_plan(path: str | Path, *, check: bool) -> "Plan":
    """Read a study from a YAML file, and look at the files that it names as well, if wanted.

    Raises
    ------
    UserError
        Listing every problem that was found.
    """
    plan = Plan(load_study(read_yaml(path), [path]))
    if check:
        plan.require_no_problems()
    return plan


def plan_of_results(folder: str | Path) -> "Plan":
    """Read a study from the folder of its results, wherever that is now.

    Raises
    ------
    UserError
        If there are no settings, or they are not those of this version.
    """
    path = Path(folder) / "study.json"
    try:
        plan = Plan(Study.model_validate_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Name the folder of a study's results.") from error
    except ValueError as error:
        raise UserError(f"{path} has no settings that this version understands; run the study again.") from error
    plan.folder = Path(folder)
    return plan


@dataclass(frozen=True)
class Output:
    """A kind of file, or of folder, that jobs write.

    Parameters
    ----------
    path : str
        Its template below the folder of the results. {part} is the folder of an analysis, "" for the plain comparison.
    when : callable
        Whether a study has it, for the analysis of a part.
    of_meeg : bool
        Whether the subjects are those of M/EEG.
    """

    path: str
    when: Callable[["Plan", str], bool] = lambda plan, part: True
    of_meeg: bool = False


def _searchlight(plan: "Plan", part: str) -> bool:
    return plan.study.searchlight is not None


def _main_searchlight(plan: "Plan", part: str) -> bool:
    return _searchlight(plan, part) and plan.analysis(part).is_main


def _template(plan: "Plan", part: str) -> bool:
    return plan.study.searchlight is not None and plan.study.template is not None


def _group(plan: "Plan", part: str) -> bool:
    return plan.study.searchlight is not None and bool(plan.study.group)


def _flips(plan: "Plan", part: str) -> bool:
    """Shares of variance are no scores that flips can test; nor are those of M/EEG RDMs that all subjects share."""
    inference = plan.study.inference
    over_subjects = inference is not None and inference.over_subjects
    return over_subjects and _group(plan, part) and plan.analysis(part).tested and plan.has_flipped(part)


def _permutations(plan: "Plan", part: str) -> bool:
    """Over conditions, everything is tested; over subjects, what they have in common of M/EEG."""
    inference, study = plan.study.inference, plan.study
    if inference is None or not _group(plan, part) or study.template is not None:
        return False
    return not inference.over_subjects or plan.has_shared_meeg(part)


def _subject_permutations(plan: "Plan", part: str) -> bool:
    inference = plan.study.inference
    wanted = inference is not None and (inference.each_subject or len(plan.study.subjects) == 1)
    return wanted and _searchlight(plan, part)


def _noise_ceiling(plan: "Plan", part: str) -> bool:
    return plan.study.noise_ceiling and plan.analysis(part).is_main


def _regions(plan: "Plan", part: str) -> bool:
    return plan.study.regions is not None or (plan.study.brain is not None and plan.study.brain.is_ready)


def _ranking(plan: "Plan", part: str) -> bool:
    return plan.study.ranking is not None and _regions(plan, part) and plan.analysis(part).is_main


def _networks(plan: "Plan", part: str) -> bool:
    return bool(plan.study.network_comparisons) and plan.analysis(part).is_main


def _units(plan: "Plan", part: str) -> bool:
    return plan.study.units is not None and plan.analysis(part).is_main


def _unit_changes(plan: "Plan", part: str) -> bool:
    return bool(plan.study.unit_comparisons) and plan.analysis(part).is_main


def _region_group(plan: "Plan", part: str) -> bool:
    return _regions(plan, part) and plan.study.inference is not None


def _subjects_drawn(plan: "Plan", part: str) -> bool:
    """Single subjects are drawn by other analyses only where there is no group of them."""
    return _searchlight(plan, part) and (plan.analysis(part).is_main or len(plan.study.subjects) == 1)


def _subjects_beside(plan: "Plan", part: str) -> bool:
    return _searchlight(plan, part) and len(plan.study.subjects) > 1


def _films(plan: "Plan", part: str) -> bool:
    return plan.has_films


def _fusion(plan: "Plan", part: str) -> bool:
    return plan.has_films or (bool(plan.study.fusion) and not plan.is_paired)


def _time(plan: "Plan", part: str) -> bool:
    return plan.study.meeg is not None and plan.analysis(part).of_times


def _sensors(plan: "Plan", part: str) -> bool:
    return plan.study.sensors is not None and plan.analysis(part).of_sensors


def _sensor_group(plan: "Plan", part: str) -> bool:
    return _sensors(plan, part) and len(plan.study.meeg_subjects) > 1


def _kept_activations(plan: "Plan", part: str) -> bool:
    return plan.study.keep_activations


def _passing_activations(plan: "Plan", part: str) -> bool:
    return not plan.study.keep_activations


OUTPUTS = {
    "activations": Output("models/model-{model}_activations.h5", _kept_activations),
    "model_rdms": Output("models/model-{model}_rdms.h5"),
    "model_cost": Output("models/model-{model}_rdms_cost.json", _passing_activations),
    "reference_rdms": Output("references/ref-{reference}_rdms.h5"),
    "brain": Output("brain/sub-{subject}_{provides}.h5"),
    "region_rdms": Output("brain/sub-{subject}_rdms.h5", _regions),
    "movie": Output("meeg/sub-{subject}_movie.h5", of_meeg=True),
    "group_movie": Output("meeg/group_movie.h5", _fusion),
    "scores": Output("{part}scores/sub-{subject}_scores.h5", _searchlight),
    "resampled": Output("{part}scores/sub-{subject}_space-{space}_scores.h5", _template),
    "subject_permutations": Output("{part}scores/sub-{subject}_permutations.h5", _subject_permutations),
    "group_flips": Output("{part}scores/group_flips.h5", _flips),
    "group_permutations": Output("{part}scores/group_permutations.h5", _permutations),
    "noise_ceiling": Output("scores/noise_ceiling.h5", _noise_ceiling),
    "group_scores": Output("{part}scores/group_scores.h5", _group),
    "maps": Output("{part}sub-{subject}", _searchlight),
    "group_maps": Output("{part}group", _group),
    "region_fits": Output("{part}regions.tsv", _regions),
    "region_dictionary": Output("{part}regions.json", _regions),
    "region_group": Output("{part}regions_group.tsv", _region_group),
    "region_group_dictionary": Output("{part}regions_group.json", _region_group),
    "networks": Output("networks", _networks),
    "units": Output("units/model-{watched}", _units),
    "unit_changes": Output("units/changes", _unit_changes),
    "ranking": Output("ranking.tsv", _ranking),
    "ranking_dictionary": Output("ranking.json", _ranking),
    "ranking_pairs": Output("ranking_pairs.tsv", _ranking),
    "ranking_pairs_dictionary": Output("ranking_pairs.json", _ranking),
    "time": Output("{part}time", _time),
    "sensor_scores": Output("{part}sensors/sub-{subject}_scores.h5", _sensors, of_meeg=True),
    "sensor_evokeds": Output("{part}sensors/sub-{subject}_scores_ave.fif", _sensors, of_meeg=True),
    "sensor_group": Output("{part}sensors/group_scores.h5", _sensor_group),
    "sensor_group_evokeds": Output("{part}sensors/group_stat-{test}_scores_ave.fif", _sensor_group),
    "sensor_peaks": Output("{part}sensors/peaks.tsv", _sensors),
    "references_figures": Output("figures/references"),
    "fusion_figures": Output("figures/fusion", _films),
    "subject_figures": Output("figures/{part}sub-{subject}", _subjects_drawn),
    "group_figures": Output("figures/{part}group", _subjects_beside),
    "region_figures": Output("figures/{part}regions", _regions),
    "networks_figures": Output("figures/networks", _networks),
    "units_figures": Output("figures/units/model-{watched}", _units),
    "unit_changes_figures": Output("figures/units/changes", _unit_changes),
    "ranking_figures": Output("figures/ranking", _ranking),
    "time_figures": Output("figures/{part}time", _time),
    "sensor_figures": Output("figures/{part}sensors", _sensors),
    "settings": Output("study.json"),
    "bidsignore": Output(".bidsignore"),
    "readme": Output("README"),
    "description": Output("dataset_description.json"),
    "report": Output("report.html"),
    "pages": Output("pages"),
    "explorer": Output("explorer", _main_searchlight),
}
"""What the jobs of a study write, but for simulated data."""

LABEL = re.compile(r"\{(\w+)\}")


class Plan:
    """The files of a study.

    Parameters
    ----------
    study : Study
        A study without problems.
    """

    def __init__(self, study: Study) -> None:
        stimuli = study.stimuli
        self.study = study if stimuli is None else study.model_copy(update={"stimuli": stimuli.read_once()})
        self.folder = study.folder
        self.simulates_stimuli = checks.simulates_stimuli(study)
        self.space = "" if study.brain is None else study.brain.space
        self.group_space = self.space if study.template is None else study.template.space
        self._provides = "patterns" if study.brain is None else study.brain.provides
        self._one_job: dict[str, bool] = {}
        self._models = {model.label: model for model in study.networks}
        self._references = {reference.name: reference for reference in study.references}
        self._analyses: dict[str, Analysis | PlainComparison] = {"": PLAIN}
        self._analyses |= {f"analyses/{analysis.name}/": analysis for analysis in study.analyses}

    # ---------------------------------------------------------------------------------- what jobs write

    def path(self, kind: str, **labels: str) -> Path:
        """Return the path of a kind of output; labels that are not given stay words in braces, for Snakemake."""
        known = {"provides": self._provides, "space": self.group_space, **labels}
        return Path(f"{self.folder}/{LABEL.sub(lambda word: known.get(word[1], word[0]), OUTPUTS[kind].path)}")

    def all(self, kind: str, part: str = "") -> list[Path]:
        """Return all outputs of a kind in the folder of an analysis; none where the study has none."""
        output = OUTPUTS[kind]
        if not output.when(self, part):
            return []
        subjects = self.study.meeg_subjects if output.of_meeg else self.study.subjects
        labels: dict[str, Iterable[str]] = {"model": self._models, "reference": self._references, "subject": subjects}
        labels |= {"part": [part], "test": self.sensor_tests(part), "watched": self.watched()}
        words = [word for word in labels if f"{{{word}}}" in output.path]
        each = product(*(labels[word] for word in words))
        return [self.path(kind, **dict(zip(words, chosen, strict=True))) for chosen in each]

    def is_one_job(self, kind: str) -> bool:
        """Say whether one job makes all outputs of a kind, and not a job for each subject; see `rsa.pipeline.sizes`."""
        if kind not in self._one_job:
            self._one_job[kind] = sizes.is_one_job(self.study, kind)
        return self._one_job[kind]

    def of_job(self, kind: str) -> tuple[str, ...]:
        """Return the subjects of whom a job makes a kind of output: all, or one, which stays a word in braces."""
        if not self.is_one_job(kind):
            return ("{subject}",)
        return self.study.meeg_subjects if OUTPUTS[kind].of_meeg else self.study.subjects

    def each(self, kind: str) -> list[Path]:
        """Return what a job writes of a kind, for each of its subjects."""
        return [self.path(kind, subject=subject) for subject in self.of_job(kind)]

    def every(self, *kinds: str) -> list[Path]:
        """Return all outputs of some kinds, of all analyses."""
        found = [path for part in self.parts() for kind in kinds for path in self.all(kind, part)]
        return list(dict.fromkeys(found))

    def figures(self) -> list[Path]:
        """Return the folders of all pictures."""
        return self.every(*(kind for kind in OUTPUTS if kind.endswith("_figures")))

    def outputs(self) -> list[Path]:
        """Return the outputs of all jobs of a run, files and folders, but for the activations of models.

        The names of jobs' outputs are these: `snakemake --forcerun` takes them.
        """
        return self.every(*(kind for kind in OUTPUTS if kind != "activations")) + self._simulated()

    def targets(self) -> list[Path]:
        """Return the files that a run is for; the rest follows from the report."""
        return [self.path("report"), self.path("description"), *self.all("explorer")]

    # -------------------------------------------------------------------------------- parts of a study

    def parts(self) -> list[str]:
        """Return the folders of the analyses, as they stand in file names; that of the plain comparison is ""."""
        return list(self._analyses)

    def analysis(self, part: str) -> Analysis | PlainComparison:
        """Return the analysis of a folder."""
        return self._analyses[part]

    def root(self, part: str) -> Path:
        """Return the folder of an analysis, or of the study for the plain comparison."""
        return Path(f"{self.folder}/{part}")

    def model(self, label: str) -> Model:
        """Return the model with this label."""
        return self._models[label]

    def reference(self, name: str) -> Reference:
        """Return the reference with this name."""
        return self._references[name]

    def names(self) -> list[str]:
        """Return the labels of all models and the names of all references, in order."""
        return [*self._models, *self._references]

    def watched(self) -> list[str]:
        """Return the labels of the networks whose units are looked at."""
        return list(self.study.watched)

    def units(self, label: str) -> UnitSettings:
        """Return what is asked of the units of a network; of codes, for those layers alone that it has."""
        return with_own_layers(self.study.watched[label], self.model(label))

    def settings(self) -> str:
        """Return all settings of the study as JSON."""
        return self.study.model_dump_json()

    @property
    def is_paired(self) -> bool:
        """Whether each fMRI subject is compared with the M/EEG RDMs of its own."""
        return self.study.fusion == "paired"

    @property
    def has_films(self) -> bool:
        """Whether there are maps of M/EEG RDMs over time."""
        return bool(self.study.fusion) and self.study.searchlight is not None

    def has_shared_meeg(self, part: str) -> bool:
        """Whether scores of one M/EEG RDM at each time, the same for all subjects, are among those of an analysis."""
        return bool(self.study.fusion) and not self.is_paired and self.analysis(part).scores_meeg

    def has_flipped(self, part: str) -> bool:
        """Whether there are scores of an analysis that flips of subjects can test."""
        return not (self.has_shared_meeg(part) and self.analysis(part).scores_meeg_alone)

    def group_inference(self, part: str) -> list[Path]:
        """Return the p values of the maps of the group."""
        return self.all("group_flips", part) + self.all("group_permutations", part)

    def subject_inference(self, part: str, subject: str) -> list[Path]:
        """Return the p values of the maps of a subject, if there are some."""
        path = self.path("subject_permutations", part=part, subject=subject)
        return [path] if path in self.all("subject_permutations", part) else []

    def region_inference(self) -> dict[str, Path]:
        """Return the table of regions of the group, with p values, and its dictionary, by what a rule calls them."""
        kinds = {"group": "region_group", "group_dictionary": "region_group_dictionary"}
        return {} if self.study.inference is None else {name: self.path(kind) for name, kind in kinds.items()}

    def participants(self) -> list[str]:
        """Return the table of participants, if inference reads one."""
        inference = self.study.inference
        return [] if inference is None or inference.participants is None else [inference.participants]

    def cluster_regions(self, part: str) -> Regions | None:
        """Return the regions that name the clusters of the group: those that are the same for all subjects."""
        regions = self.study.regions
        is_shared = regions is not None and self.study.template is None and not regions.of_subjects
        return regions if is_shared and self.group_inference(part) else None

    def explored(self) -> dict[str, list[Path]]:
        """Return the files that the explorer is made of, by what its rule calls them."""
        tests = [
            path for part in self.parts() for one in self.study.subjects for path in self.subject_inference(part, one)
        ]
        shared = self.study.regions is not None and self.study.template is None and not self.study.regions.of_subjects
        return {
            "scores": [path for part in self.parts() for path in self.all_scores(part)],
            "group": self.every("group_scores"),
            "inference": tests,
            "brain": self.all("brain"),
            "references": self.shared_references(),
            "stimuli": self.stimulus_files(),
            "anatomy": [path for subject in self.study.subjects for path in self.anatomy(subject)],
            "regions": self.region_files("") if shared else [],
        }

    def cluster_region_files(self, part: str) -> list[Path]:
        """Return what these are read from."""
        regions = self.cluster_regions(part)
        return [] if regions is None else region_files(regions, "")

    def anatomy(self, who: str = "") -> list[Path]:
        """Return the anatomical image behind the maps of a subject; without one, behind those of the group, if any."""
        anatomy = self.study.anatomy
        if anatomy is None or (not who and (self.study.template is not None or "subject" in placeholders(anatomy))):
            return []
        return [fill(anatomy, subject=who)]

    def generalisation(self, part: str) -> str:
        """Return whether all times are compared with each other, within or between subjects; empty if they are not."""
        return self.study.generalisation or "" if self.analysis(part).is_main else ""

    def group_tests(self, part: str) -> tuple[str, ...]:
        """Return how maps of the group are made: by means alone, where scores are above 0 by chance."""
        return self.study.group if self.analysis(part).tested else ("mean",)

    def sensor_tests(self, part: str) -> tuple[str, ...]:
        """Return how scores over sensors are brought together: by all tests, or by means alone."""
        return tuple(GROUP_TESTS) if self.analysis(part).tested else ("mean",)

    def derived_option(self) -> str:
        """Return the option that asks for derived maps; none for all of them, so that a new one re-runs nothing."""
        is_default = self.study.maps == Study.model_fields["maps"].default
        return "" if is_default else " ".join(["--derived", *self.study.maps])

    @property
    def surfaces(self) -> Surfaces | None:
        """The surface on which maps are written as well: of those in a space of MNI152, where there are some."""
        return self.study.surfaces if any(map(has_cortex, (self.space, self.group_space))) else None

    # ------------------------------------------------------------------------ what jobs read of each other

    def references(self) -> list[Path]:
        """Return all RDMs that the brain is compared with, in order."""
        return self.all("model_rdms") + self.all("reference_rdms")

    def fused(self, subjects: Sequence[str]) -> list[Path]:
        """Return the RDMs over time with which the fMRI data of some subjects are compared, if there are any."""
        if not self.study.fusion:
            return []
        each = [self.path("movie", subject=subject) for subject in subjects]
        return each if self.is_paired else [self.path("group_movie")]

    def shared_references(self) -> list[Path]:
        """Return the RDMs with which those of the spheres of every subject are compared."""
        return self.references() + ([] if self.is_paired else self.fused(()))

    def own_references(self, subject: str) -> list[Path]:
        """Return the RDMs with which those of the spheres of a subject alone are compared."""
        return self.fused([subject]) if self.is_paired else []

    def compared(self, subject: str) -> list[Path]:
        """Return the RDMs with which those of the spheres of a subject are compared."""
        return self.shared_references() + self.own_references(subject)

    def others(self, part: str, subject: str) -> list[Path]:
        """Return the patterns of the other subjects, if the analysis fits weights to them."""
        others = [other for other in self.study.subjects if other != subject]
        return [self.path("brain", subject=other) for other in others if self.analysis(part).across_subjects]

    def maps_of_subjects(self) -> dict[tuple[str, ...], list[str]]:
        """Return the analyses by the kinds of pictures that go with their maps of single subjects; some have none."""
        found: dict[tuple[str, ...], list[str]] = {}
        for part in self.parts() if self.study.searchlight is not None else ():
            found.setdefault(("subject_figures",) if _subjects_drawn(self, part) else (), []).append(part)
        return found

    def in_spaces(self) -> list[Path]:
        """Return the scores of a subject in every space in which there are maps of them, with its label in braces."""
        return [self.path("scores"), *([] if self.study.template is None else [self.path("resampled")])]

    def spaces(self) -> list[str]:
        """Return the labels of these spaces."""
        return [self.space, *([] if self.study.template is None else [self.group_space])]

    def all_scores(self, part: str = "") -> list[Path]:
        """Return the scores of all subjects, in the space of the group; none where the study has no searchlight."""
        return self.all("scores" if self.study.template is None else "resampled", part)

    def moved_scores(self) -> list[Path]:
        """Return the scores that maps of differences between networks are made of: the group's, if any."""
        if any(one.kind == "before_after" for one in self.study.network_comparisons):
            group = self.all("group_scores") if "mean" in self.group_tests("") else []
            return group or (self.all_scores() if len(self.study.subjects) == 1 else [])
        return []

    def filmed_scores(self) -> Path:
        """Return the scores of which films are made: of the group, or else of the first subject."""
        return (self.all("group_scores") or self.all_scores())[0]

    def sensor_groups(self) -> dict[tuple[str, ...], list[str]]:
        """Return how scores over sensors are brought together, and the folders of the analyses for which it is so."""
        found: dict[tuple[str, ...], list[str]] = {}
        for part in self.parts():
            if self.all("sensor_group", part):
                found.setdefault(self.sensor_tests(part), []).append(part)
        return found

    def drawn_sensors(self, part: str) -> list[Path]:
        """Return the scores that are drawn, of the group or of the only subject, and a file that has their sensors."""
        has_group = _sensor_group(self, part)
        kinds = ("sensor_group", "sensor_group_evokeds") if has_group else ("sensor_scores", "sensor_evokeds")
        return [self.all(kind, part)[0] for kind in kinds]

    def sensor_title(self) -> str:
        """Say whose scores these are."""
        subjects = self.study.meeg_subjects
        return f"mean over {len(subjects)} subjects" if len(subjects) > 1 else f"subject {subjects[0]}"

    # --------------------------------------------------------------------------- what is read from users

    def stimulus_files(self) -> list[Path]:
        """Return the files of the stimuli: of those that the study makes or fetches the table alone, written last."""
        stimuli = self.study.stimuli
        if stimuli is None:
            return []
        return stimuli.files() if self.study.fetch is None and not self.simulates_stimuli else self.stimulus_table()

    def model_stimuli(self, label: str) -> list[Path]:
        """Return the files of the stimuli of a network; of ready responses the table alone, which tells an order."""
        return self.stimulus_files() if self.model(label).needs_pictures else self.stimulus_table()

    @property
    def cache(self) -> Path:
        """The folder of what is kept for all studies, by its content."""
        return RESULTS / ".cache"

    def stimulus_table(self) -> list[Path]:
        """Return the table of the stimuli, if there is one."""
        stimuli = self.study.stimuli
        return [] if stimuli is None or stimuli.table is None else [Path(stimuli.table)]

    def reference_files(self, name: str) -> list[Path]:
        """Return what a reference is made of."""
        reference = self.reference(name)
        return [*reference.files(), *(self.stimulus_files() if reference.needs_pictures else self.stimulus_table())]

    def fetched(self) -> list[Path]:
        """Return the files that are written last when a data set is fetched; none where none is."""
        return checks.fetched(self.study)

    def brain_files(self, subject: str) -> list[Path]:
        """Return what the brain data of a subject are read from: of data that are fetched, what is written last."""
        if self.study.fetch is not None or self.study.brain is None:
            return self.fetched()
        conditions, residuals = checks.study_conditions(self.study), self.study.needs_residuals
        return [*self.study.brain.files(subject, conditions, residuals=residuals), *self.stimulus_table()]

    def meeg_files(self, subject: str) -> list[Path]:
        """Return what the M/EEG data of a subject are read from."""
        if self.study.meeg is None:
            return []
        conditions = checks.study_conditions(self.study)
        return [*self.study.meeg.files(subject, conditions), *self.stimulus_table()]

    def region_files(self, subject: str) -> list[Path]:
        """Return what the regions of a subject are read from."""
        return [] if self.study.regions is None else region_files(self.study.regions, subject)

    def template_files(self, subject: str) -> list[Path]:
        """Return what is read to bring the maps of a subject to the template."""
        return [] if self.study.template is None else template_files(self.study.template, subject)

    # ---------------------------------------------------------------------------------------- simulation

    def simulation_files(self) -> list[Path]:
        """Return the files that a simulation reads."""
        simulation = self.study.simulate
        if simulation is None:
            return []
        named = (simulation.mask, simulation.atlas, simulation.noise_images, simulation.noise_events)
        return [Path(path) for path in named if path is not None]

    def simulated_brain(self, subjects: Sequence[str]) -> list[Path]:
        """Return the brain images that the simulation writes for some subjects."""
        return checks.simulated_brain(self.study, subjects)

    def simulated_epochs(self, subjects: Sequence[str]) -> list[Path]:
        """Return the files of epochs that the simulation writes for some subjects, if it does."""
        return checks.simulated_meeg(self.study, subjects)

    def _simulated(self) -> list[Path]:
        """Return the outputs of a simulation: the table of the stimuli, images and epochs."""
        if self.study.simulate is None:
            return []
        table = self.stimulus_table() if self.simulates_stimuli else []
        images = self.simulated_brain(self.study.subjects)
        return [*table, *images, *self.simulated_epochs(self.study.meeg_subjects)]

    # --------------------------------------------------------------------------------------------- checks

    def require_no_problems(self) -> None:
        """Raise a `UserError` that lists all problems of the study, of its files, and of the folder of its results.

        Without problems, log what is odd.
        """
        simulated = set(self._simulated())  # `checks` look after these
        outputs = [path for path in self.outputs() if path not in simulated]
        problems = [*checks.problems_of(self.study), *problems_of_folder(self.folder, outputs)]
        problems = problems or self._problems_of_inputs(self.inputs())
        if problems:
            raise Problems("The configuration", problems)
        for text in checks.warnings_of(self.study):
            logger.warning("%s", text)

    def inputs(self) -> list[Path]:
        """Return the files of users that jobs read."""
        inputs = [*self.stimulus_files(), *self.simulation_files(), *self.fetched()]
        inputs += [path for label in self._models for path in self.model(label).files()]
        inputs += [] if self.study.units is None else self.study.units.files()
        inputs += [path for name in self._references for path in self.reference_files(name)]
        for subject in self.study.subjects if self.study.simulate is None else ():
            inputs += [*self.brain_files(subject), *self.region_files(subject), *self.template_files(subject)]
            inputs += self.anatomy(subject)
        for subject in self.study.meeg_subjects if not checks.awaits_epochs(self.study) else ():
            inputs += self.meeg_files(subject)
        return list(dict.fromkeys(inputs))

    def _problems_of_inputs(self, inputs: Sequence[Path]) -> list[str]:
        """Say which inputs have names that the workflow cannot have, or were replaced by older files."""
        kinds = ("activations", "model_rdms", "reference_rdms", "brain", "region_rdms", "movie", "resampled", "units")
        return _braces(inputs) or problems_of_inputs(self.folder, self.every(*kinds), inputs)


def _braces(inputs: Sequence[Path]) -> list[str]:
    """Say which inputs of jobs have words in braces in their names, which Snakemake would replace or refuse."""
    found = [str(path) for path in inputs if BRACES.search(str(path))]
    if not found:
        return []
    return [
        f"{listed(found, 3)}: a word in braces, {{}} or <>, stands for something else in the workflow; rename it, or "
        "link to it."
    ]
