"""The pictures of docs and README that are figures of studies, from the results of these studies.

    python benchmarks/pictures.py results docs/images
    python benchmarks/pictures.py results docs/images --only units_preferred units_maximised

Each is of the study whose folder its line below begins with, and which the page beside it names: those of config/, and
that of `learning` in docs/units.md. What shows photographs is of data/photos_labelled alone, whose licences are known.
Categories are read out here, since units92 has none: of its photographs, by the labels of data/kriegeskorte92.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from PIL import Image

from rsa.files.io import load_table
from rsa.models.torchvision import Torchvision
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.heat_maps import heat_map_figures
from rsa.report.units.maximised import maximised_figures
from rsa.report.units.preferred import preferred_figures
from rsa.report.units.readout import readout_figures
from rsa.units.found import save_found
from rsa.units.look import PARTS as PARTS_OF_LOOKS
from rsa.units.look import Beside, Look
from rsa.units.settings import UnitSettings
from rsa.units.watched import Watched

__all__ = ["FIGURES", "MADE", "PARTS", "Part", "labelled92", "readout92", "save_pictures"]

FIGURES = {
    "cichy92_regions": "cichy92/figures/regions/regions.png",
    "networks92_ranking": "networks92/figures/ranking/ranking.png",
    "units_fields": "units/figures/units/model-squeezenet11/fields.png",
    "units_filters": "units/figures/units/model-squeezenet11/filters.png",
    "units_learning_layers": "learning/figures/units/changes/animacy_layers.png",
    "units92_channels": "units92/figures/units/model-squeezenet11/channels.png",
}
"""Whole figures: name of the picture -> file in the folder of results."""


@dataclass
class SomeRows(UnitsFolder):
    """A folder of units, of which some rows of a table are shown.

    Parameters
    ----------
    name, rows : str
        Name of the table, and which of its rows, as `DataFrame.query` takes it.
    """

    name: str = ""
    rows: str = ""

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a table, or some rows of it; these keep their numbers, by which arrays are found."""
        found = super().table(name)
        return found.query(self.rows) if found is not None and name == self.name else found


@dataclass(frozen=True)
class Part:
    """A part of the figures of some units.

    Parameters
    ----------
    folder : str
        Of the units of a network, in the folder of results.
    draw : callable
        What draws figures of such a folder.
    table, rows : str
        See `SomeRows`.
    """

    folder: str
    draw: Callable[[UnitsFolder, Path], list[Path]]
    table: str
    rows: str

    def drawn(self, results: Path, to: Path) -> Path:
        """Draw it, in one figure."""
        (path,) = self.draw(SomeRows(results / self.folder, self.table, self.rows), to)
        return path


UNITS = "units/units/model-squeezenet11"
PHOTOGRAPHS = "['dragonfly.jpg', 'hot_dog.jpg', 'grace_hopper.jpg', 'cat_test_0.jpg']"

PARTS = {
    "units_preferred": Part(UNITS, preferred_figures, "units", "layer == 'features.12' and unit == 487"),
    "units_maximised": Part(
        UNITS, maximised_figures, "maximised", "layer in ['features.4', 'features.7', 'classifier']"
    ),
    "units_heat_maps": Part(UNITS, heat_map_figures, "heat_maps", f"condition in {PHOTOGRAPHS}"),
}
"""Parts of figures, drawn anew from tables and arrays: name of the picture -> what it shows."""


def labelled92(data: Path) -> pd.DataFrame:
    """Return the 92 photographs of `cichy92` with the categories of `kriegeskorte92`, which has them in this order."""
    categories = load_table(data / "kriegeskorte92" / "conditions.tsv")["category"]
    files = sorted((data / "cichy92" / "stimuli").glob("image_*.jpg"))
    names = [file.stem for file in files]
    return pd.DataFrame({"condition": names, "file": list(map(str, files)), "category": list(categories)})


def readout92(results: Path, data: Path, scratch: Path) -> Path:
    """Read categories out of the layers of SqueezeNet, and draw that beside their fit to the regions of units92."""
    images, weights = labelled92(data), str(data / "weights" / "squeezenet1_1.pth")
    model = Torchvision(architecture="squeezenet1_1", weights=weights, preprocess_as="IMAGENET1K_V1")
    beside = Beside(images, fits=load_table(results / "units92" / "regions.tsv"))
    look = Look(Watched.of(model, images), UnitSettings(), beside)
    for part in ("neighbours", "readout"):
        found = PARTS_OF_LOOKS[part](look)
        assert found is not None, "categories are known"
        save_found(scratch, part, found)
    (path,) = readout_figures(UnitsFolder(scratch), scratch)
    return path


MADE: dict[str, Callable[[Path, Path, Path], Path]] = {"units_readout": readout92}
"""Figures of what no study has: name of the picture -> function of the results, the data and a folder for files."""


def save_pictures(results: Path, data: Path, folder: Path, names: Sequence[str]) -> None:
    """Write some pictures, each in the smaller of two ways, so that the pages load fast."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            picture = Image.open(_drawn(name, results, data, Path(scratch))).convert("RGB")
        (folder / f"{name}.png").write_bytes(min(_png(picture), _png(_of_few_colours(picture)), key=len))


def _drawn(name: str, results: Path, data: Path, scratch: Path) -> Path:
    """Return the file of a picture, drawn anew where no study has it as it is shown."""
    if name in FIGURES:
        return results / FIGURES[name]
    return PARTS[name].drawn(results, scratch) if name in PARTS else MADE[name](results, data, scratch)


def _of_few_colours(picture: Image.Image) -> Image.Image:
    """Return a picture in 256 colours: of photographs it is smaller, and as good to look at."""
    return picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)


def _png(picture: Image.Image) -> bytes:
    written = BytesIO()
    picture.save(written, "png", optimize=True)
    return written.getvalue()


def main() -> None:
    """Write all pictures, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    names = [*FIGURES, *PARTS, *MADE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data_root of the studies")
    given = parser.parse_args()
    save_pictures(given.results, given.data, given.folder, given.only)


if __name__ == "__main__":
    main()
