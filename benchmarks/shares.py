"""What simulated studies found, for tables of the documentation."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

__all__ = ["exact_interval", "print_table", "share", "with_interval"]


def exact_interval(n_found: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share of studies."""
    interval = binomtest(n_found, n).proportion_ci(0.95, "exact")
    return float(interval.low), float(interval.high)


def with_interval(value: float, low: float, high: float) -> str:
    """Write a number with its interval."""
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def share(is_found: npt.ArrayLike) -> str:
    """Return a share with its exact 95 % interval."""
    found = np.asarray(is_found)
    return with_interval(found.mean(), *exact_interval(int(found.sum()), len(found)))


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table in Markdown, each as soon as it is there."""
    for number, row in enumerate(rows):
        if number == 0:
            print(f"| {' | '.join(row)} |\n{'|---' * len(row)}|")
        print(f"| {' | '.join(str(value) for value in row.values())} |", flush=True)
