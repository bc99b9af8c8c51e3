"""Where, and when, does the brain represent these images as this network does?"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("brain-model-rsa")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
