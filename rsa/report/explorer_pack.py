"""Arrays as text that a page can hold: quantised, compressed, in base64, inside the page or in a file beside it."""

import base64
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rsa.core import Array
from rsa.files.io import save_text

__all__ = [
    "INFINITE",
    "LARGEST_CODE",
    "MISSING",
    "Bundle",
    "Quantised",
    "Shelf",
    "json_text",
    "quantised",
    "quantised_patterns",
    "split_bytes",
    "voxel_gaps",
]

MISSING, INFINITE, LARGEST_CODE = -32768, 32767, 32766
"""Codes of int16: of NaN, of infinity (minus infinity has its negative), and the largest of a number."""

LARGEST_BYTE = 127


@dataclass(frozen=True, eq=False)
class Quantised:
    """Rows of numbers as int16: a number is `offsets` + `steps` * code, and is off by half a step at most.

    Parameters
    ----------
    codes : array of int16, shape (n_rows, n_columns)
        `MISSING` for NaN, plus and minus `INFINITE` for infinity.
    offsets, steps : arrays, shape (n_rows,)
        Of each row.
    """

    codes: Array
    offsets: Array
    steps: Array

    def values(self) -> Array:
        """Return the numbers, shape (n_rows, n_columns), float64: what the page reads."""
        values = self.offsets[:, None] + self.steps[:, None] * self.codes
        values[self.codes == MISSING] = np.nan
        values[np.abs(self.codes.astype(np.int32)) == INFINITE] = np.inf
        values[self.codes == -INFINITE] = -np.inf
        return np.asarray(values)


def quantised(values: Array) -> Quantised:
    """Round each row to 65,533 steps from its lowest to its highest finite number.

    Examples
    --------
    >>> found = quantised(np.array([[0.0, 0.5, np.nan]]))
    >>> found.codes, found.values().round(5)
    (array([[-32766,  32766, -32768]], dtype=int16), array([[0. , 0.5, nan]]))
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    finite = np.isfinite(values)
    lowest = np.where(finite, values, np.inf).min(axis=1, initial=np.inf)
    highest = np.where(finite, values, -np.inf).max(axis=1, initial=-np.inf)
    empty = ~finite.any(axis=1)
    lowest[empty] = highest[empty] = 0.0
    offsets, steps = (lowest + highest) / 2, (highest - lowest) / (2 * LARGEST_CODE)
    with np.errstate(invalid="ignore", divide="ignore"):
        codes = np.rint((values - offsets[:, None]) / np.where(steps == 0, 1.0, steps)[:, None])
    codes = np.clip(np.where(finite, codes, 0), -LARGEST_CODE, LARGEST_CODE)
    codes = np.where(np.isnan(values), MISSING, np.where(np.isposinf(values), INFINITE, codes))
    codes = np.where(np.isneginf(values), -INFINITE, codes)
    return Quantised(codes.astype(np.int16), offsets, steps)


def split_bytes(codes: Array) -> bytes:
    """Return int16 or uint16 as all low bytes and then all high bytes, which compress better apart."""
    pairs = np.ascontiguousarray(codes, dtype="<u2" if codes.dtype.kind == "u" else "<i2").view(np.uint8)
    return pairs.reshape(-1, 2).T.tobytes()


def quantised_patterns(responses: Array) -> tuple[Array, Array, Array]:
    """Round the responses of each voxel to 255 steps: codes (n_voxels, n_conditions) int8, offsets, steps (n_voxels,).

    A response is offset + step * code; offsets and steps are single precision, as they stand in the page.
    """
    lowest, highest = responses.min(axis=1).astype(np.float64), responses.max(axis=1).astype(np.float64)
    offsets = ((lowest + highest) / 2).astype(np.float32)
    steps = ((highest - lowest) / (2 * LARGEST_BYTE)).astype(np.float32)
    divisors = np.where(steps == 0, np.float32(1), steps)
    codes = np.rint((responses - offsets[:, None]) / divisors[:, None])
    return np.clip(codes, -LARGEST_BYTE, LARGEST_BYTE).astype(np.int8), offsets, steps


def voxel_gaps(flat: Array) -> bytes:
    """Return ascending positions on a grid as the first, and the differences between them (uint32)."""
    return np.diff(np.asarray(flat, dtype=np.int64), prepend=0).astype("<u4").tobytes()


def json_text(content: Any) -> str:
    """Write JSON that can stand in a `<script>`: no `<` is in it; a number that is not finite is null."""
    text = json.dumps(_plain(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    if isinstance(content, np.integer):
        return int(content)
    return content


@dataclass(eq=False)
class Bundle:
    """What is loaded together: pieces in the page, or in one script beside it.

    Parameters
    ----------
    name : str
        Of the file, without its ending, if it lies beside the page.
    label : str
        What it holds, in the words of the page.
    """

    name: str
    label: str
    pieces: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, content: bytes) -> str:
        """Compress an array into the bundle; return the name that was given to it."""
        self.pieces[name] = base64.b64encode(zlib.compress(content, 6)).decode("ascii")
        return name

    @property
    def size(self) -> int:
        """Number of bytes that it takes in a page."""
        return sum(len(text) + len(name) + 60 for name, text in self.pieces.items())

    def elements(self) -> str:
        """Write its pieces as elements of the page."""
        return "\n".join(
            f'<script type="text/plain" id="piece-{name}">{text}</script>' for name, text in self.pieces.items()
        )

    def script(self) -> str:
        """Write it as a script beside the page: one that is not a module, which a page from a disk can load."""
        return "\n".join(f'receivePiece("{name}","{text}");' for name, text in self.pieces.items()) + "\n"


class Shelf:
    """Bundles in the order in which they are wanted: in the page while there is room, in files beside it after that.

    Parameters
    ----------
    folder : path
        Of the page. What does not fit is written there at once, and not kept.
    budget : int
        Bytes that bundles may take in the page.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.room = budget
        self.inside: list[Bundle] = []
        self.beside: dict[str, str] = {}
        self.pieces: dict[str, str] = {}

    def put(self, bundle: Bundle) -> None:
        """Put a bundle where there is room for it; an empty one nowhere."""
        if not bundle.pieces:
            return
        if bundle.size <= self.room:
            self.inside.append(bundle)
            self.room -= bundle.size
            return
        save_text(self.folder / f"{bundle.name}.js", bundle.script())
        self.beside[bundle.name] = bundle.label
        self.pieces |= dict.fromkeys(bundle.pieces, bundle.name)
