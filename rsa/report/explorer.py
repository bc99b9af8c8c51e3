"""The brain explorer: maps of a study as one page in which a brain can be clicked, and files beside it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from rsa.core import QUALITY, REASONS, TEST, Array, Patterns, RDMs, ScoreMap, Volume, concatenate
from rsa.distances import DISTANCES
from rsa.errors import UserError
from rsa.files import io
from rsa.files.fsaverage import has_cortex
from rsa.files.images import read_anatomy
from rsa.files.stored import StoredScores
from rsa.inputs.regions import Regions, read_regions
from rsa.inputs.stimuli import Stimuli, condition_table, read_image
from rsa.maps import MAPS, layered_models, times_of
from rsa.names import full_models, map_path
from rsa.neighbourhood import spheres
from rsa.report.drawing import drawn_box
from rsa.report.explorer_pack import (
    Bundle,
    Shelf,
    json_text,
    quantised,
    quantised_patterns,
    split_bytes,
    voxel_gaps,
)
from rsa.report.slices import background_of
from rsa.report.style import model_colours
from rsa.report.surface_mesh import UNIT_MM, explorer_mesh
from rsa.significance import PRIMARY, primary_name, significance_of
from rsa.spheres import RdmSettings, prepare_spheres

__all__ = ["BUDGET", "SCRIPTS", "Explorer", "Maps", "stacked_references", "stimuli_of"]

BUDGET = 28_000_000
"""Bytes that maps and patterns may take in the page itself; what is more lies in files beside it."""

SCRIPTS = (
    "geometry",
    "decode",
    "colours",
    "rdms",
    "state",
    "study",
    "slices",
    "charts",
    "matrices",
    "surface",
    "cortex",
    "controls",
    "voxel",
    "explorer",
)
"""The scripts of the page (`rsa/report/js`), in the order in which they stand in it; they share one scope."""

GROUP = "group"
AT_ONCE = 2**22
"""Scores of a subject of which intervals are made at once; bounds the memory, changes nothing else."""

HALF_WIDTH = "half_width"
COVERAGE = 0.95
"""Of the interval over subjects."""

THUMBNAIL = 72
"""Pixels along the longer side of a picture of a stimulus."""
MOST_THUMBNAILS = 2000

STATISTICS = {
    "mean": ("mean over subjects", ""),
    "t": ("t over subjects", "t"),
    "share_of_ceiling": ("share of the noise ceiling", "share of the upper bound of the noise ceiling"),
    "z": ("z of the test", "z"),
    "logp": ("uncorrected p", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} p"),
    "logp_max_stat": ("corrected p, maximum", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} corrected p"),
    "logp_max_tfce": ("corrected p, TFCE", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} corrected p"),
    "logp_max_mass": ("corrected p, cluster mass", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} corrected p"),
    "logp_max_size": ("corrected p, cluster size", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} corrected p"),
    "logq": ("false discovery rate", "\N{MINUS SIGN}log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} q"),
    "tfce": ("TFCE", "TFCE"),
    "mass": ("cluster mass", "mass of the cluster"),
    "size": ("cluster size", "voxels of the cluster"),
}
"""What the menu calls a statistic, and the unit on its legend (of others: the comparison)."""

LEFT_OUT = ("thresholded",)
"""Statistics that the page makes itself."""


@dataclass(frozen=True, eq=False)
class Maps:
    """Scores of somebody, of one analysis.

    Parameters
    ----------
    who : str
        Label of the subject, or `GROUP`.
    part : str
        Name of the analysis; empty for the plain comparison.
    scores : ScoreMap or StoredScores
        Over voxels; below them may stand the results of tests. Those that stay in their files are read model by model.
    settings : mapping
        Of their provenance.
    """

    who: str
    part: str
    scores: ScoreMap | StoredScores
    settings: Mapping[str, Any]

    @property
    def volume(self) -> Volume:
        """Where they are."""
        if self.scores.volume is None:
            raise UserError("The explorer shows scores over voxels; these are over regions.")
        return self.scores.volume


@dataclass(frozen=True, eq=False)
class Space:
    """A grid, and all of its voxels of which anything is known.

    Parameters
    ----------
    volume : Volume
        The grid with the union of the masks.
    """

    volume: Volume

    def columns(self, of: Volume) -> Array:
        """Return where the voxels of a mask on the same grid stand among those of this space."""
        return np.flatnonzero(of.mask[self.volume.mask])


@dataclass(frozen=True, eq=False)
class Explorer:
    """What the page shows, from the files of a study.

    Parameters
    ----------
    title : str
        Of the study.
    folder : path
        Of the study's results, below which the NIfTI files lie.
    space : str
        BIDS label of the space of the maps.
    maps : sequence of Maps
        Of the group and of subjects, the plain comparison first.
    brain : mapping of str to path
        Patterns of each subject (HDF5).
    references : RDMs, optional
        Those with which the brain is compared, of which all subjects have the same.
    stimuli : DataFrame, optional
        `condition`, and perhaps `file`: the order of conditions, and their pictures.
    regions : Regions, optional
        Names of voxels, the same for all subjects.
    derived : sequence of str
        Keys of `MAPS` that were made.
    patterns_note : str
        Why patterns are not shown, though there are some.
    models : sequence of str
        All models of the study in order, which gives them their colours.
    simulated : bool
        Whether the brain data were.
    anatomy : mapping of str to path
        Anatomical image behind the maps of the group or of a subject, in their space; by default the MNI152 template
        in MNI spaces, and elsewhere the mask.
    budget : int
        Bytes that may stand in the page.
    """

    title: str
    folder: Path
    space: str
    maps: Sequence[Maps]
    brain: Mapping[str, Path] = field(default_factory=dict)
    references: RDMs | None = None
    stimuli: pd.DataFrame | None = None
    regions: Regions | None = None
    derived: Sequence[str] = tuple(MAPS)
    patterns_note: str = ""
    simulated: bool = False
    anatomy: Mapping[str, Path] = field(default_factory=dict)
    budget: int = BUDGET

    # --------------------------------------------------------------------------------------------- where

    @cached_property
    def spaces(self) -> list[Space]:
        """The grids of the maps, each with all voxels that some map on it has."""
        found: list[Volume] = []
        for one in self.maps:
            same = next(
                (i for i, volume in enumerate(found) if volume.same_grid(one.volume.shape, one.volume.affine)), -1
            )
            if same < 0:
                found.append(one.volume)
            else:
                found[same] = replace(found[same], mask=found[same].mask | one.volume.mask)
        return [Space(volume) for volume in found]

    def space_of(self, volume: Volume) -> int:
        """Return the number of the space on whose grid a volume is."""
        return next(i for i, space in enumerate(self.spaces) if space.volume.same_grid(volume.shape, volume.affine))

    @cached_property
    def people(self) -> list[str]:
        """The group, if there is one, and all subjects."""
        found = dict.fromkeys(one.who for one in self.maps)
        return sorted(found, key=lambda who: who != GROUP)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Those by which the RDMs of spheres were made and compared."""
        return next((one.settings for one in self.maps if not one.part and one.who != GROUP), self.maps[0].settings)

    # ---------------------------------------------------------------------------------------------- page

    def write(self, folder: Path) -> None:
        """Write the page, index.html, and what does not fit into it."""
        shelf = Shelf(folder, self.budget)
        study = self._pack(shelf)
        study |= {"beside": shelf.beside, "pieces": shelf.pieces}
        io.save_text(folder / "index.html", page(study, shelf.inside))

    def _pack(self, shelf: Shelf) -> dict[str, Any]:
        """Pack everything, what the first picture needs first; return what the page has to know of it."""
        first = Bundle("first", "the first map")
        behind = self._backgrounds(shelf, first)
        spaces = [self._space(number, first) for number in range(len(self.spaces))]
        references, regions = self._reference_rdms(first), self._regions(first)
        cortex, mesh = self._mesh(spaces)
        sets: list[dict[str, Any]] = []
        later: list[tuple[Maps, Array, str]] = []
        for one in self.maps:
            for what, rows, extra in self._rows(one):
                if extra:
                    later.append((one, rows, what))
                    continue
                bundle, made = self._sets(one, rows, what, len(sets))
                if sets:
                    shelf.put(bundle)
                else:
                    first.pieces |= bundle.pieces
                    shelf.put(first)
                    shelf.put(cortex)
                sets += made
        for widths, what in self._half_widths():
            bundle, made = self._sets(widths, np.arange(len(widths.scores)), what, len(sets))
            shelf.put(bundle)
            sets += made
        counts = list(self._counts(shelf))
        patterns = list(self._patterns(shelf))
        for one, rows, what in later:
            bundle, made = self._sets(one, rows, what, len(sets), extra=True)
            shelf.put(bundle)
            sets += made
        return {
            "title": self.title,
            "simulated": self.simulated,
            "statistics": {name: {"label": label, "unit": unit} for name, (label, unit) in STATISTICS.items()},
            "comparison": self.settings.get("comparison", ""),
            "distance": self.settings.get("distance", ""),
            "radius_mm": self.settings.get("radius_mm"),
            "min_voxels": self.settings.get("min_voxels", 2),
            "reasons": REASONS,
            "spaces": spaces,
            "people": [self._person(who) | {"background": behind[who]} for who in self.people],
            "sets": sets,
            "parts": self._parts(),
            "colours": model_colours(self._models()),
            "tests": list(self._tests()),
            "counts": counts,
            "references": references,
            "conditions": self.conditions,
            "categories": self._categories(),
            "thumbnails": self._thumbnails(),
            "patterns": patterns,
            "patterns_note": self.patterns_note,
            "regions": regions,
            "mesh": mesh,
            "coverage": COVERAGE,
        }

    def _models(self) -> list[str]:
        """Return all models in their order."""
        tables = [one.scores.table for one in self.maps]
        return list(dict.fromkeys(model for table in tables for model in table["model"][table["role"] != QUALITY]))

    def _person(self, who: str) -> dict[str, Any]:
        own = next(one for one in self.maps if one.who == who)
        n_subjects = sum(person != GROUP for person in self.people)
        label = f"Group ({n_subjects} subjects)" if who == GROUP else f"Subject {who}"
        return {"id": who, "label": label, "space": self.space_of(own.volume)}

    def _parts(self) -> list[dict[str, str]]:
        """Say what each analysis measures."""
        found: dict[str, str] = {}
        for one in self.maps:
            found.setdefault(one.part, str(one.settings.get("measure") or self.settings.get("comparison", "")))
        return [{"id": part, "label": part or "plain comparison", "unit": unit} for part, unit in found.items()]

    # ---------------------------------------------------------------------------------------------- maps

    def _rows(self, one: Maps) -> Iterator[tuple[str, Array, bool]]:
        """Yield, for each model of somebody, the rows that are looked at first, then all others, with their name."""
        table = one.scores.table
        scores, primary = str(table["statistic"].iloc[0]), primary_name(table["statistic"][table["role"] == TEST])
        is_first, is_quality = table["statistic"].isin((scores, primary)), table["role"] == QUALITY
        is_shown = ~table["statistic"].isin(LEFT_OUT)
        whose = "the group" if one.who == GROUP else f"subject {one.who}"
        for model, quality in dict.fromkeys(zip(table["model"], is_quality, strict=True)):
            own = (table["model"] == model) & (is_quality == quality) & is_shown
            for extra in (False, True):
                rows = np.flatnonzero((own & (is_first != extra)).to_numpy())
                if len(rows):
                    yield f"{'further statistics' if extra else 'scores'} of {model}, {whose}", rows, extra

    def _sets(
        self, one: Maps, rows: Array, what: str, number: int, *, extra: bool = False
    ) -> tuple[Bundle, list[dict[str, Any]]]:
        """Pack some maps of somebody: a set for each model and statistic; the first is that of this number."""
        bundle = Bundle(f"maps-{number}", what)
        made: list[dict[str, Any]] = []
        table = one.scores.table.iloc[rows]
        for _, own in table.groupby(["model", "statistic"], sort=False):
            made.append(self._set(one, own.index.to_numpy(), bundle, f"m{number + len(made)}", extra=extra))
        return bundle, made

    def _set(self, one: Maps, rows: Array, bundle: Bundle, name: str, *, extra: bool = False) -> dict[str, Any]:
        """Pack the maps of one statistic of one model: a row for each layer and time."""
        table = one.scores.table.iloc[rows].assign(place=rows)
        layers = list(dict.fromkeys(table["layer"].astype(str)))
        times = times_of(table)
        model, statistic, role = (str(table[column].iloc[0]) for column in ("model", "statistic", "role"))
        at = table["time_s"].map({time: i for i, time in enumerate(times)}).to_numpy() if times else np.zeros(len(rows))
        number = self.space_of(one.volume)
        columns = self.spaces[number].columns(one.volume)
        values = np.full((len(layers) * max(1, len(times)), self.spaces[number].volume.n_voxels), np.nan, np.float32)
        places = [layers.index(layer) for layer in table["layer"].astype(str)] * np.array(max(1, len(times))) + at
        values[np.ix_(places.astype(int), columns)] = one.scores.rows(rows)
        return {
            "who": one.who,
            "part": one.part,
            "model": f"quality: {model}" if role == QUALITY and model in self._models() else model,
            "name": full_models(table.iloc[:1])[0],
            "quality": model if role == QUALITY else "",
            "statistic": statistic,
            "test": role == TEST,
            "extra": extra,
            "layers": layers,
            "times": times,
            **self._packed(values, bundle, name),
            "highest": int(np.nanmax(np.where(np.isfinite(values), values, -np.inf), axis=1).argmax()),
            "files": [self._file(one, model, layer, statistic) for layer in layers],
            "derived": self._derived(one, model, layers, times) if not (extra or role in (QUALITY, TEST)) else {},
        }

    def _packed(self, values: Array, bundle: Bundle, name: str) -> dict[str, Any]:
        packed = quantised(values)
        bundle.add(name, split_bytes(packed.codes))
        top = np.where(np.isfinite(values), np.abs(values), np.nan)
        limit = float(np.nanpercentile(top, 99.9)) if np.isfinite(top).any() else 1.0
        return {"piece": name, "offsets": packed.offsets, "steps": packed.steps, "limit": limit}

    def _file(self, one: Maps, model: str, layer: str, statistic: str) -> str:
        """Return the path of a map's NIfTI file, from the page."""
        folder = f"../analyses/{one.part}" if one.part else ".."
        subject = "" if one.who == GROUP else one.who
        return map_path(
            folder,
            subject=subject,
            space=self.space,
            model=model,
            layer=layer,
            statistic=statistic,
            analysis=one.part,
        ).as_posix()

    def _derived(self, one: Maps, model: str, layers: list[str], times: list[float]) -> dict[str, str]:
        """Return the files of the maps that the page can make itself of all layers, or of all times."""
        can = {"best_layer": len(layers) > 1, "peak_time": len(times) > 1}
        is_layered = model in layered_models(one.scores.table)
        return {
            name: self._file(one, model, "" if name == "best_layer" or not is_layered else "{layer}", name)
            for name, there in can.items()
            if there and name in self.derived
        }

    def _half_widths(self) -> Iterator[tuple[Maps, str]]:
        """Yield half of the width of the interval of the group's mean over subjects, for each model and analysis."""
        for one in self.maps:
            subjects = [other.scores for other in self.maps if other.part == one.part and other.who != GROUP]
            if one.who != GROUP or len(subjects) < 2 or "mean" not in set(one.scores.table["statistic"]):
                continue
            table, widths = half_widths(one, subjects)
            for model, own in table.groupby("model", sort=False):
                rows = own.index.to_numpy()
                scores = ScoreMap(widths[rows], own, one.volume)
                yield replace(one, scores=scores), f"intervals of {model}, the group"

    def _tests(self) -> Iterator[dict[str, Any]]:
        """Say by which corrected p the maps of somebody are thresholded."""
        for one in self.maps:
            found = significance_of(one.scores, one.settings) if isinstance(one.scores, ScoreMap) else None
            if found is None:
                continue
            statistic = str(found.corrected.table["statistic"].iloc[0])
            yield {
                "who": one.who,
                "part": one.part,
                "statistic": statistic,
                "alpha": found.alpha,
                "words": found.words,
                "clusters": found.of_clusters,
                "method": PRIMARY[statistic],
            }

    def _counts(self, shelf: Shelf) -> Iterator[dict[str, Any]]:
        """Pack how many voxels, or subjects, stand behind each score, and why there is none."""
        bundle = Bundle("counts", "numbers of voxels in spheres")
        for one in self.maps:
            if one.part or one.scores.n_members is None:
                continue
            number = self.space_of(one.volume)
            columns, n_voxels = self.spaces[number].columns(one.volume), self.spaces[number].volume.n_voxels
            counts = np.zeros((2, n_voxels), dtype=np.uint16)
            counts[0, columns] = np.minimum(one.scores.n_members, 65535)
            counts[1] = 1000  # outside of the mask
            counts[1, columns] = 0 if one.scores.reason is None else one.scores.reason
            yield {"who": one.who, "piece": bundle.add(f"n{one.who}", split_bytes(counts.ravel()))}
        shelf.put(bundle)

    # -------------------------------------------------------------------------------------------- places

    def _space(self, number: int, bundle: Bundle) -> dict[str, Any]:
        """Pack the grid of a space, and what maps are drawn on."""
        volume = self.spaces[number].volume
        bundle.add(f"v{number}", voxel_gaps(np.flatnonzero(volume.mask)))
        return {
            "shape": volume.shape,
            "affine": volume.affine,
            "voxels": f"v{number}",
            "n_voxels": volume.n_voxels,
            "box": drawn_box(volume, self.space),
            "label": self.space,
        }

    def _backgrounds(self, shelf: Shelf, first: Bundle) -> dict[str, dict[str, Any] | None]:
        """Pack the brains on which maps are drawn, that of the first person with the first map; None for the mask."""
        packed: dict[Path | None, dict[str, Any] | None] = {}
        for who in self.people:
            path = self.anatomy.get(who)
            if path in packed:
                continue
            image = background_of(self.space, None if path is None else read_anatomy(path))
            if image is None:
                packed[path] = None
                continue
            data, start = _cropped(np.rint(255 * np.asarray(image.dataobj)).astype(np.uint8))
            bundle = Bundle(f"brain{len(packed)}", f"the anatomical image of {who}") if packed else first
            packed[path] = {
                "piece": bundle.add(f"b{len(packed)}", data.tobytes()),
                "shape": data.shape,
                "affine": image.affine @ nib.affines.from_matvec(np.eye(3), start),
                "name": "the MNI152 template" if path is None else path.name,
            }
            if bundle is not first:
                shelf.put(bundle)
        return {who: packed[self.anatomy.get(who)] for who in self.people}

    def _mesh(self, spaces: Sequence[dict[str, Any]]) -> tuple[Bundle, dict[str, Any] | None]:
        """Pack the cortex of the MNI brain, and the voxel of each space at each of its vertices."""
        bundle = Bundle("cortex", "the surface of the cortex")
        if not has_cortex(self.space):
            return bundle, None
        for number, space in enumerate(self.spaces):
            mesh = explorer_mesh(space.volume)
            spaces[number]["vertices"] = bundle.add(f"w{number}", mesh.voxels.astype("<i4").tobytes())
        arrays = {**mesh.shapes, "triangles": mesh.triangles, "inFlat": mesh.in_flat, "sulc": mesh.sulc}
        pieces = {name: bundle.add(f"s-{name}", np.ascontiguousarray(one).tobytes()) for name, one in arrays.items()}
        return bundle, {"pieces": pieces, "nLeft": mesh.n_left, "unitMm": UNIT_MM}

    def _regions(self, bundle: Bundle) -> dict[str, Any] | None:
        """Pack the region of each voxel, of the first that has it; None without regions that all subjects share."""
        if self.regions is None or len(self.spaces) > 1:
            return None
        found = read_regions(self.regions, "", self.spaces[0].volume)
        assert found.regions is not None
        labels = np.zeros(self.spaces[0].volume.n_voxels, dtype=np.uint16)
        for number in reversed(range(len(found))):
            labels[found.members(number)] = number + 1
        return {"piece": bundle.add("regions", split_bytes(labels)), "names": list(found.regions["region"])}

    # ---------------------------------------------------------------------------------------------- RDMs

    @cached_property
    def conditions(self) -> list[str]:
        """All conditions in the order of the stimulus table, or of the references."""
        known = [] if self.references is None else list(self.references.conditions)
        for path in list(self.brain.values())[: 0 if known else 1]:
            known = list(dict.fromkeys(io.load_row_table(path)["condition"]))
        if self.stimuli is None:
            return known
        listed = [name for name in condition_table(self.stimuli)["condition"] if not known or name in set(known)]
        return listed if not known or set(listed) == set(known) else known

    def _categories(self) -> list[str] | None:
        """Return the category of each condition, if the stimulus table has one."""
        if self.stimuli is None or "category" not in self.stimuli:
            return None
        return [
            str(name)
            for name in condition_table(self.stimuli).set_index("condition")["category"].reindex(self.conditions)
        ]

    def _thumbnails(self) -> list[str] | None:
        """Return a small picture of each condition (its first), if there are files."""
        if self.stimuli is None or "file" not in self.stimuli or len(self.conditions) > MOST_THUMBNAILS:
            return None
        first = self.stimuli.drop_duplicates("condition").set_index("condition")["file"]
        return [thumbnail(first[name]) if name in first.index else "" for name in self.conditions]

    def _reference_rdms(self, bundle: Bundle) -> dict[str, Any] | None:
        """Pack the RDMs of the references, with their conditions in the order of the page."""
        if self.references is None:
            return None
        rdms = self.references.reordered(self.conditions)
        packed = quantised(rdms.values)
        times = rdms.table["time_s"] if "time_s" in rdms.table else pd.Series(np.nan, index=rdms.table.index)
        rows = [
            {"model": str(model), "layer": str(layer or ""), "time": None if pd.isna(time) else float(time)}
            for model, layer, time in zip(rdms.table["model"], rdms.table["layer"].fillna(""), times, strict=True)
        ]
        bundle.add("rdms", split_bytes(packed.codes))
        return {
            "piece": "rdms",
            "offsets": packed.offsets,
            "steps": packed.steps,
            "rows": rows,
            "n_pairs": rdms.values.shape[1],
        }

    def _patterns(self, shelf: Shelf) -> Iterator[dict[str, Any]]:
        """Pack what the RDMs of spheres are made of: the responses of each subject, and at each delay."""
        for who, path in self.brain.items():
            patterns = io.load_patterns(path)
            if patterns.volume is None or patterns.table["condition"].nunique() < 3:
                continue
            own = next((one.volume for one in self.maps if one.who == who), None)
            if own is None or not own.same_grid(patterns.volume.shape, patterns.volume.affine):
                continue
            number = self.space_of(patterns.volume)
            bundle = Bundle(f"patterns-{who}", f"patterns of subject {who}")
            delays = patterns.delays_s
            made = []
            note = ""
            for place, one in enumerate([patterns.at_delay(delay) for delay in delays] if delays else [patterns]):
                responses, usable, note = self._responses(one)
                codes, offsets, steps = quantised_patterns(responses)
                bits = np.zeros(self.spaces[number].volume.n_voxels, dtype=bool)
                bits[self.spaces[number].columns(patterns.volume)[usable]] = True
                content = (
                    np.packbits(bits, bitorder="little").tobytes()
                    + offsets.tobytes()
                    + steps.tobytes()
                    + codes.tobytes()
                )
                made.append(
                    {
                        "piece": bundle.add(f"p{who}-{place}", content),
                        "time": delays[place] if delays else None,
                        "n_voxels": len(codes),
                    }
                )
            shelf.put(bundle)
            yield {"who": who, "bundle": bundle.name, "delays": made, "note": note}

    def _responses(self, patterns: Patterns) -> tuple[Array, Array, str]:
        """Return what distances are made of, (n_usable, n_conditions), which voxels are usable, what is not exact."""
        assert patterns.volume is not None
        settings = RdmSettings(
            str(self.settings.get("distance", "correlation")),
            self.settings.get("shrinkage"),
            int(self.settings.get("min_voxels", 2)),
        )
        ordered = patterns.in_order(self.conditions) if self.conditions else patterns
        note = ""
        if settings.distance in DISTANCES:
            found = prepare_spheres(ordered, spheres(patterns.volume, 1e-3), settings)
            responses, usable = found.responses[:, 0, :], found.usable
            if found.noise is not None:
                note = "the study whitens the patterns of each sphere by its noise; the page does not"
        else:
            means = replace(ordered, run_noise=None).mean_over_runs()
            responses, usable = means.values.T, patterns.usable
            other = (
                "1 minus Pearson's correlation"
                if "correlation" in settings.distance
                else "the squared Euclidean distance"
            )
            note = (
                f"the study's distance ({settings.distance}) is between runs; the page takes {other} of means over runs"
            )
        return np.asarray(responses[usable], dtype=np.float32), usable, note


