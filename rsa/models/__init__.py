"""Where networks come from; importing this costs no torch."""

from typing import Any

from pydantic import BeforeValidator, Field

from rsa.models.torchvision import Torchvision
from rsa.settings import alternatives

__all__ = ["BY_SOURCE", "MODELS", "Model", "Torchvision"]


def _of_torchvision(given: Any) -> Any:
    """Take torchvision for the source of a model that names none."""
    return {"source": "torchvision", **given} if isinstance(given, dict) else given


BY_SOURCE = Field(discriminator="source"), BeforeValidator(_of_torchvision)
"""Annotations of a union of sources: which of them is meant is told by `source`, by default torchvision."""

Model = Torchvision
"""The settings of any source of networks; of several, ``Annotated[Torchvision | Other, *BY_SOURCE]``."""

MODELS: dict[str, Any] = {one.model_fields["source"].default: one for one in alternatives(Model)}
"""Sources of networks, by the word in `source` of the configuration."""
