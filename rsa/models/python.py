"""Networks, or responses, that a function of the user's makes."""

import ast
import importlib
import importlib.util
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import AfterValidator, Field, ValidationInfo

from rsa.errors import UserError, did_you_mean, listed, one_line
from rsa.models.architectures import defaults
from rsa.models.default_layers import outline
from rsa.models.modules import TorchNetwork, own_random_numbers, tokens_before, traced
from rsa.models.source import Source
from rsa.settings import below_data_root

__all__ = ["Arrays", "Python"]

logger = logging.getLogger(__name__)

EXPECTED = {
    "network": "a module of torch and a function that makes its input of a picture, (module, transform)",
    "responses": "labels of conditions and a table of arrays with a row for each, (conditions, {layer: array})",
}
"""What a function has to return, by `returns`."""

TEST_SIZES = (320, 240), (180, 200)
"""Width and height of the pictures that show what shape a transform gives, in pixels."""


def _with_path(function: str, info: ValidationInfo) -> str:
    """Join the file before the colon to the data root; leave a module of Python alone."""
    place, colon, name = function.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"{function!r} is not a function: write package.module:function or path/to/file.py:function")
    return below_data_root(place, info) + colon + name if place.endswith(".py") else function


class Python(Source):
    """What a function of yours returns: a network and how it sees pictures, or ready responses."""

    source: Literal["python"] = "python"
    """Where the network comes from."""
    function: Annotated[str, AfterValidator(_with_path)]
    """The function: `package.module:function`, which Python can import, or `path/to/file.py:function`."""
    returns: Literal["network", "responses"] = "network"
    """What it returns: `network`, a module of torch and a function from an RGB picture (of PIL) to its input, a tensor
    of shape (3, height, width), or (1, height, width) of networks that see grey alone, and of one size whatever the
    size of the picture; or `responses`, labels of conditions and arrays with a row for each, by layer:
    `(conditions, {layer: array})`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What the function is given, by name. A text that names a file counts as an input: what was computed with another
    content of it is computed again."""
    seed: int = Field(default=0, ge=0)
    """Seed of torch's random numbers when the function is called."""
    untrained: bool = False
    """Whether the function makes random weights, which follow `seed`; `seeds` can then ask for several networks."""

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return self.untrained

    @property
    def needs_pictures(self) -> bool:  # type: ignore[override]
        """Whether pictures pass through a network, rather than that responses are ready."""
        return self.returns == "network"

    @property
    def called(self) -> str:
        """The function's name."""
        return self.function.rpartition(":")[2]

    @property
    def word(self) -> str:
        """What `python -m rsa layers` knows the network by."""
        return f"python:{self.function}"

    def about(self) -> str:
        """Say in a few words which network it is."""
        given = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.called} of {Path(self._place).name}" + (f" with {given}" if given else "")

    def methods(self) -> list[str]:
        """Return sentences for the methods text: where the network comes from."""
        made = "The network {} was" if self.needs_pictures else "The responses of {} were"
        random = f" Its weights were random (seed {self.seed})." if self.untrained else ""
        return [f"{made.format(self.label)} made by custom code: the function {self.about()}.{random}"]

    def load(self) -> Any:
        """Return the network, ready for inference on the CPU, or the responses that the function returned.

        Raises
        ------
        UserError
            If there is no such function, it fails, or it returns something else.
        """
        made = _call(self.function, self.arguments, self.seed, self.returns)
        if isinstance(made, Arrays):
            return made
        return TorchNetwork(made[0].eval().requires_grad_(False), made[1], self.channels_last)

    def preprocessing(self) -> str:
        """Describe the preprocessing of pictures in one line."""
        return f"by the transform that {self.called} returned" if self.needs_pictures else "none: responses were ready"

    def describe(self) -> pd.DataFrame:
        """Return the layers in the order in which a picture passes them; the function is called for that."""
        return self._seen().layers.copy()

    @property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space, by the names of the network's parameters."""
        return self._seen().n_tokens_before

    @property
    def n_colours(self) -> int:
        """Number of colours that the network sees: three, or grey alone, or what else the transform makes."""
        return self._seen().n_colours

    def _seen(self) -> "_Seen":
        arguments = json.dumps(self.arguments, sort_keys=True)
        changed = tuple(path.stat().st_mtime_ns for path in self.files() if path.is_file())
        return _seen(self.function, arguments, self.seed, self.returns, changed)

    def files(self) -> list[Path]:
        """Return the file of the function, those beside it that it imports, and files that the arguments name."""
        named = [Path(value) for value in self.arguments.values() if isinstance(value, str) and value]
        return [*self._code(), *(path for path in named if path.is_file())]

    def _code(self) -> list[Path]:
        if self._place.endswith(".py"):
            return _with_neighbours(Path(self._place))
        file = _file_of(self._place)
        if file is None:
            return []
        n_above = len(self._place.split(".")) - (file.name != "__init__.py")
        return _with_neighbours(file, file.parents[n_above] if n_above < len(file.parents) else None)

    @property
    def _place(self) -> str:
        """The module or the file of the function."""
        return self.function.rpartition(":")[0]


