"""What the stages share: how they read RDMs and patterns, and what they say of results."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd

from rsa.analyses import Analysis, PlainComparison
from rsa.core import Patterns, RDMs, concatenate
from rsa.errors import UserError
from rsa.files import io

__all__ = ["dictionary", "patterns_of_voxels", "provenance_of", "stacked"]


def stacked(paths: list[Path]) -> RDMs:
    """Read RDMs over the same conditions from several files, as one stack."""
    return concatenate([io.load_rdms(path) for path in paths])


def patterns_of_voxels(path: Path) -> Patterns:
    """Read patterns, which have to be over the voxels of a volume."""
    patterns = io.load_patterns(path)
    if patterns.volume is None:
        raise UserError(f"The patterns in {path} are not over voxels; a searchlight needs a volume.")
    return patterns


def dictionary(
    table: pd.DataFrame, columns: Mapping[str, str], analysis: Analysis | PlainComparison, comparison: str
) -> dict[str, str]:
    """Describe the columns of a table of scores."""
    scores = {} if analysis.is_main else {"score": analysis.about(comparison)}
    return {name: text for name, text in {**columns, **scores}.items() if name in table}


def provenance_of(inputs: list[Path], **settings: Any) -> AbstractContextManager[dict[str, Any]]:
    """Give the provenance of what a stage makes of the files that it reads in a block."""
    return io.provenance_of(inputs, settings)
