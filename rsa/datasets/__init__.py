"""Where brain data come from: `DATASETS` holds one class of settings per kind, each of which reads itself."""

from typing import Annotated, Any, get_args

from pydantic import Field

from rsa.datasets.bids.dataset import Bids
from rsa.datasets.brain_images import BrainImages
from rsa.datasets.common import AnyDataset
from rsa.datasets.epochs import EpochFiles
from rsa.datasets.feat import Feat
from rsa.datasets.glmsingle import GlmSingle
from rsa.datasets.maps import Maps
from rsa.datasets.movies import Movies
from rsa.datasets.rdms import Rdms
from rsa.datasets.spm import Spm

__all__ = [
    "DATASETS",
    "MEEG_DATASETS",
    "AnyDataset",
    "Bids",
    "BrainImages",
    "Dataset",
    "EpochFiles",
    "Feat",
    "GlmSingle",
    "Maps",
    "MeegDataset",
    "Movies",
    "Rdms",
    "Spm",
]

Dataset = Annotated[Bids | Maps | Spm | Feat | GlmSingle | Rdms, Field(discriminator="kind")]
"""The settings of any data set, told apart by `kind`."""

MeegDataset = Annotated[EpochFiles | Movies, Field(discriminator="kind")]
"""The settings of any M/EEG data, told apart by `kind`."""


def _by_kind(union: Any) -> dict[str, Any]:
    return {one.model_fields["kind"].default: one for one in get_args(get_args(union)[0])}


DATASETS: dict[str, type[AnyDataset]] = _by_kind(Dataset)
"""The kinds of data sets, by the word in `brain.kind`."""

MEEG_DATASETS: dict[str, type[AnyDataset]] = _by_kind(MeegDataset)
"""The kinds of M/EEG data, by the word in `meeg.kind`."""
