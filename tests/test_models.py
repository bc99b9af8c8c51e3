import hashlib
import logging
import re
import shutil
import urllib.error
import warnings
from argparse import Namespace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from networks import n_recognised
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from rsa.errors import UserError
from rsa.inputs.stimuli import read_image
from rsa.models import MODELS, Torchvision
from rsa.models.default_layers import DEFAULT_LAYERS
from rsa.models.modules import parts_of
from rsa.models.source import chosen_layers, usable_layers
from rsa.models.weights import weights_sha256
from rsa.pipeline.schema import json_schema

ARCHITECTURES = torchvision.models.list_models(module=torchvision.models)


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """Return the state dict of an untrained squeezenet1_1."""
    return Torchvision(architecture="squeezenet1_1", weights="untrained").load().module.state_dict()


# ------------------------------------------------------------------------------------------- settings


def test_settings():
    model = Torchvision(architecture="vgg11_bn")
    assert MODELS[model.source] is Torchvision
    assert model.label == "vgg11bn"
    assert Torchvision(architecture="alexnet", name="mine").label == "mine"
    assert Torchvision(architecture="alexnet", layers="fc*").layers == ("fc*",)
    assert Torchvision(architecture="alexnet", layers=["a", "b"]).layers == ("a", "b")
    assert Torchvision(architecture="alexnet", layers="default").layers == "default"
    with pytest.raises(ValidationError, match="only letters and digits are allowed"):
        Torchvision(architecture="alexnet", name="my_net")
    with pytest.raises(ValidationError, match="at least 1 item"):
        Torchvision(architecture="alexnet", layers=[])


@pytest.mark.parametrize("layers", ["default", "features.*", ["features.*", "classifier"], [], 3, [3], None])
def test_schema_and_loader_agree_on_layers(layers):
    given = {"architecture": "alexnet", "layers": layers}
    schema = {"$ref": "#/$defs/Torchvision", "$defs": json_schema()["$defs"]}
    try:
        Torchvision.model_validate(given)
        loads = True
    except ValidationError:
        loads = False
    assert jsonschema.Draft202012Validator(schema).is_valid(given) == loads
    assert loads == (layers in ("default", "features.*", ["features.*", "classifier"]))


@pytest.mark.parametrize(
    ("weights", "resolved"),
    [
        ("nets/mine.pth", "/data/nets/mine.pth"),
        ("mine.PT", "/data/mine.PT"),
        ("/abs/mine.safetensors", "/abs/mine.safetensors"),
        ("DEFAULT", "DEFAULT"),
        ("untrained", "untrained"),
    ],
)
def test_only_paths_are_joined_to_data_root(weights, resolved):
    given = {"architecture": "alexnet", "weights": weights}
    model = Torchvision.model_validate(given, context={"data_root": "/data"})
    assert model.weights == resolved
    assert [str(path) for path in model.files()] == ([resolved] if resolved.startswith("/") else [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"architecture": "resnet5"}, r"no classification model 'resnet5'\. Did you mean '?resnet"),
        ({"architecture": "qqq"}, r"no classification model 'qqq'\. Choose one of: alexnet, convnext_base, "),
        (
            {"architecture": "alexnet", "weights": "IMAGENET1K_V2"},
            r"alexnet has no weights 'IMAGENET1K_V2'\. Choose one of: IMAGENET1K_V1, DEFAULT, untrained, or a file",
        ),
        ({"architecture": "alexnet", "weights": "no.pth"}, r"There is no weights file no\.pth\."),
        (
            {"architecture": "alexnet", "layers": "features.99"},
            r"alexnet has no layer 'features.99'\. Did you mean 'features\.9'.* `python -m rsa layers alexnet` lists",
        ),
        ({"architecture": "alexnet", "layers": "Features.*"}, "alexnet has no layer 'Features.*'"),
        (
            {"architecture": "resnet18", "layers": "layer1.0.relu"},
            r"Layer 'layer1\.0\.relu' of resnet18 is called 2 times per picture, so it has no one output; ask for the "
            r"module around it, 'layer1\.0'\.",
        ),
        (
            {"architecture": "swin_v2_t", "layers": "features.1.0.attn.cpb_mlp"},
            r"The output of layer 'features\.1\.0\.attn\.cpb_mlp' of swin_v2_t is not one tensor per picture",
        ),
    ],
)
def test_problems(given, message):
    (problem,) = Torchvision(**given).problems()
    assert re.search(message, problem)
    assert "\n" not in problem


