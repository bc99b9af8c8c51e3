"""The input of networks: pictures that are decoded, scaled and cropped once, and kept for all that take them so."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from PIL import __version__ as PILLOW

from rsa.errors import UserError
from rsa.files.io import require_space, writing
from rsa.inputs.stimuli import read_image
from rsa.models.passing import N_BATCHES_AHEAD, ahead, background
from rsa.models.preprocessing import Preparation

if TYPE_CHECKING:
    import torch

__all__ = ["Cropped", "cropped_by", "input_batches", "pixels_file"]

log = logging.getLogger(__name__)

Prepare = Callable[[Image.Image], "torch.Tensor"]


@dataclass(frozen=True)
class Cropped:
    """A preprocessing in two steps: pictures become pixels of one size, and these the input of a network.

    Parameters
    ----------
    crop : callable
        From an RGB picture to pixels: uint8, shape (3, height, width).
    normalise : callable
        From the pixels of several pictures, (n_pictures, 3, height, width), to the input of the network, float32.
    geometry : str
        What decides the pixels, so that networks with the same share them.
    """

    crop: "Callable[[Image.Image], torch.Tensor]"
    normalise: "Callable[[torch.Tensor], torch.Tensor]"
    geometry: str


# ------------------------------------------------------------------------------------------ in two steps


def cropped_by(prepare: Prepare) -> Cropped | None:
    """Take a preprocessing apart, where it is one of those that torchvision and timm make; None for others.

    Both steps together give what the preprocessing gives, bit by bit.
    """
    from torchvision.transforms import Compose
    from torchvision.transforms._presets import ImageClassification

    if isinstance(prepare, ImageClassification):
        return _of_preset(prepare)
    if isinstance(prepare, Compose):
        return _of_steps(prepare.transforms)
    if isinstance(prepare, Preparation):
        how = (prepare.resize, prepare.crop, prepare.interpolation, prepare.antialias)
        return Cropped(prepare.pixels, prepare.normalise, json.dumps(how))
    return None


def _of_preset(preset: Any) -> Cropped:
    from torchvision.transforms import functional

    def crop(picture: Image.Image) -> "torch.Tensor":
        scaled = functional.resize(
            picture, preset.resize_size, interpolation=preset.interpolation, antialias=preset.antialias
        )
        pixels: torch.Tensor = functional.pil_to_tensor(functional.center_crop(scaled, preset.crop_size))
        return pixels

    def normalise(pixels: "torch.Tensor") -> "torch.Tensor":
        given: torch.Tensor = functional.normalize(_from_0_to_1(pixels), mean=preset.mean, std=preset.std)
        return given

    how = (preset.resize_size, preset.crop_size, str(preset.interpolation), preset.antialias)
    return Cropped(crop, normalise, json.dumps(how))


def _of_steps(steps: Sequence[Any]) -> Cropped | None:
    """Take steps apart of which some scale and crop a picture, one makes a tensor of it, and one normalises that."""
    from torchvision.transforms import Normalize, functional

    names = [type(step).__name__ for step in steps]
    place = next((i for i, name in enumerate(names) if name in ("ToTensor", "MaybeToTensor")), None)
    if (
        place is None
        or names[place + 1 :] not in ([], ["Normalize"])
        or not set(names[:place]) <= {"Resize", "CenterCrop"}
    ):
        return None
    before, after = steps[:place], steps[place + 1 :]
    if "CenterCrop" not in names[:place] or any(not isinstance(step, Normalize) for step in after):
        return None

    def crop(picture: Image.Image) -> "torch.Tensor":
        for step in before:
            picture = step(picture)
        pixels: torch.Tensor = functional.pil_to_tensor(picture)
        return pixels

    def normalise(pixels: "torch.Tensor") -> "torch.Tensor":
        given = _from_0_to_1(pixels)
        for step in after:
            given = step(given)
        return given

    return Cropped(crop, normalise, repr(before))


def _from_0_to_1(pixels: "torch.Tensor") -> "torch.Tensor":
    import torch

    return pixels.to(torch.float32).div(255)


# --------------------------------------------------------------------------------------------- batches


def input_batches(
    prepare: Prepare, files: Sequence[str], size: int, start: int = 0, kept: Path | None = None
) -> "Iterator[tuple[int, torch.Tensor]]":
    """Read pictures in the background, and yield them in batches as the input of a network.

    Parameters
    ----------
    prepare : callable
        From an RGB picture to a tensor of shape (3, height, width).
    files : sequence of str
        The pictures, in order.
    size : int
        Pictures in a batch.
    start : int
        The first picture that is wanted, at the beginning of a batch.
    kept : path, optional
        Where their pixels are kept, or were kept by an earlier call; see `pixels_file`.

    Yields
    ------
    int, tensor
        The place of the first picture of the batch, and the batch, shape (n_pictures, 3, height, width).

    Raises
    ------
    UserError
        If a picture cannot be read, or pictures become inputs of different sizes.
    """
    cropped = cropped_by(prepare)
    with ExitStack() as stack:
        reader = stack.enter_context(background())
        if cropped is None:
            yield from _prepared(reader, partial(_prepared_of, prepare), files, size, start)
            return
        pixels = _kept_pixels(kept, len(files))
        if pixels is None:
            batches = _prepared(reader, partial(_prepared_of, cropped.crop), files, size, start)
            if kept is not None and start == 0:
                keeping = _keeping(kept, len(files), batches)
                batches = stack.enter_context(closing(keeping))
        else:
            batches = _of_pixels(reader, pixels, size, start)
        for place, batch in batches:
            yield place, cropped.normalise(batch)


def _prepared_of(prepare: Prepare, file: str) -> "torch.Tensor":
    return prepare(read_image(file))


def _prepared(
    reader: Any, prepare: "Callable[[str], torch.Tensor]", files: Sequence[str], size: int, start: int
) -> "Iterator[tuple[int, torch.Tensor]]":
    import torch

    tasks = [partial(prepare, file) for file in files[start:]]
    batch: list[torch.Tensor] = []
    place, shape = start, None
    for i, picture in enumerate(ahead(reader, tasks, N_BATCHES_AHEAD * size), start):
        shape = shape or picture.shape
        if picture.shape != shape:
            raise UserError(
                f"Pictures become inputs of different sizes: {tuple(shape)} of {files[start]}, and "
                f"{tuple(picture.shape)} of {files[i]}; scale or crop all to one size in the preprocessing."
            )
        batch.append(picture)
        if len(batch) == size or i + 1 == len(files):
            yield place, torch.stack(batch)
            place, batch = i + 1, []


# ------------------------------------------------------------------------------------------ kept pixels


def pixels_file(folder: Path, prepare: Prepare, contents: Sequence[str]) -> Path | None:
    """Return where the pixels of pictures are kept, by what they hold; None of a preprocessing that keeps none.

    Parameters
    ----------
    folder : path
        The folder of all that is kept.
    prepare : callable
        The preprocessing.
    contents : sequence of str
        The SHA-256 of each picture, in order.
    """
    cropped = cropped_by(prepare)
    if cropped is None:
        return None
    digest = hashlib.sha256(json.dumps([cropped.geometry, PILLOW, list(contents)]).encode())
    return folder / "pictures" / f"{digest.hexdigest()}.npy"


def _kept_pixels(path: Path | None, n_pictures: int) -> "_Pixels | None":
    """Return the pixels of pictures that were kept, or None."""
    if path is None:
        return None
    with suppress(OSError, ValueError):
        pixels = _Pixels.in_file(path)
        if pixels.shape[0] == n_pictures:
            return pixels
    return None


class _Pixels(NamedTuple):
    """Pixels of pictures in a file (.npy), which are read batch by batch and are never mapped into memory."""

    path: Path
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def in_file(cls, path: Path) -> "_Pixels":
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
            if path.stat().st_size != file.tell() + math.prod(shape):
                raise ValueError(f"{path} is not whole")
            return cls(path, shape, file.tell())

    def batch(self, start: int, n: int) -> "torch.Tensor":
        import torch

        n_bytes = math.prod(self.shape[1:])
        n = min(n, self.shape[0] - start)
        values = np.fromfile(self.path, np.uint8, n * n_bytes, offset=self.offset + start * n_bytes)
        return torch.from_numpy(values.reshape(n, *self.shape[1:]))


def _of_pixels(reader: Any, pixels: _Pixels, size: int, start: int) -> "Iterator[tuple[int, torch.Tensor]]":
    starts = range(start, pixels.shape[0], size)
    tasks = [partial(pixels.batch, first, size) for first in starts]
    yield from zip(starts, ahead(reader, tasks, N_BATCHES_AHEAD), strict=True)


def _keeping(
    path: Path, n_pictures: int, batches: "Iterator[tuple[int, torch.Tensor]]"
) -> "Generator[tuple[int, torch.Tensor]]":
    """Pass batches on, and keep their pixels once all have passed; without room, they are not kept."""
    place, batch = next(batches)
    shape = (n_pictures, *batch.shape[1:])
    try:
        require_space(path, 2 * int(np.prod(shape)))
    except UserError as error:
        log.warning("Pictures are not kept for other networks: %s", error)
        yield place, batch
        yield from batches
        return
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with writing(path, recorded=False) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first, one in chain([(place, batch)], batches):
            file.write(one.numpy().tobytes())
            yield first, one