def half_widths(group: Maps, subjects: Sequence[ScoreMap | StoredScores]) -> tuple[pd.DataFrame, Array]:
    """Return half of the width of the 95% t interval of the mean over subjects, and the table of its rows.

    Parameters
    ----------
    group : Maps
        The means, over voxels that all subjects have.
    subjects : sequence of ScoreMap or StoredScores
        Their scores, in the same rows.
    """
    from scipy.special import stdtrit  # no page but one with intervals needs it, and it takes .1 s

    n, common = len(subjects), group.volume
    first = subjects[0].table
    rows = np.flatnonzero((first["role"] != TEST).to_numpy())
    inside = [common.mask[one.volume.mask] for one in subjects if one.volume is not None]
    per_error = stdtrit(n - 1, (1 + COVERAGE) / 2)
    width = np.empty((len(rows), common.n_voxels), dtype=np.float32)
    n_rows = max(1, AT_ONCE // common.n_voxels)
    for block in (slice(start, start + n_rows) for start in range(0, len(rows), n_rows)):
        chosen = rows[block]
        sums = np.zeros((2, len(chosen), common.n_voxels))
        start = None
        for one, own in zip(subjects, inside, strict=True):
            values = one.rows(chosen)[:, own].astype(np.float64)
            start = values if start is None else start
            sums[0] += values - start
            sums[1] += (values - start) ** 2
        variance = np.maximum(sums[1] - sums[0] ** 2 / n, 0) / (n - 1)
        width[block] = per_error * np.sqrt(variance / n)
    table = first.iloc[rows].drop(columns="subject", errors="ignore").reset_index(drop=True)
    return table.assign(statistic=HALF_WIDTH), width


def thumbnail(path: str | Path) -> str:
    """Return a small WebP of a picture as a data address."""
    picture = read_image(path)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    written = BytesIO()
    picture.save(written, format="WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"


def _cropped(data: Array) -> tuple[Array, Array]:
    """Leave out the empty rim of an image; return the rest and where it begins."""
    inside = np.argwhere(data > 0)
    start, stop = (
        (inside.min(axis=0), inside.max(axis=0) + 1) if len(inside) else (np.zeros(3, int), np.array(data.shape))
    )
    return np.ascontiguousarray(data[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]), start


def page(study: Mapping[str, Any], bundles: Sequence[Bundle]) -> str:
    """Write the page: the first bundle stands before the scripts, which draw a picture while the rest is read."""
    folder = files("rsa.report") / "js"
    scripts = "\n".join(folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    style = folder.joinpath("explorer.css").read_text(encoding="utf-8")
    body = folder.joinpath("explorer.html").read_text(encoding="utf-8")
    scripts = scripts.replace("</script", "<\\/script")
    first, *others = bundles
    rest = "\n".join(bundle.elements() for bundle in others)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(str(study["title"]))}: brain explorer</title>
<style>
{style}</style>
</head>
<body>
{body}
<script type="application/json" id="study">{json_text(study)}</script>
{first.elements()}
<script>
"use strict";
{scripts}
</script>
{rest}
</body>
</html>
"""


def stimuli_of(settings: Stimuli | None) -> pd.DataFrame | None:
    """Return the table of the stimuli, if there is one."""
    return None if settings is None else settings.load()


def stacked_references(stacks: Sequence[RDMs]) -> RDMs | None:
    """Return all references that all subjects share, in one stack."""
    shared = [stack for stack in stacks if "subject" not in stack.table]
    return concatenate(shared) if shared else None