def test_problems_of_file_and_layers_come_together():
    problems = Torchvision(architecture="alexnet", weights="no.pth", layers=("fc",)).problems()
    assert [text[:8] for text in problems] == ["There is", "alexnet "]


def test_no_problems_without_asking_the_network(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("asked"))
    assert Torchvision(architecture="alexnet").problems() == []


# --------------------------------------------------------------------------------------------- layers


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_described_and_has_default_layers(architecture):
    assert sum(re.fullmatch(pattern, architecture) is not None for pattern in DEFAULT_LAYERS) == 1
    model = Torchvision(architecture=architecture)
    table = model.describe()
    assert list(table) == ["layer", "type", "shape", "n_units", "n_calls", "default"]
    assert table["layer"].is_unique
    assert (table["n_calls"] >= 1).all()
    chosen = table[table["default"]]
    assert len(chosen) >= 4
    assert list(chosen["layer"]) == model.layer_names()
    assert (chosen["n_calls"] == 1).all()
    assert not chosen["type"].isin(["Dropout", "Identity", "StochasticDepth"]).any()
    assert chosen["n_units"].iloc[-1] == 1000  # the class scores
    units = [np.prod([int(n) for n in shape.split("x")]) for shape in chosen["shape"]]
    assert units == list(chosen["n_units"])


def test_no_entry_of_the_default_layers_is_idle():
    for pattern, globs in DEFAULT_LAYERS.items():
        architectures = [name for name in ARCHITECTURES if re.fullmatch(pattern, name)]
        found = [Torchvision(architecture=name, layers=glob) for name in architectures for glob in globs]
        assert found
        for glob in globs:
            assert any(model.problems() == [] for model in found if model.layers == (glob,)), (pattern, glob)


def test_default_layers_of_alexnet_are_its_convolutions_and_dense_layers_after_relu():
    table = Torchvision(architecture="alexnet").describe()
    chosen = table[table["default"]]
    assert list(chosen["layer"]) == [
        *(f"features.{i}" for i in (1, 4, 7, 9, 11)),
        *(f"classifier.{i}" for i in (2, 5, 6)),
    ]
    assert list(chosen["type"]) == ["ReLU"] * 7 + ["Linear"]
    assert list(chosen["shape"].iloc[[0, 4, 5, 7]]) == ["64x55x55", "256x13x13", "4096", "1000"]
    assert list(chosen["n_units"].iloc[[0, 4]]) == [64 * 55 * 55, 256 * 13 * 13]


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "vit_b_32"])
def test_description_agrees_with_a_real_forward_pass(architecture):
    model = Torchvision(architecture=architecture, weights="untrained")
    network = model.load().module
    shapes: dict[str, str] = {}
    order = []

    def note(name, output):
        shapes[name] = "x".join(map(str, parts_of(output)[""].shape[1:]))
        order.append(name)

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(lambda m, i, output, name=name: note(name, output))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    table = model.describe()
    assert dict(zip(table["layer"], table["shape"], strict=True)) == shapes
    assert list(table["layer"]) == list(dict.fromkeys(order))


def test_the_size_of_pictures_follows_the_weights():
    def tokens(weights):
        table = Torchvision(architecture="vit_b_16", weights=weights).describe()
        return table.set_index("layer").loc["encoder.ln", "shape"]

    assert tokens("IMAGENET1K_V1") == "197x768"
    assert tokens("IMAGENET1K_SWAG_E2E_V1") == "577x768"


def test_globs_and_names_give_each_layer_once_in_forward_order():
    model = Torchvision(architecture="resnet18", layers=("fc", "layer[12].0", "layer1.?", "layer1.0.conv1"))
    assert model.layer_names() == ["layer1.0.conv1", "layer1.0", "layer1.1", "layer2.0", "fc"]


def test_a_glob_leaves_out_layers_without_one_output():
    names = Torchvision(architecture="resnet18", layers="layer1.0*").layer_names()
    assert names == [f"layer1.0.{part}" for part in ("conv1", "bn1", "conv2", "bn2")] + ["layer1.0"]


