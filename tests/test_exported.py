import io
import json
import os
import re
import zipfile

import pytest
import torch
import torchvision
from networks import exported_file, noise, small_network
from test_onnx import answers, close

from rsa.errors import UserError
from rsa.models import Exported
from rsa.models.exported import ExportedNetwork, load_program
from rsa.models.modules import recording, traced


class Odd(torch.nn.Module):
    """Calls a module twice, and has one with two outputs."""

    class Both(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.relu() + 1, x * 2

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.both = torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), self.Both()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.both(self.relu(self.relu(self.conv(x))))
        return first.add_(second)


def require_equal(model: Exported, network: torch.nn.Module, n_pictures: int = 5) -> list[str]:
    """Compare all layers with what hooks see, values and shapes; return them."""
    layers, batch = model.layer_names(), noise(n_pictures, model.preparation().crop)
    described = model.describe().set_index("layer")
    with torch.inference_mode(), recording(network, layers) as seen:
        network(batch)
        found = answers(model.load(), batch, layers)
    assert list(found) == layers, "in forward order"
    for layer in layers:
        close(found[layer], seen[layer])
        assert described.loc[layer, "shape"] == "x".join(map(str, seen[layer].shape[1:]))
    return layers


# ------------------------------------------------------------------------------- like the network itself


@pytest.mark.parametrize("n_at_once", [None, 1, 2], ids=["any number", "one at once", "two at once"])
def test_layers_equal_those_of_the_network(tmp_path, n_at_once):
    network = small_network()
    dynamic = {} if n_at_once else None
    path = exported_file(tmp_path / "net.pt2", network, (n_at_once or 2, 3, 32, 32), dynamic)
    model = Exported(file=str(path), preprocess="imagenet", layers="*")
    assert model.takes().n_pictures == n_at_once
    layers = require_equal(model, network)
    assert layers == ["0", "1", "2.conv", "2.norm", "2.relu", "2", "3", "4", "5"]
    default = model.describe()
    assert list(default["layer"][default["default"]]) == ["2", "3", "5"]


def test_mobilenet_with_its_weights_equals_its_hooks(tmp_path, data):
    network = torchvision.models.mobilenet_v2()
    network.load_state_dict(torch.load(data / "weights/mobilenet_v2.pth", weights_only=True))
    path = exported_file(tmp_path / "mobilenet.pt2", network.eval(), (2, 3, 224, 224))
    model = Exported(file=str(path), preprocess="torchvision:mobilenet_v2", layers="*")
    layers = require_equal(model, network, 2)
    hooks = traced(network, (3, 224, 224))
    assert set(layers) == set(hooks["layer"]), "in-place activations and all"
    assert model.load().n_parameters == 3_504_872