@dataclass
class Arrays:
    """Ready responses; see `rsa.models.source.Responses`.

    Parameters
    ----------
    conditions : sequence of str
        A label for each row.
    layers : mapping
        Layer -> array, shape (n_conditions, ...).
    """

    conditions: Sequence[str]
    layers: Mapping[str, Any]

    def of(self, layer: str) -> Any:
        """Return the responses of a layer, shape (n_conditions, n_units)."""
        return self.layers[layer].reshape(len(self.conditions), -1)

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the names, types, shapes and values, in hexadecimal."""
        digest = sha256(json.dumps(list(self.conditions)).encode() + b"\n")
        for name, values in sorted(self.layers.items()):
            digest.update(json.dumps([name, str(values.dtype), list(values.shape)]).encode() + b"\n")
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


# ---------------------------------------------------------------------------------------- the function


def _call(function: str, arguments: Mapping[str, Any], seed: int, returns: str) -> Any:
    """Call the function, and return the module and the transform that it made, or the arrays.

    Raises
    ------
    UserError
        If there is no such function, it fails, or it returns something else.
    """
    place, _, name = function.rpartition(":")
    with _beside(Path(place)) if place.endswith(".py") else nullcontext():
        module = _imported(place)
        if not callable(getattr(module, name, None)):
            found = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
            raise UserError(f"{place} has no function {name!r}.{did_you_mean(name, found)}")
        try:
            with own_random_numbers(seed):
                made = getattr(module, name)(**arguments)
        except Exception as error:
            raise _failed(f"The function {function}", error) from error
    return _checked(made, function, returns)


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let what lies beside a file be imported in a block, as it is now.

    Modules of the same names that came from beside another file, or before they were changed, are forgotten.
    """
    folder = file.parent.resolve()
    neighbours = [path.resolve() for path in _with_neighbours(file)[1:]]
    for path in neighbours:
        name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        source = getattr(sys.modules.get(name), "__file__", None)
        if source and (Path(source).resolve() == path or not _is_on_path(Path(source), name)):
            del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _is_on_path(source: Path, module: str) -> bool:
    """Say whether the file of a module is where Python still looks for it."""
    n_above = len(module.split(".")) - (source.name != "__init__.py")
    return str(source.resolve().parents[n_above]) in {str(Path(place).resolve()) for place in sys.path}


def _failed(what: str, error: Exception) -> UserError:
    """Log the traceback of code of the user's, and return the mistake to raise."""
    logger.debug("%s fails", what, exc_info=error)
    told = f"{type(error).__name__}: {one_line(error)}."
    where = extract_tb(error.__traceback__)[-1]
    if where.filename == __file__:
        return UserError(f"{what} cannot be called: {told} It is called with the `arguments` of the configuration.")
    return UserError(f"{what} fails in {Path(where.filename).name}, line {where.lineno}: {told}")


def _imported(place: str) -> ModuleType:
    """Import a module of Python by its name or by its file."""
    if place.endswith(".py"):
        return _run(Path(place))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and not f"{place}.".startswith(f"{error.name}."):
            raise _failed(f"Importing {place}", error) from error
        raise UserError(
            f"Python finds no module {place!r}. Run from the folder above it, install it, or give the path of its "
            "file: path/to/file.py:function."
        ) from error
    except Exception as error:
        raise _failed(f"Importing {place}", error) from error


def _run(path: Path) -> ModuleType:
    """Run a file as a module of its own."""
    if not path.is_file():
        raise UserError(f"There is no file {path}, which `function` names.")
    name = f"rsa_user_{sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no file of Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(f"Importing {path}", error) from error
    return module


def _file_of(module: str) -> Path | None:
    """Return the file of a module of Python, if it is found."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def _with_neighbours(file: Path, above: Path | None = None) -> list[Path]:
    """Return a file of Python, and those of the user's that it imports, or that these import.

    Parameters
    ----------
    file : path
        The file.
    above : path, optional
        The folder from which Python imports it, if that is not its own.
    """
    top = above or file.parent
    found = dict.fromkeys([*_packages_of(file, top), file])
    waiting = list(found)
    while waiting:
        for path in _imported_by(waiting.pop(), top):
            if path.is_file() and path not in found and not _is_installed(path, top, file):
                found[path] = None
                waiting.append(path)
    return list(dict.fromkeys([file, *found]))


def _packages_of(file: Path, top: Path) -> list[Path]:
    """Return the __init__.py of the packages that a file is in: they run before it."""
    return [path for folder in file.parents if top in folder.parents and (path := folder / "__init__.py").is_file()]


def _is_installed(path: Path, top: Path, file: Path) -> bool:
    """Say whether a file belongs to another package than the user's, beside which it is installed."""
    if top.name not in ("site-packages", "dist-packages"):
        return False
    return path.relative_to(top).parts[0] != file.relative_to(top).parts[0]