@pytest.mark.parametrize(
    ("glob", "meant"),
    [
        ("*", ["conv", "lstm", "fc"]),
        ("lstm*", ["lstm"]),
        ("lstm:*", ["lstm:0", "lstm:1"]),
        ("lstm:1", ["lstm:1"]),
        ("?c", ["fc"]),
    ],
)
def test_what_a_glob_means_is_the_same_of_layers_of_a_model_and_of_units(glob, meant):
    table = pd.DataFrame({"layer": ["conv", "lstm", "lstm:0", "lstm:1", "twice", "twice:1", "fc"], "n_units": 4})
    table["n_calls"] = [1, 1, 1, 1, 2, 2, 1]
    assert chosen_layers((glob,), table, "net") == meant
    assert usable_layers(table, (glob,)) == meant


def test_attention_is_the_one_tensor_of_its_tuple():
    tensor = torch.zeros(2)
    assert parts_of(tensor) == {"": tensor}
    assert parts_of((tensor, None)) == {"": tensor}
    assert list(parts_of((tensor, (tensor, tensor)))) == ["0", "1.0", "1.1"]
    assert parts_of({"out": tensor}) == {"": tensor}
    assert parts_of({"size": 3}) == {}
    model = Torchvision(architecture="vit_b_32", layers="*_layer_0.self_attention")
    assert model.layer_names() == ["encoder.layers.encoder_layer_0.self_attention"]


def test_describing_is_repeatable_and_leaves_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    table = Torchvision(architecture="mnasnet0_5").describe()
    table.loc[0, "layer"] = "changed"
    assert Torchvision(architecture="mnasnet0_5").describe().loc[0, "layer"] != "changed"
    assert torch.equal(torch.random.get_rng_state(), before)


# --------------------------------------------------------------------------------- networks and weights


def test_untrained_weights_follow_the_seed_alone(small):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    again = Torchvision(architecture="squeezenet1_1", weights="untrained").load().module
    other = Torchvision(architecture="squeezenet1_1", weights="untrained", seed=1).load().module
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert all(torch.equal(tensor, small[name]) for name, tensor in again.state_dict().items())
    assert not torch.equal(other.state_dict()["features.0.weight"], small["features.0.weight"])


def test_preprocessing_is_that_of_the_weights(data):
    picture = read_image(data / "photos_labelled" / "cat.jpg")
    model = Torchvision(architecture="squeezenet1_1", weights="untrained")
    preprocess = model.load().prepare
    tensor = preprocess(picture)
    width, height = picture.size
    scale = 256 / min(width, height)
    resized = picture.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 224) / 2), round((resized.height - 224) / 2)
    values = np.asarray(resized.crop((left, top, left + 224, top + 224))) / 255
    expected = (values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(tensor.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert torch.equal(tensor, preprocess(picture))
    assert re.fullmatch(
        r"ImageClassification\( crop_size=\[224\] resize_size=\[256\] mean=.* \)", model.preprocessing()
    )


@pytest.mark.parametrize(("architecture", "n_right"), [("squeezenet1_1", 13), ("mobilenet_v2", 14)])
def test_real_weights_recognise_photographs(data, architecture, n_right):
    model = Torchvision(architecture=architecture, weights=str(data / "weights" / f"{architecture}.pth"))
    assert model.problems() == []
    assert n_recognised(model.load(), data) == n_right


def test_weights_of_another_architecture_are_told_apart(data):
    model = Torchvision(architecture="alexnet", weights=str(data / "weights" / "squeezenet1_1.pth"))
    (problem,) = model.problems()
    pattern = (
        r"squeezenet1_1\.pth do not fit alexnet: 12 missing \('features\.3\.weight', .* 8 more\); 48 unexpected "
        r"\('features\.3\.squeeze\.weight', .* 44 more\); 3 of a wrong shape \('features\.0\.weight of shape "
        r"\(64, 3, 3, 3\) instead of \(64, 3, 11, 11\)', .*\. Check `architecture`\.$"
    )
    assert re.search(pattern, problem)
    with pytest.raises(UserError) as caught:
        model.load()
    assert str(caught.value) == problem


def test_a_wrong_shape_is_shown(tmp_path, small):
    state = dict(small) | {"classifier.1.bias": torch.zeros(10)}
    torch.save(state, tmp_path / "ten.pth")
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(tmp_path / "ten.pth")).problems()
    assert problem.endswith(
        "do not fit squeezenet1_1: 1 of a wrong shape ('classifier.1.bias of shape (10,) instead of (1000,)'). "
        "Check `architecture`. If no layer that you compare comes after them, set `without: [classifier]`."
    )


def before(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


AVERAGE = {"n_averaged": torch.tensor(7)}
FORMS = {
    "plain": lambda state: state,
    "parallel": lambda state: {"epoch": 3, "state_dict": before("module.", state), "arch": "squeezenet1_1"},
    "reference script": lambda state: {"model": state, "args": Namespace(lr=0.1, device="cuda"), "epoch": 3},
    "tutorial": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"param_groups": [], "state": {}}},
    "scores of numpy": lambda state: {"net": state, "best": np.float64(0.7), "losses": np.arange(3.0)},
    "folder": lambda state: {"model": state, "folder": Path("/somewhere")},
    "compiled": lambda state: before("_orig_mod.", state),
    "parallel, compiled": lambda state: before("module._orig_mod.", state),
    "compiled in part": lambda state: {
        name.replace("features.3.", "features.3._orig_mod."): t for name, t in state.items()
    },
    "lightning": lambda state: {"state_dict": before("model.", state), "pytorch-lightning_version": "2.0"},
    "backbone": lambda state: before("module.backbone.", state),
    "average": lambda state: {"model_ema": before("module.", state) | AVERAGE},
    "average beside": lambda state: {
        "model": state,
        "model_ema": before("module.", {n: t + 1 for n, t in state.items()}),
    },
    "its own key": lambda state: {"student": state, "epoch": 1},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_checkpoints(tmp_path, small, form):
    state = {name: tensor + 1 for name, tensor in small.items()}
    path = tmp_path / "net.pth"
    torch.save(FORMS[form](state), path)
    assert_loads(path, state)


@pytest.mark.parametrize("form", ["legacy", ".pth.tar", ".ckpt", "safetensors", "safetensors of a wrapped network"])
def test_forms_of_files(tmp_path, small, form):
    state = {name: tensor + 1 for name, tensor in small.items()}
    path = tmp_path / ("net.safetensors" if "safetensors" in form else f"net{form.removeprefix('legacy') or '.pth'}")
    if "safetensors" not in form:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=form != "legacy")
    else:
        save_file(before("model.", state) if "wrapped" in form else state, path)
    assert_loads(path, state)


