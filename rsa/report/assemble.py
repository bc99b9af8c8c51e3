"""From the files of a study to its pages: each section by one function, in the order in which they are read."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import (
    DEFINED,
    NOT_A_CENTRE,
    TEST,
    Neighbourhood,
    RDMs,
    ScoreMap,
    Volume,
    concatenate,
    on_voxels,
)
from rsa.errors import listed
from rsa.files import io
from rsa.files.maps import PEAK_COLUMNS, clusters_path, peaks_path
from rsa.files.versions import short_commit, versions
from rsa.inference.group import above_tests
from rsa.inputs.regions import read_regions
from rsa.maps import MAPS, times_of
from rsa.meeg.sensors import GROUP as GROUP_OF_SENSORS
from rsa.names import full_models, full_name, label_of, map_path
from rsa.rdm import MEEG, of_one_subject
from rsa.report.drawing import WHOLE_CLUSTERS
from rsa.report.findings import (
    MOST_PLACES,
    TOLD_OF_BOTH,
    Findings,
    best_in_regions,
    best_in_time,
    best_over_sensors,
    best_places,
    planted_places,
    planted_times,
    significant_times,
)
from rsa.report.html import (
    Chapter,
    Link,
    PageSection,
    Place,
    definitions,
    figure_html,
    page,
    paragraphs,
    table_html,
)
from rsa.report.inventory import tree_html
from rsa.report.links import EXPLORER, GROUP, OVERVIEW, explorer_link, link_from, link_to_file, page_of
from rsa.report.methods import Measured, Range, counts, methods_text, mixed_versions, usual_versions
from rsa.report.networks import shown_networks
from rsa.report.overview import (
    FOR_OTHERS,
    INFLATED,
    badges_of,
    courses_table,
    found_html,
    places_table,
    planted_table,
    planted_times_table,
    question,
    regions_table,
    sentences,
    telling_picture,
    too_narrow,
)
from rsa.report.pictures import embedded_all
from rsa.report.ranks import forward_times, pairs_table, ranking_table, ranking_words, span, unbroken
from rsa.report.runs import Jobs, read_logs, written_duration
from rsa.report.study import at_one_time, reasons_table, region_means
from rsa.report.style import caption_of
from rsa.report.units.learning import change_sections
from rsa.report.units.page import unit_sections
from rsa.significance import PRIMARY, significance_of

__all__ = [
    "StudyPages",
    "captioned",
    "first_peaks",
    "networks_table",
    "provenance_html",
    "settings_yaml",
    "shown_fits",
]

MOST_REGIONS = 20
"""So many regions are on the first page."""
PEAKS = "The highest score of each map, at its best time if there are times."
TABLES = ("regions.tsv", "regions_group.tsv", "time/latencies.tsv", "time/courses.tsv", "sensors/peaks.tsv")
"""Tables of an analysis."""
FIRST = ["rdms", "similarity", "subjects", "profile", "glass", "slices", "surface", "courses"]
"""Figures that come before the derived maps, which are in the order of `MAPS`; all others come after them."""
LATENCIES = ["model", "layer", "peak_s", "peak_lower_s", "peak_upper_s", "peak_score", "peak_p"]
CLUSTERS = (
    "Connected voxels (and times) that are significant by their corrected p, the largest cluster of each map first: "
    "its size, the sum of its scores (mass: no threshold is taken off), its highest score with its place, and "
    "the smallest corrected p in it."
)
TESTED = ["lower", "upper", "p", "p_corrected", "q", *TOLD_OF_BOTH]
"""Columns of the tests of regions that stand beside their means."""
WHICH_INTERVAL = (
    "In the table, the first interval is for other subjects who see the same pictures. A paper that speaks of people "
    "and of such pictures in general gives the interval, and the corrected p, for other pictures too."
)
"""Said where regions have both intervals."""
OVER_BOTH = f"interval {FOR_OTHERS}"
SPANS = {
    "noise ceiling": ("ceiling_lower", "ceiling_upper"),
    "interval": ("lower", "upper"),
    OVER_BOTH: ("both_lower", "both_upper"),
}
"""Columns that are written as one, from the one to the other."""
LATENCIES += ["onset_s", "onset_lower_s", "onset_upper_s", "n_subjects"]


def captioned(folder: Path) -> list[tuple[str, Path]]:
    """Return the pictures and films in a folder, each with its caption, in the order in which they are looked at."""
    paths = [*folder.glob("*.png"), *folder.glob("*film.json")]
    order = {name: place for place, name in enumerate([*FIRST, *MAPS])}
    paths.sort(key=lambda path: (order.get(path.stem.split("-")[0], len(order)), path.stem, path.suffix == ".json"))
    return [("" if path.suffix == ".json" else caption_of(path), path) for path in paths]


@dataclass(frozen=True)
class Sheet:
    """A page before it is written: where it is, what is on it, and what leads to it (`name`, or else the title)."""

    at: str
    title: str
    sections: Sequence[PageSection]
    lead: str = ""
    warnings: Sequence[str] = ()
    group: str = ""
    name: str = ""
    picture: Path | None = None
    head: Callable[[Place], str] = lambda place: ""

    @property
    def has_content(self) -> bool:
        """Whether there is anything on it."""
        return any(section.has_content for section in self.sections)

    @property
    def paths(self) -> list[Path]:
        """The files of its pictures."""
        figures = [Path(path) for section in self.sections for _, path in section.figures]
        return [path for path in figures if path.suffix == ".png"] + ([] if self.picture is None else [self.picture])


@dataclass(frozen=True, eq=False)
class StudyPages:
    """The pages of a study, from its files and from the pictures that were drawn before.

    Parameters
    ----------
    study : rsa.pipeline.config.Study
        The settings.
    folder : path
        Folder of the study's results; pictures are in `figures/`.
    references, brain, scores : sequence of path
        HDF5 files of the references and of all subjects; no scores where the study has no searchlight. Scores are in
        the space of the images, of which the pages give the numbers and peaks.
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

    def html(self) -> dict[str, str]:
        """Write all pages, by where they are below the folder.

        Raises
        ------
        UserError
            If a file or a picture is missing.
        """
        sheets = [sheet for sheet in self._sheets() if sheet.has_content or sheet.at == OVERVIEW]
        chapters, badges = self._chapters(sheets), badges_of(self.study)
        pictures = embedded_all(path for sheet in sheets for path in sheet.paths)
        pages = {}
        for sheet in sheets:
            place = Place(sheet.at, self.folder, self.study.study, chapters, pictures)
            pages[sheet.at] = page(
                sheet.title,
                sheet.sections,
                lead=sheet.lead,
                warnings=sheet.warnings,
                badges=badges,
                head=sheet.head(place),
                place=place,
            )
        return pages

    def _chapters(self, sheets: Sequence[Sheet]) -> list[Chapter]:
        """List what the navigation leads to."""
        chapters: dict[str, Chapter] = {}
        for sheet in sheets:
            entry = Chapter(sheet.name or sheet.title, sheet.at)
            if sheet.group:
                inner = chapters[sheet.group].pages if sheet.group in chapters else ()
                entry = Chapter(sheet.group, pages=[*inner, entry])
            chapters[entry.title] = entry
            if sheet.at == OVERVIEW and self.has_explorer:
                chapters["Brain explorer"] = Chapter("Brain explorer", EXPLORER)
        return list(chapters.values())

    def _sheets(self) -> list[Sheet]:
        study, several = self.study, len(self.maps) > 1
        subjects = [self._subject(label) for label, _ in self.maps]
        group = [
            self._clusters(),
            self._group_peaks(),
            *([self._drawn("Maps of the group", "group")] if several else []),
            self._map_files(""),
            *([PageSection("Voxels with and without a score", table=reasons_table(self.maps))] if several else []),
        ]
        time = [
            self._layers_over_time(),
            self._hierarchy(),
            self._sensor_scores(),
            self._drawn("Fusion of fMRI and M/EEG", "fusion", shown=bool(study.fusion and self.maps)),
        ]
        models = [self._drawn("Reference RDMs", "references"), self._networks(), *self._network_comparisons()]
        made = [self._methods(), self._again(), self._provenance()]
        return [
            self._overview(),
            Sheet(page_of("group"), "Group", group),
            Sheet(page_of("regions"), "Regions", [self._ranking(), self._regions()]),
            Sheet(page_of("time"), "Time and fusion" if study.fusion else "Time", time),
            Sheet(page_of("models"), "Models", models),
            *self._units(),
            *self._unit_changes(),
            *(self._analysis(analysis) for analysis in study.analyses),
            *subjects,
            Sheet(page_of("methods"), "Methods", made),
            Sheet(page_of("files"), "Files", [PageSection("All files", tree_html(self.folder, page_of("files")))]),
        ]

    # ------------------------------------------------------------------------------------------- files

    @property
    def has_explorer(self) -> bool:
        """Whether there is a brain explorer to lead to."""
        return bool(self.maps)

    @cached_property
    def stack(self) -> RDMs:
        """The references of one subject."""
        return of_one_subject(concatenate([io.load_rdms(path) for path in self.references]))

    @cached_property
    def models(self) -> list[str]:
        """The names of all references, which compete with each other."""
        return list(dict.fromkeys(self.stack.table["model"]))

    @cached_property
    def maps(self) -> list[tuple[str, ScoreMap]]:
        """One map of each subject, with the reasons why voxels have no score: all maps of all would fill the memory."""
        first = [io.load_scores(path, slice(0, 1)) for path in self.scores]
        return [(str(one.table["subject"].iloc[0]), one) for one in first]

    @cached_property
    def provenances(self) -> list[dict[str, Any]]:
        """The provenance of all files that the pages tell of, references first."""
        files = (self.references, self.brain, self.scores, self.resampled, self.movies, self.sensors)
        return [io.read_provenance(path) for paths in files for path in paths]

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """What the results were computed with, which may be older than what writes the pages."""
        return usual_versions(self.provenances) or versions()

    @cached_property
    def fit_table(self) -> pd.DataFrame | None:
        """The fits of regions."""
        return None if self.fits is None else io.load_table(self.fits)

    @cached_property
    def region_tests(self) -> pd.DataFrame | None:
        """The tests of regions, if there are some."""
        return None if self.study.inference is None else io.table_if_there(self.folder / "regions_group.tsv")

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
            networks=told_of_networks(self.study.networks, self.provenances),
        )

    @cached_property
    def group_scores(self) -> Path | None:
        """The scores of the group, if there are some."""
        path = self.folder / "scores" / "group_scores.h5"
        return path if self.study.group and path.is_file() else None

    @property
    def space(self) -> str:
        """The space of the images."""
        return str(getattr(self.study.brain, "space", ""))

    @property
    def group_space(self) -> str:
        """The space of the group."""
        return str(getattr(self.study.template or self.study.brain, "space", ""))

    def _pictures(self, *names: str) -> list[tuple[str, Path]]:
        return [picture for name in names for picture in captioned(self.folder / "figures" / name)]

    def _files(self, at: str, *paths: Path | None) -> list[Link]:
        """Return links to files, as far as they are there."""
        there = [path for path in paths if path is not None and path.is_file()]
        return [Link(path.name, link_to_file(at, path, self.folder)) for path in there]

    # -------------------------------------------------------------------------------------- what was found

    @cached_property
    def found(self) -> Findings:
        """What the study found, of the group or else of its subjects."""
        inference, simulation = self.study.inference, self.study.simulate
        alpha = 0.05 if inference is None else float(inference.alpha)
        tables: dict[str, Any] = {"alpha": alpha}
        if self.group_scores is not None or len(self.scores) == 1:
            tables |= self._found_in_maps("group" if self.group_scores is not None else self.maps[0][0])
        elif self.scores:
            each = [self._found_in_maps(who, n_places=1, planted=False) for who, _ in self.maps]
            places = pd.concat([one["places"] for one in each], ignore_index=True)
            tables |= {"places": places, "words": each[0]["words"]}
        if self.fit_table is not None:
            tables["regions"] = best_in_regions(self.fit_table, self.models, self.region_tests, alpha)
        if self.time is not None:
            latencies = io.load_table(self.time / "latencies.tsv")
            tables["courses"] = best_in_time(latencies, alpha)
            hierarchy = self.time / "hierarchy.tsv"
            tables["hierarchy"] = io.load_table(hierarchy) if hierarchy.is_file() else pd.DataFrame()
            if simulation is not None:
                tables["planted_times"] = planted_times(simulation, latencies)
        if self.sensors:
            peaks = io.load_table(self.folder / "sensors" / "peaks.tsv", optional=["sensor"])
            tables["sensors"] = best_over_sensors(peaks, alpha)
        return Findings(**tables)

    def _found_in_maps(self, who: str, *, n_places: int = MOST_PLACES, planted: bool = True) -> dict[str, Any]:
        """Look for places in the maps of the group or of a subject."""
        scores, settings = self._tested_scores(who)
        tests = significance_of(scores, settings)
        regions = self._shared_regions(scores.volume)
        places = best_places(scores, self.models, settings=settings, regions=regions, n_places=n_places).assign(who=who)
        tables: dict[str, Any] = {"who": who, "places": places, "words": "" if tests is None else tests.words}
        if self.study.fusion:
            fused = best_places(scores, [MEEG], settings=settings, regions=regions, n_places=3)
            tables |= {"fusion": fused.assign(who=who), "fusion_times_s": significant_times(scores, settings)}
        simulation = self.study.simulate
        if planted and simulation is not None and self.study.template is None:
            atlas = None if simulation.atlas is None else io.load_image(simulation.atlas)
            tables["planted"] = planted_places(simulation, scores, self.models, places, atlas)
        return tables

    def _tested_scores(self, who: str) -> tuple[ScoreMap, dict[str, Any]]:
        """Load the scores of the group or of a subject, with what tests found, and the settings of these."""
        if who == GROUP:
            assert self.group_scores is not None, "there is a group"
            return io.load_scores(self.group_scores), io.read_provenance(self.group_scores)["settings"]
        path = self.scores[[label for label, _ in self.maps].index(who)]
        scores, tests = io.load_scores(path), self.folder / "scores" / f"sub-{who}_permutations.h5"
        inference = self.study.inference
        if inference is None or scores.volume is None or not tests.is_file():
            return scores, io.read_provenance(path).get("settings", {})
        found = on_voxels(io.load_scores(tests), scores.volume)
        return above_tests(scores, found), io.read_provenance(tests)["settings"]

    def _shared_regions(self, volume: Volume | None) -> Neighbourhood | None:
        """Read the regions that name places: those that are the same for all subjects."""
        regions = self.study.regions
        if volume is None or regions is None or regions.of_subjects or self.study.template is not None:
            return None
        return read_regions(regions, "", volume)

    def _explorer(self, at: str, row: Any, who: str = "", analysis: str = "") -> str:
        """Return the link to a place of a map in the explorer; "" without one.

        The explorer shows subjects in the space of the group, where places in a space of their own are elsewhere.
        """
        if not self.has_explorer:
            return ""
        who = str(who or row.get("who") or row.get("subject") or self.found.who)
        mm = [float(row[axis]) for axis in ("x_mm", "y_mm", "z_mm")]
        is_there = not any(np.isnan(mm)) and (who == GROUP or self.study.template is None)
        layer, time_s = row.get("layer"), row.get("time_s")
        link = explorer_link(
            who=who,
            analysis=analysis,
            model=str(row["model"]),
            layer="" if pd.isna(layer) else str(layer),
            time_s=None if time_s is None or pd.isna(time_s) else float(time_s),
            statistic=self._statistic_of(who),
            mm=mm if is_there else None,
        )
        return link_from(at, link)

    def _statistic_of(self, who: str) -> str:
        """Return which map of a group or subject shows scores."""
        tests = self.study.group
        return str(self.study.comparison) if who != GROUP else "mean" if "mean" in tests or not tests else str(tests[0])

    def _map(self, at: str, row: Any, analysis: str = "") -> str:
        """Return the link to the NIfTI map of a row; "" where there is none."""
        who = str(row.get("who") or row.get("subject") or self.found.who)
        layer, statistic = row.get("layer"), row.get("statistic")
        path = map_path(
            self._root(analysis),
            subject="" if who == GROUP else who,
            space=self.group_space if who == GROUP else self.space,
            model=str(row["model"]),
            layer="" if pd.isna(layer) else str(layer),
            statistic=str(statistic) if isinstance(statistic, str) else self._statistic_of(who),
            analysis=analysis,
        )
        return link_to_file(at, path, self.folder) if path.is_file() else ""

    # ---------------------------------------------------------------------------------------- overview

    def _overview(self) -> Sheet:
        """Make the first page: what was asked, what was found, and where the rest is."""
        jobs, picture = read_logs(self.folder / "logs"), telling_picture(self.folder)
        here = f"{Path.cwd()}/"
        told = [f"{text.replace(here, '')} ({listed(names, 3)})" for text, names in (jobs.warnings or {}).items()]
        warnings = [*undefined_references(self.stack), *small_coverage(self.maps), *mixed_versions(self.provenances)]
        sections = [
            self._best(),
            self._planted(),
            self._best_in_regions(),
            self._best_in_time(),
            self._subjects_table(),
            self._analyses_list(),
            PageSection("The study in numbers", definitions(counts(self.study, self.measured))),
        ]
        return Sheet(
            OVERVIEW,
            self.study.study,
            sections,
            name="Overview",
            lead=question(self.study, self.measured),
            warnings=[*warnings, *told],
            picture=picture,
            head=lambda place: self._answer(place, picture, jobs),
        )

    def _answer(self, place: Place, picture: Path | None, jobs: Jobs) -> str:
        """Write the answer in sentences, beside one picture, and when all of it was made."""
        said = found_html(sentences(self.found, self.study))
        caption = "" if picture is None else caption_of(picture).split(". ")[0] + "."
        shown = "" if picture is None else figure_html(caption, picture, place)
        return f'<div class="answer"><div>{said}</div><div>{shown}</div></div>\n{self._facts(jobs)}'

    def _best(self) -> PageSection:
        """Tell what fits best where: in places of the brain, or else in regions, or over time."""
        found, score = self.found, str(self.study.comparison)
        if len(found.places):
            explorer, maps = partial(self._explorer, OVERVIEW), partial(self._map, OVERVIEW)
            with_time = bool(found.places["time_s"].notna().any())
            table = table_html(places_table(found.places, score, explorer, maps, with_time=with_time))
            words = f"{INFLATED} p values allow for that choice as far as they are corrected over it ({found.words})."
            words = words if found.words else INFLATED
            return PageSection("What fits best where", f'{table}<p class="note">{escape(words)}</p>')
        if len(found.regions):
            files = [Link("all fits", page_of("regions")), *self._files(OVERVIEW, self.fits)]
            best = self._best_of_regions()
            text = f'<p class="note">{escape(" ".join(filter(None, [INFLATED, about_intervals(best)])))}</p>'
            return PageSection("What fits best where", f"{table_html(best)}{text}", files=files)
        return self._best_courses("What fits best when")

    def _facts(self, jobs: Jobs) -> str:
        """Say when, how long, by which version and by which command."""
        versions, duration = self.versions, jobs.duration
        command = f"snakemake --cores all --configfile {shlex.quote(f'{self.study.study}.yaml')}"
        entries = {"made": "" if jobs.last is None else f"{jobs.last:%Y-%m-%d %H:%M}"}
        if duration is not None:
            entries["jobs"] = f"{jobs.n_jobs}, {written_duration(duration)} from first start to last message"
        entries["version"] = f"brain-model-rsa {versions.get('brain-model-rsa', '')}"
        entries["commit"] = short_commit(str(versions.get("commit", "")))
        items = [f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in entries.items() if text]
        settings = f'(<a href="{page_of("methods")}#section-2">settings</a>)'
        items.append(f"<div><dt>command</dt><dd><code>{escape(command)}</code> {settings}</dd></div>")
        return f'<dl class="facts">{"".join(items)}</dl>'

    def _planted(self) -> PageSection:
        """Show what a simulation planted beside what was found."""
        found, parts = self.found, []
        if not (len(found.planted) or len(found.planted_times)):
            return PageSection("")
        if len(found.planted):
            explorer = partial(self._explorer, OVERVIEW, who=found.who)
            parts.append(
                paragraphs(
                    "For each planted place: the reference with the highest mean score over its voxels, and how far "
                    "the nearest of the peaks above is from its middle, or for a region of an atlas from any voxel."
                    + " The fused peak is the median over its voxels of the time at which M/EEG RDMs fit best."
                    * bool(len(found.planted) and found.planted["fused_s"].notna().any())
                )
                + table_html(planted_table(found.planted, explorer))
            )
        if len(found.planted_times):
            parts.append("<h3>In time</h3>" * bool(parts) + table_html(planted_times_table(found.planted_times)))
        return PageSection("What was planted, and what was found", "\n".join(parts))

    def _best_in_regions(self) -> PageSection:
        if not (len(self.found.regions) and len(self.found.places)):
            return PageSection("")
        files = [Link("all fits", page_of("regions")), *self._files(OVERVIEW, self.fits)]
        best = self._best_of_regions()
        return PageSection("Regions: what fits best", paragraphs(about_intervals(best)), table=best, files=files)

    def _best_of_regions(self) -> pd.DataFrame:
        """Return the best reference of each region; of many regions, those with the highest scores."""
        regions = self.found.regions
        if len(regions) > MOST_REGIONS:
            regions = regions.sort_values("score", ascending=False, kind="stable").head(MOST_REGIONS)
        return regions_table(regions, str(self.study.comparison))

    def _best_in_time(self) -> PageSection:
        is_shown = len(self.found.places) or len(self.found.regions)
        return self._best_courses("M/EEG: what fits best, and when") if is_shown else PageSection("")

    def _best_courses(self, heading: str) -> PageSection:
        if self.time is None or not len(self.found.courses):
            return PageSection("")
        files = [Link("all layers", page_of("time")), *self._files(OVERVIEW, self.time / "latencies.tsv")]
        table = courses_table(self.found.courses, str(self.study.comparison))
        return PageSection(heading, table=table, files=files)

    def _subjects_table(self) -> PageSection:
        """List the subjects, each with its highest score."""
        rows = []
        for subject, scores in self.maps if len(self.maps) > 1 else ():
            peaks = self._peak_table(subject)
            peaks = peaks[peaks["model"].isin(self.models) & peaks["score"].notna()]
            own: dict[str, Any] = {"subject": Link(f"sub-{subject}", page_of(f"sub-{subject}"))}
            if len(peaks):
                best = peaks.assign(layer=peaks["layer"].fillna("")).loc[peaks["score"].idxmax()].to_dict()
                best |= {"who": subject, "region": ""}
                own |= (
                    places_table(
                        pd.DataFrame([best | {"share_of_ceiling": np.nan, "next_best": "", "p_corrected": np.nan}]),
                        str(self.study.comparison),
                        partial(self._explorer, OVERVIEW),
                        partial(self._map, OVERVIEW),
                    )
                    .iloc[0]
                    .to_dict()
                )
            if scores.reason is not None:
                own["voxels with a score"] = int((scores.reason == DEFINED).sum())
            rows.append(own)
        return PageSection("Subjects: highest score of each", table=pd.DataFrame(rows), is_open=len(rows) <= 8)

    def _analyses_list(self) -> PageSection:
        """List further measures of the same data."""
        entries = "".join(
            f"<li>{Link(name, page_of(f'analysis-{name}')).html()}: {escape(about)}</li>"
            for name, about in ((one.name, one.about(self.study.comparison)) for one in self.study.analyses)
        )
        return PageSection("Further analyses", f"<ul>{entries}</ul>" if entries else "")

    # ---------------------------------------------------------------------------------------- sections

    def _drawn(self, heading: str, name: str, *, shown: bool = True) -> PageSection:
        return PageSection(heading, figures=self._pictures(name) if shown else ())

    def _layers_over_time(self) -> PageSection:
        """Show scores over time, and onsets and peaks with their intervals, without what is nowhere known."""
        if self.time is None:
            return PageSection("")
        table = io.load_table(self.time / "latencies.tsv")
        known = [name for name in LATENCIES if not table[name].isna().all()]
        tables = [self.time / f"{name}.tsv" for name in ("latencies", "courses", "scores")]
        files = self._files(page_of("time"), *tables)
        return PageSection("Layers over time", figures=self._pictures("time"), table=table[known], files=files)

    def _hierarchy(self) -> PageSection:
        path = None if self.time is None else self.time / "hierarchy.tsv"
        if path is None or not path.is_file():
            return PageSection("")
        text = "Rank correlation of the number of a layer and the time of its peak: 1 where deeper layers peak later."
        files = self._files(page_of("time"), path)
        return PageSection("Order of layers in time", paragraphs(text), table=io.load_table(path), files=files)

    def _sensor_scores(self) -> PageSection:
        """Show scores over sensors, and the peaks of what is drawn: the group's mean, or the only subject."""
        if not self.sensors:
            return PageSection("")
        path = self.folder / "sensors" / "peaks.tsv"
        peaks = io.load_table(path, optional=["sensor"])
        group = peaks[peaks["subject"] == GROUP_OF_SENSORS]
        said = [name for name in ("model", "layer", "sensor", "time_s", "score", "p_corrected") if name in peaks]
        shown = (group if len(group) else peaks)[said].dropna(axis="columns", how="all")
        files = self._files(page_of("time"), path)
        return PageSection("Sensors", figures=self._pictures("sensors"), table=shown, files=files)

    def _regions(self) -> PageSection:
        if self.fit_table is None:
            return PageSection("")
        tested, table = self.region_tests, shown_fits(self.fit_table)
        table = with_spans(table if tested is None else with_region_tests(table, tested))
        files = self._files(page_of("regions"), self.fits, self.folder / "regions_group.tsv")
        text = paragraphs(about_intervals(table))
        return PageSection("Regions", text, self._pictures("regions"), table=table, files=files)

    def _ranking(self) -> PageSection:
        """Show models in order in each region, with what they cost, and the differences between them."""
        table, pairs = (self.folder / name for name in ("ranking.tsv", "ranking_pairs.tsv"))
        if self.study.ranking is None or not table.is_file():
            return PageSection("")
        at = page_of("regions")
        shown = unbroken(ranking_table(io.load_table(table), forward_times(self.references)))
        tested = unbroken(pairs_table(io.load_table(pairs)))
        text = paragraphs(ranking_words(self.study.ranking.n_splits, len(self.study.subjects)))
        if len(tested):
            text += f"\n<details><summary>Differences between models</summary>{table_html(tested)}</details>"
        files = self._files(at, table, pairs)
        return PageSection("Ranking", text, self._pictures("ranking"), table=shown, files=files)

    def _clusters(self, part: str = "") -> PageSection:
        """List the clusters of significant voxels of the group's maps, and say which maps have none."""
        root, at = self._root(part), page_of(f"analysis-{part}" if part else "group")
        path = clusters_path(root, self.group_space, part)
        if self.study.inference is None or not path.is_file():
            return PageSection("")
        table, rows = io.load_table(path), io.load_row_table(root / "scores" / "group_scores.h5")
        none = without_clusters(rows, table)
        whole = WHOLE_CLUSTERS if self.study.inference.enhance.startswith("cluster") else ""
        said = [CLUSTERS, whole, f"There is no cluster of {' or '.join(none)}." if none else ""]
        shown, files = self._linked(table, at, GROUP, part), self._files(at, path)
        return PageSection("Clusters", paragraphs(" ".join(filter(None, said))), table=shown, files=files)

    def _root(self, part: str) -> Path:
        """Return the folder of an analysis, or of the study."""
        return self.folder / "analyses" / part if part else self.folder

    def _linked(self, table: pd.DataFrame, at: str, who: str = "", part: str = "") -> pd.DataFrame:
        """Let each row of a table of places lead to the explorer there, and to its map: before all numbers."""
        rows = table.assign(**({"who": who} if who else {})).to_dict("records")
        links: dict[str, list[Any]] = {}
        if "x_mm" in table and self.has_explorer:
            shown = [self._explorer(at, row, analysis=part) for row in rows]
            both = zip(rows, shown, strict=True)
            links["explorer"] = [Link("show", link, f"{_named(row)} in the brain explorer") for row, link in both]
        maps = [self._map(at, row, part) for row in rows]
        if any(maps):
            both = zip(rows, maps, strict=True)
            links["map"] = [Link("NIfTI", link, f"map of {_named(row)}") if link else "" for row, link in both]
        labels = [name for name in table if name in ("subject", "model", "layer")]
        return table.assign(**links)[[*labels, *links, *(name for name in table if name not in labels)]]

    def _analysis(self, analysis: Any) -> Sheet:
        """Say what an analysis measured, and show its pictures: of the group, or of the only subject."""
        name, about = str(analysis.name), analysis.about(self.study.comparison)
        folder, at = f"analyses/{name}", page_of(f"analysis-{name}")
        whose = ["group"] if len(self.maps) > 1 else [f"sub-{subject}" for subject, _ in self.maps]
        text = f"{about[:1].upper()}{about[1:]}. Maps and tables are in {folder}/."
        pictures = self._pictures(*(f"{folder}/{one}" for one in (*whose, "regions", "time", "sensors")))
        files = self._files(at, *(self.folder / folder / table for table in TABLES))
        links = f'<p class="files">{" ".join(link.html() for link in files)}</p>' if files else ""
        first = PageSection("What was measured", f"{paragraphs(text)}\n{links}", pictures)
        maps = [self._map_files("" if one == "group" else one.removeprefix("sub-"), name) for one in whose]
        sections = [first, self._clusters(name), *maps]
        return Sheet(at, f"Analysis: {name}", sections, group="Analyses", name=name)

    def _group_peaks(self) -> PageSection:
        path, at = peaks_path(self.folder, "", self.group_space), page_of("group")
        if self.group_scores is None or not path.is_file():
            return PageSection("")
        table, text = io.load_table(path), PEAKS
        tested = self.study.inference is not None and "p_corrected" in table
        if tested:
            text += " The corrected p is that at the peak; maps without one were not tested."
        table = table[table["statistic"].isin(table["statistic"][:1])].drop(columns="n_voxels")
        shown = first_peaks(self._linked(table, at, GROUP))
        return PageSection("Peaks", paragraphs(text), table=shown, files=self._files(at, path))

    def _peak_table(self, subject: str) -> pd.DataFrame:
        path = peaks_path(self.folder, subject, self.space)
        return io.load_table(path) if path.is_file() else pd.DataFrame(columns=list(PEAK_COLUMNS))

    def _subject(self, subject: str) -> Sheet:
        """Show the maps of a subject, their peaks, and where its files are."""
        at = page_of(f"sub-{subject}")
        peaks, own = self._peak_table(subject), [one for one in self.maps if one[0] == subject]
        table = first_peaks(self._linked(peaks, at, subject).drop(columns="subject")) if len(peaks) else None
        files = self._files(at, peaks_path(self.folder, subject, self.space))
        logs = self._files(at, *self._logs_of(subject))
        listing = f'<p class="files">{" ".join(link.html() for link in logs)}</p>' if logs else ""
        sections = [
            self._drawn(f"Maps of subject {subject}", f"sub-{subject}"),
            PageSection("Peaks", paragraphs(PEAKS) if table is not None else "", table=table, files=files),
            self._map_files(subject),
            PageSection("Voxels with and without a score", table=reasons_table(own)),
            PageSection("Logs", listing, is_open=False),
        ]
        return Sheet(at, f"Subject {subject}", sections, group="Subjects")

    def _logs_of(self, subject: str) -> list[Path]:
        pattern = re.compile(rf"(^|_)sub-{re.escape(subject)}([_.]|$)")
        return [path for path in sorted((self.folder / "logs").rglob("*.log")) if pattern.search(path.name)]

    def _map_files(self, subject: str, part: str = "") -> PageSection:
        """List the NIfTI maps of the group, or of a subject: a row per reference, a column per statistic."""
        at = page_of(f"analysis-{part}") if part else page_of(f"sub-{subject}" if subject else "group")
        columns = [self.stack.table[name].fillna("").astype(str).tolist() for name in ("model", "layer")]
        names = {label_of(name): name for name in (*columns[0], *columns[1])}
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for path in sorted((self._root(part) / (f"sub-{subject}" if subject else GROUP)).glob("*_statmap.nii.gz")):
            said = dict(re.findall(r"(space|model|layer|stat)-([0-9A-Za-z]+)", path.name))
            model, layer = (str(names.get(said.get(key, ""), said.get(key, ""))) for key in ("model", "layer"))
            link = Link("NIfTI", link_to_file(at, path, self.folder), path.name)
            rows.setdefault((model, layer), {}).setdefault(said.get("stat", ""), []).append(link)
        order = {key: i for i, key in enumerate(zip(*columns, strict=True))}
        keys = sorted(rows, key=lambda key: order.get(key, len(order)))
        named = {key: " ".join(filter(None, key)) or "all" for key in keys}
        statistics = list(dict.fromkeys(name for key in keys for name in rows[key]))
        cells = [{"map": named[key], **{name: rows[key].get(name, "") for name in statistics}} for key in keys]
        return PageSection("All maps (NIfTI)", table=pd.DataFrame(cells), is_open=False)

    def _networks(self) -> PageSection:
        made = self.provenances[: len(self.references)]
        return PageSection("Networks", table=networks_table(self.study.networks, made))

    def _network_comparisons(self) -> list[PageSection]:
        """Show networks among themselves: a section for each comparison."""
        sections = []
        for one in self.study.network_comparisons:
            path, figure = (
                self.folder / "networks" / f"{one.name}.tsv",
                self.folder / "figures" / "networks" / f"{one.name}.png",
            )
            if path.is_file() and figure.is_file():
                maps = sorted((self.folder / "networks" / one.name).rglob("*.nii.gz"))
                table, files = shown_networks(io.load_table(path)), self._files(page_of("models"), path, *maps)
                pictures = [(caption_of(figure), figure)]
                heading = f"Comparing networks: {one.name}"
                text = paragraphs(one.about(self.fits is not None))
                sections.append(PageSection(heading, text, pictures, table, files))
        return sections

    def _units(self) -> list[Sheet]:
        """Show what the units of networks see: a page for each network."""
        sheets = []
        for model in self.study.networks if self.study.units is not None else ():
            at, name = page_of(f"units-{model.label}"), f"model-{model.label}"
            tables, figures = (self.folder / root / name for root in ("units", "figures/units"))
            if tables.is_dir():
                sections = unit_sections(tables, figures, partial(self._files, at))
                sheets.append(Sheet(at, f"Units of {model.label}", sections, group="Units", name=model.label))
        return sheets

    def _unit_changes(self) -> list[Sheet]:
        """Show what learning changes in units: a page for all comparisons."""
        at, changes = page_of("unit-changes"), self.folder / "units" / "changes"
        there = [Link("the same comparison, of RDMs and fits", link_from(at, page_of("models")))]
        where = changes, self.folder / "figures" / "units" / "changes", partial(self._files, at), there
        sections = [one for each in self.study.unit_comparisons for one in change_sections(each.name, *where)]
        return [Sheet(at, "Units before and after learning", sections, group="Units", name="Learning")] * bool(sections)

    def _methods(self) -> PageSection:
        text = methods_text(self.study, self.measured, self.versions)
        copy = '<button type="button" class="copy" data-copy="methods-text">Copy the text</button>'
        shown = f'<div id="methods-text">{paragraphs(*text.split(chr(10) * 2))}</div>'
        return PageSection("Methods, to adapt for a paper", f"{shown}\n{copy}")

    def _again(self) -> PageSection:
        """Give the settings, as the file that runs the study again, and the commands."""
        name = f"{self.study.study}.yaml"
        commands = "\n".join(
            f"{command} {shlex.quote(name)}"
            for command in ("python -m rsa check", "snakemake --cores all --configfile", "python -m rsa verify")
        )
        parts = [
            paragraphs(
                f"Save this as {name}; what it does not say is at its default. Paths start where Snakemake runs."
            ),
            '<button type="button" class="copy" data-copy="settings">Copy the settings</button>',
            f'<pre id="settings" tabindex="0">{escape(settings_yaml(self.study))}</pre>',
            "<h3>Commands</h3>",
            '<button type="button" class="copy" data-copy="commands">Copy the commands</button>',
            f'<pre id="commands" tabindex="0">{escape(commands)}</pre>',
        ]
        files = self._files(page_of("methods"), self.folder / "study.json")
        return PageSection("Settings, to run it again", "\n".join(parts), files=files)

    def _provenance(self) -> PageSection:
        made = [{**one, "settings": {}, "inputs": _relative(one.get("inputs") or {})} for one in self.provenances]
        provenances = [*made, io.provenance(settings=self.study.model_dump(mode="json"))]
        return PageSection("How this was made", provenance_html(provenances), is_open=False)


