"""The pictures as the network sees them, small ones of all and whole ones of those that are shown."""

from collections.abc import Iterable

import numpy as np

from rsa.units.found import Found
from rsa.units.watched import Watched

__all__ = ["THUMBNAIL", "shown_pictures"]

THUMBNAIL = 64
"""Longer side of a small picture in pixels."""


def shown_pictures(watched: Watched, whole: Iterable[int]) -> Found:
    """Keep pictures as the network sees them.

    Parameters
    ----------
    watched : Watched
        The network.
    whole : iterable of int
        Numbers of the pictures that are kept whole.

    Returns
    -------
    Found
        `small`, shape (n_pictures, height, width, 3), of all pictures; `whole`, shape (n_whole, height, width, 3), and
        `numbers`, shape (n_whole,), those of the pictures: all 0 to 255.
    """
    from PIL import Image

    numbers = sorted({int(picture) for picture in whole})
    height, width = watched.input_px
    share = THUMBNAIL / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    small, kept = [], []
    for picture in range(watched.n_pictures):
        pixels = watched.pixels(watched.input_of(picture))
        small.append(np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)))
        if picture in numbers:
            kept.append(pixels)
    whole_ones = np.stack(kept) if kept else np.zeros((0, height, width, 3), np.uint8)
    return Found({}, {"small": np.stack(small), "whole": whole_ones, "numbers": np.array(numbers, dtype=int)})
