"""What a lab may give in place of a network: one clear line by the check and the stage, and nothing half written."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from networks import exported_file, onnx_file, small_network
from PIL import Image
from pydantic import TypeAdapter

from rsa.files.io import load_rdms
from rsa.models import Model
from rsa.pipeline import cli

N_CONDITIONS = 5
CONDITIONS = [f"img{n}" for n in range(N_CONDITIONS)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    """Make pictures, and RDMs of a region of three subjects."""
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for name in CONDITIONS:
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(f"pictures/{name}.png")
    for subject in ("01", "02", "03"):
        values = rng.random((1, N_CONDITIONS * (N_CONDITIONS - 1) // 2))
        np.savez(f"sub-{subject}.npz", IT=values, conditions=CONDITIONS)
    Path("order.txt").write_text("\n".join(CONDITIONS))
    return tmp_path


def checked(models: list[dict[str, Any]], capsys: pytest.CaptureFixture, **sections: Any) -> str:
    """Check a study with these models; return what is said if it has problems, and nothing otherwise."""
    brain = {"kind": "rdms", "subjects": ["01", "02", "03"], "file": "sub-{subject}.npz"}
    brain |= {"regions": ["IT"], "condition_order": "order.txt"}
    given = {"study": "lab", "stimuli": {"folder": "pictures"}, "brain": brain, "models": models, **sections}
    Path("my.yaml").write_text(yaml.safe_dump({name: one for name, one in given.items() if one is not None}))
    capsys.readouterr()
    code = cli.main(["check", "my.yaml"])
    said = "".join(capsys.readouterr())
    assert code in (0, 2), said
    return said if code else ""


def stage(model: dict[str, Any], capsys: pytest.CaptureFixture) -> str:
    """Run the stage of one network; return what is said, and require an exit of 2 with nothing left behind."""
    before = set(Path().rglob("*"))
    options = shlex.split(cli.options_of("model", TypeAdapter(Model).validate_python(model)))
    both = []
    for name in ("extract", "model-rdms"):
        capsys.readouterr()
        code = cli.main([name, *options, "--stimuli-folder", "pictures", "--output", "made/out.h5", "--device", "cpu"])
        both.append("".join(capsys.readouterr()))
        assert code == 2, both
    assert {path for path in set(Path().rglob("*")) - before if path.is_file()} == set()
    errors = [[line for line in said.splitlines() if line.startswith("error: ")] for said in both]
    assert errors[0] == errors[1], both
    assert len(errors[0]) == 1
    return errors[0][0]


# ------------------------------------------------------------------------------------ what is found


def onnx(**settings: Any) -> dict[str, Any]:
    return {"source": "onnx", "file": str(onnx_file(Path("net.onnx"))), "preprocess": "imagenet", **settings}


def exported(**settings: Any) -> dict[str, Any]:
    return {"source": "exported", "file": str(exported_file(Path("net.pt2"))), "preprocess": "imagenet", **settings}


def of_file(source: str, name: str, content: bytes) -> dict[str, Any]:
    Path(name).write_bytes(content)
    return {"source": source, "file": name, "preprocess": "imagenet"}


def cut(source: str, whole: Path) -> dict[str, Any]:
    content = whole.read_bytes()
    return of_file(source, f"cut{whole.suffix}", content[: len(content) // 2])


def state_dict(name: str) -> bytes:
    torch.save(small_network().state_dict(), name)
    return Path(name).read_bytes()


def pickled_network() -> dict[str, Any]:
    torch.save(torch.nn.Sequential(torch.nn.ReLU()), "whole.pth")
    return {"architecture": "alexnet", "weights": "whole.pth"}


BAD: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no such layer, torchvision": (
        lambda: {"architecture": "alexnet", "weights": "untrained", "layers": "features.99"},
        r"alexnet has no layer 'features\.99'\. Did you mean 'features\.9'",
    ),
    "no such layer, onnx": (
        lambda: onnx(layers=["scores", "1/Rleu"]),
        r"net\.onnx has no layer '1/Rleu'\. Did you mean '1/Relu'",
    ),
    "no such layer, exported": (lambda: exported(layers="2.cnov"), r"net\.pt2 has no layer '2\.cnov'\. Did you mean"),
    "no such layer, timm": (
        lambda: {"source": "timm", "architecture": "resnet18", "weights": "untrained", "layers": "layer9"},
        r"resnet18 has no layer 'layer9'",
    ),
    "an output that is no tensor with a row for each picture": (
        lambda: {"architecture": "swin_v2_t", "weights": "untrained", "layers": "features.1.0.attn.cpb_mlp"},
        r"is not one tensor per picture",
    ),
    "a layer that is called twice": (
        lambda: {"architecture": "resnet18", "weights": "untrained", "layers": "layer1.0.relu"},
        r"called 2 times per picture, so it has no one output; ask for the module around it, 'layer1\.0'",
    ),
    "pictures of a size that the network does not take": (
        lambda: onnx(preprocess={"preset": "imagenet", "crop": 224}),
        r"takes pictures of 32 x 32 pixels \(height x width\), and preprocess\.crop is 224 x 224; leave it out",
    ),
    "numbers that onnxruntime does not compute in": (
        lambda: onnx(precision="float16"),
        r"`precision` is for networks that torch computes, and net\.onnx is computed by onnxruntime; leave it out",
    ),
    "one side of pictures is fixed": (
        lambda: {**onnx(), "file": str(onnx_file(Path("side.onnx"), small_network()[:3], dynamic=(2,)))},
        r"takes pictures of shape \(2, 3, any, 32\), of which one side is fixed; export it with both",
    ),
    "an empty file, onnx": (lambda: of_file("onnx", "a.onnx", b""), r"a\.onnx is empty; copy it again"),
    "an empty file, exported": (lambda: of_file("exported", "a.pt2", b""), r"a\.pt2 is empty; copy it again"),
    "half a file, onnx": (
        lambda: cut("onnx", onnx_file(Path("n.onnx"))),
        r"cut\.onnx is damaged, or not an ONNX file",
    ),
    "half a file, exported": (lambda: cut("exported", exported_file(Path("n.pt2"))), r"cut\.pt2 is damaged, or not a "),
    "a state dict as onnx": (
        lambda: of_file("onnx", "a.pth", state_dict("b")),
        r"a\.pth is damaged, or not an ",
    ),
    "a state dict as exported": (
        lambda: of_file("exported", "a.pth", state_dict("b")),
        r"a\.pth holds a state dict or a pickled network, and not a program of torch\.export",
    ),
    "a whole network that was pickled": (pickled_network, r"whole\.pth is not a state dict that can be read safely"),
    "no such file": (lambda: {**onnx(), "file": "no.onnx"}, r"(There is no file|Cannot read) no\.onnx"),
}


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("case", BAD)
def test_networks_that_cannot_be_run_are_found_by_the_check_and_by_the_stage(case, capsys):
    make, message = BAD[case]
    model = make()
    for said in (checked([model], capsys), stage(model, capsys)):
        (line,) = [line for line in said.splitlines() if re.search(message, line)]
        assert "Traceback" not in said
        assert len(line) < 500


@pytest.mark.usefixtures("lab")
def test_a_missing_extra_is_named(capsys, monkeypatch):
    model = onnx()
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    for said in (checked([model], capsys), stage(model, capsys)):
        assert re.search(r'need the package onnxruntime, which cannot be .*pip install -e "\.\[models\]"', said)


# ------------------------------------------------------------------------------- what only a run can find


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("source", ["onnx", "exported"])
def test_a_response_that_is_no_number_names_layer_condition_and_picture(source, capsys):
    network = small_network()
    with torch.no_grad():
        network[5].bias[2] = float("nan")
    make = onnx_file if source == "onnx" else exported_file
    file = make(Path(f"nan.{source}"), network)
    model = {"source": source, "file": str(file), "preprocess": "imagenet", "name": "mine"}
    assert checked([model], capsys) == ""
    said = stage(model, capsys)
    layer = "scores" if source == "onnx" else "5"
    assert f"The output of layer '{layer}' of mine is NaN or infinite for condition 'img0' (pictures/img0.png)" in said


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("source", ["onnx", "exported"])
def test_a_constant_layer_has_no_distances_and_the_log_says_so(source, caplog):
    network = small_network()
    with torch.no_grad():
        network[5].weight.zero_()
    make = onnx_file if source == "onnx" else exported_file
    file = make(Path(f"constant.{source}"), network)
    model = {"source": source, "file": str(file), "preprocess": "imagenet", "name": "mine"}
    options = shlex.split(cli.options_of("model", TypeAdapter(Model).validate_python(model)))
    words = ["--stimuli-folder", "pictures", "--output", "out.h5", "--device", "cpu", "--distance", "euclidean"]
    assert cli.main(["model-rdms", *options, *words]) == 0
    assert not load_rdms("out.h5").values[-1].any(), "all pictures have one response, so their distance is 0"
    words[-1] = "correlation"
    with torch.no_grad():
        network[5].bias.fill_(1)
    make(Path(file), network)
    assert cli.main(["model-rdms", *options, *words]) == 0
    assert np.isnan(load_rdms("out.h5").values[-1]).all()
    assert np.isfinite(load_rdms("out.h5").values[:-1]).all()
    layer = "scores" if source == "onnx" else "5"
    assert f"The correlation distance of layer '{layer}' of mine is undefined for 5 conditions" in caplog.text


OWN = {"source": "python", "function": f"{Path(__file__).parent / 'own_networks.py'}:network", "name": "own"}

SEVERAL: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "seeds": (
        lambda: {**OWN, "untrained": True, "seeds": [0, 1]},
        r"settings of own stand for 2: 'ownseed0', 'ownseed1'\. Give a `seed`, and leave `seeds` out",
    ),
    "seeds of weights": (lambda: {**OWN, "seeds": 2}, r"own: `seeds` are those of random weights"),
    "checkpoints": (
        lambda: {**onnx(), "file": str(onnx_file(Path("step_1.onnx")).with_name("step_*.onnx")), "name": "net"},
        r"settings of net stand for 1: 'netstep1'\. Give one file as `file`, with the label as `name`",
    ),
    "no checkpoints": (lambda: {**onnx(), "file": "step_*.onnx", "name": "net"}, r"net: no file has a name like step_"),
    "half precision of what is ready": (
        lambda: features({"fc": np.eye(N_CONDITIONS)}, precision="bfloat16"),
        r"`precision` is for networks that torch computes, and features\.npz was computed beforehand; leave it out",
    ),
}
"""What the check of a study expands or refuses, and a stage by hand runs as if nothing had been said."""


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("case", SEVERAL)
def test_a_stage_by_hand_is_not_silent_of_what_it_does_not_do(case, capsys):
    made, expected = SEVERAL[case]
    assert re.search(expected, stage(made(), capsys))


@pytest.mark.usefixtures("lab")
def test_one_picture_is_too_few(capsys):
    for path in list(Path("pictures").iterdir())[1:]:
        path.unlink()
    assert "it needs 3 conditions or more, and the stimuli have 1." in checked([onnx()], capsys)


# ------------------------------------------------------------------------------------------- features


def features(values: dict[str, Any], **settings: Any) -> dict[str, Any]:
    np.savez("features.npz", **values)
    return {"source": "features", "file": "features.npz", **settings}


@pytest.mark.usefixtures("lab")
def test_features_whose_rows_are_not_the_conditions(capsys, rng):
    values = rng.standard_normal((N_CONDITIONS, 7))
    labels = [*CONDITIONS[:-1], "img9"]
    said = checked([features({"fc": values, "labels": labels})], capsys)
    assert re.search(r"missing in 'labels' beside 'fc' in features\.npz: 'img4'", said)
    said = checked([features({"fc": values[:3]})], capsys)
    assert "'fc' in features.npz has 3 rows, and there are 5 conditions" in said


@pytest.mark.usefixtures("lab")
def test_features_that_are_no_numbers_name_layer_and_condition(capsys, rng):
    values = rng.standard_normal((N_CONDITIONS, 7))
    values[3, 2] = np.inf
    model = features({"fc": values}, name="mine")
    options = shlex.split(cli.options_of("model", TypeAdapter(Model).validate_python(model)))
    assert cli.main(["model-rdms", *options, "--stimuli-folder", "pictures", "--output", "out.h5"]) == 2
    assert "Layer 'fc' of mine is NaN or infinite for 'img3'" in "".join(capsys.readouterr())
    assert not Path("out.h5").exists()


@pytest.mark.usefixtures("lab")
def test_features_need_no_pictures(capsys, rng):
    values = rng.standard_normal((N_CONDITIONS, 7))
    assert checked([features({"fc": values})], capsys) == ""
    labelled = features({"fc": values[::-1], "conditions": CONDITIONS[::-1]})
    assert checked([labelled], capsys, stimuli=None) == ""
    said = checked([features({"fc": values})], capsys, stimuli=None)
    assert "'fc' in features.npz holds no labels, so the order of its conditions is not known" in said
    other = features({"fc": values, "conditions": [*CONDITIONS[:-1], "img9"]})
    assert "'img4'" in checked([other], capsys, stimuli=None)
    said = checked([{"architecture": "alexnet", "weights": "untrained"}], capsys, stimuli=None)
    assert "models need pictures: set `stimuli`." in said
