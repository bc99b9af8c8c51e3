"""What is kept of networks that have run: RDMs of layers, found again by the content of all that they are made of.

Whatever changes a number is in the name under which it is kept: the weights, the preprocessing, the pictures, the
layer, what of it counts, the distance, and the program. So nothing in this folder is ever out of date, and all of it
may be deleted at any time.
"""

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import h5py
import pandas as pd

from rsa.core import Array, RDMs
from rsa.errors import UserError, one_line
from rsa.files import io
from rsa.files.versions import installed

__all__ = ["Gathered", "Kept", "LayerRDM", "gathering", "program"]

LIBRARIES = ("torch", "torchvision", "timm", "onnxruntime", "transformers", "open_clip_torch", "numpy", "pillow")
"""Packages whose version is part of what an RDM is made of."""

CODE = ("distances.py", "kernels.py", "inputs/stimuli.py", "models/*.py")
"""Modules of this package whose text is: whoever mends one of them gets new numbers without asking for them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerRDM:
    """The RDM of a layer.

    Parameters
    ----------
    values : array, shape (n_pairs,)
        Dissimilarities.
    n_units : int
        Number of units.
    said : mapping
        What was said of it: `undefined` (conditions whose patterns have no distance), `projection` (its error).
    """

    values: Array
    n_units: int
    said: Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """A folder of RDMs of layers.

    Parameters
    ----------
    folder : path, optional
        Without one, nothing is kept, and nothing is found.
    made_of : mapping
        All that the RDMs of one network depend on, but for the layer: as JSON takes it.
    conditions : sequence of str
        The conditions, in the order of the RDMs.
    """

    folder: Path | None
    made_of: Mapping[str, Any]
    conditions: Sequence[str]

    def find(self, layer: str) -> LayerRDM | None:
        """Return the RDM of a layer, if it was kept whole."""
        path = self._place("rdms", layer)
        if path is None or not path.exists():
            return None
        try:
            rdms, said = io.load_rdms(path), io.read_provenance(path)
        except UserError as error:
            log.warning("%s is made anew: %s", layer, error)
            return None
        return LayerRDM(rdms.values[0], int(rdms.table["n_units"].iloc[0]), said)

    def keep(self, layer: str, rdm: LayerRDM, distance: str) -> None:
        """Keep the RDM of a layer."""
        path = self._place("rdms", layer)
        if path is not None:
            table = pd.DataFrame({"layer": [layer], "n_units": [rdm.n_units]})
            io.save(path, RDMs(rdm.values[None], self.conditions, table, distance), rdm.said, recorded=False)

    def activations(self) -> Path | None:
        """Return where responses go while they are gathered, so that another run goes on with them."""
        return self._place("responses", "")

    def _place(self, kind: str, what: str) -> Path | None:
        if self.folder is None:
            return None
        text = json.dumps([kind, what, dict(self.made_of), list(self.conditions)])  # in order: of `units` it matters
        return self.folder / kind / f"{hashlib.sha256(text.encode()).hexdigest()}.h5"


@cache
def program() -> dict[str, str]:
    """Return what tells this program from another that may make other numbers: its code, and versions of libraries."""
    here, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in here.glob(pattern)):
        digest.update(path.read_bytes())
    return {"code": digest.hexdigest()} | installed(LIBRARIES)


# -------------------------------------------------------------------------- responses that are gathered


@dataclass(frozen=True)
class Gathered:
    """How far responses are gathered in a file.

    Parameters
    ----------
    path : path
        The file.
    """

    path: Path

    def n_done(self, layers: Sequence[str]) -> int:
        """Return how many pictures are in the file, of these layers; 0 if it has to be begun, or is damaged."""
        if not self.path.is_file() or not self._note.is_file():
            return 0
        try:
            told = json.loads(self._note.read_text(encoding="utf-8"))
            with h5py.File(self.path, "r") as file:
                there = [str(file[f"layers/{i}"].attrs["layer"]) for i in range(len(file["layers"]))]
            return int(told["n_done"]) if told["layers"] == there == list(layers) else 0
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            log.warning("Responses are gathered anew, since %s is damaged: %s", self.path, one_line(error))
            return 0

    def note(self, layers: Sequence[str], n_done: int) -> None:
        """Note that so many pictures are in the file, all of their conditions with them."""
        with io.writing(self._note, recorded=False) as temporary:
            temporary.write_text(json.dumps({"layers": list(layers), "n_done": n_done}), encoding="utf-8")

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def remove(self) -> None:
        """Remove the file and the note."""
        for path in (self.path, self._note):
            path.unlink(missing_ok=True)


@contextmanager
def gathering(path: Path | None, scratch: Path) -> Iterator[Gathered]:
    """Give a file in which responses are gathered; it is removed when the block ends without an error.

    Parameters
    ----------
    path : path, optional
        Where it is kept if the block is interrupted. Without one, or while another process gathers there, it is a
        temporary file that goes in any case.
    scratch : path
        Folder of a temporary file.
    """
    with ExitStack() as stack:
        if path is None or not _locked(stack, path):
            scratch.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".partial-responses-", dir=scratch))
            path = Path(folder) / "responses.h5"
        gathered = Gathered(path)
        yield gathered
        gathered.remove()


def _locked(stack: ExitStack, path: Path) -> bool:
    """Lock a file for this process until the stack unwinds; say whether that worked."""
    file = path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not _is_held(file, lock := stack.enter_context(file.open("w"))):
            lock.close()
    except OSError:
        return False
    stack.callback(file.unlink, missing_ok=True)
    return True


def _is_held(file: Path, lock: IO[str]) -> bool:
    """Lock a file that is open; say whether it is still there.

    The process that held the lock removes the file when it ends. Whoever had opened it before then locks what nobody
    else will find, while others make a new file.
    """
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    except FileNotFoundError:
        return False
