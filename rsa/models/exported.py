"""Programs of `torch.export` (.pt2): a graph of operators, each of which knows the module that it comes from.

`torch.export.load` unpickles, evaluates expressions of sizes and looks up functions by name, so that a file made with
bad intent could run anything. Here nothing is unpickled but tensors (torch's `weights_only`), the expressions and names
in the file are looked through before, and its guards, which are Python code, are not run.
"""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd
from PIL import Image

from rsa.errors import UserError, did_you_mean
from rsa.files.io import reading
from rsa.models.files import FileNetwork, PictureInput, in_batches, picture_input, require_file
from rsa.models.graphs import Step, stages
from rsa.models.modules import tokens_before
from rsa.models.preprocessing import Preparation
from rsa.models.source import LAYER_COLUMNS, PART
from rsa.models.weights import weights_sha256

if TYPE_CHECKING:
    import torch

__all__ = ["Exported", "ExportedNetwork", "load_program"]

KIND = "a program of torch.export (.pt2)"

CURE = "Save the network by torch.export.save(torch.export.export(network, (pictures,)), 'network.pt2')."

MERGES = ("add", "add_", "cat", "concat")
ACTIVATIONS = (
    *("relu", "relu_", "hardtanh", "hardtanh_", "relu6", "silu", "silu_", "gelu", "hardswish", "hardswish_"),
    *("leaky_relu", "leaky_relu_", "elu", "elu_", "mish", "prelu", "sigmoid", "tanh", "clamp", "clamp_"),
)
DENSE = ("linear", "addmm", "mm")


# ------------------------------------------------------------------------------------ reading safely

WORDS = {
    *("Add", "Mul", "Pow", "Rational", "Float", "floor", "ceiling"),
    *("Symbol", "Integer", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "Abs"),
    *("FloatTrueDiv", "ModularIndexing", "Piecewise", "Where", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not"),
    *("ToFloat", "TruncToInt", "RoundToInt", "True", "False", "oo", "int_oo", "evaluate"),
    *("positive", "negative", "nonnegative", "nonpositive", "nonzero", "integer", "real", "finite", "commutative"),
}
"""What may stand in an expression of sizes, beside numbers and symbols such as s0, s77, u1."""

SYMBOL = re.compile(r"z?[suf]+\d+")

TARGET = re.compile(
    r"torch\.ops\.(aten|prims?|torchvision|quantized(_decomposed)?|higher_order)\.\w+(\.\w+)?|_operator\.\w+"
    r"|math\.\w+|torch\.(sym_\w+|_sym_\w+)"
)
"""Which functions a program may name: operators of torch and torchvision, and arithmetic of sizes."""


def load_program(path: str) -> Any:
    """Read a program of torch.export, without running anything that the file brings.

    Parameters
    ----------
    path : str
        The .pt2 file.

    Returns
    -------
    torch.export.ExportedProgram
        On the CPU.

    Raises
    ------
    UserError
        If there is no such file, or it is damaged, something else (TorchScript, a state dict), or names functions or
        objects that no network needs.
    """
    import torch
    import torchvision  # noqa: F401  its operators become known to torch

    require_file(path)
    _require_harmless(path)
    with reading(path, KIND), _only_weights(), open(path, "rb") as stream:
        return torch.export.load(stream)


def _require_harmless(path: str) -> None:
    """Raise a `UserError` if a file is no program, or one that names what no network needs."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is damaged, or not {KIND}. {CURE}")
    with reading(path, KIND), zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        programs = [name for name in archive.namelist() if name.endswith(".json")]
        graphs = [graph for name in programs if "graph_module" in (graph := json.loads(archive.read(name)))]
    if any(name.startswith("code/") for name in names):
        raise UserError(f"{path} holds TorchScript, whose layers cannot be asked for. {CURE}")
    if not graphs:
        other = "a state dict or a pickled network" if "data.pkl" in names else "no program"
        raise UserError(f"{path} holds {other}, and not {KIND}. {CURE}")
    for key, text in (pair for graph in graphs for pair in _texts(graph)):
        known = TARGET.fullmatch(text) if key == "target" else _is_of_sizes(text)
        if key in ("target", "expr_str") and not known:
            raise UserError(f"{path} names {text[:80]!r}, which no network needs, so it is not loaded. {CURE}")


def _texts(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in JSON: of nodes the functions, of sizes the expressions, each below its key."""
    if isinstance(part, dict):
        for name, one in part.items():
            if name not in ("metadata", "signature", "module_call_graph"):
                yield from _texts(one, name)
    elif isinstance(part, list):
        for one in part:
            yield from _texts(one, key)
    elif isinstance(part, str):
        yield key, part


def _is_of_sizes(text: str) -> bool:
    """Say whether an expression has nothing but numbers, symbols and their arithmetic.

    Examples
    --------
    >>> _is_of_sizes("FloorDiv(Symbol('s77', integer=True) + 1, 2)"), _is_of_sizes("__import__('os').getcwd()")
    (True, False)
    """
    return all(word in WORDS or SYMBOL.fullmatch(word) for word in re.findall(r"[^\W\d]\w*", text))


@contextmanager
def _only_weights() -> Iterator[None]:
    """Let torch unpickle nothing but tensors and plain values in the block, whatever its caller asks for."""
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[0]] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