def assert_loads(path: Path, state: dict, **change) -> None:
    model = Torchvision(architecture="squeezenet1_1", weights=str(path), **change)
    assert model.problems() == []
    assert model.files() == [path]
    loaded = model.load().module.state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_single(tmp_path, small, dtype):
    torch.save({name: tensor.to(dtype) for name, tensor in small.items()}, tmp_path / "net.pth")
    assert_loads(tmp_path / "net.pth", {name: tensor.to(dtype).float() for name, tensor in small.items()})


def test_which_of_several_state_dicts_is_taken_is_logged_and_can_be_said(tmp_path, small, caplog):
    path = tmp_path / "net.pth"
    average = {name: tensor + 1 for name, tensor in small.items()}
    torch.save({"model": dict(small), "model_ema": before("module.", average) | AVERAGE}, path)
    with caplog.at_level(logging.INFO):
        assert_loads(path, dict(small))
    assert f"{path}: the state dict 'model' is taken, and not 'model_ema'" in caplog.messages
    with caplog.at_level(logging.INFO):
        assert_loads(path, average, weights_key="model_ema")
    assert f"{path}: names of weights are taken without the 'module.' before them" in caplog.messages
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(path), weights_key="ema").problems()
    assert problem == f"{path} has no state dict 'ema'; there are 'model', 'model_ema'. See `weights_key`."
    torch.save({"student": dict(small), "teacher": average}, path)
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(path)).problems()
    assert problem == f"{path} holds the state dicts 'student', 'teacher'; say by `weights_key` which to take."
    (problem,) = Torchvision(architecture="squeezenet1_1", weights_key="teacher").problems()
    assert problem == "weights_key is for weights of a file, and these are 'DEFAULT': leave it out."


@pytest.mark.parametrize(
    "change",
    [
        lambda state: before("model.", state) | {"loss.weight": torch.zeros(3)},
        lambda state: dict(list(before("model.", state).items())[:-1]),
        lambda state: before("query.", state) | before("key.", state),
    ],
    ids=["more", "less", "two networks"],
)
def test_nothing_is_loaded_in_part(tmp_path, small, change):
    torch.save(change(dict(small)), tmp_path / "net.pth")
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(tmp_path / "net.pth")).problems()
    assert "do not fit squeezenet1_1: " in problem


