"""Where brain data come from: `DATASETS` holds one class of settings per kind, each of which reads itself."""

from typing import Annotated

from pydantic import Field

from rsa.datasets.bids.dataset import Bids
from rsa.datasets.brain_images import BrainImages
from rsa.datasets.epochs import EpochFiles
from rsa.datasets.feat import Feat
from rsa.datasets.glmsingle import GlmSingle
from rsa.datasets.maps import Maps
from rsa.datasets.movies import Movies
from rsa.datasets.rdms import Rdms
from rsa.datasets.spm import Spm

__all__ = [
    "DATASETS",
    "MEEG",
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

DATASETS: dict[str, type[BrainImages] | type[Bids] | type[Rdms]] = {
    "bids": Bids,
    "maps": Maps,
    "spm": Spm,
    "feat": Feat,
    "glmsingle": GlmSingle,
    "rdms": Rdms,
}
"""The kinds of data sets, by the word in `brain.kind`."""

Dataset = Annotated[Bids | Maps | Spm | Feat | GlmSingle | Rdms, Field(discriminator="kind")]
"""The settings of any data set, told apart by `kind`."""

MEEG: dict[str, type[EpochFiles] | type[Movies]] = {"epochs": EpochFiles, "movie": Movies}
"""The kinds of M/EEG data, by the word in `meeg.kind`."""

MeegDataset = Annotated[EpochFiles | Movies, Field(discriminator="kind")]
"""The settings of any M/EEG data, told apart by `kind`."""