# ------------------------------------------------------------------------------------- modules in it


@dataclass(frozen=True)
class _Module:
    """A module of the network that became the program, and the nodes of the graph that give its output."""

    name: str
    kind: str
    n_calls: int
    outputs: tuple[Any, ...]

    @property
    def layers(self) -> dict[str, Any]:
        """The layers that it makes, and the node of each: of several values the first stands for all."""
        parts = {f"{self.name}{PART}{i}": node for i, node in enumerate(self.outputs)} if len(self.outputs) > 1 else {}
        return {self.name: self.outputs[0], **parts}


def _modules_of(graph: Any) -> list[_Module]:
    """Return the modules that have nodes in a graph, in the order of their outputs."""
    calls: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    members: dict[str, list[Any]] = {}
    for node in (node for node in graph.nodes if node.op == "call_function"):
        for call, (name, kind) in (node.meta.get("nn_module_stack") or {}).items():
            path = name.partition("@")[0]
            if path:
                calls.setdefault(path, set()).add(call)
                members.setdefault(path, []).append(node)
                kinds[path] = str(kind).rpartition(".")[2].rstrip("'>")
    order = {node: place for place, node in enumerate(graph.nodes)}
    found = [
        _Module(path, kinds[path], len(calls[path]), outputs)
        for path, nodes in members.items()
        if (outputs := _outputs_of(nodes))
    ]
    return sorted(found, key=lambda module: (order[module.outputs[0]], -module.name.count(".")))


def _outputs_of(nodes: Sequence[Any]) -> tuple[Any, ...]:
    """Return the tensors that leave a module: those that others use, or else the last one."""
    inside = set(nodes)
    tensors = [node for node in nodes if _value(node) is not None]
    leaving = [node for node in tensors if any(user not in inside for user in node.users)]
    return tuple(leaving or tensors[-1:])


def _value(node: Any) -> Any:
    """Return the tensor without content that stands for what a node gives; None if that is no tensor of numbers."""
    import torch

    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) and value.is_floating_point() else None


def _steps(graph: Any, shapes: dict[str, tuple[int, ...]]) -> list[Step]:
    """Return the values of the graph that depend on the picture, for `rsa.models.graphs`."""
    of_picture: dict[Any, str] = {}
    steps = []
    for node in graph.nodes:
        if node.op == "placeholder" and node.name in shapes:
            of_picture[node] = node.name
        inputs = tuple(of_picture[one] for one in node.all_input_nodes if one in of_picture)
        if node.op == "call_function" and inputs and _value(node) is not None:
            of_picture[node] = node.name
            shape = shapes.get(node.name, ())
            steps.append(Step(node.name, _kind_of(node, len(inputs)), inputs, shape, _n_places(shape)))
    return steps


def _kind_of(node: Any, n_inputs: int) -> Literal["merge", "activation", "dense", "other"]:
    name = str(node.target).split(".")[1] if str(node.target).startswith("aten.") else ""
    if name in MERGES:
        return "merge" if n_inputs > 1 else "other"
    return "activation" if name in ACTIVATIONS else "dense" if name in DENSE else "other"


def _n_places(shape: Sequence[int]) -> int:
    """Return the number of positions of (channels, height, width), or of tokens of (n_tokens, n_dimensions)."""
    return shape[1] * shape[2] if len(shape) == 3 else shape[0] if len(shape) == 2 else 1


# ------------------------------------------------------------------------------------------ network