HEADS = {"loss.weight": torch.zeros(3)}
PARTIAL = {
    "no classifier": (lambda state: {n: t for n, t in state.items() if "classifier" not in n}, ("classifier",)),
    "another": (lambda state: dict(state) | {"classifier.1.bias": torch.zeros(7)}, ("classifier",)),
    "projection": (lambda state: before("module.backbone.", state) | before("module.head.", HEADS), ("head",)),
    "queue": (lambda state: before("encoder_q.", state) | before("encoder_k.", state) | HEADS, ("encoder_k", "loss")),
}


@pytest.mark.parametrize("form", PARTIAL)
def test_what_only_one_side_has_is_left_out_on_demand(tmp_path, small, form):
    change, without = PARTIAL[form]
    state = {name: tensor + 1 for name, tensor in small.items()}
    torch.save(change(state), tmp_path / "net.pth")
    given = {"architecture": "squeezenet1_1", "weights": str(tmp_path / "net.pth")}
    (problem,) = Torchvision(**given).problems()
    advice = f" If no layer that you compare comes after them, set `without: [{', '.join(without)}]`."
    assert problem.endswith(advice)
    model = Torchvision(**given, without=without)
    assert model.problems() == []
    loaded = model.load().module.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded if not name.startswith("classifier."))
    whole = list(Torchvision(architecture="squeezenet1_1").describe()["layer"])
    lost = whole.index("classifier.0") if without == ("classifier",) else len(whole)
    assert list(model.describe()["layer"]) == whole[:lost]


def test_layers_without_weights_are_not_to_be_had(tmp_path, small):
    torch.save({n: t for n, t in small.items() if not n.startswith("classifier")}, tmp_path / "net.pth")
    given = {"architecture": "squeezenet1_1", "weights": str(tmp_path / "net.pth")}
    model = Torchvision(**given, without="classifier.1", layers=("classifier.1",))
    assert [text[:47] for text in model.problems()] == ["Layer 'classifier.1' of squeezenet1_1 needs mod"]
    (problem,) = Torchvision(**given, without=("classifier", "fc")).problems()
    assert re.search(r"Neither squeezenet1_1 nor .+net\.pth has weights of 'fc', which `without` names", problem)


def test_torchscript_is_refused_with_advice(tmp_path, small):
    network = Torchvision(architecture="squeezenet1_1", weights="untrained").load().module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 224, 224)), tmp_path / "net.pt")
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(tmp_path / "net.pt")).problems()
    assert re.search(
        r"net\.pt is a network of TorchScript, .* or export the original network by torch\.export", problem
    )


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_damaged_weights_file_is_named(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(b"no weights")
    (problem,) = Torchvision(architecture="squeezenet1_1", weights=str(path)).problems()
    assert re.search(rf"net\.{suffix} is not a state dict that can be read safely \(.+\)\. Save the network's", problem)


def test_what_is_no_state_dict_is_refused(tmp_path):
    path = tmp_path / "net.pt"
    model = Torchvision(architecture="squeezenet1_1", weights=str(path))
    torch.save([1, 2], path)
    with pytest.raises(
        UserError, match=r"net\.pt holds no state dict \(names and tensors, or these below a key such as 'state_dict'"
    ):
        model.load()
    torch.save(torch.nn.Linear(2, 2), path)  # a pickle of code
    with pytest.raises(UserError, match=r"read safely \(it holds a torch\.nn\.\S+\.Linear, as a whole network"):
        model.load()


@pytest.mark.slow
def test_names_and_counters_of_old_densenets_and_auxiliary_heads_are_understood(tmp_path):
    for architecture in ("densenet121", "googlenet", "mnasnet0_5"):
        network = Torchvision(architecture=architecture, weights="untrained", seed=1).load().module
        state = {n: t for n, t in network.state_dict().items() if "num_batches" not in n}
        old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", n): t for n, t in state.items()}
        if architecture == "googlenet":
            old["aux1.fc2.bias"] = torch.zeros(1000)
        torch.save(old, tmp_path / "old.pth")
        loaded = Torchvision(architecture=architecture, weights=str(tmp_path / "old.pth")).load().module
        assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in state.items())
    assert "denselayer1.norm.1.weight" not in loaded.state_dict()


