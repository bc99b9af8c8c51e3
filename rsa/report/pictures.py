"""Pictures inside pages: smaller copies of the files of figures, which stay as they are."""

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from rsa.errors import UserError

__all__ = ["Embedded", "embedded", "embedded_all"]

SCREEN_DPI = 140
"""Pixels of the page per inch of a figure: larger than in print, so that its type is as large as that of the page."""

MOST_PX = 1040
"""Pictures are shown no wider, in pixels of the page."""
DENSITY = 1.6
"""Pixels of the copy for each of these, for sharp screens."""
QUALITY = 80


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in a page.

    Parameters
    ----------
    source : str
        A data URI.
    width, height : int
        How large it is shown, in pixels of the page: so many per inch that the type of all figures has one size.
    """

    source: str
    width: int
    height: int


def embedded(path: str | Path) -> Embedded:
    """Make a copy of a PNG for a page.

    Raises
    ------
    UserError
        If the picture is missing.
    """
    try:
        with Image.open(path) as image:
            natural = SCREEN_DPI * image.width / float(image.info.get("dpi", (SCREEN_DPI, SCREEN_DPI))[0])
            width = min(round(natural), MOST_PX)
            height = round(width * image.height / image.width)
            copy = image.convert("RGB")
    except OSError as error:
        raise UserError(f"Cannot read the picture {path}: {error.strerror}. Run the figures again.") from error
    if copy.width > DENSITY * width:
        copy = copy.resize((round(DENSITY * width), round(DENSITY * height)), Image.Resampling.LANCZOS)
    packed = BytesIO()
    copy.save(packed, "WEBP", quality=QUALITY, method=2)
    encoded = base64.b64encode(packed.getvalue()).decode("ascii")
    return Embedded(f"data:image/webp;base64,{encoded}", width, height)


def embedded_all(paths: Iterable[str | Path], n_threads: int = 4) -> dict[Path, Embedded]:
    """Make the copies of many pictures side by side."""
    distinct = list(dict.fromkeys(map(Path, paths)))
    with ThreadPoolExecutor(n_threads) as threads:
        return dict(zip(distinct, threads.map(embedded, distinct), strict=True))
