"""From the files of a study to its page: each section by one function, in the order in which they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import DEFINED, NOT_A_CENTRE, TEST, RDMs, ScoreMap, concatenate
from rsa.errors import listed
from rsa.files import io
from rsa.files.maps import clusters_path, peaks_path
from rsa.inputs.stimuli import Stimuli, condition_table
from rsa.maps import MAPS, times_of
from rsa.meeg.sensors import GROUP
from rsa.names import full_models, full_name
from rsa.rdm import of_one_subject
from rsa.report.drawing import WHOLE_CLUSTERS
from rsa.report.html import PageSection, definitions, page, paragraphs
from rsa.report.methods import Measured, Range, counts, methods_text, mixed_versions
from rsa.report.study import at_one_time, reasons_table, region_means
from rsa.report.style import caption_of
from rsa.significance import PRIMARY

__all__ = ["StudyPage", "captioned", "categories_of", "first_peaks", "networks_table", "provenance_html", "shown_fits"]

LEAD = "Representational similarity of brain and models. Everything on this page is inside this one file."
FIRST = ["rdms", "similarity", "subjects", "profile", "glass", "slices", "courses"]
"""Figures that come before the derived maps, which are in the order of `MAPS`; all others come after them."""
LATENCIES = ["model", "layer", "peak_s", "peak_lower_s", "peak_upper_s", "peak_score", "peak_p"]
CLUSTERS = (
    "Connected voxels (and times) that are significant by their corrected p, the largest cluster of each map first: "
    "its size, the mass of its scores, its highest score with its place, and the smallest corrected p in it."
)
TESTED = ["lower", "upper", "p", "p_corrected", "q"]
"""Columns of the tests of regions that stand beside their means."""
LATENCIES += ["onset_s", "onset_lower_s", "onset_upper_s", "n_subjects"]


def categories_of(stimuli: Stimuli | None, references: RDMs) -> pd.Series | None:
    """Return the category of each condition, in the order of the RDMs, if the stimulus table has a `category`."""
    if stimuli is None:
        return None
    table = condition_table(stimuli.load()).set_index("condition")
    return table["category"].astype(str).reindex(references.conditions) if "category" in table else None


def captioned(folder: Path) -> list[tuple[str, Path]]:
    """Return the pictures in a folder, each with its caption, in the order in which they are looked at."""
    paths = list(folder.glob("*.png"))
    order = {name: place for place, name in enumerate([*FIRST, *MAPS])}
    paths.sort(key=lambda path: (order.get(path.stem.split("-")[0], len(order)), path.stem))
    return [(caption_of(path), path) for path in paths]


@dataclass(frozen=True, eq=False)
class StudyPage:
    """The page of a study, from its files and from the pictures that were drawn before.

    Parameters
    ----------
    study : rsa.pipeline.config.Study
        The settings.
    folder : path
        Folder of the study's results; pictures are in `figures/`.
    references, brain, scores : sequence of path
        HDF5 files of the references and of all subjects; no scores where the study has no searchlight. Scores are in
        the space of the images, of which the page gives the numbers and peaks.
    resampled : sequence of path
        The same scores on the grid of a template, if there is one.
    fits : path, optional
        Table of the fits of regions.
    movies, sensors : sequence of path
        HDF5 files of the M/EEG RDMs, and of the scores over M/EEG sensors, of all subjects.
    time : path, optional
        Folder of the tables of layers over time.
    """

    study: Any
    folder: Path
    references: Sequence[Path]
    brain: Sequence[Path] = ()
    scores: Sequence[Path] = ()
    resampled: Sequence[Path] = ()
    fits: Path | None = None
    movies: Sequence[Path] = ()
    time: Path | None = None
    sensors: Sequence[Path] = ()

    def html(self) -> str:
        """Write the page.

        Raises
        ------
        UserError
            If a file or a picture is missing.
        """
        sections = [
            PageSection("The study in numbers", definitions(counts(self.study, self.measured))),
            self._drawn("Reference RDMs", "references"),
            self._layers_over_time(),
            self._sensor_scores(),
            self._drawn("Fusion of fMRI and M/EEG", "fusion", shown=bool(self.study.fusion and self.maps)),
            self._drawn("Group", "group", shown=len(self.maps) > 1),
            self._clusters(),
            self._regions(),
            *(self._analysis(analysis) for analysis in self.study.analyses),
            *(self._drawn(f"Subject {subject}", f"sub-{subject}") for subject, _ in self.maps),
            self._peaks(),
            PageSection("Voxels with and without a score", table=reasons_table(self.maps)),
            self._methods(),
            PageSection("Networks", table=networks_table(self.study.models, self.provenances[: len(self.references)])),
            self._provenance(),
        ]
        warnings = [*undefined_references(self.stack), *small_coverage(self.maps), *mixed_versions(self.provenances)]
        return page(self.study.study, sections, lead=LEAD, warnings=warnings)

    # ------------------------------------------------------------------------------------------- files

    @cached_property
    def stack(self) -> RDMs:
        """The references of one subject."""
        return of_one_subject(concatenate([io.load_rdms(path) for path in self.references]))

    @cached_property
    def maps(self) -> list[tuple[str, ScoreMap]]:
        """The scores of each subject."""
        return [(str(one.table["subject"].iloc[0]), one) for one in map(io.load_scores, self.scores)]

    @cached_property
    def provenances(self) -> list[dict[str, Any]]:
        """The provenance of all files that the page tells of, references first."""
        files = (self.references, self.brain, self.scores, self.resampled, self.movies, self.sensors)
        return [io.read_provenance(path) for paths in files for path in paths]

    @cached_property
    def fit_table(self) -> pd.DataFrame | None:
        """The fits of regions."""
        return None if self.fits is None else io.load_table(self.fits)

    @cached_property
    def measured(self) -> Measured:
        """What only the files tell."""
        layers: dict[str, list[str]] = {}
        for model, layer in zip(self.stack.table["model"], self.stack.table["layer"], strict=True):
            layers.setdefault(model, []).extend([layer] if layer else [])
        tables, maps = [io.load_row_table(path) for path in self.brain], [scores for _, scores in self.maps]
        reasons = [scores.reason for scores in maps if scores.reason is not None]
        return Measured(
            self.stack.n_conditions,
            layers,
            n_runs=_range([table["run"].nunique() for table in tables if "run" in table]),
            n_voxels=_range([scores.values.shape[1] for scores in maps]),
            n_centres=_range([int((reason != NOT_A_CENTRE).sum()) for reason in reasons]),
            delays_s=sorted({float(delay) for table in tables if "delay_s" in table for delay in table["delay_s"]}),
            regions=[] if self.fit_table is None else list(dict.fromkeys(self.fit_table["region"])),
            meeg_times_s=sorted(set(io.load_row_table(self.movies[0])["time_s"])) if self.movies else [],
        )

    def _pictures(self, *names: str) -> list[tuple[str, Path]]:
        return [picture for name in names for picture in captioned(self.folder / "figures" / name)]

    # ---------------------------------------------------------------------------------------- sections

    def _drawn(self, heading: str, name: str, *, shown: bool = True) -> PageSection:
        return PageSection(heading, figures=self._pictures(name) if shown else ())

    def _layers_over_time(self) -> PageSection:
        """Show scores over time, and onsets and peaks with their intervals, without what is nowhere known."""
        if self.time is None:
            return PageSection("")
        table = io.load_table(self.time / "latencies.tsv")
        known = [name for name in LATENCIES if not table[name].isna().all()]
        return PageSection("Layers over time", figures=self._pictures("time"), table=table[known])

    def _sensor_scores(self) -> PageSection:
        """Show scores over sensors, and the peaks of what is drawn: the group's mean, or the only subject."""
        if not self.sensors:
            return PageSection("")
        peaks = io.load_table(self.folder / "sensors" / "peaks.tsv", optional=["sensor"])
        group = peaks[peaks["subject"] == GROUP]
        said = [name for name in ("model", "layer", "sensor", "time_s", "score", "p_corrected") if name in peaks]
        shown = (group if len(group) else peaks)[said]
        return PageSection("Sensors", figures=self._pictures("sensors"), table=shown.dropna(axis="columns", how="all"))

    def _regions(self) -> PageSection:
        if self.fit_table is None:
            return PageSection("")
        path = self.folder / "regions_group.tsv"
        tested = io.load_table(path) if self.study.inference is not None and path.is_file() else None
        table = shown_fits(self.fit_table) if tested is None else with_region_tests(shown_fits(self.fit_table), tested)
        return PageSection("Regions", figures=self._pictures("regions"), table=table)

    def _clusters(self, part: str = "") -> PageSection:
        """List the clusters of significant voxels of the group's maps, and say which maps have none."""
        space = getattr(self.study.template or self.study.brain, "space", "")
        path = clusters_path(self.folder, space, part)
        if self.study.inference is None or not path.is_file():
            return PageSection("")
        table = io.load_table(path)
        rows = io.load_row_table(
            (self.folder / "analyses" / part if part else self.folder) / "scores" / "group_scores.h5"
        )
        none = without_clusters(rows, table)
        whole = WHOLE_CLUSTERS if self.study.inference.enhance.startswith("cluster") else ""
        said = [CLUSTERS, whole, f"There is no cluster of {' or '.join(none)}." if none else ""]
        return PageSection("Clusters", paragraphs(" ".join(filter(None, said))), table=table)

    def _analysis(self, analysis: Any) -> PageSection:
        """Say what an analysis measured, and show its pictures: of the group, or of the only subject."""
        about, folder = analysis.about(self.study.comparison), f"analyses/{analysis.name}"
        whose = ["group"] if len(self.maps) > 1 else [f"sub-{subject}" for subject, _ in self.maps]
        text = f"{about[:1].upper()}{about[1:]}. Maps and tables are in {folder}/."
        pictures = self._pictures(*(f"{folder}/{name}" for name in (*whose, "regions", "time", "sensors")))
        clusters = self._clusters(analysis.name)
        html = "\n".join(filter(None, [paragraphs(text), clusters.html]))
        return PageSection(f"Analysis: {analysis.name}", html, pictures, clusters.table)

    def _peaks(self) -> PageSection:
        space = getattr(self.study.brain, "space", "")
        tables = [io.load_table(path) for path in sorted(self.folder.glob(f"sub-*/*_space-{space}_peaks.tsv"))]
        if not (self.maps and tables):
            return PageSection("")
        text = "The highest score of each map, at its best time if there are times."
        group = peaks_path(self.folder, "", getattr(self.study.template or self.study.brain, "space", ""))
        if self.study.inference is not None and group.is_file():
            of_group = io.load_table(group)
            of_group = of_group[of_group["p_corrected"].notna()] if "p_corrected" in of_group else of_group[:0]
            of_group = of_group[of_group["statistic"].isin(of_group["statistic"][:1])]
            tables.insert(0, of_group.drop(columns="n_voxels").assign(subject="group"))
            if len(of_group):
                text += " p_corrected is the corrected p at the peak; maps without one were not tested."
        return PageSection("Peaks", paragraphs(text), table=first_peaks(pd.concat(tables, ignore_index=True)))

    def _methods(self) -> PageSection:
        text = methods_text(self.study, self.measured, io.versions())
        return PageSection("Methods, to adapt for a paper", paragraphs(*text.split("\n\n")))

    def _provenance(self) -> PageSection:
        provenances = [
            *({**one, "settings": {}} for one in self.provenances),
            io.provenance(settings=self.study.model_dump(mode="json")),
        ]
        return PageSection("How this was made", provenance_html(provenances))


