"""Whose the files in a folder of results are, and whether they are as they were written."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rsa.errors import UserError, listed
from rsa.files import records

__all__ = ["problems_of_folder", "verified"]

NOT_RESULTS = {"logs"}
"""Folders of a study with files of which there are no checksums."""
OF_DESKTOPS = {"Thumbs.db", "desktop.ini"}
"""What file managers leave in folders, besides files whose name begins with a dot."""


# ------------------------------------------------------------------------------------ before a run


def problems_of_folder(folder: Path, outputs: Sequence[Path]) -> list[str]:
    """Return what in a folder of results would be lost, or written elsewhere, if a study ran: lines, or nothing.

    Parameters
    ----------
    folder : path
        `results/<study>`.
    outputs : sequence of path
        The files and folders that the study writes.
    """
    return [*_same_name(folder), *_elsewhere(folder, outputs), *_not_ours(folder, outputs)]


def _same_name(folder: Path) -> Iterator[str]:
    """Look for results of another study, under this name or one that differs in upper and lower case."""
    found = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
    alike = [name for name in found if name != folder.name and name.casefold() == folder.name.casefold()]
    if alike:
        yield (
            f"study: {folder.parent} has a folder {alike[0]!r}, which is the same as {folder.name!r} where upper and "
            "lower case do not count; choose another name."
        )
    name = _study_in(folder)
    if name not in (None, folder.name):
        yield f"study: {folder} holds results of a study called {name!r}; choose another name, or move that folder."


def _study_in(folder: Path) -> str | None:
    """Return the name of the study whose settings are in a folder."""
    import json

    try:
        return str(json.loads((folder / "study.json").read_text(encoding="utf-8"))["study"])
    except (OSError, ValueError, TypeError, KeyError):  # none, or none of ours
        return None


def _elsewhere(folder: Path, outputs: Sequence[Path]) -> Iterator[str]:
    """Look for links on the way to outputs that lead out of the folder."""
    ways = {way for path in outputs for way in (path, *path.parents) if folder in way.parents and way.is_dir()}
    home = folder.resolve()
    for way in sorted(ways):
        if way.is_symlink() and not way.resolve().is_relative_to(home):
            yield f"{way} is a link to {way.resolve()}, and a study writes to {folder} alone; remove the link."


def _not_ours(folder: Path, outputs: Sequence[Path]) -> Iterator[str]:
    """Look for files that no run has written, and that one would replace, or delete with the folder they are in."""
    is_known = _study_in(folder) == folder.name
    foreign = []
    for path in outputs:
        if path.is_dir() and not path.is_symlink():
            foreign += _foreign(path, is_known)
        elif path.exists() and not is_known and records.recorded(path) is None:
            foreign.append(path)
    if foreign:
        yield (
            f"{folder} has {listed([str(path) for path in foreign], 3)}, which this study did not write and a run "
            "would delete; move it to another folder, or choose another name for `study`."
        )


def _foreign(folder: Path, is_known: bool) -> list[Path]:
    """Return the files in the folder of a job that the job did not write.

    Earlier versions kept no checksums, so in a known study a folder without any is one of theirs.
    """
    if is_known and not records.named_in(folder):
        return []
    return [path for path in _files_in(folder) if records.recorded(path) is None]


def _files_in(folder: Path) -> list[Path]:
    """Return all files of a folder and of those in it, sorted, but hidden ones and those of file managers."""
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    names = {path: path.relative_to(folder).parts for path in files}
    return sorted(
        path for path in files if not any(name.startswith(".") for name in names[path]) and path.name not in OF_DESKTOPS
    )


# ------------------------------------------------------------------------------------- after a run


def verified(folder: Path, outputs: Sequence[Path], config: str | Path) -> str:
    """Compare the files of a folder of results with the checksums that were kept when they were written.

    Parameters
    ----------
    folder : path
        `results/<study>`.
    outputs : sequence of path
        The outputs of the jobs of the study, files and folders.
    config : path
        The configuration, for the command that makes results again.

    Returns
    -------
    str
        That all is well.

    Raises
    ------
    UserError
        Naming the files that are missing, changed, or not written by the study.
    """
    written = records.named_in(folder)
    if not written:
        raise UserError(
            f"{folder} has no checksums: the study {folder.name!r} was not run yet, or by an earlier version, which "
            "kept none."
        )
    missing = [path for path in (*outputs, *written) if not path.exists()]
    changed = [path for path in written if path.exists() and not records.is_own(path)]
    known = {*written, *outputs}
    others = [path for path in _files_in(folder) if path not in known and _is_result(path.relative_to(folder))]
    foreign = [path for path in others if records.recorded(path) is None]
    said = [
        f"{what}: {listed([str(path) for path in dict.fromkeys(paths)], 20)}."
        for what, paths in (("missing", missing), ("changed", changed), ("not of this study", foreign))
        if paths
    ]
    if wrong := list(dict.fromkeys([*missing, *changed])):
        targets = dict.fromkeys(str(_output_of(path, outputs)) for path in wrong)
        command = ["snakemake", "--cores", "all", "--configfile", str(config), "--forcerun", *targets]
        said.append(f"To make them again: {shlex.join(command)}")
    if said:
        raise UserError(f"{folder} is not as it was written. {' '.join(said)}")
    return f"{folder}: all {len(written)} files are as they were written."


def _is_result(path: Path) -> bool:
    return path.parts[0] not in NOT_RESULTS and not path.name.endswith("_activations.h5")


def _output_of(path: Path, outputs: Sequence[Path]) -> Path:
    """Return the output of a job with which a file is written: itself, the folder around it, or a file beside it."""
    around = [output for output in outputs if output == path or output in path.parents]
    beside = [output for output in outputs if output.parent == path.parent]
    return [*around, *sorted(beside, key=lambda output: output.stem != path.stem), path][0]
