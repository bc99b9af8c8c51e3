"""What the figures of units are drawn from: the tables and arrays of a network, by name."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from rsa.core import Array
from rsa.errors import UserError
from rsa.files import io
from rsa.units.found import load_arrays

__all__ = ["UnitsFolder"]


@dataclass
class UnitsFolder:
    """The folder that the stage `units` writes for a network.

    Parameters
    ----------
    path : path
        The folder.
    """

    path: Path

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table; None if it was not asked for."""
        return io.table_if_there(self.path / f"{name}.tsv")

    def arrays(self, part: str) -> dict[str, Array]:
        """Return the arrays of a part; nothing if it was not asked for."""
        return load_arrays(self.path, part)

    @cached_property
    def _pictures(self) -> dict[str, Array]:
        kept = self.arrays("pictures")
        if not kept:
            raise UserError(
                f"{self.path} has no pictures.npz, which is written last: `python -m rsa units` was stopped before its "
                "end, or this is another folder. Run it again, or name its folder."
            )
        return kept

    @property
    def thumbnails(self) -> Array:
        """All pictures as the network sees them, small: (n_pictures, height, width, 3)."""
        return self._pictures["small"]

    @property
    def input_px(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        height, width = self._pictures["whole"].shape[1:3]
        return height, width

    def picture(self, number: int) -> Array:
        """Return a picture as the network sees it, (height, width, 3); small, if it is not kept whole."""
        places = {int(one): i for i, one in enumerate(self._pictures["numbers"])}
        kept, place = ("whole", places[number]) if number in places else ("small", number)
        picture: Array = self._pictures[kept][place]
        return picture
