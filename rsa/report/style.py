"""What all figures share: colours that colour-blind readers can tell apart, type, scales, and how they are saved."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rsa.core import Array
from rsa.files.io import writing
from rsa.rdm import MEEG

__all__ = [
    "FAINT",
    "GREY",
    "INK",
    "MODEL_COLOURS",
    "ORDINAL",
    "PAGE",
    "PAIRS",
    "SIGNED",
    "SMALL",
    "TEXT",
    "TITLE",
    "axes_at",
    "blank",
    "caption_of",
    "colour_bar",
    "fitted",
    "inches_of",
    "is_wanted",
    "layer_colours",
    "model_colours",
    "only",
    "plain",
    "save_figure",
    "short_names",
    "signed_limit",
    "unit_of",
    "without_shared_ends",
    "written_times",
]

INK, GREY, FAINT = "#222222", "#6b6b6b", "#e3e3e3"
TITLE, TEXT, SMALL = 8.0, 7.0, 6.0
"""Sizes of type in points; none is smaller, as figures are printed as large as they are."""

PAGE = 7.08
"""Width of the widest figure in inches: two columns of a journal, 180 mm."""

SIGNED, ORDINAL, PAIRS = "RdBu_r", "viridis", "viridis"
"""Colour maps of scores (symmetric around 0), of layers in order, and of dissimilarities."""

MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
"""Okabe and Ito's, which colour-blind readers can tell apart, but for yellow, which is too faint on white."""

SHADES = (0.0, 0.5, -0.45)
"""With more models, colours come again in a lighter shade (the share of white in it), and then in a darker one."""
DPI = 300
"""Pixels per inch of figures, and of the images in their vector graphics."""


@dataclass
class Choice:
    """The figure that is wanted of those that are drawn together.

    Parameters
    ----------
    name : str
        That of its file, without an ending.
    dpi : int
        Its pixels per inch.
    others : list of str
        The names of those that were passed over.
    """

    name: str
    dpi: int = DPI
    others: list[str] = field(default_factory=list)


_choice: ContextVar[Choice | None] = ContextVar("choice", default=None)


@contextmanager
def only(name: str, dpi: int = DPI) -> Iterator[Choice]:
    """Write one figure alone of those that are drawn in this block."""
    token = _choice.set(choice := Choice(name, dpi))
    try:
        yield choice
    finally:
        _choice.reset(token)


def is_wanted(path: str | Path) -> bool:
    """Say whether a figure is written; one that is not is remembered by the `Choice`."""
    choice = _choice.get()
    if choice is None or choice.name == Path(path).stem:
        return True
    choice.others.append(Path(path).stem)
    return False


def save_figure(path: str | Path, figure: Figure, caption: str = "", dpi: int | None = None) -> Path:
    """Write a figure as PNG and, beside it, as SVG; the same figure gives the same bytes.

    In a block of `only`, other figures than the chosen one are not written.

    Parameters
    ----------
    path : path
        Of the PNG. The SVG has its name with another ending.
    figure : Figure
        Is drawn for both. Text is text in the SVG, and lines are lines.
    caption : str
        Kept inside both files; `caption_of` reads it.
    dpi : int, optional
        Pixels per inch of the PNG, and of images in the SVG: `DPI`, or fewer.

    Returns
    -------
    path
        That of the PNG.
    """
    path, choice = Path(path), _choice.get()
    if not is_wanted(path):
        return path
    dpi = min(dpi or DPI, DPI) if choice is None else choice.dpi
    same_text_and_names = rc_context({"svg.fonttype": "none", "svg.hashsalt": "rsa"})
    with writing(path.with_suffix(".svg")) as temporary, same_text_and_names:
        metadata = {"Title": path.stem, "Description": _printable(caption), "Date": None}
        FigureCanvasSVG(figure).print_figure(temporary, format="svg", dpi=dpi, metadata=metadata)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    information = PngInfo()
    information.add_text("Description", caption)
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # (n_down, n_across, red green blue)
    with writing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG", pnginfo=information, dpi=(dpi, dpi))
    return path


