"""What lies in the folder of a study's results, as a tree of links: what each file holds, and how large it is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from rsa.files.fsaverage import FSAVERAGE5, HEMISPHERES
from rsa.files.records import NOTES_OF_RUNS
from rsa.report.html import Link
from rsa.report.links import link_to_file

__all__ = ["files_of", "tree_html", "written_size"]

HOLDS = (
    (r"report\.html", "the overview of the study"),
    (r"study\.json", "all settings, defaults included"),
    (r"README", "what is where, in short"),
    (r"dataset_description\.json", "what BIDS tools want to know"),
    (r"pages/.*", "a page of this report"),
    (r"explorer/index\.html", "the brain explorer"),
    (r"explorer/.*", "data of the brain explorer"),
    (r".*_clusters\.tsv", "clusters of significant voxels"),
    (r".*_peaks\.tsv|sensors/peaks\.tsv", "highest scores and their places"),
    (r".*_permutations\.h5|.*_flips\.h5", "tests of these scores"),
    (r".*noise_ceiling\.h5", "noise ceiling over subjects"),
    (r".*_scores\.h5", "scores of all references"),
    (r".*_ave\.fif", "scores over sensors, as evoked responses of MNE"),
    (r".*models/.*_rdms\.h5", "RDMs of layers"),
    (r".*models/.*_activations\.h5", "responses of layers"),
    (r".*references/.*_rdms\.h5", "RDM of a reference"),
    (r".*_movie\.h5", "M/EEG RDMs over time"),
    (r".*brain/.*_rdms\.h5", "RDMs of regions"),
    (r".*_patterns\.h5", "what was read of the brain"),
    (r"networks/[^/]*\.tsv", "networks among themselves"),
    (r"units/changes/networks\.json", "the networks of each comparison"),
    (r"units/changes/.*_layers\.tsv", "how much the units of each layer changed"),
    (r"units/changes/.*_units\.tsv", "units before and after"),
    (r"units/changes/.*_categories\.tsv", "categories told apart before and after"),
    (r"units/changes/.*_curve\.tsv", "units along a training"),
    (r"ranking\.tsv", "models in order in each region"),
    (r"ranking_pairs\.tsv", "differences between models in each region"),
    (r".*regions_group\.tsv", "tests of regions over subjects"),
    (r".*regions\.tsv", "fits of regions"),
    (r".*time/courses\.tsv", "mean scores over time"),
    (r".*time/scores\.tsv", "scores of each subject over time"),
    (r".*time/latencies\.tsv", "onsets and peaks"),
    (r".*time/hierarchy\.tsv", "order of layers in time"),
    (r".*time/generalisation\.tsv", "times compared with each other"),
    (r"logs/.*", "log of a job"),
    (r".*film\.(mp4|webp|json)", "film: video, frames and their table"),
    (r".*\.svg", "figure, vector graphics"),
    (r".*\.png", "figure"),
    (r".*\.surf\.gii", "surface"),
    (r".*\.gii", "map on a surface"),
    (r".*_mask\.nii\.gz", "mask"),
)
"""What files hold, by their path below the folder; the first that fits. Maps say it in their names."""

ENTITY = re.compile(r"(sub|hemi|space|model|layer|desc|stat)-([0-9A-Za-z]+)")
SIDE = (".json",)
"""Endings of files that tell what another of the same name holds."""


@dataclass
class Folder:
    """Files and folders of a folder, by name, and how many and how large all below it are."""

    files: dict[str, Path] = field(default_factory=dict)
    folders: dict[str, "Folder"] = field(default_factory=dict)
    n_files: int = 0
    n_bytes: int = 0


def files_of(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder in order, but hidden ones, and notes of runs, which end with them."""
    for path in sorted(folder.iterdir(), key=lambda one: (one.is_dir(), one.name)):
        if path.name.startswith(".") or path.match(NOTES_OF_RUNS):
            continue
        if path.is_dir():
            yield from files_of(path)
        elif path.is_file():
            yield path


def tree_html(folder: Path, at: str) -> str:
    """Write the tree of a folder, with a field to find files in it, as the page `at` below it has it."""
    root = Folder()
    for path in files_of(folder):
        below, here, n_bytes = path.relative_to(folder), root, path.stat().st_size
        for name in ("", *below.parts[:-1]):
            here = here.folders.setdefault(name, Folder()) if name else here
            here.n_files, here.n_bytes = here.n_files + 1, here.n_bytes + n_bytes
        here.files[below.name] = path
    finder = '<p><label>Find files <input class="find" type="search" placeholder="alexnet mean nii"></label></p>'
    about = f"<p>{root.n_files:,} files, {written_size(root.n_bytes)}.</p>"
    return f'{about}\n{finder}\n<div class="tree">{_folder_html(root, folder, at)}</div>'


def _folder_html(one: Folder, root: Path, at: str) -> str:
    parts = []
    if one.files:
        items = "".join(_file_html(path, one, root, at) for name, path in one.files.items() if not _is_side(name, one))
        parts.append(f"<ul>{items}</ul>")
    for name, inner in one.folders.items():
        size = f'<span class="size">{inner.n_files:,} files, {written_size(inner.n_bytes)}</span>'
        parts.append(f"<details><summary>{escape(name)}/{size}</summary>{_folder_html(inner, root, at)}</details>")
    return "\n".join(parts)


def _is_side(name: str, folder: Folder) -> bool:
    """Say whether a file tells about another one beside it, with which it is listed."""
    stem = name.removesuffix(".json")
    others = [f"{stem}{ending}" for ending in (".nii.gz", ".tsv", ".gii")]
    others.append(f"{stem}.shape.gii".replace(f"space-{FSAVERAGE5}", f"hemi-L_space-{FSAVERAGE5}"))  # of both sides
    return name.endswith(SIDE) and any(other in folder.files for other in others)


def _side_of(name: str) -> str:
    """Return the name of the file that tells about another one; both hemispheres share theirs."""
    return re.sub(r"(\.nii\.gz|\.tsv|(\.shape)?\.gii)$", ".json", re.sub(r"hemi-[LR]_", "", name))


def _file_html(path: Path, folder: Folder, root: Path, at: str) -> str:
    below = path.relative_to(root).as_posix()
    side = folder.files.get(_side_of(path.name))
    described = ""
    if side is not None and side != path:
        described = f" {Link('json', link_to_file(at, side, root), f'of {path.name}').html()}"
    what = _holds(below)
    said = f'<span class="what">{escape(what)}</span>' if what else ""
    return (
        f'<li data-path="{escape(below, quote=True)}">{Link(path.name, link_to_file(at, path, root)).html()}'
        f'{described}<span class="size">{written_size(path.stat().st_size)}</span>{said}</li>'
    )


def _holds(below: str) -> str:
    """Say what a file holds."""
    if below.endswith(("_statmap.nii.gz", "_statmap.shape.gii")):
        entities = dict(ENTITY.findall(Path(below).name))
        words = [entities.get(key, "") for key in ("model", "layer", "desc", "stat")]
        where = f" on the {HEMISPHERES[entities['hemi']]} cortex" if "hemi" in entities else ""
        return f"map{where}: " + ", ".join(filter(None, words))
    return next((words for pattern, words in HOLDS if re.fullmatch(pattern, below)), "")


def written_size(n_bytes: int) -> str:
    """Write a size.

    Examples
    --------
    >>> written_size(812), written_size(42653152)
    ('812 B', '42.7 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"
