"""Where, and when, does the brain represent these images as this network does?

``import rsa`` offers the modules of the library: `rsa.searchlight` is imported when it is first asked for.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from types import ModuleType

__all__ = ["__version__"]

try:
    __version__ = version("brain-model-rsa")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> ModuleType:
    if name in _modules():
        return import_module(f"rsa.{name}")
    raise AttributeError(f"module 'rsa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_modules()})


def _modules() -> set[str]:
    """Return the names of the modules and wings that are in this folder."""
    return {module.name for module in iter_modules(__path__) if not module.name.startswith("_")}