@dataclass(frozen=True)
class ExportedNetwork:
    """A program that is ready to run; see `rsa.models.source.Network`.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        The program.
    takes : PictureInput
        What it takes.
    prepare : Preparation
        From an RGB picture to a tensor of shape (3, height, width).
    """

    program: Any
    takes: PictureInput
    prepare: "Preparation | Callable[[Image.Image], torch.Tensor]"

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(one.numel() for one in self.program.parameters())

    def to(self, device: str) -> "ExportedNetwork":
        """Return the network on a device."""
        if device == "cpu":
            return self
        from torch.export.passes import move_to_device_pass

        return replace(self, program=move_to_device_pass(self.program, device))

    def answer(self, batch: "torch.Tensor", layers: Sequence[str], take: "Callable[[str, torch.Tensor], None]") -> None:
        """Compute the graph up to the last of the layers, and hand over what these answer when it is computed."""
        nodes: dict[Any, list[str]] = {}
        for layer in layers:
            if layer not in self._layers:
                raise UserError(f"The network has no layer {layer!r}.{did_you_mean(layer, self._layers, 3)}")
            nodes.setdefault(self._layers[layer], []).append(layer)

        def run(pictures: "torch.Tensor", keep: "Callable[[str, torch.Tensor], None]") -> None:
            left = dict(nodes)
            for node, value in self._values(pictures):
                for layer in left.pop(node, []):
                    keep(layer, value.float())
                if not left:
                    return

        in_batches(self.takes.n_pictures, batch, run, take)

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights."""
        return weights_sha256({name: one for name, one in self._stored.items() if hasattr(one, "numel")})

    @cached_property
    def _layers(self) -> dict[str, Any]:
        return {name: node for module in _modules_of(self.program.graph) for name, node in module.layers.items()}

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """Parameters, buffers and constants, by name."""
        return {**self.program.constants, **self.program.state_dict}

    def _values(self, batch: "torch.Tensor") -> Iterator[tuple[Any, Any]]:
        """Compute the graph and yield each node and its value, which is forgotten after its last use."""
        from torch.fx.node import map_arg

        graph, specs = self.program.graph, self.program.graph_signature.input_specs
        last_user = {one: node for node in graph.nodes for one in node.all_input_nodes}
        given = {spec.arg.name: self._stored[spec.target] if spec.target else None for spec in specs}
        dtype = _picture_of(self.program).meta["val"].dtype
        values: dict[Any, Any] = {}
        for node in graph.nodes:
            if node.op == "placeholder":
                stored = given.get(node.name)
                values[node] = self.takes.arranged(batch).to(dtype) if stored is None else stored
            elif node.op == "get_attr":
                values[node] = getattr(self.program.graph_module, node.target)
            elif node.op == "call_function":
                args, options = map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **options)
                yield node, values[node]
            for one in node.all_input_nodes:
                if last_user[one] is node:
                    del values[one]


def _picture_of(program: Any) -> Any:
    """Return the node that the picture goes into."""
    (name,) = program.graph_signature.user_inputs
    return next(node for node in program.graph.nodes if node.name == name)


# ----------------------------------------------------------------------------------------- settings


class Exported(FileNetwork):
    """A network as a program that `torch.export` saved (.pt2); its layers have the names of the modules."""

    source: Literal["exported"] = "exported"
    """A file of torch.export."""

    def about(self) -> str:
        """Say in a few words which network it is."""
        return f"the program {Path(self.file).name} of torch.export"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network and what pictures became."""
        return [
            f"The network {self.label} was read from the file {Path(self.file).name}, which torch.export had saved, "
            "and computed with PyTorch (Paszke et al., 2019).",
            f"Pictures were {self.preparation().words()}.",
        ]

    def load(self) -> ExportedNetwork:
        """Return the network, ready for inference on the CPU."""
        program = load_program(self.file)
        return ExportedNetwork(program, _takes(program, self.file), self.preparation())

    def takes(self) -> PictureInput:
        """Return what the network takes."""
        return _known(self.file, _stamp(self.file)).takes

    @property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space, by the names of the program's parameters."""
        return _known(self.file, _stamp(self.file)).n_tokens_before

    def describe(self) -> pd.DataFrame:
        """Return the layers in forward order: modules of which something is computed, and parts of their output."""
        takes, table, _ = _known(self.file, _stamp(self.file))
        if takes.size is None:
            table = _sized(self.file, _stamp(self.file), self.preparation().crop)
        return table.copy()


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes when a file changes."""
    require_file(path)
    there = Path(path).stat()
    return there.st_mtime_ns, there.st_size


class _Known(NamedTuple):
    """What a program takes, its layers if pictures have a fixed size, and how many tokens are before those of space."""

    takes: PictureInput
    layers: pd.DataFrame
    n_tokens_before: int


@lru_cache(maxsize=16)
def _known(path: str, stamp: tuple[int, int]) -> _Known:
    """Return what is known of a program."""
    program = load_program(path)
    takes = _takes(program, path)
    layers = pd.DataFrame() if takes.size is None else _described(program, takes, takes.size)
    return _Known(takes, layers, tokens_before(program.state_dict))


@lru_cache(maxsize=16)
def _sized(path: str, stamp: tuple[int, int], size: tuple[int, int]) -> pd.DataFrame:
    """Return the layers of a program that takes pictures of any size, for those of one."""
    return _described(load_program(path), _known(path, stamp)[0], size)


def _takes(program: Any, file: str) -> PictureInput:
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise UserError(f"{file} takes {len(inputs)} inputs, and a picture is one; export a network of pictures alone.")
    value = _value(_picture_of(program))
    if value is None:
        raise UserError(f"{file} takes no tensor of numbers with a decimal point; export it with pictures of float32.")
    if any(_trains(node) for node in program.graph.nodes):
        raise UserError(f"{file} was exported while it was trained (dropout, batch norm); call network.eval() before.")
    return picture_input([n if isinstance(n, int) else None for n in value.shape], file)


def _trains(node: Any) -> bool:
    """Say whether a node does what it does in training alone: drops out at random, or uses the batch's own mean."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    if name in ("batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional"):
        return node.args[3] is not None and node.args[5] is True
    return "dropout" in name and len(node.args) > 2 and node.args[2] is True


