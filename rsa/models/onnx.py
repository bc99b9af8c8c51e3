"""Networks in files of ONNX, computed by onnxruntime: all layers that are asked for in one pass."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from rsa.core import Array
from rsa.errors import UserError, did_you_mean, one_line
from rsa.files.io import reading
from rsa.models.files import FileNetwork, PictureInput, in_batches, picture_input, require_file
from rsa.models.graphs import Step, stages
from rsa.models.modules import tokens_before
from rsa.models.source import LAYER_COLUMNS, problems_of_torch_alone, require_extra
from rsa.models.weights import weights_sha256

if TYPE_CHECKING:
    import torch

__all__ = ["Onnx", "OnnxNetwork"]

KIND = "an ONNX file"

MERGES = ("Add", "Sum", "Concat")
DENSE = ("Gemm", "MatMul")
ACTIVATIONS = (
    *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Clip", "Gelu", "Sigmoid", "HardSigmoid", "Tanh"),
    *("HardSwish", "Swish", "Mish", "Softplus", "Softmax"),
)
POOLS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LpPool", "ReduceMean")
NORMS = ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "LRN")
OTHERS = ("Conv", "ConvTranspose", "Mul", "Attention", "RMSNormalization", "LpNormalization")
LAYERS = {*MERGES, *DENSE, *ACTIVATIONS, *POOLS, *NORMS, *OTHERS}
"""Operators whose outputs are layers; files are full of others, which only cast, transpose and reshape."""

OF_SHAPES = ("Shape", "Size")
"""Operators whose outputs depend on a picture's size alone."""

MOST_OF_SHAPES = 1024
"""Arrays in the file with more numbers are weights, and none that shapes are computed of."""

N_TRIED = 3
"""Pictures that are passed where shapes are not told, and any number may be."""


# ---------------------------------------------------------------------------------------- the graph


