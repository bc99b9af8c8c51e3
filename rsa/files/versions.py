"""Which versions made a result: of this package, of Python, and of the libraries that numbers depend on."""

import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rsa import __version__

__all__ = ["LIBRARIES", "installed", "short_commit", "versions"]

LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "pandas",
    "nibabel",
    "nilearn",
    "mne",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "open_clip_torch",
    "onnxruntime",
    "h5py",
    "pydantic",
    "snakemake",
)


@cache
def _git_commit() -> str:
    """Return the commit of the checkout that this package runs from, with '+' if it was changed; '' elsewhere."""
    here = Path(__file__).parents[1]
    if not (here.parent / ".git").exists():
        return ""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def short_commit(commit: str) -> str:
    """Shorten a commit for people; the '+' of a changed checkout stays.

    Examples
    --------
    >>> short_commit("0123456789abcdef+")
    '0123456789ab+'
    """
    return commit.removesuffix("+")[:12] + "+" * commit.endswith("+")


@cache
def versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of the libraries that numbers depend on."""
    own = {"brain-model-rsa": __version__, "commit": _git_commit(), "python": platform.python_version()}
    return own | installed(LIBRARIES)


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of some packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
