"""A ranking of models, for people: its words, and its tables with what models cost."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.files import io

__all__ = ["forward_times", "pairs_table", "ranking_table", "ranking_words", "span", "unbroken", "written_table"]

MINUS = "\N{MINUS SIGN}"


# -------------------------------------------------------------------------------------------- words, tables


def ranking_words(n_splits: int, n_subjects: int) -> str:
    """Say what a score of a ranking is.

    Examples
    --------
    >>> ranking_words(20, 1)[:85]
    "Each model's layer is chosen on one half of the conditions, and scored on the other h"
    """
    who, in_whom = (" by all subjects but one", " in that one") if n_subjects > 1 else ("", "")
    said = (
        f"Each model's layer is chosen on one half of the conditions{who}, and scored on the other half{in_whom}, both "
        f"ways, in {n_splits} random splits. So more layers are no advantage. The score that is not cross-validated, "
        "with its layer chosen and scored on the same data, is too high."
    )
    return said if n_subjects > 1 else f"{said} There is one subject, so there are no intervals and no noise ceiling."


def forward_times(references: Sequence[Path]) -> dict[str, str]:
    """Return how long each network takes for a picture and where that was measured, by its label, where it is known.

    The time stands in a file of its own beside the RDMs of a network: results are the same in each run, and times are
    not.
    """
    found = {}
    for path in references:
        cost = path.with_name(f"{path.stem}_cost.json")
        if path.is_file() and cost.is_file():
            told = json.loads(cost.read_text(encoding="utf-8"))
            if told.get("forward_ms_per_picture") is None:  # RDMs were kept, and no picture passed
                continue
            label = str(io.load_row_table(path)["model"].iloc[0])
            found[label] = f"{_milliseconds(told['forward_ms_per_picture'])} ({told.get('device', 'cpu')})"
    return found


def ranking_table(table: pd.DataFrame, times: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Make of a ranking (`ranking.tsv`) the table that people read."""
    times = times or {}
    rows = [_row(row, times) for row in table.to_dict("records")]
    shown = pd.DataFrame(rows, columns=list(rows[0]) if rows else [])
    optional = (
        "interval",
        "noise ceiling",
        "share of the ceiling",
        "chosen",
        "parameters",
        "time per picture",
        "left out",
    )
    return shown.drop(columns=[name for name in optional if name in shown and (shown[name] == "").all()])


def _row(row: Mapping[Any, Any], times: Mapping[str, str]) -> dict[str, str]:
    """Write a row of a ranking in words."""
    is_known, several = not pd.isna(row["score"]), row["n_layers"] > 1
    layer = "" if pd.isna(row["layer"]) else str(row["layer"])
    share = f"{row['layer_share']:.0%}" if is_known and several else ""
    n_parameters = row["n_parameters"]
    return {
        "region": str(row["region"]),
        "rank": "" if pd.isna(row["rank"]) else f"{int(row['rank'])}",
        "model": str(row["model"]),
        "score": _number(row["score"]),
        "interval": span(row["lower"], row["upper"]),
        "share of the ceiling": _percent(row["share_of_ceiling"]),
        "noise ceiling": span(row["ceiling_lower"], row["ceiling_upper"]),
        "layer": layer,
        "chosen": share,
        "layers": f"{row['n_layers']:.0f}",
        "not cross-validated": _number(row["score_not_cross_validated"]),
        "parameters": "" if pd.isna(n_parameters) else f"{n_parameters / 1e6:.3g} M",
        "time per picture": times.get(str(row["model"]), ""),
        "left out": "" if pd.isna(row["left_out"]) else str(row["left_out"]),
    }


def pairs_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Make of the differences between models (`ranking_pairs.tsv`) the table that people read."""
    rows = [
        {
            "region": str(row["region"]),
            "models": f"{row['model_a']} {MINUS} {row['model_b']}",
            "difference": _number(row["difference"]),
            "interval": span(row["lower"], row["upper"]),
            "p": _p(row["p"]),
            "corrected p": _p(row["p_corrected"]),
        }
        for row in pairs.to_dict("records")
    ]
    shown = pd.DataFrame(rows, columns=list(rows[0]) if rows else [])
    return shown.drop(columns=[name for name in shown if (shown[name] == "").all()])


def unbroken(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the numbers of an interval in one line of a page, and those with their units."""
    numbers = [name for name in table if name not in ("region", "model", "models", "left out")]
    return table.assign(**{name: table[name].str.replace(" ", "\N{NO-BREAK SPACE}") for name in numbers})


def written_table(table: pd.DataFrame) -> str:
    """Write a table of words for a terminal: names to the left, numbers to the right."""
    cells = [list(table), *table.to_numpy().tolist()]
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(table.columns))]
    left = [name in ("region", "model", "models", "layer", "left out") for name in table]
    lines = [
        "  ".join(
            str(cell).ljust(width) if is_left else str(cell).rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _milliseconds(value: float) -> str:
    """Write a time with three digits or all before the point.

    Examples
    --------
    >>> [_milliseconds(value) for value in (3.0512, 35.52, 1550.865)]
    ['3.05 ms', '35.5 ms', '1,551 ms']
    """
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _number(value: float) -> str:
    """Write a score; what rounds to 0 has no sign.

    Examples
    --------
    >>> _number(0.2014), _number(-0.0004)
    ('0.201', '0.000')
    """
    return "" if pd.isna(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)


def _percent(share: float) -> str:
    return "" if pd.isna(share) else f"{round(share, 2) + 0.0:.0%}".replace("-", MINUS)


def span(low: float, high: float) -> str:
    """Write bounds as one, "0.12 to 0.25"; "" where one is unknown."""
    return "" if pd.isna(low) or pd.isna(high) else f"{_number(low)} to {_number(high)}"


def _p(value: float) -> str:
    return "" if pd.isna(value) else "< .0001" if value < 1e-4 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
