"""Where brain data come from: `DATASETS` holds one class of settings per kind, each of which reads itself."""

from typing import Annotated

from pydantic import Field

from rsa.datasets.bids import Bids
from rsa.datasets.brain_images import BrainImages
from rsa.datasets.feat import Feat
from rsa.datasets.glmsingle import GlmSingle
from rsa.datasets.maps import Maps
from rsa.datasets.rdms import Rdms
from rsa.datasets.spm import Spm

__all__ = ["DATASETS", "Bids", "BrainImages", "Dataset", "Feat", "GlmSingle", "Maps", "Rdms", "Spm"]

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
