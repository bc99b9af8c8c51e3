"""What the Snakemake rules need to know of a study: its files, by name."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rsa.analyses import PLAIN, Analysis, PlainComparison
from rsa.errors import Problems, UserError, is_mistake, listed, told
from rsa.files.evokeds import evoked_path
from rsa.inference.group import GROUP_TESTS
from rsa.inputs.references import Reference
from rsa.inputs.regions import region_files
from rsa.inputs.templates import template_files
from rsa.models import Model
from rsa.pipeline import checks
from rsa.pipeline.config import Study, load_study, read_yaml
from rsa.pipeline.results import problems_of_folder

__all__ = ["Plan", "read_plan", "study_of"]

logger = logging.getLogger(__name__)

BRACES = re.compile(r"\{[^{}]*\}")
"""What Snakemake takes for a wildcard, in all files of its jobs; nothing can be written before it to change that."""


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


class Plan:
    """The files of a study.

    Parameters
    ----------
    study : Study
        A study without problems.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.folder = study.folder
        self.simulates_stimuli = checks.simulates_stimuli(study)
        self.space = "" if study.brain is None else study.brain.space
        self.group_space = self.space if study.template is None else study.template.space
        self._models = {model.label: model for model in study.models}
        self._references = {reference.name: reference for reference in study.references}
        self._analyses: dict[str, Analysis | PlainComparison] = {"": PLAIN}
        self._analyses |= {f"analyses/{analysis.name}/": analysis for analysis in study.analyses}

    def require_no_problems(self) -> None:
        """Raise a `UserError` that lists all problems of the study, of its files, and of the folder of its results.

        Without problems, log what is odd.
        """
        simulated = set(self._simulated())  # `checks` look after these
        outputs = [path for path in self.outputs() if path not in simulated]
        problems = [*checks.problems_of(self.study), *problems_of_folder(self.folder, outputs)]
        if problems := problems or self._braces():
            raise Problems("The configuration", problems)
        for text in checks.warnings_of(self.study):
            logger.warning("%s", text)

    def _braces(self) -> list[str]:
        """Say which inputs of jobs have words in braces in their names, which Snakemake would replace or refuse."""
        inputs = [*self.stimulus_files(), *self.simulation_files(), *self.fetched()]
        inputs += [path for label in self._models for path in self.model(label).files()]
        inputs += [path for name in self._references for path in self.reference_files(name)]
        for subject in self.study.subjects if self.study.simulate is None else ():
            inputs += [*self.brain_files(subject), *self.region_files(subject), *self.template_files(subject)]
        for subject in self.study.meeg_subjects if not checks.awaits_epochs(self.study) else ():
            inputs += self.meeg_files(subject)
        found = [str(path) for path in dict.fromkeys(inputs) if BRACES.search(str(path))]
        if not found:
            return []
        return [
            f"{listed(found, 3)}: a word in braces stands for something else in the workflow; rename it, or link to it."
        ]

    # -------------------------------------------------------------------------------------- analyses

    def parts(self) -> list[str]:
        """Return the folders of the analyses, as they stand in file names; that of the plain comparison is ""."""
        return list(self._analyses)

    def analysis(self, part: str) -> Analysis | PlainComparison:
        """Return the analysis of a folder."""
        return self._analyses[part]

    def root(self, part: str) -> Path:
        """Return the folder of an analysis, or of the study for the plain comparison."""
        return self._in_part(part)

    def _in_part(self, part: str, *names: str) -> Path:
        """Return a path in the folder of an analysis, whose name ends with a stroke (or is a wildcard)."""
        return Path(f"{self.folder}/{part}{'/'.join(names)}")

    # ------------------------------------------------------------------------------------ references

    def model(self, label: str) -> Model:
        """Return the model with this label."""
        return self._models[label]

    def reference(self, name: str) -> Reference:
        """Return the reference with this name."""
        return self._references[name]

    def stimulus_files(self) -> list[Path]:
        """Return the files of the stimuli: of those that the study makes or fetches the table alone, written last."""
        stimuli = self.study.stimuli
        if stimuli is None:
            return []
        return stimuli.files() if self.study.fetch is None and not self.simulates_stimuli else self.stimulus_table()

    def stimulus_table(self) -> list[Path]:
        """Return the table of the stimuli, if there is one."""
        stimuli = self.study.stimuli
        return [] if stimuli is None or stimuli.table is None else [Path(stimuli.table)]

    def activations(self, label: str) -> Path:
        """Return the file of the activations of a model."""
        return self.folder / "models" / f"model-{label}_activations.h5"

    def model_rdms(self, label: str) -> Path:
        """Return the file of the layer RDMs of a model."""
        return self.folder / "models" / f"model-{label}_rdms.h5"

    def reference_rdms(self, name: str) -> Path:
        """Return the file of the RDMs of another reference."""
        return self.folder / "references" / f"ref-{name}_rdms.h5"

    def reference_files(self, name: str) -> list[Path]:
        """Return what a reference is made of."""
        reference = self.reference(name)
        stimuli = self.stimulus_files() if reference.needs_pictures else self.stimulus_table()
        return [*reference.files(), *stimuli]

    def layer_rdms(self) -> list[Path]:
        """Return the layer RDMs of all models."""
        return [self.model_rdms(label) for label in self._models]

    def references(self) -> list[Path]:
        """Return all RDMs that the brain is compared with, in order."""
        return self.layer_rdms() + [self.reference_rdms(name) for name in self._references]

    def fetched(self) -> list[Path]:
        """Return the files that are written last when a data set is fetched; none where none is."""
        return checks.fetched(self.study)

    # ----------------------------------------------------------------------------------------- brain

    def brain_files(self, subject: str) -> list[Path]:
        """Return what the brain data of a subject are read from: of data that are fetched, what is written last."""
        if self.study.fetch is not None:
            return self.fetched()
        if self.study.brain is None:
            return []
        conditions, residuals = checks.study_conditions(self.study), self.study.needs_residuals
        return [*self.study.brain.files(subject, conditions, residuals=residuals), *self.stimulus_table()]

    def brain(self, subject: str) -> Path:
        """Return the file of the patterns, or of the ready RDMs, of a subject."""
        provides = "patterns" if self.study.brain is None else self.study.brain.provides
        return self.folder / "brain" / f"sub-{subject}_{provides}.h5"

    def all_brain(self) -> list[Path]:
        """Return the brain data of all subjects."""
        return [self.brain(subject) for subject in self.study.subjects]

    def region_rdms(self, subject: str) -> Path:
        """Return the file of the RDMs of the regions of a subject."""
        return self.folder / "brain" / f"sub-{subject}_rdms.h5"

    def region_files(self, subject: str) -> list[Path]:
        """Return what the regions of a subject are read from."""
        return [] if self.study.regions is None else region_files(self.study.regions, subject)

    def all_region_rdms(self) -> list[Path]:
        """Return the RDMs of the regions of all subjects; none where the study has no regions."""
        return [self.region_rdms(subject) for subject in self.study.subjects] if self.has_regions else []

    @property
    def has_regions(self) -> bool:
        """Say whether the study has RDMs of regions."""
        return self.study.regions is not None or (self.study.brain is not None and self.study.brain.is_ready)

    def simulated_brain(self, subject: str) -> list[Path]:
        """Return the files that the simulation of a subject writes."""
        return checks.simulated_brain(self.study, [subject])

    def simulated_epochs(self, subject: str) -> list[Path]:
        """Return the file of epochs that the simulation of a subject writes, if it does."""
        return checks.simulated_meeg(self.study, [subject])

    def simulation_files(self) -> list[Path]:
        """Return the files that a simulation reads."""
        simulation = self.study.simulate
        if simulation is None:
            return []
        named = (simulation.mask, simulation.atlas, simulation.noise_images, simulation.noise_events)
        return [Path(path) for path in named if path is not None]

    def settings(self) -> str:
        """Return all settings of the study as JSON."""
        return self.study.model_dump_json()

    # ------------------------------------------------------------------------------------------ time

    def meeg_files(self, subject: str) -> list[Path]:
        """Return what the M/EEG data of a subject are read from."""
        if self.study.meeg is None:
            return []
        conditions = checks.study_conditions(self.study)
        return [*self.study.meeg.files(subject, conditions), *self.stimulus_table()]

    def movie(self, subject: str) -> Path:
        """Return the file of the RDMs over time of a subject."""
        return self.folder / "meeg" / f"sub-{subject}_movie.h5"

    def all_movies(self) -> list[Path]:
        """Return the RDMs over time of all subjects."""
        return [self.movie(subject) for subject in self.study.meeg_subjects]

    def group_movie(self) -> Path:
        """Return the file of the mean RDMs over time."""
        return self.folder / "meeg" / "group_movie.h5"

    def fused(self, subjects: Sequence[str]) -> list[Path]:
        """Return the RDMs over time with which the fMRI data of some subjects are compared, if there are any."""
        if not self.study.fusion:
            return []
        return [self.movie(subject) for subject in subjects] if self.is_paired else [self.group_movie()]

    @property
    def is_paired(self) -> bool:
        """Whether each fMRI subject is compared with the M/EEG RDMs of its own."""
        return self.study.fusion == "paired"

    @property
    def has_films(self) -> bool:
        """Whether there are maps of M/EEG RDMs over time."""
        return self.study.fusion and self.study.searchlight is not None

    def filmed_scores(self) -> Path:
        """Return the scores of which films are made: of the group, or else of the first subject."""
        return self.group_scores() if self.study.group else self.all_scores()[0]

    def time(self, part: str = "") -> Path:
        """Return the folder of the tables of layers over time."""
        return self._in_part(part, "time")

    def generalisation(self, part: str) -> str:
        """Return whether all times are compared with each other, within or between subjects; empty if they are not."""
        return self.study.generalisation or "" if self.analysis(part).is_main else ""

    def all_time(self, part: str = "") -> list[Path]:
        """Return that folder, if the study has M/EEG data, and the analysis is one of them."""
        return [self.time(part)] if self.study.meeg is not None and self.analysis(part).of_times else []

    # --------------------------------------------------------------------------------------- sensors

    def sensor_scores(self, subject: str) -> Path:
        """Return the file of the scores over sensors of a subject, or of the group ("")."""
        return self.folder / "sensors" / f"{f'sub-{subject}' if subject else 'group'}_scores.h5"

    def sensor_evokeds(self, subject: str) -> Path:
        """Return the same scores of a subject for MNE."""
        return evoked_path(self.folder / "sensors", f"sub-{subject}")

    def all_sensor_scores(self) -> list[Path]:
        """Return the scores over sensors of all subjects; none where there is no searchlight over sensors."""
        return [] if self.study.sensors is None else [self.sensor_scores(one) for one in self.study.meeg_subjects]

    def sensor_group(self) -> list[Path]:
        """Return those of the group, if there are two subjects or more: for the pipeline, and for MNE."""
        if len(self.all_sensor_scores()) < 2:
            return []
        return [self.sensor_scores(""), *(evoked_path(self.folder / "sensors", "group", test) for test in GROUP_TESTS)]

    def drawn_sensors(self) -> tuple[Path, Path]:
        """Return the scores that are drawn, of the group or of the only subject, with a file that has their sensors."""
        group, (first, *_) = self.sensor_group(), self.study.meeg_subjects
        return (group[0], group[1]) if group else (self.sensor_scores(first), self.sensor_evokeds(first))

    def sensor_title(self) -> str:
        """Say whose scores these are."""
        subjects = self.study.meeg_subjects
        return f"mean over {len(subjects)} subjects" if self.sensor_group() else f"subject {subjects[0]}"

    def sensor_peaks(self) -> Path:
        """Return the table of the peaks of scores over sensors."""
        return self.folder / "sensors" / "peaks.tsv"

    def all_sensor_peaks(self) -> list[Path]:
        """Return that table, if there is a searchlight over sensors."""
        return [] if self.study.sensors is None else [self.sensor_peaks()]

    # ---------------------------------------------------------------------------------------- scores

    def compared(self, subject: str) -> list[Path]:
        """Return the RDMs with which those of the spheres of a subject are compared."""
        return self.references() + self.fused([subject])

    def others(self, part: str, subject: str) -> list[Path]:
        """Return the patterns of the other subjects, if the analysis fits weights to them."""
        if not self.analysis(part).across_subjects:
            return []
        return [self.brain(other) for other in self.study.subjects if other != subject]

    def scores(self, subject: str, part: str = "") -> Path:
        """Return the file of the searchlight scores of a subject, in the space of the images."""
        return self._in_part(part, "scores", f"sub-{subject}_scores.h5")

    def resampled_scores(self, subject: str, part: str = "") -> Path:
        """Return the file of the same scores on the grid of the template."""
        return self._in_part(part, "scores", f"sub-{subject}_space-{self.group_space}_scores.h5")

    def scores_in_spaces(self, subject: str, part: str = "") -> list[Path]:
        """Return the scores of a subject in every space in which there are maps of them."""
        resampled = [] if self.study.template is None else [self.resampled_scores(subject, part)]
        return [self.scores(subject, part), *resampled]

    def spaces(self) -> list[str]:
        """Return the labels of these spaces."""
        return [self.space, *([] if self.study.template is None else [self.group_space])]

    def template_files(self, subject: str) -> list[Path]:
        """Return what is read to bring the maps of a subject to the template."""
        return [] if self.study.template is None else template_files(self.study.template, subject)

    def all_scores(self, part: str = "") -> list[Path]:
        """Return the scores of all subjects, in the space of the group; none where the study has no searchlight."""
        if self.study.searchlight is None:
            return []
        return [self.scores_in_spaces(subject, part)[-1] for subject in self.study.subjects]

    def own_scores(self) -> list[Path]:
        """Return the scores of all subjects, each in the space of its images; none where there is no searchlight."""
        return [] if self.study.searchlight is None else [self.scores(subject) for subject in self.study.subjects]

    def resampled(self) -> list[Path]:
        """Return the scores of all subjects on the grid of the template, if the study has one."""
        return [] if self.study.template is None else self.all_scores()

    def noise_ceiling(self) -> Path:
        """Return the file of the noise ceiling over subjects."""
        return self.folder / "scores" / "noise_ceiling.h5"

    def all_noise_ceilings(self, part: str = "") -> list[Path]:
        """Return that file, if the study has one; it is one of plain comparisons."""
        return [self.noise_ceiling()] if self.study.noise_ceiling and self.analysis(part).is_main else []

    def group_scores(self, part: str = "") -> Path:
        """Return the file of the scores of the group."""
        return self._in_part(part, "scores", "group_scores.h5")

    def all_group_scores(self, part: str) -> list[Path]:
        """Return that file, if the study has maps of the group."""
        return [self.group_scores(part)] if self.study.group else []

    def group_tests(self, part: str) -> tuple[str, ...]:
        """Return how maps of the group are made: by means alone, where scores are above 0 by chance."""
        return self.study.group if self.analysis(part).tested else ("mean",)

    def maps(self, subject: str, part: str = "") -> Path:
        """Return the folder of the maps and peaks of a subject, or of the group ("")."""
        return self._in_part(part, f"sub-{subject}" if subject else "group")

    def all_maps(self) -> list[Path]:
        """Return the folders of the maps of all subjects, and of the group; none where there is no searchlight."""
        if self.study.searchlight is None:
            return []
        whose = [*self.study.subjects, *([""] if self.study.group else [])]
        return [self.maps(subject, part) for part in self.parts() for subject in whose]

    def region_fits(self, part: str = "") -> Path:
        """Return the table of the fits of regions."""
        return self._in_part(part, "regions.tsv")

    def all_region_fits(self, part: str = "") -> list[Path]:
        """Return that table, if the study has regions."""
        return [self.region_fits(part)] if self.has_regions else []

    def analysis_tables(self) -> list[Path]:
        """Return the tables of regions and of layers over time of all analyses."""
        return [path for part in self.parts() for path in (*self.all_region_fits(part), *self.all_time(part))]

    # ---------------------------------------------------------------------------------------- report

    def figures(self, name: str, part: str = "") -> Path:
        """Return the folder of the pictures of one part of the study."""
        return Path(f"{self.folder}/figures/{part}{name}")

    def all_figures(self) -> list[Path]:
        """Return the folders of all pictures."""
        names = [self.figures("references"), *([self.figures("fusion")] if self.has_films else [])]
        for part in self.parts():
            names += [self.figures(name, part) for name in self._figures_of(part)]
        return names

    def _figures_of(self, part: str) -> list[str]:
        """Name the folders of the pictures of an analysis: of subjects only where there is no group of them."""
        names, several, is_main = [], len(self.study.subjects) > 1, self.analysis(part).is_main
        if self.study.searchlight is not None:
            names += [f"sub-{subject}" for subject in self.study.subjects] if is_main or not several else []
            names += ["group"] if several else []
        names += ["regions"] if self.has_regions else []
        names += ["time"] if self.all_time(part) else []
        return [*names, *(["sensors"] if self.study.sensors is not None and is_main else [])]

    def derived_option(self) -> str:
        """Return the option that asks for derived maps; none for all of them, so that a new one re-runs nothing."""
        is_default = self.study.maps == Study.model_fields["maps"].default
        return "" if is_default else " ".join(["--derived", *self.study.maps])

    def outputs(self) -> list[Path]:
        """Return the outputs of all jobs of a run, files and folders, but for the activations of models.

        The names of jobs' outputs are these: `snakemake --forcerun` takes them.
        """
        top = [self.folder / name for name in ("study.json", ".bidsignore", "README")]
        found = [*self.targets(), *top, *self.references(), *self.all_brain(), *self.all_region_rdms()]
        found += [*self.all_noise_ceilings(), *self.all_maps(), *self.all_figures()]
        for part in self.parts():
            found += self._scores_of(part)
            found += [file for table in self.all_region_fits(part) for file in (table, table.with_suffix(".json"))]
            found += self.all_time(part)
        found += [*self.all_movies(), *([self.group_movie()] if self.has_films or self.fused([]) else [])]
        found += [*self.all_sensor_scores(), *self.sensor_group()]
        found += [self.sensor_evokeds(subject) for subject in self.study.meeg_subjects if self.all_sensor_scores()]
        found += [*self.all_sensor_peaks(), *self._simulated()]
        return list(dict.fromkeys(found))

    def _scores_of(self, part: str) -> list[Path]:
        """Return the files of the scores of an analysis: of subjects in all spaces, and of the group."""
        if self.study.searchlight is None:
            return []
        each = [path for subject in self.study.subjects for path in self.scores_in_spaces(subject, part)]
        return [*each, *self.all_group_scores(part)]

    def _simulated(self) -> list[Path]:
        """Return the outputs of a simulation: the table of the stimuli, images and epochs."""
        if self.study.simulate is None:
            return []
        table = self.stimulus_table() if self.simulates_stimuli else []
        images = [path for subject in self.study.subjects for path in self.simulated_brain(subject)]
        return [*table, *images, *(path for one in self.study.meeg_subjects for path in self.simulated_epochs(one))]

    def targets(self) -> list[Path]:
        """Return the files that a run is for; the rest follows from the report."""
        return [self.folder / "report.html", self.folder / "dataset_description.json"]
