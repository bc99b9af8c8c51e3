"""Choosing by name from the tables that extend the pipeline."""

from collections.abc import Mapping
from typing import TypeVar

from rsa.errors import UserError, did_you_mean

__all__ = ["pick"]

T = TypeVar("T")


def pick(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return the entry of `table` called `name`.

    Parameters
    ----------
    table : mapping
        One of the extension tables: `MODELS`, `DATASETS`, `DISTANCES`, `COMPARISONS`, `MAPS`, `GROUP_TESTS`.
    name : str
        The entry's name.
    kind : str
        What the entries are, for the message: "distance", "comparison", ...

    Raises
    ------
    UserError
        If there is no such entry; the message lists those that there are.
    """
    if name in table:
        return table[name]
    raise UserError(f"Unknown {kind} {name!r}.{did_you_mean(name, table)} Choose one of: {', '.join(table)}.")