# --------------------------------------------------------------------------------------------- tables


def shown_fits(fits: pd.DataFrame) -> pd.DataFrame:
    """Return the means of the fits of regions that are drawn."""
    return region_means(at_one_time(fits))


def with_region_tests(shown: pd.DataFrame, tested: pd.DataFrame) -> pd.DataFrame:
    """Put intervals and p values (`regions_group.tsv`) beside the means of regions, and contrasts below them."""
    keys = [name for name in ("region", "model", "layer", "time_s") if name in shown and name in tested]
    said = [name for name in TESTED if name in tested]
    found, shown = (table.assign(layer=table["layer"].fillna("")) for table in (tested, shown))
    beside = shown.merge(found[[*keys, *said]], on=keys, how="left")
    contrasts = found[~found["model"].isin(shown["model"])]
    columns = [name for name in beside if name in contrasts]
    return pd.concat([beside, contrasts[columns]], ignore_index=True) if len(contrasts) else beside


def without_clusters(rows: pd.DataFrame, clusters: pd.DataFrame) -> list[str]:
    """Name the maps of a stack (its table of rows) that were tested and have no cluster in a table of clusters.

    A model with layers of which none has one is named alone.
    """
    is_test = rows["statistic"].isin(PRIMARY) & (rows["role"] == TEST)
    tested = rows.assign(layer=rows["layer"].fillna("")).loc[is_test, ["model", "layer"]].drop_duplicates()
    there = set(zip(clusters["model"], clusters["layer"].fillna(""), strict=True))
    models = {model for model, _ in there}
    names = [
        model if model not in models else f"{model} {layer}".strip()
        for model, layer in zip(tested["model"], tested["layer"], strict=True)
        if (model, layer) not in there
    ]
    return list(dict.fromkeys(names))


