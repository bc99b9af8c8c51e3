"""Where networks come from; importing this costs no torch."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rsa.models.exported import Exported
from rsa.models.features import Features
from rsa.models.onnx import Onnx
from rsa.models.open_clip import OpenClip
from rsa.models.python import Python
from rsa.models.timm import Timm
from rsa.models.torchvision import Torchvision
from rsa.models.transformers import Transformers
from rsa.settings import alternatives

__all__ = [
    *("BY_SOURCE", "MODELS", "USUAL_SOURCE", "Model"),
    *("Exported", "Features", "Onnx", "OpenClip", "Python", "Timm", "Torchvision", "Transformers"),
]


USUAL_SOURCE = "torchvision"
"""The source of a model that names none."""


def _of_usual_source(given: Any) -> Any:
    return {"source": USUAL_SOURCE, **given} if isinstance(given, dict) else given


BY_SOURCE = Field(discriminator="source"), BeforeValidator(_of_usual_source)
"""Annotations of a union of sources: which of them is meant is told by `source`, by default torchvision."""

Model = Annotated[Torchvision | Timm | Onnx | Exported | Python | Features | Transformers | OpenClip, *BY_SOURCE]
"""The settings of any source of networks."""

MODELS: dict[str, Any] = {one.model_fields["source"].default: one for one in alternatives(Model)}
"""Sources of networks, by the word in `source` of the configuration."""
