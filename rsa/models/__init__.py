"""Where networks come from; importing this costs no torch."""

from typing import Any

from pydantic import BeforeValidator, Field

from rsa.models.torchvision import Torchvision

__all__ = ["BY_SOURCE", "MODELS", "Model", "Torchvision"]

MODELS: dict[str, type[Torchvision]] = {"torchvision": Torchvision}
"""Sources of models by the name that `source` gives in the configuration."""


def _of_torchvision(given: Any) -> Any:
    """Take torchvision for the source of a model that names none."""
    return {"source": "torchvision", **given} if isinstance(given, dict) else given


BY_SOURCE = Field(discriminator="source"), BeforeValidator(_of_torchvision)
"""Annotations of a union of sources: which of them is meant is told by `source`, by default torchvision."""

Model = Torchvision
"""Any entry of `MODELS`; of several, ``Annotated[Torchvision | Other, *BY_SOURCE]``."""