@pytest.mark.parametrize("name", ["resnet18", "vit", "swin"])
def test_networks_of_other_kinds_equal_their_hooks(tmp_path, name):
    torch.manual_seed(0)
    small = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    windows = {"patch_size": [4, 4], "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
    build = {
        "resnet18": torchvision.models.resnet18,
        "vit": lambda: torchvision.models.VisionTransformer(**small, num_classes=5),
        "swin": lambda: torchvision.models.swin_transformer.SwinTransformer(**windows, num_classes=5),
    }[name]
    network = build().eval()
    dynamic = {} if name == "vit" else None
    path = exported_file(tmp_path / "net.pt2", network, (1 if name == "vit" else 2, 3, 32, 32), dynamic)
    model = Exported(file=str(path), preprocess="imagenet", layers="*")
    layers = require_equal(model, network, 3)
    assert len(layers) > 25
    chosen = model.describe()["layer"][model.describe()["default"]]
    expected = {"resnet18": "layer3.1", "vit": "encoder.layers.encoder_layer_1", "swin": "features.1.1"}[name]
    assert expected in list(chosen)


def test_pictures_of_any_size(tmp_path, monkeypatch):
    network = torchvision.models.resnet18().eval()
    sides = {axis: 32 * torch.export.Dim(f"side{axis}", min=1, max=9) for axis in (2, 3)}
    path = exported_file(tmp_path / "net.pt2", network, (2, 3, 64, 96), {0: torch.export.Dim("n"), **sides})
    model = Exported(file=str(path), preprocess={"preset": "imagenet", "crop": [32, 64], "resize": 64}, layers="*")
    assert model.takes().size is None
    require_equal(model, network, 2)
    monkeypatch.delattr("rsa.models.exported.load_program")  # what is known is not read again
    assert model.describe().set_index("layer").loc["layer4", "shape"] == "512x1x2"


# ------------------------------------------------------------------------------------------- layers


def test_modules_that_are_called_twice_and_outputs_that_are_several(tmp_path):
    path = exported_file(tmp_path / "odd.pt2", Odd().eval(), (1, 3, 8, 8), {})
    model = Exported(file=str(path), preprocess="imagenet", layers=("conv", "both", "both:1"))
    table = model.describe().set_index("layer")
    assert list(table.index) == ["conv", "relu", "both", "both:0", "both:1"]
    assert table.loc["relu", ["n_calls", "n_units"]].tolist() == [2, 0]
    require_equal(model, Odd_like(path), 3)
    (problem,) = Exported(file=str(path), preprocess="imagenet", layers="relu").problems()
    assert "'relu' of" in problem
    assert "is called 2 times per picture, so it has no one output" in problem


def Odd_like(path) -> torch.nn.Module:
    """Return the network with the weights of the file."""
    network = Odd().eval()
    network.load_state_dict(load_program(str(path)).state_dict)
    return network


def test_no_more_is_computed_than_the_layers_need(tmp_path, monkeypatch):
    network = Exported(file=str(exported_file(tmp_path / "net.pt2")), preprocess="imagenet").load()
    computed, whole = [], ExportedNetwork._values

    def counted(self, batch):
        for node, value in whole(self, batch):
            computed.append(node.name)
            yield node, value

    monkeypatch.setattr(ExportedNetwork, "_values", counted)
    answers(network, noise(2), ["0", "1"])
    assert computed == ["conv2d", "relu_"]
    with pytest.raises(UserError, match=r"no layer '2\.cnov'\. Did you mean '2\.conv'"):
        answers(network, noise(1), ["2.cnov"])


def test_weights_are_told_by_content(tmp_path):
    paths = [exported_file(tmp_path / f"{seed}.pt2", small_network(seed)) for seed in (0, 1)]
    again = exported_file(tmp_path / "again.pt2", small_network(), (1, 3, 32, 32), {})
    first, other, same = (Exported(file=str(path), preprocess="imagenet").load() for path in (*paths, again))
    assert first.weights_sha256() == same.weights_sha256() != other.weights_sha256()


def test_what_is_said(tmp_path):
    model = Exported(file=str(exported_file(tmp_path / "my-net.pt2")), preprocess="imagenet")
    assert (model.label, model.about()) == ("mynet", "the program my-net.pt2 of torch.export")
    assert "my-net.pt2, which torch.export had saved" in " ".join(model.methods())


# ----------------------------------------------------------------------------------------- bad files


def problem_of(path) -> str:
    (problem,) = Exported(file=str(path), preprocess="imagenet").problems()
    assert "\n" not in problem
    return problem


def test_files_that_are_no_programs(tmp_path):
    whole = exported_file(tmp_path / "net.pt2").read_bytes()
    for name, content in {"empty": b"", "text": b"hello there", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / f"{name}.pt2").write_bytes(content)
    torch.save(small_network().state_dict(), tmp_path / "state.pt2")
    with pytest.warns(FutureWarning):  # torch itself advises against it by now
        torch.jit.trace(small_network(), noise(1)).save(str(tmp_path / "script.pt2"))
    expected = {
        "no": r"There is no file .*no\.pt2\.",
        "empty": r"empty\.pt2 is empty; copy it again\.",
        "text": r"text\.pt2 is damaged, or not a program of torch\.export \(\.pt2\)\. Save the network by",
        "cut": r"cut\.pt2 is damaged, or not a program",
        "state": r"state\.pt2 holds a state dict or a pickled network, and not a program",
        "script": r"script\.pt2 holds TorchScript, whose layers cannot be asked for\. Save the network by",
    }
    for name, message in expected.items():
        assert re.search(message, problem_of(tmp_path / f"{name}.pt2"))


def test_a_file_whose_content_changed_on_the_way_is_damaged(tmp_path):
    path = exported_file(tmp_path / "net.pt2")
    content = bytearray(path.read_bytes())
    place = content.find(b'"graph_module"')
    content[place + 1] ^= 1
    path.write_bytes(content)
    assert re.search(r"net\.pt2 (cannot be read as a program|holds no program)", problem_of(path))


def test_networks_that_take_no_picture(tmp_path):
    class Two(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    torch.export.save(torch.export.export(Two(), (noise(1), noise(1))), tmp_path / "two.pt2")
    assert "two.pt2 takes 2 inputs, and a picture is one" in problem_of(tmp_path / "two.pt2")
    exported_file(tmp_path / "grey.pt2", torch.nn.Conv2d(1, 2, 3), (1, 1, 8, 8), {})
    assert "takes an input of shape (1, 1, 8, 8), and not pictures of 3 colours" in problem_of(tmp_path / "grey.pt2")


@pytest.mark.parametrize("part", [torch.nn.BatchNorm2d(3), torch.nn.Dropout()], ids=["batch norm", "dropout"])
def test_networks_that_were_exported_in_training(tmp_path, part):
    network = torch.nn.Sequential(part, torch.nn.ReLU())
    path = exported_file(tmp_path / "net.pt2", network.train(), (2, 3, 8, 8), {})
    assert "net.pt2 was exported while it was trained (dropout, batch norm); call network.eval() before" in problem_of(
        path
    )
    assert (
        Exported(file=str(exported_file(path, network.eval(), (2, 3, 8, 8), {})), preprocess="imagenet").problems()
        == []
    )


def test_half_precision_is_computed_as_such_and_handed_over_in_single(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU()).half().eval()
    program = torch.export.export(network, (noise(2, (4, 4)).half(),))
    torch.export.save(program, tmp_path / "net.pt2")
    found = answers(Exported(file=str(tmp_path / "net.pt2"), preprocess="imagenet").load(), noise(3, (4, 4)), ["0"])[
        "0"
    ]
    assert found.dtype == torch.float32
    with torch.inference_mode():
        torch.testing.assert_close(found, network[0](noise(3, (4, 4)).half()).float(), rtol=0, atol=2e-3)


# ------------------------------------------------------------------------------------ nothing of it runs


def changed(path, change) -> None:
    """Rewrite a file with another graph, or other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def replace_in_graph(members: dict[str, bytes], before: str, after: str) -> None:
    (name,) = [name for name in members if name.endswith("models/model.json")]
    assert before in members[name].decode()
    members[name] = members[name].decode().replace(before, after).encode()


@pytest.mark.parametrize("target", ["torch.hub.load", "torch.ops.load_library.__call__", "#extension:1", "torch.load"])
def test_functions_that_no_network_needs_are_refused(tmp_path, target):
    path = exported_file(tmp_path / "net.pt2")
    changed(path, lambda members: replace_in_graph(members, "torch.ops.aten.max_pool2d.default", target))
    assert f"net.pt2 names {target!r}, which no network needs, so it is not loaded" in problem_of(path)


def test_expressions_are_not_evaluated_before_they_are_known_to_be_of_sizes(tmp_path):
    path, trace = exported_file(tmp_path / "net.pt2"), tmp_path / "was here"
    evil = json.dumps(f"open({str(trace)!r}, 'w')")[1:-1]

    def change(members: dict[str, bytes]) -> None:
        (name,) = [name for name in members if name.endswith("models/model.json")]
        content = re.sub(r'("expr_str": )"[^"]*"', lambda found: f'{found[1]}"{evil}"', members[name].decode(), count=1)
        assert evil in content
        members[name] = content.encode()

    changed(path, change)
    assert "which no network needs" in problem_of(path)
    assert not trace.exists()


def test_nothing_is_unpickled_but_tensors(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    stream = io.BytesIO()
    torch.save((Evil(),), stream)
    path = exported_file(tmp_path / "net.pt2")

    def change(members: dict[str, bytes]) -> None:
        (name,) = [name for name in members if "sample_inputs" in name]
        members[name] = stream.getvalue()

    changed(path, change)
    assert "net.pt2 cannot be read as a program of torch.export" in problem_of(path)
    assert not (tmp_path / "was here").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