def first_peaks(peaks: pd.DataFrame) -> pd.DataFrame:
    """Keep the first peak of each map, of its best time where there are times, and the columns that say something."""
    first = peaks[peaks["peak"] == 1]
    if times_of(first):
        keys = [name for name in ("subject", "model", "layer", "statistic") if name in first]
        highest = first.groupby(keys, sort=False, dropna=False)["score"].transform("max")
        first = first[first["score"] == highest]
    said = [name for name in first if name != "peak" and not first[name].isna().all() and not (first[name] == "").all()]
    words = {"model": full_models(first), "statistic": first["statistic"].map(full_name)}
    return first[said].assign(**{name: words[name] for name in words if name in said})


def networks_table(models: Sequence[Any], provenances: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List the networks of a study, in the order of the provenance of their layer RDMs, and what they were given."""
    told = ("device", "preprocessing", "weights_sha256")
    return pd.DataFrame(
        [
            {"model": model.label, "network": model.about(), **{name: one["source"].get(name) for name in told}}
            for model, one in zip(models, provenances, strict=False)
            if "source" in one
        ]
    )


def provenance_html(provenances: Sequence[Mapping[str, Any]]) -> str:
    """List versions, settings and inputs of all files that the page was made of; where they differ, all of them."""
    parts = []
    for heading, key in (("Versions", "versions"), ("Settings", "settings"), ("Inputs (SHA-256)", "inputs")):
        entries: dict[str, list[Any]] = {}
        for name, value in (entry for one in provenances for entry in (one.get(key) or {}).items()):
            if value not in ("", None) and value not in entries.setdefault(name, []):
                entries[name].append(value)
        if any(entries.values()):
            parts.append(
                f"<h3>{heading}</h3>\n{definitions({name: values for name, values in entries.items() if values})}"
            )
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------- warnings


def undefined_references(references: RDMs) -> list[str]:
    """Name the references for which no score can be defined."""
    undefined = np.isnan(references.values).any(axis=1) | (np.ptp(references.values, axis=1) == 0)
    names = [f"{row.model} {row.layer}".strip() for row in references.table[undefined].itertuples()]
    return [f"No score is defined for {listed(names)}: its RDM has gaps or is constant."] if names else []


def small_coverage(maps: Sequence[tuple[str, ScoreMap]]) -> list[str]:
    """Name the subjects of whom more than a tenth of the centres have no score."""
    warnings = []
    for subject, scores in maps:
        reasons = scores.reason if scores.reason is not None else np.array([DEFINED])
        share = (reasons[reasons != NOT_A_CENTRE] != DEFINED).mean()
        if share > 0.1:
            warnings.append(f"Subject {subject}: {share:.0%} of the voxels have no score; see the table of reasons.")
    return warnings


def _range(numbers: Sequence[int]) -> Range:
    if not numbers:
        return None
    return numbers[0] if min(numbers) == max(numbers) else (min(numbers), max(numbers))
