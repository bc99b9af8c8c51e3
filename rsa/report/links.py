"""Links between the pages of a study, its files and the brain explorer: relative, so that the folder can be moved."""

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode

__all__ = ["EXPLORER", "GROUP", "OVERVIEW", "PAGES", "explorer_link", "link_from", "link_to_file", "page_of"]

OVERVIEW, PAGES, EXPLORER = "report.html", "pages", "explorer/index.html"
"""Where the overview, the folder of the other pages, and the brain explorer are, below the folder of the results."""

GROUP = "group"
"""Who is shown in the explorer when it is no single subject."""


def page_of(name: str) -> str:
    """Return where a page is, below the folder of the results: "methods" -> "pages/methods.html"."""
    return f"{PAGES}/{name}.html"


def explorer_link(
    *,
    who: str = "",
    analysis: str = "",
    model: str = "",
    layer: str = "",
    time_s: float | None = None,
    statistic: str = "",
    mm: Sequence[float] | None = None,
) -> str:
    """Return the link to a state of the brain explorer, relative to the folder of the results.

    Parameters
    ----------
    who : str
        "group", or the label of a subject.
    analysis : str
        Name of the analysis; empty for the plain comparison.
    model, layer, statistic : str
        The map. What is empty is left out; the explorer then chooses.
    time_s : float, optional
        Time after onset, s; not a number for a map without times.
    mm : sequence of 3 floats, optional
        Where the crosshair is, in mm.

    Examples
    --------
    >>> explorer_link(who="01", model="alexnet", layer="features.1", mm=(-42, -74.5, -8))
    'explorer/index.html#who=01&model=alexnet&layer=features.1&x=-42&y=-74.5&z=-8'
    """
    state = {"who": who, "analysis": analysis, "model": model, "layer": layer}
    state["time"] = "" if time_s is None or math.isnan(time_s) else f"{time_s:g}"
    state["stat"] = statistic
    state |= {} if mm is None else {axis: f"{round(value, 2):g}" for axis, value in zip("xyz", mm, strict=True)}
    said = urlencode({key: value for key, value in state.items() if value}, quote_via=quote, safe="")
    return f"{EXPLORER}#{said}" if said else EXPLORER


def link_from(page: str, target: str) -> str:
    """Return a link between two places below the folder of the results, as it is written on the page `page`.

    `target` is a link already: what follows # in it is kept.

    Examples
    --------
    >>> link_from("pages/group.html", "explorer/index.html#who=group"), link_from("report.html", "pages/group.html")
    ('../explorer/index.html#who=group', 'pages/group.html')
    """
    up = "../" * (len(PurePosixPath(page).parts) - 1)
    same = PurePosixPath(page).parent.as_posix() + "/"
    return target.removeprefix(same) if up and target.startswith(same) else up + target


def link_to_file(page: str, path: str | Path, folder: str | Path) -> str:
    """Return the link on a page to a file; odd signs in its name are written so that a browser finds it.

    Parameters
    ----------
    page : str
        Where the page is, below the folder of the results.
    path : path
        The file, inside that folder or beside it.
    folder : path
        The folder of the results.

    Examples
    --------
    >>> link_to_file("pages/files.html", "results/demo/group/a #1.nii.gz", "results/demo")
    '../group/a%20%231.nii.gz'
    """
    return link_from(page, quote(Path(os.path.relpath(path, folder)).as_posix()))
