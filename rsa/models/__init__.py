"""Where networks come from; importing this costs no torch."""

from rsa.models.torchvision import Torchvision

__all__ = ["MODELS", "Model", "Torchvision"]

MODELS: dict[str, type[Torchvision]] = {"torchvision": Torchvision}
"""Sources of models by the name that `source` gives in the configuration."""

Model = Torchvision
"""Any entry of `MODELS`, told apart by `source`."""