def _printable(text: str) -> str:
    """Leave out what XML cannot hold: control characters that no one sees."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def caption_of(path: str | Path) -> str:
    """Return the caption that is kept in a PNG; "" if there is none."""
    with Image.open(path) as image:
        return str(image.info.get("Description", ""))


def plain(text: object, n_shown: int = 40) -> str:
    """Make a label safe and short: no mathematics in dollar signs, the middle of long names left out.

    Examples
    --------
    >>> plain("layer4.1.conv2.activation", 14)
    'layer4…ivation'
    """
    label = str(text)
    if len(label) > n_shown:
        n_last = max(n_shown // 2, 1)
        label = f"{label[: max(n_shown - n_last - 1, 0)]}…{label[-n_last:]}"
    return label.replace("$", r"\$")


def short_names(names: Sequence[str], n_shown: int) -> list[str]:
    """Shorten names that are drawn beside each other: what all of them share at their ends goes first.

    Examples
    --------
    >>> short_names(["module.encoder.conv1", "module.encoder.conv2"], 12)
    ['…conv1', '…conv2']
    >>> short_names(["conv1", "fc"], 12)
    ['conv1', 'fc']
    """
    return [plain(name, n_shown) for name in without_shared_ends(names, n_shown)]


def without_shared_ends(names: Sequence[str], n_shown: int) -> list[str]:
    """Leave out what all of these names share at their ends, if one is longer than `n_shown`; an empty one stays empty.

    Examples
    --------
    >>> without_shared_ends(["encoder.layer_0", "", "encoder.layer_1"], 12)
    ['…0', '', '…1']
    """
    if max(map(len, names), default=0) <= n_shown:
        return list(names)
    named = list(dict.fromkeys(filter(None, names)))
    first = _n_shared(named)
    last = _n_shared([name[first:][::-1] for name in named])
    return [_without_ends(name, first, last) if name else "" for name in names]


def _n_shared(names: Sequence[str]) -> int:
    """Return how many letters names begin with alike, up to the last mark between words."""
    n_alike = 0
    while len(names) > 1 and all(name[: n_alike + 1] == names[0][: n_alike + 1] for name in names):
        n_alike += 1
    return max(names[0][:n_alike].rfind(mark) for mark in "._ /-") + 1 if n_alike else 0


def _without_ends(name: str, n_first: int, n_last: int) -> str:
    """Leave letters out at both ends of a name, and mark where."""
    middle = name[n_first : len(name) - n_last]
    return "…" * (n_first > 1) + middle + "…" * (n_last > 1)


@cache
def _width(text: str, points: float) -> float:
    """Return how wide a line of text is, in inches: at a low resolution, where hints to the pixels make it wider."""
    renderer = RendererAgg(1, 1, 100)
    width, _, _ = renderer.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    return float(width) / 100


def inches_of(texts: Iterable[str], points: float = TEXT) -> float:
    """Return the width of the widest line of some texts, in inches."""
    lines = [line.replace(r"\$", "$") for text in texts for line in text.split("\n")]
    return max((_width(line, points) for line in lines), default=0.0)


def fitted(names: Sequence[str], inches: float, points: float, n_lines: int = 2) -> tuple[list[str], float]:
    """Make names fit a width, all in one size: a little smaller, or wrapped, or smaller still; only then shortened.

    Returns
    -------
    names : list of str
        With line breaks.
    points : float
        The size of type at which they fit.
    """
    names = [name.replace(r"\$", "$") for name in names]
    sizes = [float(size) for size in np.arange(points, SMALL - 0.1, -0.5)]
    for size, lines in [*((size, 1) for size in sizes[:3]), *((size, n_lines) for size in sizes)]:
        wrapped = [_wrapped(name, inches, size, lines) for name in names]
        if inches_of(wrapped, size) <= inches:
            return [plain(name, len(name)) for name in wrapped], size
    return [plain(_shortened(name, inches, n_lines), 10**6) for name in names], SMALL


def _wrapped(name: str, inches: float, points: float, n_lines: int) -> str:
    """Break a name that is too long behind a mark between words, so that its longer line is as short as can be."""
    if n_lines < 2 or inches_of([name], points) <= inches:
        return name
    breaks = [i + 1 for i, letter in enumerate(name[:-1]) if letter in " ._-/"]
    return min(
        (f"{name[:i].rstrip()}\n{name[i:]}" for i in breaks), key=lambda one: inches_of([one], points), default=name
    )


def _shortened(name: str, inches: float, n_lines: int) -> str:
    """Leave out the middle of the lines that are too long in the smallest type."""
    lines = _wrapped(name, inches, SMALL, n_lines).split("\n")
    for i, line in enumerate(lines):
        n = len(line)
        while n > 3 and inches_of([lines[i]], SMALL) > inches:
            n -= 1
            lines[i] = f"{line[: n - n // 2 - 1]}…{line[-(n // 2) :]}"
    return "\n".join(lines)


def unit_of(table: pd.DataFrame) -> str:
    """Return the unit of the times of a table of scores: "ms" of M/EEG RDMs, "s" of delays of fMRI."""
    return "ms" if "model" in table and (table["model"] == MEEG).any() else "s"


def written_times(times_s: Iterable[float], among: Iterable[float] | None = None, unit: str = "") -> list[str]:
    """Write times with their unit; "" for NaN.

    Without a `unit` ("ms" or "s"), in ms if none of them (or of `among`) is 2 s from 0 or further.

    Examples
    --------
    >>> written_times([0.1, 0.25])
    ['100 ms', '250 ms']
    >>> written_times([0, 4.5])
    ['0 s', '4.5 s']
    """
    times = [float(time) for time in times_s]
    in_s = any(abs(float(time)) >= 2 for time in (times if among is None else among)) if not unit else unit == "s"
    texts = ["" if math.isnan(time) else f"{time:.4g} s" if in_s else f"{1000 * time:.0f} ms" for time in times]
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]


def signed_limit(values: Array) -> float:
    """Return the end of a symmetric colour scale: the largest absolute value, rounded up to two digits.

    1.0 where no value is defined, so that an empty map has a scale as well.

    Examples
    --------
    >>> signed_limit(np.array([0.1, -0.4213, np.nan]))
    0.43
    """
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size or sizes.max() == 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(float(sizes.max()))) - 1)
    return float(f"{math.ceil(float(sizes.max()) / unit - 1e-4) * unit:.6g}")


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """Give each model a colour, by its place among all models of a study.

    Examples
    --------
    >>> model_colours(["alexnet", "vgg11"])
    {'alexnet': '#0072b2', 'vgg11': '#d55e00'}
    """
    n = len(MODEL_COLOURS)
    return {model: _shade(MODEL_COLOURS[i % n], SHADES[i // n % len(SHADES)]) for i, model in enumerate(models)}


def _shade(colour: str, share: float) -> str:
    """Mix a colour with white, or by a negative share with black."""
    red, green, blue = ((1 - abs(share)) * part + max(share, 0.0) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def layer_colours(n_layers: int) -> list[Any]:
    """Return the colours of the layers of a model, from first (dark) to last (bright); one alone is dark."""
    return list(colormaps[ORDINAL](np.linspace(0.02, 0.9, n_layers))) if n_layers > 1 else [INK]


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes whose place is given in inches from the lower left corner."""
    total = figure.get_size_inches()
    return figure.add_axes((left / total[0], bottom / total[1], width / total[0], height / total[1]))


def blank(axes: Axes) -> None:
    """Take ticks and frame away."""
    axes.set(xticks=[], yticks=[])
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour_bar(figure: Figure, axes: Axes, shown: ScalarMappable, label: str) -> None:
    """Draw a horizontal colour bar into `axes`, with its range in the ticks and `label` below."""
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal")
    low, high = (float(end or 0) for end in shown.get_clim())
    bar.set_ticks([low, (low + high) / 2, high])
    bar.ax.tick_params(labelsize=TEXT, length=2, colors=INK)
    bar.outline.set_linewidth(0.4)
    bar.set_label(plain(label, 120), fontsize=TEXT, color=INK)