def _described(program: Any, takes: PictureInput, size: tuple[int, int]) -> pd.DataFrame:
    shapes = _shapes(program, takes, size)
    chosen = set(stages(_steps(program.graph, shapes)))
    modules = _modules_of(program.graph)
    rows: list[dict[str, Any]] = []
    for module in modules:
        for layer, node in module.layers.items():
            shape = shapes.get(node.name, ()) if module.n_calls == 1 else ()
            row = {"layer": layer, "type": module.kind, "shape": "x".join(map(str, shape)), "n_units": _size(shape)}
            is_default = node.name in chosen and layer in _one_name_each(modules, node)
            rows.append({**row, "n_calls": module.n_calls, "default": is_default and bool(shape) and PART not in layer})
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def _one_name_each(modules: Sequence[_Module], node: Any) -> list[str]:
    """Of the modules that end with a node, return the one that is called by it: the smallest block, or the module."""
    ending = [module for module in modules if module.outputs[0] is node and module.n_calls == 1]
    names = [module.name for module in ending]
    blocks = [name for name in names if any(module.name.startswith(f"{name}.") for module in modules)]
    return sorted(blocks or names, key=lambda name: name.count("."))[-1:]


def _size(shape: Sequence[int]) -> int:
    n = 1
    for one in shape:
        n *= one
    return n if shape else 0


def _shapes(program: Any, takes: PictureInput, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes for one picture of all values that have a row for each picture."""
    if takes.size is not None:
        values = {node.name: _value(node) for node in program.graph.nodes}
        found = {name: [str(n) for n in value.shape] for name, value in values.items() if value is not None}
    else:  # sizes are expressions: one pass tells what they become
        found = _computed_shapes(program, takes, size)
    n_pictures = found[program.graph_signature.user_inputs[0]][0]
    return {
        name: tuple(map(int, shape[1:]))
        for name, shape in found.items()
        if len(shape) > 1 and shape[0] == n_pictures and all(n.isdecimal() for n in shape[1:])
    }


def _computed_shapes(program: Any, takes: PictureInput, size: tuple[int, int]) -> dict[str, list[str]]:
    import torch

    batch = torch.zeros(takes.n_pictures or 3, 3, *size)
    network = ExportedNetwork(program, takes, Preparation(1, (1, 1), (0, 0, 0), (1, 1, 1)))
    found = {program.graph_signature.user_inputs[0]: [str(n) for n in batch.shape]}
    with torch.inference_mode():
        for node, value in network._values(batch):
            if isinstance(value, torch.Tensor):
                found[node.name] = [str(n) for n in value.shape]
    return found
