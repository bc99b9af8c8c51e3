import re
import shutil

import numpy as np
import onnx
import pytest
import torch
import torchvision
from networks import noise, onnx_file, small_network
from onnx import TensorProto, helper

from rsa.errors import UserError
from rsa.models import Onnx
from rsa.models.modules import recording


def answers(network, batch: torch.Tensor, layers) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    network.answer(batch, layers, lambda layer, output: found.__setitem__(layer, output.clone()))
    return found


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def of_nodes(path, nodes, shape, outputs, weights=(), dtype=TensorProto.FLOAT) -> Onnx:
    """Write a file of some nodes that take `picture`; return its settings."""
    given = [helper.make_tensor_value_info("picture", dtype, shape)]
    made = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in weights]
    graph = helper.make_graph(nodes, "net", given, made, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return Onnx(file=str(path), preprocess="imagenet")


# ------------------------------------------------------------------------------- like the network itself

SAME = {
    "0/Conv": "0",
    "1/Relu": "1",
    "2/relu/Relu": "2",
    "3/MaxPool": "3",
    "scores": "5",
}
"""Layers of the small network's file, and the modules that they are the outputs of."""


@pytest.mark.parametrize("dynamic", [(0,), (), (0, 2, 3)], ids=["any number", "two at once", "any size"])
def test_layers_equal_those_of_the_network(tmp_path, dynamic):
    if len(dynamic) == 3:
        network = torch.nn.Sequential(*small_network()[:4], torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
        same = {**{name: module for name, module in SAME.items() if module != "5"}, "scores": "5"}
    else:
        network, same = small_network(), SAME
    model = Onnx(
        file=str(onnx_file(tmp_path / "net.onnx", network, dynamic=dynamic)),
        preprocess={"preset": "imagenet", "crop": 32},
        layers=tuple(same),
    )
    batch = noise(5)
    with torch.inference_mode(), recording(network, list(same.values())) as seen:
        network(batch)
    found = answers(model.load(), batch, model.layer_names())
    assert model.layer_names() == list(same)
    described = model.describe().set_index("layer")
    for layer, module in same.items():
        close(found[layer], seen[module])
        assert described.loc[layer, "shape"] == "x".join(map(str, seen[module].shape[1:]))
        assert described.loc[layer, "n_units"] == seen[module][0].numel()


def test_mobilenet_with_its_weights_equals_its_hooks(tmp_path, data):
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(data / "weights/mobilenet_v2.pth", weights_only=True))
    network.eval()
    same = {
        "features/features.2/conv/conv.0/conv.0.2/Clip": "features.2.conv.0",
        "features/features.3/Add": "features.3",
        "features/features.10/Add": "features.10",
        "features/features.18/features.18.2/Clip": "features.18",
        "scores": "classifier",
    }
    path = onnx_file(tmp_path / "mobilenet.onnx", network, (1, 3, 224, 224))
    model = Onnx(file=str(path), preprocess="imagenet")
    batch = noise(3, (224, 224))
    with torch.inference_mode(), recording(network, list(same.values())) as seen:
        network(batch)
    found = answers(model.load(), batch, list(same))
    for layer, module in same.items():
        close(found[layer], seen[module])
    assert set(same) <= set(model.layer_names()), "these are in the default"
    assert model.describe()["default"].sum() == 17

    convert = pytest.importorskip("onnx2torch").convert  # which reads the file in a way of its own
    with torch.inference_mode():
        close(found["scores"], convert(str(path)).eval()(batch))


def test_the_newer_exporter_of_torch_with_weights_beside_the_file(tmp_path):
    pytest.importorskip("onnxscript")
    network, path = small_network(), tmp_path / "net.onnx"
    dims = ({0: torch.export.Dim("n")},)
    torch.onnx.export(network, (noise(2),), path, dynamo=True, dynamic_shapes=dims, verbose=False, external_data=True)
    model = Onnx(file=str(path), preprocess="imagenet")
    assert [file.name for file in model.files()] == ["net.onnx", "net.onnx.data"]
    scores = model.layer_names()[-1]
    with torch.inference_mode():
        close(answers(model.load(), noise(3), [scores])[scores], network(noise(3)))
    (tmp_path / "net.onnx.data").unlink()
    copied = shutil.copy(path, tmp_path / "copy.onnx")
    assert re.search(r"There is no file .*net\.onnx\.data", Onnx(file=str(copied), preprocess="imagenet").problems()[0])


# ------------------------------------------------------------------------------------------- layers


def test_layers_are_what_nodes_compute_in_order_and_the_rest_of_the_graph_is_left_out(tmp_path):
    model = Onnx(file=str(onnx_file(tmp_path / "net.onnx")), preprocess="imagenet")
    table = model.describe()
    assert list(table["type"]) == ["Conv", "Relu", "Conv", "Add", "Relu", "MaxPool", "Gemm"]
    assert list(table["layer"][table["default"]]) == model.layer_names()
    assert model.layer_names() == ["2/relu/Relu", "3/MaxPool", "scores"]


def test_no_more_of_the_graph_is_computed_than_the_layers_need(tmp_path):
    model = Onnx(file=str(onnx_file(tmp_path / "net.onnx")), preprocess="imagenet")
    network = model.load()
    assert [node.op_type for node in network.graph.cut(["/1/Relu_output_0"]).graph.node] == ["Conv", "Relu"]
    assert len(network.graph.cut(["/1/Relu_output_0"]).graph.initializer) == 2


def test_names_of_tensorflow_lose_what_stands_after_all_of_them(tmp_path):
    nodes = [helper.make_node("Relu", ["picture"], ["a:0"]), helper.make_node("Tanh", ["a:0"], ["b:0"])]
    model = of_nodes(tmp_path / "net.onnx", nodes, [None, 8, 8, 3], ["b:0"])
    assert list(model.describe()["layer"]) == ["a", "b"]
    assert model.takes().layout == "NHWC"
    batch = noise(2, (8, 8))
    torch.testing.assert_close(answers(model.load(), batch, ["a"])["a"], batch.relu().permute(0, 2, 3, 1))


def test_half_precision_is_computed_as_such_and_handed_over_in_single(tmp_path):
    weight = np.full((2, 3, 1, 1), 0.1, np.float16)
    nodes = [helper.make_node("Conv", ["picture", "w"], ["c"])]
    model = of_nodes(tmp_path / "n.onnx", nodes, [1, 3, 4, 4], ["c"], [("w", weight)], TensorProto.FLOAT16)
    found = answers(model.load(), torch.ones(3, 3, 4, 4), ["c"])["c"]
    assert found.dtype == torch.float32
    assert found.shape == (3, 2, 4, 4)
    torch.testing.assert_close(found, torch.full_like(found, 0.3), rtol=0, atol=1e-3)


def test_shapes_that_are_not_told_are_found_by_a_run(tmp_path):
    """The picture itself says how many rows its reshaped values get."""
    nodes = [
        helper.make_node("ReduceMax", ["picture"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "zero"], ["none"]),
        helper.make_node("Add", ["none", "shape"], ["to"]),
        helper.make_node("Reshape", ["picture", "to"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["relu"]),
    ]
    weights = [("zero", np.array(0, np.int64)), ("shape", np.array([-1, 48], np.int64))]
    model = of_nodes(tmp_path / "net.onnx", nodes, [None, 3, 4, 4], ["relu"], weights)
    table = model.describe().set_index("layer")
    assert table.loc["relu", "shape"] == "48"
    assert "none" not in model.layer_names()


def test_weights_count_and_not_what_the_file_says_of_itself(tmp_path):
    path, other = onnx_file(tmp_path / "net.onnx"), tmp_path / "other.onnx"
    content = onnx.load(path)
    content.producer_name, content.doc_string = "somebody", "a copy"
    onnx.save(content, other)
    sha256 = [Onnx(file=str(one), preprocess="imagenet").load().weights_sha256() for one in (path, other)]
    assert sha256[0] == sha256[1]
    again = onnx_file(tmp_path / "again.onnx", small_network(seed=1))
    network = Onnx(file=str(again), preprocess="imagenet").load()
    assert network.weights_sha256() != sha256[0]
    n_folded = 8 * 2  # the norm's mean and variance become part of the convolution
    assert network.n_parameters == sum(one.numel() for one in small_network().parameters()) - n_folded


# --------------------------------------------------------------------------------------------- words


def test_what_is_said(tmp_path):
    model = Onnx(file=str(onnx_file(tmp_path / "my-net.onnx")), preprocess="imagenet")
    assert model.label == "mynet"
    assert model.about() == "the ONNX file my-net.onnx"
    assert model.preprocessing().startswith("resize=37, crop=32x32, ")
    assert re.search(r"the ONNX file my-net\.onnx, and computed with onnxruntime \d", " ".join(model.methods()))


# ----------------------------------------------------------------------------------------- bad files


def test_files_that_are_none_of_onnx(tmp_path):
    whole = onnx_file(tmp_path / "net.onnx").read_bytes()
    for name, content in {"empty": b"", "text": b"hello there", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    torch.save(small_network().state_dict(), tmp_path / "state.onnx")
    expected = {
        "no": r"There is no file .*no\.onnx\.",
        "empty": r"empty\.onnx is empty; copy it again\.",
        "text": r"text\.onnx is damaged, or not an ONNX file",
        "cut": r"cut\.onnx is damaged, or not an ONNX file",
        "state": r"state\.onnx is damaged, or not an ONNX file",
    }
    for name, message in expected.items():
        (problem,) = Onnx(file=str(tmp_path / f"{name}.onnx"), preprocess="imagenet").problems()
        assert re.search(message, problem)
        assert "\n" not in problem


def test_what_networks_have_to_take(tmp_path):
    relu = [helper.make_node("Relu", ["picture"], ["relu"])]
    for shape, message in {
        (None, 1, 8, 8): r"takes an input of shape \(any, 1, 8, 8\), and not pictures of 3 colours",
        (None, 3): r"takes an input of shape \(any, 3\)",
        (1, 3, None, 8): r"of which one side is fixed",
    }.items():
        (problem,) = of_nodes(tmp_path / f"{len(message)}.onnx", relu, list(shape), ["relu"]).problems()
        assert re.search(message, problem)
    both = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "ab"]
    made = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "net", both, [made])
    onnx.save(helper.make_model(graph), tmp_path / "two.onnx")
    (problem,) = Onnx(file=str(tmp_path / "two.onnx"), preprocess="imagenet").problems()
    assert re.search(r"two\.onnx takes 2 inputs \(a, b\), and a picture is one", problem)


def test_networks_that_were_exported_in_training(tmp_path):
    inputs = ["picture", "one", "none", "none", "one"]
    nodes = [helper.make_node("BatchNormalization", inputs, ["a", "mean", "var"], training_mode=1)]
    weights = [("one", np.ones(3, np.float32)), ("none", np.zeros(3, np.float32))]
    (problem,) = of_nodes(tmp_path / "net.onnx", nodes, [None, 3, 8, 8], ["a"], weights).problems()
    assert "net.onnx was exported while it was trained (batch norm); export it for evaluation" in problem


def test_layers_and_sizes_that_are_not_there(tmp_path):
    path = str(onnx_file(tmp_path / "net.onnx"))
    (problem,) = Onnx(file=path, preprocess="imagenet", layers="1/Rleu").problems()
    assert re.search(r"net\.onnx has no layer '1/Rleu'\. Did you mean '1/Relu'", problem)
    (problem,) = Onnx(file=path, preprocess={"preset": "imagenet", "crop": 224}).problems()
    assert "takes pictures of 32 x 32 pixels (height x width), and preprocess.crop is 224 x 224" in problem
    with pytest.raises(UserError, match=r"no layer 'relu'"):
        answers(Onnx(file=path, preprocess="imagenet").load(), noise(1), ["relu"])


def test_without_its_packages_the_extra_is_named(tmp_path, monkeypatch):
    path = str(onnx_file(tmp_path / "net.onnx"))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    (problem,) = Onnx(file=path, preprocess="imagenet").problems()
    assert re.search(r'`source: onnx` need the package onnxruntime.*pip install -e "\.\[models\]"', problem)


def test_weights_are_not_copied_to_tell_shapes(tmp_path):
    weight = np.zeros((600, 3, 3, 3), np.float32)
    nodes = [helper.make_node("Conv", ["picture", "w"], ["c"])]
    model = of_nodes(tmp_path / "n.onnx", nodes, [None, 3, 8, 8], ["c"], [("w", weight)])
    assert model.describe()["shape"].tolist() == ["600x6x6"]
    graph = model.load().graph
    assert not graph._empty().graph.initializer
    assert graph.told((8, 8))["c"] == ("float32", [3, 600, 6, 6])
