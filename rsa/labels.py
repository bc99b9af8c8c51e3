"""Names as labels: one text for each name, however its letters are stored."""

import unicodedata
from collections.abc import Iterable

__all__ = ["as_label", "as_labels"]


def as_label(name: object) -> str:
    """Return a name as a label: text whose accented letters are one character each (Unicode NFC).

    Names of files on a Mac have an accent as a character of its own, and tables mostly not; both are one label.

    Examples
    --------
    >>> as_label("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", str(name))


def as_labels(names: Iterable[object]) -> list[str]:
    """Return names as labels, in their order; see `as_label`."""
    return [as_label(name) for name in names]
