"""What networks have in common that are read whole from a file: their pictures' size, batches, and settings."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rsa.errors import UserError
from rsa.files.sources import require_content
from rsa.models.preprocessing import Preparation, Preprocess
from rsa.models.source import Source
from rsa.settings import DataPath

if TYPE_CHECKING:
    import torch

__all__ = ["FileNetwork", "PictureInput", "in_batches", "picture_input", "require_file"]

N_COLOURS = 3


# ---------------------------------------------------------------------------------------- the input


@dataclass(frozen=True)
class PictureInput:
    """What a network in a file takes.

    Parameters
    ----------
    n_pictures : int, optional
        How many pictures at once; None for any number.
    size : (int, int), optional
        Height and width in pixels; None for any.
    layout : {"NCHW", "NHWC"}
        Whether colours come before or after positions.
    """

    n_pictures: int | None
    size: tuple[int, int] | None
    layout: Literal["NCHW", "NHWC"]

    def shape(self, n_pictures: int, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of a batch of so many pictures of this height and width."""
        height, width = size
        return (
            (n_pictures, N_COLOURS, height, width) if self.layout == "NCHW" else (n_pictures, height, width, N_COLOURS)
        )

    def arranged(self, batch: "torch.Tensor") -> "torch.Tensor":
        """Bring a batch of shape (n_pictures, 3, height, width) into the layout."""
        return batch if self.layout == "NCHW" else batch.permute(0, 2, 3, 1).contiguous()


def picture_input(shape: Sequence[int | None], file: str) -> PictureInput:
    """Tell from the shape of a network's input, None where any number will do, what it takes.

    Raises
    ------
    UserError
        If it does not take pictures of three colours.
    """
    told = ", ".join("any" if n is None else str(n) for n in shape)
    if len(shape) != 4 or N_COLOURS not in (shape[1] or N_COLOURS, shape[3] or N_COLOURS):
        raise UserError(
            f"{file} takes an input of shape ({told}), and not pictures of 3 colours: (n, 3, height, width) or "
            "(n, height, width, 3)."
        )
    colours_first = shape[1] == N_COLOURS or shape[3] != N_COLOURS
    height, width = shape[2:] if colours_first else shape[1:3]
    if (height is None) != (width is None):
        raise UserError(f"{file} takes pictures of shape ({told}), of which one side is fixed; export it with both.")
    size = None if height is None or width is None else (height, width)
    return PictureInput(shape[0], size, "NCHW" if colours_first else "NHWC")


def in_batches(
    n_at_once: int | None,
    batch: "torch.Tensor",
    run: "Callable[[torch.Tensor, Callable[[str, torch.Tensor], None]], None]",
    take: "Callable[[str, torch.Tensor], None]",
) -> None:
    """Pass pictures in batches of the size that a network takes; the last is filled up, and cut again.

    Parameters
    ----------
    n_at_once : int, optional
        Pictures that the network takes at once; None for any number.
    batch : tensor, shape (n_pictures, ...)
        The pictures.
    run : callable
        ``pictures, take -> None``, which passes so many pictures.
    take : callable
        ``layer, output -> None``, called once for each layer.
    """
    import torch

    if n_at_once in (None, len(batch)):
        run(batch, take)
        return
    found: dict[str, list[torch.Tensor]] = {}
    for part in batch.split(n_at_once or len(batch)):
        n_more = (n_at_once or len(part)) - len(part)
        padded = torch.cat([part, part[-1:].expand(n_more, *part.shape[1:])])

        def keep(layer: str, output: torch.Tensor, n_kept: int = len(part)) -> None:
            found.setdefault(layer, []).append(output[:n_kept].clone())

        run(padded, keep)
    for layer, parts in found.items():
        take(layer, torch.cat(parts))


# ------------------------------------------------------------------------------------------ settings


def require_file(path: str) -> None:
    """Raise a `UserError` unless there is a file, with its content on this machine, that is not empty."""
    require_content(path)
    if not Path(path).is_file():
        raise UserError(f"There is no file {path}.")
    if not Path(path).stat().st_size:
        raise UserError(f"{path} is empty; copy it again.")


class FileNetwork(Source):
    """A network that is read from a file, and brings no preprocessing of its own."""

    weights_setting: ClassVar[str] = "file"
    has_gradients: ClassVar[bool] = False

    file: DataPath
    """The file of the network; a glob (`runs/step_*.onnx`) stands for a network each."""
    preprocess: Preprocess
    """What pictures become before the network, which no such file tells and the results depend on: imagenet, clip,
    inception, caffe, that of a network (torchvision:resnet50, timm:resnet50), or a section with `preset` and what
    differs from it."""

    @property
    def called(self) -> str:
        """The file."""
        return self.file

    @property
    def label(self) -> str:
        """The model's label in file names."""
        return self.name or re.sub("[^0-9A-Za-z]", "", Path(self.file).stem)

    def files(self) -> list[Path]:
        """Return the local files that the network is read from."""
        return [Path(self.file)]

    def takes(self) -> PictureInput:
        """Return what the network takes.

        Raises
        ------
        UserError
            If the file cannot be read, or takes something else than pictures.
        """
        raise NotImplementedError

    def preparation(self) -> Preparation:
        """Return what a picture becomes, in the size that the file asks for."""
        return self.preprocess.preparation(self.takes().size)

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return str(self.preparation())
