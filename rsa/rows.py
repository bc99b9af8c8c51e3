"""What must be true of the rows of a table before it is worked with: columns, values, none twice."""

import pandas as pd

from rsa.errors import UserError, listed

__all__ = ["require_columns", "require_known", "require_once"]


def require_columns(table: pd.DataFrame, names: list[str], what: str) -> None:
    """Raise a `UserError` if a table has no rows, or a column is missing."""
    missing = [name for name in names if name not in table]
    if missing:
        raise UserError(f"The table of {what} has no column {missing[0]!r}, only {listed(list(table))}.")
    if table.empty:
        raise UserError(f"The table of {what} has no rows.")


def require_known(table: pd.DataFrame, names: list[str], what: str) -> None:
    """Raise a `UserError` if a column has gaps."""
    for name in names:
        if table[name].isna().any():
            row = int(table[name].isna().argmax()) + 1
            raise UserError(f"Row {row} of the table of {what} has no {name}; leave out rows without.")


def require_once(labels: pd.DataFrame, what: str) -> None:
    """Raise a `UserError` if a row comes twice."""
    twice = labels[labels.duplicated()]
    if len(twice):
        raise UserError(f"The row {twice.iloc[0].to_dict()} comes twice in the table of {what}; keep one of them.")


def require_share(name: str, value: float) -> None:
    """Raise a `UserError` unless a number is between 0 and 1."""
    if not 0 < value < 1:
        raise UserError(f"{name} is between 0 and 1 (both excluded), not {value:g}.")


def require_count(name: str, value: int) -> None:
    """Raise a `UserError` unless a number is at least 1."""
    if value < 1:
        raise UserError(f"{name} is 1 or more, not {value}.")
