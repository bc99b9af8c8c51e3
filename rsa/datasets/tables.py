"""Tables whose row i describes image i: conditions, and where they are known runs and delays after onset."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from rsa.errors import UserError, listed
from rsa.files.io import load_table
from rsa.files.sources import Version, version_of
from rsa.inputs.stimuli import condition_in

__all__ = ["read_rows", "rows_of_run"]

DEFAULTS = ("run", "delay_s")
"""Columns that are used if a table has them; one that is called otherwise has to be there."""


def read_rows(
    path: Path,
    condition_column: str,
    run_column: str | None = "run",
    delay_column: str | None = "delay_s",
    pattern: str | None = None,
) -> pd.DataFrame:
    """Read a table of images.

    Parameters
    ----------
    path : Path
        The table (.csv: commas; anything else: tabs).
    condition_column, run_column, delay_column : str
        Columns with conditions, runs and delays after onset in s. The last two are used if the table has them; another
        name than ``run`` and ``delay_s`` has to be there.
    pattern : str, optional
        Regular expression whose first group is the condition.

    Returns
    -------
    DataFrame
        `condition` (text) and, where they are known, `run` (text) and `delay_s` (float).

    Raises
    ------
    UserError
        If the table cannot be read, lacks a column or a value, or a delay is no number.
    """
    try:
        version = version_of(path)
    except OSError:
        version = None  # told when it is read
    return _read_once(path, version, condition_column, run_column, delay_column, pattern).copy()


@lru_cache(maxsize=32)
def _read_once(
    path: Path,
    version: Version | None,
    condition_column: str,
    run_column: str | None,
    delay_column: str | None,
    pattern: str | None,
) -> pd.DataFrame:
    """Read a table that did not change since: one table may describe the images of 40 runs."""
    there = load_table(path, [condition_column]).columns
    named = {name: column for name, column in (("run", run_column), ("delay_s", delay_column)) if column is not None}
    wanted = {name: column for name, column in named.items() if column in there or column not in DEFAULTS}
    table = load_table(path, [condition_column, *wanted.values()])  # as text: "01" stays "01"
    rows = pd.DataFrame({"condition": [condition_in(label, pattern) for label in table[condition_column]]})
    if "run" in wanted:
        rows["run"] = table[wanted["run"]]
    if "delay_s" in wanted:
        rows["delay_s"] = _seconds(path, table[wanted["delay_s"]])
    return rows


def rows_of_run(path: Path, rows: pd.DataFrame, run: str) -> pd.DataFrame:
    """Take the rows of one run; "01" means the run 1 of the table if that has no run "01".

    Raises
    ------
    UserError
        If the table has no such run.
    """
    labels = list(dict.fromkeys(rows["run"]))
    same = [run] if run in labels else [label for label in labels if _is_same_number(label, run)]
    if not same:
        raise UserError(f"{path} has no rows of run {run!r}; its runs are {listed(labels)}.")
    return rows[rows["run"].isin(same)].reset_index(drop=True)


def _is_same_number(label: str, run: str) -> bool:
    return label.isdecimal() and run.isdecimal() and int(label) == int(run)


def _seconds(path: Path, delays: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(delays, errors="coerce")
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path} has {delays.iloc[row]!r} in column {delays.name!r} on line {row + 2}; give delays in seconds."
        )
    return numbers.astype(float)
