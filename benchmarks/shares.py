"""What simulated studies found, for tables of the documentation."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

__all__ = ["print_table", "share"]


def share(is_found: npt.ArrayLike) -> str:
    """Return a share with its exact 95 % interval."""
    found = np.asarray(is_found)
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, "exact")
    return f"{found.mean():.3f} ({interval.low:.3f} to {interval.high:.3f})"


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table in Markdown, each as soon as it is there."""
    for number, row in enumerate(rows):
        if number == 0:
            print(f"| {' | '.join(row)} |\n{'|---' * len(row)}|")
        print(f"| {' | '.join(str(value) for value in row.values())} |", flush=True)