def settings_yaml(study: Any) -> str:
    """Write the settings of a study as YAML: those that differ from the defaults, with paths as they were found.

    Paths were joined to `data_root` when the settings were read, so it is where Snakemake runs.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes lists of numbers and words on one line."""

    def on_one_line(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
        is_flat = not any(isinstance(value, list | dict) for value in values)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_flat)

    Dumper.add_representer(list, on_one_line)
    said = study.model_dump(mode="json", exclude_defaults=True)
    said = _with_kinds(said, study.model_dump(mode="json")) | {"data_root": "."}
    text: str = yaml.dump(said, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _with_kinds(said: Any, whole: Any) -> Any:
    """Keep the words that say of which kind a section is, where they are at their default."""
    if isinstance(said, dict):
        kinds = {name: whole[name] for name in ("kind", "source") if isinstance(whole.get(name), str)}
        return kinds | {name: _with_kinds(value, whole[name]) for name, value in said.items()}
    if isinstance(said, list):
        return [_with_kinds(one, all_of_it) for one, all_of_it in zip(said, whole, strict=True)]
    return said


def _relative(inputs: Mapping[str, str]) -> dict[str, str]:
    """Name files below the working folder from there."""
    here = Path.cwd()
    paths = {name: Path(name) for name in inputs}
    shown = {name: path.relative_to(here) if path.is_relative_to(here) else path for name, path in paths.items()}
    return {str(shown[name]): of for name, of in inputs.items()}


def _named(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in ("model", "layer") if isinstance(row.get(name), str) and row[name])


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


def with_spans(table: pd.DataFrame) -> pd.DataFrame:
    """Write two columns that are bounds as one column from one to the other, as far as they are there."""
    for what, (lower, upper) in SPANS.items():
        if lower in table and upper in table:
            written = [
                span(*row).replace(" ", "\N{NO-BREAK SPACE}") for row in table[[lower, upper]].to_numpy(dtype=float)
            ]
            place = table.columns.get_loc(lower)
            table = table.drop(columns=[lower, upper])
            table.insert(place, what, written)
    if "few_conditions" in table and OVER_BOTH in table:
        noted = [interval + too_narrow(few) for interval, few in table[[OVER_BOTH, "few_conditions"]].to_numpy()]
        table = table.assign(**{OVER_BOTH: noted}).drop(columns="few_conditions")
    return table


def about_intervals(table: pd.DataFrame) -> str:
    """Say which interval is for what, where a table of regions for people has both."""
    both = [name for name in table if str(name).endswith(FOR_OTHERS)]
    return WHICH_INTERVAL if (table[both] != "").any(axis=None) else ""


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


def told_of_networks(models: Sequence[Any], provenances: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return what extraction said of each network, by its label; files of earlier versions do not tell."""
    sources = [(model.label, one.get("source") or {}) for model, one in zip(models, provenances, strict=False)]
    return {label: source["methods"] for label, source in sources if "methods" in source}


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
