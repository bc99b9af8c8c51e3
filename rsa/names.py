"""The names of the files that a study writes, after BIDS derivatives."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from rsa.errors import UserError
from rsa.maps import DATA_QUALITY

__all__ = ["full_models", "full_name", "label_of", "map_path", "require_distinct_labels"]


def full_name(statistic: str) -> str:
    """Return what people read instead of a statistic in a table; most words are what they read.

    Examples
    --------
    >>> full_name("share_of_ceiling"), full_name("spearman")
    ('share of the noise ceiling', 'spearman')
    """
    return "share of the noise ceiling" if statistic == "share_of_ceiling" else statistic


def full_models(table: pd.DataFrame) -> list[str]:
    """Return what people read instead of each model in a table: "" where there is none.

    A network has layers and may be called like what tells how good the data are; other references may not.

    Examples
    --------
    >>> full_models(pd.DataFrame({"model": ["reliability", "reliability"], "layer": ["", "conv1"]}))
    ['split-half reliability', 'reliability']
    """
    words = table.reindex(columns=["model", "layer"]).astype(object)
    models, layers = (["" if pd.isna(word) else str(word) for word in words[name]] for name in words)
    return [model if layer else DATA_QUALITY.get(model, model) for model, layer in zip(models, layers, strict=True)]


def label_of(name: str) -> str:
    """Return a name with only the letters and digits that a BIDS label may have.

    Examples
    --------
    >>> label_of("features.3")
    'features3'
    """
    return re.sub(r"[^0-9a-zA-Z]", "", name)


def require_distinct_labels(names: Iterable[str], what: str) -> None:
    """Raise a `UserError` if two names become the same label, so that no map overwrites another.

    Upper and lower case are the same, as they are in the file names of some systems.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(label_of(name).casefold(), name)
        if other != name:
            raise UserError(
                f"The {what} {other!r} and {name!r} would share the file name label {label_of(name)!r}, where only the "
                "letters A to Z in either case and digits count; rename one of them."
            )


def map_path(
    folder: str | Path,
    *,
    subject: str = "",
    space: str,
    model: str = "",
    layer: str = "",
    statistic: str,
    analysis: str = "",
) -> Path:
    """Return the path of a statistical map.

    Parameters
    ----------
    folder : path
        The folder of the study's results.
    subject : str
        Empty for a map of the group, which lies in the folder `group`.
    space, model, layer, statistic : str
        Entities of the name; an empty model or layer is left out.
    analysis : str
        Name of the analysis (`desc-`); empty for the plain comparison.

    Examples
    --------
    >>> map_path("r", subject="01", space="T1w", model="alexnet", layer="features.3", statistic="spearman").as_posix()
    'r/sub-01/sub-01_space-T1w_model-alexnet_layer-features3_stat-spearman_statmap.nii.gz'
    """
    entities = {
        "sub": subject,
        "space": space,
        "model": label_of(model),
        "layer": label_of(layer),
        "desc": analysis,
        "stat": label_of(statistic),
    }
    parts = [f"{key}-{value}" for key, value in entities.items() if value]
    return Path(folder) / (f"sub-{subject}" if subject else "group") / ("_".join([*parts, "statmap"]) + ".nii.gz")
