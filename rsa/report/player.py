"""Films in a page: all frames as one picture, of which a slider shows one; `js/film.js` moves it."""

import base64
import json
from html import escape
from pathlib import Path

from rsa.errors import UserError

__all__ = ["film_html"]

SCREEN_DPI = 120
"""Pixels of the page per inch of a film, as it has itself."""


def film_html(path: str | Path, links: str = "") -> str:
    """Write a film as a part of a page, which also needs `js/film.js` and `js/film.css`.

    Parameters
    ----------
    path : path
        The table of frames (JSON), from `rsa.report.film`; its frames are beside it.
    links : str
        HTML that comes after the caption.

    Raises
    ------
    UserError
        If the table or the frames are missing.

    Notes
    -----
    Without scripts the frame is seen that is shown first.
    """
    path = Path(path)
    try:
        film = json.loads(path.read_text(encoding="utf-8"))
        frames = base64.b64encode((path.parent / film["frames"]).read_bytes()).decode("ascii")
    except OSError as error:
        raise UserError(f"Cannot read the film {path}: {error.strerror}. Run the figures again.") from error
    caption, labels, start, n_across = film["caption"], film["labels"], film["start"], film["n_across"]
    (width, height), n_down = film["frame_px"], -(-len(labels) // n_across)
    left, top = start % n_across / n_across * 100, start // n_across / n_down * 100
    window = f"width: {round(width * SCREEN_DPI / film['dpi'])}px; aspect-ratio: {width} / {height}"
    place = f"width: {100 * n_across}%; transform: translate(-{left:g}%, -{top:g}%)"
    short = escape(caption.split(". ")[0], quote=True)
    written = escape(json.dumps(labels, ensure_ascii=False), quote=True)
    time = escape(labels[start], quote=True)
    slider = f'type="range" min="0" max="{len(labels) - 1}" value="{start}" aria-label="Time" aria-valuetext="{time}"'
    return f"""<figure class="film" data-labels="{written}" data-across="{n_across}" data-frame-ms="{film["frame_ms"]}">
<div class="film-window" style="{window}">
<img src="data:image/webp;base64,{frames}" alt="{short}" style="{place}">
</div>
<div class="film-controls"><button type="button">Play</button><input {slider}><output>{time}</output></div>
<figcaption>{escape(caption)}{links}</figcaption>
</figure>"""