def test_inception_networks_see_pictures_as_their_published_weights_do():
    for architecture in ("googlenet", "inception_v3"):
        network = Torchvision(architecture=architecture, weights="untrained").load().module
        assert network.transform_input


# ------------------------------------------------------------------------------------ weights by content


def test_hash_of_weights_is_that_of_names_types_shapes_and_bytes():
    state = {
        "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a.count": torch.tensor(3),
        "a.none": torch.zeros(0),
    }
    expected = hashlib.sha256(
        b'["a.count", "torch.int64", []]\n'
        + np.int64(3).tobytes()
        + b'["a.none", "torch.float32", [0]]\n'
        + b'["b.weight", "torch.float32", [2, 3]]\n'
        + np.arange(6, dtype=np.float32).tobytes()
    )
    assert weights_sha256(state) == expected.hexdigest()


def test_hash_of_weights_follows_their_content_alone(small):
    whole = weights_sha256(small)
    assert weights_sha256(dict(reversed(small.items()))) == whole
    assert weights_sha256({name: tensor.clone() for name, tensor in small.items()}) == whole
    strided = {name: tensor.repeat_interleave(2, 0)[::2] for name, tensor in small.items()}
    assert not strided["classifier.1.weight"].is_contiguous()
    assert weights_sha256(strided) == whole

    bias = small["classifier.1.bias"]
    nudged = bias.clone()
    nudged[7] = torch.nextafter(nudged[7], torch.tensor(1.0))
    changes = (nudged, bias.reshape(10, 100), bias.to(torch.bfloat16), bias.view(torch.int32))
    changed = {weights_sha256(dict(small) | {"classifier.1.bias": tensor}) for tensor in changes}
    renamed = {name.replace("classifier.1.bias", "classifier.2.bias"): tensor for name, tensor in small.items()}
    assert len({whole, weights_sha256(renamed), *changed}) == 6


# ------------------------------------------------------------------------------- torchvision's own weights


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Give torch an empty cache, and no network."""

    def unreachable(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_that_cannot_be_downloaded(hub):
    model = Torchvision(architecture="squeezenet1_1")
    assert model.problems() == []
    where = re.escape(str(hub / "squeezenet1_1-b8a52dc0.pth"))
    message = (
        r"Cannot get the weights DEFAULT of squeezenet1_1 \(.*Name or service not known.*\)\. Offline, fetch "
        rf"https://\S+/squeezenet1_1-b8a52dc0\.pth elsewhere and copy it to {where}, or set `weights` to the path"
    )
    with pytest.raises(UserError, match=message):
        model.load()


def test_cached_weights_need_no_network(hub, data):
    shutil.copy(data / "weights" / "squeezenet1_1.pth", hub / "squeezenet1_1-b8a52dc0.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = Torchvision(architecture="squeezenet1_1").load().module
    state = torch.load(data / "weights" / "squeezenet1_1.pth", weights_only=True)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())
    assert weights_sha256(network.state_dict()) == weights_sha256(state)


def test_a_damaged_cache_is_named(hub):
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"squeezenet1_1-b8a52dc0\.pth is damaged \(.+\); delete it and run again\."):
        Torchvision(architecture="squeezenet1_1").load()


def test_preprocessing_of_own_weights_can_be_chosen():
    sizes = {}
    for name in (None, "IMAGENET1K_V1", "IMAGENET1K_V2"):
        model = Torchvision(architecture="mobilenet_v2", weights="untrained", preprocess_as=name)
        assert model.problems() == []
        sizes[name] = model._entry().transforms().resize_size
        assert f"resize_size={sizes[name]}" in model.preprocessing()
    assert sizes == {None: [232], "IMAGENET1K_V1": [256], "IMAGENET1K_V2": [232]}


@pytest.mark.parametrize(
    ("weights", "preprocess_as", "message"),
    [
        (
            "untrained",
            "IMAGENET",
            "mobilenet_v2 has no weights 'IMAGENET' to preprocess as. Choose one of: IMAGENET1K_V1",
        ),
        (
            "IMAGENET1K_V1",
            "IMAGENET1K_V2",
            "weights IMAGENET1K_V1 bring their own preprocessing; leave out preprocess_as",
        ),
    ],
)
def test_preprocessing_that_cannot_be_chosen(weights, preprocess_as, message):
    model = Torchvision(architecture="mobilenet_v2", weights=weights, preprocess_as=preprocess_as)
    assert any(message in problem for problem in model.problems())
