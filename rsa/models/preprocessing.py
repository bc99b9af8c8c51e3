"""What pictures become before a network that brings no preprocessing of its own, as one in a file of ONNX."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field

from rsa.errors import UserError, did_you_mean
from rsa.models.source import require_extra
from rsa.settings import Section

if TYPE_CHECKING:
    import torch

__all__ = ["LIKE", "PRESETS", "Preparation", "Preprocess", "Preprocessing"]

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Preparation:
    """What a picture becomes, step by step; see `Preprocessing` for what each setting means."""

    resize: int
    crop: tuple[int, int]
    mean: Three
    std: Three
    interpolation: str = "bilinear"
    antialias: bool = True
    range: int = 1
    channels: str = "RGB"

    def __call__(self, picture: Image.Image) -> "torch.Tensor":
        """Make the network's input of an RGB picture: shape (3, height, width), float32."""
        return self.normalise(self.pixels(picture))

    def pixels(self, picture: Image.Image) -> "torch.Tensor":
        """Scale and crop an RGB picture: uint8, shape (3, height, width)."""
        from torchvision.transforms import functional as steps

        how = steps.InterpolationMode(self.interpolation)
        given = picture if self.antialias else steps.pil_to_tensor(picture)  # Pillow never resizes without it
        resized = steps.resize(given, [self.resize], interpolation=how, antialias=self.antialias)
        cropped = steps.center_crop(resized, list(self.crop))
        pixels: torch.Tensor = steps.pil_to_tensor(cropped) if self.antialias else cropped
        return pixels

    def normalise(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """Make the network's input of the pixels of one picture or of several, (..., 3, height, width)."""
        import torch

        values = pixels.to(torch.float32) / 255 * self.range
        values = values.flip(-3) if self.channels == "BGR" else values
        mean, std = (torch.tensor(each, dtype=torch.float32)[:, None, None] for each in (self.mean, self.std))
        prepared: torch.Tensor = (values - mean) / std
        return prepared

    def __str__(self) -> str:
        """Return the steps in one line."""
        size = f"crop={self.crop[0]}x{self.crop[1]}"
        how = f"interpolation={self.interpolation}" + ("" if self.antialias else " without antialias")
        values = f"{self.channels} 0..{self.range}, mean={_listed(self.mean)}, std={_listed(self.std)}"
        return f"resize={self.resize}, {size}, {how}, {values}"

    def words(self) -> str:
        """Return the steps in words that can follow "Pictures were"."""
        height, width = self.crop
        order = " in the order blue, green, red" if self.channels == "BGR" else ""
        scaled = f"to values of 0 to {self.range}{order}"
        return (
            f"scaled to {self.resize} pixels on the shorter side ({self.interpolation} interpolation), cropped to the "
            f"central {width} x {height}, brought {scaled}, and normalised (mean {_listed(self.mean)}, standard "
            f"deviation {_listed(self.std)})"
        )


def _listed(values: Three) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


# ------------------------------------------------------------------------------------------- presets

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CAFFE_MEAN = (103.939, 116.779, 123.68)

PRESETS: dict[str, Preparation] = {
    "imagenet": Preparation(256, (224, 224), IMAGENET_MEAN, IMAGENET_STD),
    "clip": Preparation(224, (224, 224), CLIP_MEAN, CLIP_STD, "bicubic"),
    "inception": Preparation(342, (299, 299), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "caffe": Preparation(256, (224, 224), CAFFE_MEAN, (1, 1, 1), range=255, channels="BGR"),
}
"""Ways to prepare pictures that many networks share: `imagenet` as torchvision's classifiers, `clip` as OpenAI's,
`inception` with values from -1 to 1, `caffe` with blue first, of 0 to 255, less the mean."""


def _as_torchvision(name: str) -> Preparation:
    """Take the preprocessing of a network of torchvision: of its default weights, or of those after a slash."""
    import torchvision

    architecture, _, weights = name.partition("/")
    names = torchvision.models.list_models(module=torchvision.models)
    if architecture not in names:
        raise UserError(f"torchvision has no classification model {architecture!r}.{did_you_mean(architecture, names)}")
    entries = torchvision.models.get_model_weights(architecture).__members__
    if (weights or "DEFAULT") not in entries:
        raise UserError(f"{architecture} has no weights {weights!r}. Choose one of: {', '.join(entries)}.")
    how = entries[weights or "DEFAULT"].transforms()
    crop = int(how.crop_size[0])
    return Preparation(
        int(how.resize_size[0]), (crop, crop), tuple(how.mean), tuple(how.std), how.interpolation.value, how.antialias
    )


def _as_timm(name: str) -> Preparation:
    """Take the preprocessing of a model of timm, as its own evaluation has it."""
    timm = require_extra("timm", "models", "timm")
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    if config is None:
        raise UserError(f"timm has no model {name!r}.{did_you_mean(name, timm.list_models())}")
    if config.crop_mode not in (None, "", "center"):
        raise UserError(
            f"timm:{name} prepares pictures by {config.crop_mode!r} and not by a crop of their centre; give resize, "
            "crop, mean and std."
        )
    height, width = config.input_size[1:]
    resize = int(min(height, width) / config.crop_pct)
    return Preparation(resize, (height, width), tuple(config.mean), tuple(config.std), config.interpolation)


LIKE: dict[str, Callable[[str], Preparation]] = {"torchvision": _as_torchvision, "timm": _as_timm}
"""Libraries whose networks' preprocessing can be taken, by what stands before the colon: torchvision:resnet50."""


# ------------------------------------------------------------------------------------------- settings


def _known(preset: str) -> str:
    library, colon, _ = preset.partition(":")
    if preset in PRESETS or (colon and library in LIKE):
        return preset
    networks = " or ".join(f"{name}:NETWORK" for name in LIKE)
    raise ValueError(f"{preset!r} is no preprocessing; choose one of {', '.join(PRESETS)}, or {networks}")


class Preprocessing(Section):
    """What a picture becomes: resized, cropped, normalised. Where a setting is left out, the preset has it."""

    preset: Annotated[str, AfterValidator(_known)]
    """imagenet (resized to 256, cropped to 224, mean and standard deviation of ImageNet), clip, inception (values from
    -1 to 1), caffe (blue first, 0 to 255, less the mean), or that of a network: torchvision:resnet50, timm:resnet50."""
    resize: int | None = Field(None, ge=1)
    """Length of the picture's shorter side in pixels before it is cropped; smaller pictures are enlarged. By default in
    proportion to crop, as in the preset."""
    crop: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Size in pixels of what the network sees, the centre of the picture: one number, or height and width. By default
    what the file of the network asks for, or else what the preset has."""
    mean: Three | None = None
    """Is subtracted from the values of the three channels, in their order and range."""
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=3, max_length=3)] | None = None
    """The values are then divided by it."""
    interpolation: Interpolation | None = None
    """How pictures are resized."""
    antialias: bool | None = None
    """Whether pictures are smoothed when they become smaller, as Pillow and torchvision do."""
    range: Literal[1, 255] | None = None
    """The largest value of a pixel before mean and std: 1 or 255."""
    channels: Literal["RGB", "BGR"] | None = None
    """Order of the colours."""

    def preparation(self, size: tuple[int, int] | None = None) -> Preparation:
        """Return the steps.

        Parameters
        ----------
        size : (int, int), optional
            Height and width that the network asks for, where these are fixed.

        Raises
        ------
        UserError
            If there is no such network to take it of, or the crop is not what the network asks for, or larger than the
            picture.
        """
        preset = self._preset()
        height, width = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop or size or preset.crop
        if size is not None and (height, width) != size:
            raise UserError(
                f"The network takes pictures of {size[0]} x {size[1]} pixels (height x width), and preprocess.crop is "
                f"{height} x {width}; leave it out."
            )
        shorter = min(height, width)
        resize = self.resize or round(shorter * preset.resize / min(preset.crop))
        if max(height, width) > resize:
            raise UserError(
                f"preprocess.crop of {height} x {width} pixels (height x width) does not fit into pictures whose "
                f"shorter side has {resize} (preprocess.resize); make that {max(height, width)} or more."
            )
        names = ("mean", "std", "interpolation", "antialias", "range", "channels")
        own: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(preset, resize=resize, crop=(height, width), **own)

    def _preset(self) -> Preparation:
        library, _, name = self.preset.partition(":")
        return PRESETS[self.preset] if self.preset in PRESETS else LIKE[library](name)


def _as_section(given: Any) -> Any:
    return {"preset": given} if isinstance(given, str) else given


Preprocess = Annotated[Preprocessing, BeforeValidator(_as_section, json_schema_input_type=str | Preprocessing)]
"""What a picture becomes: a section, or the name of a preset alone."""