@dataclass(frozen=True)
class Graph:
    """What is known of the graph in a file without running it.

    Parameters
    ----------
    path : str
        The file.
    model : onnx.ModelProto
        The graph; large weights, where they lie in files of their own, are not read.
    """

    path: str
    model: Any

    @cached_property
    def input(self) -> Any:
        """The input of pictures.

        Raises
        ------
        UserError
            If there are several inputs.
        """
        weights = {one.name for one in self.model.graph.initializer}
        inputs = [one for one in self.model.graph.input if one.name not in weights]
        if len(inputs) != 1:
            names = ", ".join(one.name for one in inputs)
            raise UserError(
                f"{self.path} takes {len(inputs)} inputs ({names}), and a picture is one; export a network that takes "
                "pictures alone."
            )
        return inputs[0]

    @cached_property
    def takes(self) -> PictureInput:
        """What the network takes.

        Raises
        ------
        UserError
            If it does not take pictures, or was exported while it was trained.
        """
        if any(node.op_type == "BatchNormalization" and _attribute(node, "training_mode") for node in self.nodes):
            raise UserError(f"{self.path} was exported while it was trained (batch norm); export it for evaluation.")
        return picture_input(_sizes(self.input.type.tensor_type), self.path)

    @cached_property
    def dtype(self) -> str:
        """The type of the input's numbers: float32, float16, ..."""
        return _dtype(self.input.type.tensor_type.elem_type)

    @cached_property
    def nodes(self) -> list[Any]:
        """The nodes whose output depends on what is in a picture, in the order of computing."""
        known, found = {self.input.name}, []
        for node in self.model.graph.node:
            if known & set(node.input) and node.op_type not in OF_SHAPES:
                known |= set(node.output)
                found.append(node)
        return found

    @cached_property
    def layers(self) -> dict[str, Any]:
        """The node of each layer, by the name of its output: those of `LAYERS`, and outputs of the network.

        What torch's and TensorFlow's exporters put around all names is taken off, if names stay different.
        """
        ends = {one.name for one in self.model.graph.output}
        named = {node.output[0]: node for node in self.nodes if node.op_type in LAYERS or ends & set(node.output)}
        short = [name.removeprefix("/").removesuffix(":0").removesuffix("_output_0") for name in named]
        names = short if len(set(short)) == len(short) else list(named)
        return dict(zip(names, named.values(), strict=True))

    def told(self, size: tuple[int, int]) -> dict[str, tuple[str, list[int | None]]]:
        """Return the type and shape of values, as far as they follow from that of the pictures."""
        import onnx

        model = self._empty()
        model.graph.node.extend(self.model.graph.node)
        entry = next(one for one in model.graph.input if one.name == self.input.name)
        shape = self.takes.shape(self.takes.n_pictures or N_TRIED, size)
        for place, n in zip(entry.type.tensor_type.shape.dim, shape, strict=True):
            place.dim_value = n
        for stored in self.model.graph.initializer:  # of weights, their shape is enough
            if math.prod(stored.dims) <= MOST_OF_SHAPES:
                model.graph.initializer.append(stored)
            elif stored.name not in {one.name for one in model.graph.input}:
                model.graph.input.append(onnx.helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))
        for one in self.model.graph.output:  # what the file says was of any size
            kind = one.type.tensor_type.elem_type
            model.graph.output.append(onnx.helper.make_tensor_value_info(one.name, kind, None))
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:  # the library raises what its C++ does; shapes are then told by a run
            return {}
        values = [(one.name, one.type.tensor_type) for one in (*model.graph.value_info, *model.graph.output)]
        # without a shape nothing is told, not even how many axes there are; a scalar has a shape without numbers
        return {name: (_dtype(one.elem_type), _sizes(one)) for name, one in values if one.HasField("shape")}

    def cut(self, outputs: Sequence[str]) -> Any:
        """Return the part of the model that computes some values, which become its outputs."""
        import onnx

        needed, nodes = set(outputs), []
        for node in reversed(self.model.graph.node):
            if needed & set(node.output):
                needed |= {*node.input, *_names_inside(node)}
                nodes.append(node)
        model = self._empty()
        model.graph.node.extend(reversed(nodes))
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        model.graph.initializer.extend(one for one in self.model.graph.initializer if one.name in needed)
        return model

    def _empty(self) -> Any:
        """Return a model of the same inputs and versions of operators, without nodes, outputs and weights."""
        import onnx

        graph = onnx.GraphProto(name=self.model.graph.name, input=self.model.graph.input)
        graph.sparse_initializer.extend(self.model.graph.sparse_initializer)
        return onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import, graph=graph)

    @cached_property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space, by the names of weights; 0 if these were changed."""
        shapes = {one.name: SimpleNamespace(shape=tuple(one.dims)) for one in self.model.graph.initializer}
        return tokens_before(shapes)

    def weights(self) -> "dict[str, torch.Tensor]":
        """Read the weights: tensors of the graph, by name."""
        import onnx
        import torch

        folder = str(Path(self.path).parent)
        found = {}
        for name, stored in self._stored():
            array = np.array(onnx.numpy_helper.to_array(stored, base_dir=folder))
            if array.dtype.kind in "biuf":
                found[name] = torch.from_numpy(array)
            elif array.dtype.kind == "V":  # of eight or sixteen bits, which NumPy does not know
                found[f"{name}/{array.dtype.name}"] = torch.from_numpy(array.view(np.uint8))
        return found

    def _stored(self) -> Iterator[tuple[str, Any]]:
        yield from ((one.name, one) for one in self.model.graph.initializer)
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                yield from ((node.output[0], one.t) for one in node.attribute if one.name == "value")


def _names_inside(node: Any) -> set[str]:
    """Return what the branches and loops of a node use."""
    graphs = [one.g for one in node.attribute if one.HasField("g")]
    inner = [node for graph in graphs for node in graph.node]
    return {name for one in inner for name in one.input} | {name for one in inner for name in _names_inside(one)}


def _attribute(node: Any, name: str) -> int:
    """Return a whole number that is an attribute of a node; 0 if there is none."""
    return next((int(one.i) for one in node.attribute if one.name == name), 0)


def _sizes(tensor: Any) -> list[int | None]:
    return [one.dim_value if one.HasField("dim_value") and one.dim_value > 0 else None for one in tensor.shape.dim]


def _dtype(number: int) -> str:
    import onnx

    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number))
    except KeyError:
        return ""


def _read(path: str) -> Graph:
    """Read a file of ONNX, without weights in other files.

    Raises
    ------
    UserError
        If there is no such file, it is damaged or no ONNX file, or onnx or onnxruntime is not installed.
    """
    onnx = require_extra("onnx", "models", "onnx")
    require_extra("onnxruntime", "models", "onnx")
    from google.protobuf.message import DecodeError

    require_file(path)
    try:
        with reading(path, KIND):
            model = onnx.load(path, load_external_data=False)
            if model.functions:
                model = onnx.inliner.inline_local_functions(model)
    except DecodeError as error:
        raise UserError(f"{path} is damaged, or not {KIND}: {one_line(error)}.") from error
    if not model.graph.node or not model.opset_import:
        raise UserError(f"{path} is damaged, or not {KIND}: there is no graph in it.")
    return Graph(path, model)


# ------------------------------------------------------------------------------------------ network


@dataclass(frozen=True)
class OnnxNetwork:
    """A network of ONNX that is ready to run; see `rsa.models.source.Network`.

    Parameters
    ----------
    graph : Graph
        The graph.
    prepare : callable
        From an RGB picture to a tensor of shape (3, height, width); deterministic.
    device : str
        Where it is computed: by CUDA if onnxruntime has that, or else on the CPU.
    """

    graph: Graph
    prepare: "Callable[[Image.Image], torch.Tensor]"
    device: str = "cpu"
    sessions: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters: numbers with a decimal point that are stored."""
        return sum(one.numel() for one in self.graph.weights().values() if one.is_floating_point())

    def to(self, device: str) -> "OnnxNetwork":
        """Return the network on a device."""
        return OnnxNetwork(self.graph, self.prepare, device)

    def answer(self, batch: "torch.Tensor", layers: Sequence[str], take: "Callable[[str, torch.Tensor], None]") -> None:
        """Compute what the layers answer in one pass, and no more of the graph than that needs."""
        missing = [name for name in layers if name not in self.graph.layers]
        if missing:
            raise UserError(f"The network has no layer {missing[0]!r}.{did_you_mean(missing[0], self.graph.layers, 3)}")
        outputs = tuple(self.graph.layers[layer].output[0] for layer in layers)

        def run(pictures: "torch.Tensor", keep: "Callable[[str, torch.Tensor], None]") -> None:
            import torch

            for layer, values in zip(layers, self.computed(outputs, pictures), strict=True):
                keep(layer, torch.from_numpy(values.astype(np.float32, copy=False)).to(batch.device))

        in_batches(self.graph.takes.n_pictures, batch, run, take)

    def computed(self, outputs: tuple[str, ...], pictures: "torch.Tensor") -> list[Array]:
        """Compute values of the graph for pictures of shape (n_pictures, 3, height, width)."""
        if outputs not in self.sessions:
            self.sessions[outputs] = self._session(outputs)
        given = self.graph.takes.arranged(pictures).cpu().numpy().astype(self.graph.dtype, copy=False)
        found: list[Array] = self.sessions[outputs].run(list(outputs), {self.graph.input.name: given})
        return found

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights."""
        return weights_sha256(self.graph.weights())

    def _session(self, outputs: Sequence[str]) -> Any:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # which would keep what batches needed
        folder = str(Path(self.graph.path).absolute().parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        there = onnxruntime.get_available_providers()
        wanted = ["CUDAExecutionProvider"] if self.device.startswith("cuda") else []
        providers = [name for name in wanted if name in there] + ["CPUExecutionProvider"]
        try:
            return onnxruntime.InferenceSession(self.graph.cut(outputs).SerializeToString(), options, providers)
        except Exception as error:  # onnxruntime has a kind of error for each status, with no name for all
            raise UserError(f"onnxruntime cannot compute {self.graph.path} ({one_line(error)}).") from error


# ----------------------------------------------------------------------------------------- settings


class Onnx(FileNetwork):
    """A network in an ONNX file, from any framework; a layer has the name of a node's output in the graph."""

    source: Literal["onnx"] = "onnx"
    """An ONNX file."""

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each."""
        return [*problems_of_torch_alone(self, "is computed by onnxruntime"), *super().problems()]

    def about(self) -> str:
        """Say in a few words which network it is."""
        return f"the ONNX file {Path(self.file).name}"

    def methods(self) -> list[str]:
        """Return sentences for the methods text: the network and what pictures became."""
        onnxruntime = require_extra("onnxruntime", "models", "onnx")
        return [
            f"The network {self.label} was read from the ONNX file {Path(self.file).name}, and computed with "
            f"onnxruntime {onnxruntime.__version__} (https://onnxruntime.ai).",
            f"Pictures were {self.preparation().words()}.",
        ]

    def load(self) -> OnnxNetwork:
        """Return the network, ready for inference on the CPU."""
        if refused := problems_of_torch_alone(self, "is computed by onnxruntime"):
            raise UserError(refused[0])
        return OnnxNetwork(_read(self.file), self.preparation())

    def takes(self) -> PictureInput:
        """Return what the network takes."""
        return _known(self.file, *_stamp(self.file)).takes

    @property
    def n_tokens_before(self) -> int:
        """Number of tokens that stand before those of space, by the names of the weights in the file."""
        return _known(self.file, *_stamp(self.file)).n_tokens_before

    def describe(self) -> pd.DataFrame:
        """Return the layers in forward order: outputs of nodes that compute something, by their names in the file."""
        return _described(self.file, *_stamp(self.file), self.preparation().crop).copy()

    def files(self) -> list[Path]:
        """Return the file and those that hold its weights."""
        return [Path(self.file), *_beside(self.file)]


def _stamp(path: str) -> tuple[int, int]:
    """Return what changes when a file changes."""
    require_file(path)
    there = Path(path).stat()
    return there.st_mtime_ns, there.st_size


def _beside(path: str) -> list[Path]:
    """Return the files in which a file of ONNX keeps weights; none if it cannot be read, as checks say."""
    try:
        graph = _known(path, *_stamp(path))
    except UserError:
        return []
    stored = [one for _, one in graph._stored()]
    names = [entry.value for one in stored for entry in one.external_data if entry.key == "location"]
    return [Path(path).parent / name for name in dict.fromkeys(names)]


@lru_cache(maxsize=8)
def _known(path: str, time_ns: int, n_bytes: int) -> Graph:
    return _read(path)


@lru_cache(maxsize=16)
def _described(path: str, time_ns: int, n_bytes: int, size: tuple[int, int]) -> pd.DataFrame:
    for file in _beside(path):
        require_file(str(file))
    graph = _known(path, time_ns, n_bytes)
    shapes = _shapes(graph, size)
    chosen = set(stages(_steps(graph, shapes)))
    rows = []
    for layer, node in graph.layers.items():
        shape = shapes.get(node.output[0], ())
        n_units = math.prod(shape) if shape else 0
        row = {"layer": layer, "type": node.op_type, "shape": "x".join(map(str, shape)), "n_units": n_units}
        rows.append({**row, "n_calls": 1, "default": node.output[0] in chosen and n_units > 0})
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


def _shapes(graph: Graph, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes for one picture of all layers, and other values, that have a row for each picture."""
    n_pictures = graph.takes.n_pictures or N_TRIED
    told = graph.told(size)
    found: dict[str, Sequence[int | None]] = {name: shape for name, (dtype, shape) in told.items() if "float" in dtype}
    names = [node.output[0] for node in graph.layers.values()]
    untold = [name for name in names if name not in told or (name in found and (None in found[name]))]
    if untold:
        found |= _computed_shapes(graph, tuple(untold), n_pictures, size)
    return {
        name: tuple(int(n) for n in shape[1:] if n is not None)
        for name, shape in found.items()
        if len(shape) > 1 and shape[0] == n_pictures and None not in shape
    }