def _imported_by(file: Path, top: Path) -> list[Path]:
    """Return where what a file imports would lie, packages around it included; nothing if the file cannot be read."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    names: list[tuple[Path, list[str]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(top, one.name.split(".")) for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else top
            of_module = node.module.split(".") if node.module else []
            names += [(start, of_module), *((start, [*of_module, one.name]) for one in node.names if one.name != "*")]
    places = [start.joinpath(*parts[:n]) for start, parts in names for n in range(1, len(parts) + 1)]
    return [path for place in dict.fromkeys(places) for path in (place.with_suffix(".py"), place / "__init__.py")]


# ------------------------------------------------------------------------------------ what it returned


def _checked(made: Any, function: str, returns: str) -> Any:
    """Return what the function made, if it has the form that is expected."""
    import torch

    is_pair = isinstance(made, tuple | list) and len(made) == 2
    if is_pair and returns == "network" and isinstance(made[0], torch.nn.Module) and callable(made[1]):
        return made
    if is_pair and returns == "responses" and isinstance(made[1], Mapping) and not isinstance(made[0], str | Mapping):
        return _arrays(made[0], made[1], function)
    of = f" of {listed([type(one).__name__ for one in made])}" if isinstance(made, tuple | list) else ""
    raise UserError(
        f"The function {function} returned a {type(made).__name__}{of}; with `returns: {returns}`, expected is "
        f"{EXPECTED[returns]}."
    )


def _arrays(conditions: Any, layers: Mapping[Any, Any], function: str) -> Arrays:
    labels = [str(label) for label in conditions]
    arrays = {str(layer): np.asarray(values) for layer, values in layers.items()}
    if not arrays:
        raise UserError(f"The function {function} returned no layers.")
    for layer, values in arrays.items():
        if values.ndim < 2 or len(values) != len(labels) or values.dtype.kind not in "fiu":
            raise UserError(
                f"Layer {layer!r} that {function} returned has the shape {values.shape} and type {values.dtype}; "
                f"expected are numbers with a row for each of {len(labels)} conditions."
            )
    return Arrays(labels, arrays)


class _Seen(NamedTuple):
    """What is seen of what a function makes: its layers, tokens before those of space, and colours of its input."""

    layers: pd.DataFrame
    n_tokens_before: int = 0
    n_colours: int = 3


@cache
def _seen(function: str, arguments: str, seed: int, returns: str, changed: tuple[int, ...]) -> _Seen:
    """Return what is seen of what the function makes; once for the times at which its files were changed."""
    made = _call(function, json.loads(arguments), seed, returns)
    if isinstance(made, Arrays):
        return _Seen(pd.DataFrame([_row_of(layer, values.shape[1:]) for layer, values in made.layers.items()]))
    module, transform = made
    shape = _input_shape(transform, function)
    try:
        table = traced(module.eval(), shape)
    except Exception as error:
        raise _failed(f"The network of {function}, given pictures of shape {shape},", error) from error
    chosen = outline(table)
    return _Seen(defaults(table, lambda layer, _: layer in chosen), tokens_before(module.state_dict()), shape[0])


def _row_of(layer: str, shape: Sequence[int]) -> dict[str, Any]:
    size = {"shape": "x".join(map(str, shape)), "n_units": int(np.prod(shape)), "n_calls": 1}
    return {"layer": layer, "type": "array", **size, "default": True}


def _input_shape(transform: Any, function: str) -> tuple[int, ...]:
    """Return the shape of what the transform makes of any picture: (n_colours, height, width).

    Raises
    ------
    UserError
        If the transform fails, makes something else, or inputs of other sizes of pictures of other sizes.
    """
    shapes = {size: _shape_of(transform, size, function) for size in TEST_SIZES}
    first, second = TEST_SIZES
    if shapes[first] != shapes[second]:
        raise UserError(
            f"The transform of {function} makes inputs of different sizes: {shapes[first]} of a picture of "
            f"{first[0]} x {first[1]} pixels, and {shapes[second]} of one of {second[0]} x {second[1]}; scale or crop "
            "all to one size in it, as by Resize((224, 224))."
        )
    return shapes[first]


def _shape_of(transform: Any, size: tuple[int, int], function: str) -> tuple[int, ...]:
    """Return the shape of what the transform makes of a picture of a width and height."""
    import torch

    try:
        made = transform(Image.new("RGB", size, "grey"))
    except Exception as error:
        raise _failed(f"The transform of {function}", error) from error
    is_tensor = isinstance(made, torch.Tensor)
    if not is_tensor or made.ndim != 3 or not made.is_floating_point():
        found = f"{made.dtype} of shape {tuple(made.shape)}" if is_tensor else type(made).__name__
        raise UserError(
            f"The transform of {function} makes a {found} of a picture; expected is a tensor of floating-point numbers "
            "of shape (3, height, width)."
        )
    return tuple(made.shape)
