"""Networks and responses of functions of the user's."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy.spatial.distance import pdist

from rsa.models import Model, Python
from rsa.models.layer_rdms import model_rdms

FILE = Path(__file__).parent / "own_networks.py"


def own(function: str, **change: Any) -> Python:
    return Python(function=f"{FILE}:{function}", **change)


def test_a_network_of_a_function_runs() -> None:
    model = own("network", arguments={"n": 4})
    assert model.problems() == []
    assert model.layer_names() == ["0", "1", "3", "4"]
    assert list(model.describe()["shape"]) == ["4x14x14", "4x14x14", "4x14x14", "784", "5"]
    network = model.load()
    assert not network.module.training
    assert not any(one.requires_grad for one in network.module.parameters())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8))
    seen: dict[str, torch.Tensor] = {}
    network.answer(
        network.prepare(picture)[None], ["0", "4"], lambda layer, output: seen.update({layer: output.clone()})
    )
    expected = network.module[0](network.prepare(picture)[None])
    assert torch.equal(seen["0"], expected)
    assert seen["4"].shape == (1, 5)


def test_seed_and_arguments_make_the_network() -> None:
    sums = {
        (seed, scale): own("network", seed=seed, arguments={"scale": scale}).load().weights_sha256()
        for seed in (0, 1)
        for scale in (1.0, 2.0)
    }
    assert len(set(sums.values())) == 4
    assert own("network").load().weights_sha256() == sums[0, 1.0]


def test_several_seeds_of_a_network_that_is_said_to_be_untrained() -> None:
    several = own("network", untrained=True, seeds=2)
    assert several.problems_of_variants() == []
    first, second = several.variants()
    assert (first.label, second.label) == ("networkseed0", "networkseed1")
    assert first.load().weights_sha256() != second.load().weights_sha256()
    assert second.methods()[0].endswith("Its weights were random (seed 1).")
    (problem,) = own("network", seeds=2).problems_of_variants()
    assert "`seeds` are those of random weights" in problem


def test_responses_have_labels_and_layers() -> None:
    model = own("responses", returns="responses", arguments={"n": 4})
    assert not model.needs_pictures
    assert own("network").needs_pictures
    assert model.problems() == []
    table = model.describe().set_index("layer")
    assert table.loc["early", "shape"] == "4x2"
    assert list(table["n_units"]) == [8, 3]
    made = model.load()
    assert list(made.conditions) == ["a", "b", "c"]
    np.testing.assert_array_equal(made.of("early"), np.arange(24.0).reshape(3, 8))
    assert made.weights_sha256() == model.load().weights_sha256()
    assert made.weights_sha256() != own("responses", returns="responses").load().weights_sha256()


def test_files_of_function_and_arguments_are_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"x")
    model = own("network", arguments={"file": str(tmp_path / "weights.pth"), "scale": 2.0, "kind": "wide"})
    assert model.files() == [FILE, tmp_path / "weights.pth"]
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lab_networks.py").write_text("from own_networks import network as net\n")
    module = Python(function="lab_networks:net")
    assert module.files() == [tmp_path / "lab_networks.py"]
    assert module.problems() == []


def test_files_beside_that_are_imported_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "blocks.py").write_text("import numpy\n")
    (tmp_path / "eyes.py").write_text("from parts import blocks\n")
    (tmp_path / "other.py").write_text("")
    (tmp_path / "net.py").write_text("import torch\nfrom eyes import *\nimport eyes as e, nowhere\n")
    files = Python(function=f"{tmp_path}/net.py:make").files()
    assert {str(path.relative_to(tmp_path)) for path in files} == {
        "net.py",
        "eyes.py",
        "parts/__init__.py",
        "parts/blocks.py",
    }


def test_files_of_a_package_that_are_imported_are_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {
        "lab_of_mine/__init__.py": "",
        "lab_of_mine/sight.py": "FACTOR = 1\n",
        "lab_of_mine/parts/__init__.py": "",
        "lab_of_mine/parts/blocks.py": "from ..sight import FACTOR\nfrom . import ends\n",
        "lab_of_mine/parts/ends.py": "",
        "lab_of_mine/nets.py": "import lab_of_mine.parts.blocks\nimport common_of_mine\n",
        "common_of_mine.py": "",
        "lab_of_mine/ends.py": "",
    }
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    files = Python(function="lab_of_mine.nets:make").files()
    assert {str(path.relative_to(tmp_path)) for path in files} == set(contents) - {"lab_of_mine/ends.py"}


def test_what_is_installed_beside_a_package_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "site-packages"
    for name, text in {"mine_there": "import theirs_there\n", "theirs_there": ""}.items():
        (top / name).mkdir(parents=True)
        (top / name / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(top)
    assert Python(function="mine_there:make").files() == [top / "mine_there" / "__init__.py"]


def test_files_beside_are_those_of_this_function_as_they_are_now(tmp_path: Path) -> None:
    network = "from own_networks import network as other\ndef network():\n    return other({n})\n"
    for folder, n in (("one", 3), ("two", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper_of_mine.py").write_text(network.format(n=n))
        (tmp_path / folder / "net.py").write_text("from helper_of_mine import network\n")
    late = "def network():\n    import helper_of_mine\n    return helper_of_mine.network()\n"
    (tmp_path / "two" / "late.py").write_text(late)
    for place, n in (("one/net", 3), ("two/net", 4), ("one/net", 3), ("two/late", 4)):
        network_there = Python(function=f"{tmp_path}/{place}.py:network").load()
        assert len(network_there.module[0].weight) == n, place
    helper = tmp_path / "one" / "helper_of_mine.py"
    helper.write_text(network.format(n=5) + "# changed\n")
    assert len(Python(function=f"{tmp_path}/one/net.py:network").load().module[0].weight) == 5


def test_ready_responses_become_rdms_by_their_labels(tmp_path: Path) -> None:
    model = own("responses", returns="responses")
    made = model_rdms(model, None, "euclidean", scratch=tmp_path).rdms
    values = np.arange(12.0).reshape(3, 4)
    assert list(made.conditions) == ["a", "b", "c"]
    assert list(made.table["layer"]) == ["early", "late"]
    np.testing.assert_allclose(made.values, [pdist(values), [np.sqrt(2)] * 3], atol=1e-6)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    for n in (3, 12):
        path.write_text(f"from own_networks import network as other\ndef network():\n    return other({n})\n")
        os.utime(path, (n, n))
        assert Python(function=f"{path}:network").describe().loc[0, "shape"] == f"{n}x14x14"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"function": f"{FILE}:netwrk"}, r"own_networks\.py has no function 'netwrk'\. Did you mean 'network'\?"),
        ({"function": "no/such.py:network"}, r"There is no file no/such\.py, which `function` names"),
        ({"function": "no_such_module:network"}, r"Python finds no module 'no_such_module'\. Run from"),
        ({"function": f"{FILE}:broken"}, r"broken fails in own_networks\.py, line \d+: ZeroDivisionError: a mistake"),
        (
            {"function": f"{FILE}:network", "arguments": {"m": 1}},
            r"network cannot be called: .*unexpected keyword argument 'm'\. It is called with the `arguments` of",
        ),
        ({"function": f"{FILE}:one_thing"}, r"returned a Sequential; with `returns: network`, expected is a module of"),
        (
            {"function": f"{FILE}:responses"},
            r"returned a tuple of 'list', 'dict'; with `returns: network`, expected is a",
        ),
        (
            {"function": f"{FILE}:network", "returns": "responses"},
            r"'Sequential', 'function'; .* expected is labels of",
        ),
        ({"function": f"{FILE}:no_rows", "returns": "responses"}, r"'late' .* shape \(3, 3\) .* each of 2 conditions"),
        (
            {"function": f"{FILE}:no_tensor"},
            r"The transform of .* makes a ndarray of a picture; expected is a tensor of",
        ),
        (
            {"function": f"{FILE}:too_small"},
            r"The network of .*, given pictures of shape \(3, 2, 2\), fails in .*Error",
        ),
        ({"function": f"{FILE}:network", "layers": "9"}, r"network has no layer '9'"),
    ],
)
def test_problems(given: dict[str, Any], message: str) -> None:
    (problem,) = Python(**given).problems()
    assert re.search(message, problem)
    assert "\n" not in problem


def test_a_function_is_named_with_its_place() -> None:
    with pytest.raises(ValidationError, match=r"'network' is not a function: write package\.module:function or"):
        Python(function="network")
    given = {"source": "python", "function": "nets/own.py:make", "name": "mine"}
    model = TypeAdapter(Model).validate_python(given, context={"data_root": "/data"})
    assert model.function == "/data/nets/own.py:make"
    assert model.methods() == ["The network mine was made by custom code: the function make of own.py."]