def _computed_shapes(
    graph: Graph, names: tuple[str, ...], n_pictures: int, size: tuple[int, int]
) -> dict[str, Sequence[int | None]]:
    """Pass black pictures, and return the shapes of values."""
    import torch

    network = OnnxNetwork(graph, lambda picture: torch.zeros(3, *size))
    values = network.computed(names, torch.zeros(n_pictures, 3, *size))
    shapes = zip(names, values, strict=True)
    return {name: list(np.shape(value)) for name, value in shapes if np.asarray(value).dtype.kind == "f"}


def _steps(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> list[Step]:
    """Return the values of the graph that depend on the picture, for `rsa.models.graphs`."""
    known = {graph.input.name}
    steps = []
    for node in graph.nodes:
        inputs = tuple(dict.fromkeys(name for name in node.input if name in known))
        known.add(node.output[0])
        shape = shapes.get(node.output[0], ())
        is_layer = node.op_type in LAYERS
        places = _n_places(shape, graph.takes.layout)
        steps.append(Step(node.output[0], _kind(node, len(inputs)), inputs, shape if is_layer else (), places))
    return steps


def _kind(node: Any, n_inputs: int) -> Literal["merge", "activation", "shift", "dense", "other"]:
    if node.op_type in MERGES:
        return "merge" if n_inputs > 1 else "shift"
    if node.op_type in DENSE and n_inputs == 1:
        return "dense"
    return "activation" if node.op_type in ACTIVATIONS else "other"


def _n_places(shape: Sequence[int], layout: str) -> int:
    """Return the number of positions of a feature map, or of tokens of (n_tokens, n_dimensions)."""
    if len(shape) == 3:
        return shape[1] * shape[2] if layout == "NCHW" else shape[0] * shape[1]
    return shape[0] if len(shape) == 2 else 1
