"""Which model fits best: a ranking in each region, and the table for people at a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.errors import UserError
from rsa.files import io
from rsa.inference.ranking import PAIR_COLUMNS, RANKING_COLUMNS, compared_pairs, ranked
from rsa.pipeline.config import ComparisonName, Ranking
from rsa.pipeline.plan import Plan, read_plan
from rsa.pipeline.stages.common import stacked
from rsa.report.ranks import forward_times, pairs_table, ranking_table, ranking_words, written_table

__all__ = ["rank", "ranking"]


def ranking(
    brain: list[Path],
    references: list[Path],
    output: Path,
    pairs: Path,
    comparison: ComparisonName = "spearman",
    ranking: Ranking | None = None,
) -> None:
    """Rank models in each region, their layers chosen by other subjects and on other conditions.

    Parameters
    ----------
    brain : list of path
        RDMs of the regions of each subject (HDF5).
    output : path
        Table (TSV), with a JSON data dictionary beside it.
    pairs : path
        Table of the differences between models (TSV), with a JSON data dictionary beside it.
    ranking : Ranking
        How conditions are split, and how differences are tested.
    """
    table, compared = _made(brain, references, comparison, ranking or Ranking())
    io.save_table(pairs, compared, PAIR_COLUMNS)
    io.save_table(output, table, RANKING_COLUMNS)


def rank(config: Path, /, *, ranking: Ranking | None = None) -> None:
    """Print the ranking of models in each region of a study that has run, with their parameters and forward times.

    Without options it is the ranking that the study has made, if it has; otherwise it is made now, and not kept.

    Parameters
    ----------
    config : path
        The YAML file of the study.
    ranking : Ranking
        How conditions are split, and how differences are tested.
    """
    plan = read_plan(config, check=False)
    kept = [*plan.all("ranking"), *plan.all("ranking_pairs")]
    if ranking is None and kept and all(path.is_file() for path in kept):
        table, pairs = (io.load_table(path) for path in kept)
    else:
        ranking = ranking or plan.study.ranking or Ranking()
        table, pairs = _made(*_files_of(plan, config), plan.study.comparison, ranking)
    used = ranking or plan.study.ranking or Ranking()
    parts = [
        ranking_words(used.n_splits, len(plan.study.subjects)),
        written_table(ranking_table(table, forward_times(plan.references()))),
    ]
    if len(pairs):
        parts += ["Differences between models:", written_table(pairs_table(pairs))]
    print("\n\n".join(parts))


def _files_of(plan: Plan, config: Path) -> tuple[list[Path], list[Path]]:
    """Return the RDMs of regions and of references, which an earlier run wrote."""
    brain, references = plan.all("region_rdms"), plan.references()
    if not brain:
        raise UserError(f"{config} has no regions, in which models could be ranked: set `regions`.")
    missing = [path for path in (*brain, *references) if not path.is_file()]
    if missing:
        raise UserError(f"There is no {missing[0]} yet: run the study first, python -m rsa run {config}.")
    return brain, references


def _made(
    brain: list[Path], references: list[Path], comparison: str, settings: Ranking
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank models, and compare them in pairs."""
    how: dict[str, Any] = {"level": settings.level, "seed": settings.seed}
    found = ranked(stacked(brain), stacked(references), comparison, n_splits=settings.n_splits, **how)
    sizes = found.table["model"].map(_n_parameters(references)).astype("Int64")
    table = found.table.assign(n_parameters=sizes)[list(RANKING_COLUMNS)]
    return table, compared_pairs(found, n_permutations=settings.permutations, **how)


def _n_parameters(references: Sequence[Path]) -> dict[str, int]:
    """Return the number of parameters of each network, by its label, where files tell."""
    found = {}
    for path in references:
        n_parameters = (io.read_provenance(path).get("source") or {}).get("n_parameters")
        if n_parameters is not None:
            found[str(io.load_row_table(path)["model"].iloc[0])] = int(n_parameters)
    return found
