"""Where brain data come from: `DATASETS` holds one class of settings per kind, each of which reads itself."""

from typing import Annotated

from pydantic import Field

from rsa.datasets.maps import Maps
from rsa.datasets.rdms import Rdms

__all__ = ["DATASETS", "Dataset", "Maps", "Rdms"]

DATASETS: dict[str, type[Maps] | type[Rdms]] = {"maps": Maps, "rdms": Rdms}
"""The kinds of data sets, by the word in `brain.kind`."""

Dataset = Annotated[Maps | Rdms, Field(discriminator="kind")]
"""The settings of any data set, told apart by `kind`."""
