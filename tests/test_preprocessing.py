import re

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from timm.data import create_transform, resolve_data_config

from rsa.errors import UserError
from rsa.models.graphs import Step, bottlenecks, stages
from rsa.models.preprocessing import PRESETS, Preprocess, Preprocessing


@pytest.fixture
def picture(rng) -> Image.Image:
    """Return a picture of 300 x 200 pixels of noise."""
    return Image.fromarray(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["alexnet", "inception_v3", "vit_b_16/IMAGENET1K_SWAG_E2E_V1"])
def test_a_network_of_torchvision_prepares_as_torchvision_does(name, picture):
    architecture, _, weights = name.partition("/")
    theirs = torchvision.models.get_model_weights(architecture)[weights or "DEFAULT"].transforms()
    ours = Preprocessing(preset=f"torchvision:{name}").preparation()
    assert torch.equal(ours(picture), theirs(picture))


def test_the_preset_of_imagenet_is_that_of_torchvision(picture):
    theirs = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    assert torch.equal(PRESETS["imagenet"](picture), theirs(picture))


@pytest.mark.parametrize("name", ["resnet50", "tf_efficientnet_lite0"])
def test_a_network_of_timm_prepares_as_timm_does(name, picture):
    config = resolve_data_config({}, model=timm.create_model(name, pretrained=False))
    theirs = create_transform(**config, is_training=False)(picture)
    ours = Preprocessing(preset=f"timm:{name}").preparation()(picture)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_presets_bring_values_into_their_range():
    grey = Image.new("RGB", (64, 64), (255, 0, 51))
    inception = PRESETS["inception"](grey)
    torch.testing.assert_close(inception[:, 0, 0], torch.tensor([1.0, -1.0, -0.6]))
    caffe = PRESETS["caffe"](grey)
    torch.testing.assert_close(caffe[:, 0, 0], torch.tensor([51 - 103.939, 0 - 116.779, 255 - 123.68]))


def test_small_pictures_are_enlarged_and_nothing_is_filled_with_black():
    prepared = Preprocessing(preset="imagenet", mean=(0, 0, 0), std=(1, 1, 1)).preparation()(
        Image.new("RGB", (20, 9), "white")
    )
    assert prepared.shape == (3, 224, 224)
    assert (prepared == 1).all()


def test_without_antialias_pictures_are_resized_as_tensors(picture):
    ours = Preprocessing(preset="imagenet", antialias=False, mean=(0, 0, 0), std=(1, 1, 1)).preparation()(picture)
    pixels = torchvision.transforms.functional.pil_to_tensor(picture)
    resized = torchvision.transforms.functional.resize(pixels, [256], antialias=False)
    theirs = torchvision.transforms.functional.center_crop(resized, [224, 224]) / 255
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, PRESETS["imagenet"](picture))


def test_settings_are_a_word_or_what_differs_from_one():
    adapter = TypeAdapter(Preprocess)
    assert adapter.validate_python("clip") == Preprocessing(preset="clip")
    given = adapter.validate_python({"preset": "imagenet", "crop": 112, "channels": "BGR"}).preparation()
    assert (given.resize, given.crop, given.channels, given.mean) == (128, (112, 112), "BGR", PRESETS["imagenet"].mean)
    assert Preprocessing(preset="imagenet").preparation((64, 64)).resize == 73  # 64 x 256 / 224
    assert str(given) == (
        "resize=128, crop=112x112, interpolation=bilinear, BGR 0..1, mean=(0.485, 0.456, 0.406), "
        "std=(0.229, 0.224, 0.225)"
    )
    assert "scaled to 128 pixels on the shorter side" in given.words()


@pytest.mark.parametrize(
    ("given", "size", "message"),
    [
        ({"preset": "torchvision:resnet5"}, None, r"no classification model 'resnet5'\. Did you mean '?resnet"),
        ({"preset": "torchvision:resnet50/V9"}, None, r"no weights 'V9'\. Choose one of: IMAGENET1K_V1"),
        ({"preset": "timm:resnet5"}, None, r"timm has no model 'resnet5'"),
        (
            {"preset": "imagenet", "resize": 100},
            None,
            r"crop of 224 x 224 .* side has 100 .* make that 224",
        ),
        ({"preset": "imagenet", "crop": 224}, (32, 32), r"takes pictures of 32 x 32 .* preprocess\.crop is 224 x 224"),
    ],
)
def test_problems(given, size, message):
    with pytest.raises(UserError, match=message) as raised:
        Preprocessing(**given).preparation(size)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "imagnet"}, "'imagnet' is no preprocessing; choose one of imagenet, clip, inception, caffe, or "),
        ({"preset": "imagenet", "std": [0, 1, 1]}, "greater than 0"),
        ({"preset": "imagenet", "crop": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_are_refused(given, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Preprocessing(**given)


# ------------------------------------------------------------------------------------------- graphs


def chain(*names: str) -> list[Step]:
    return [Step(name, "other", (before,)) for before, name in zip(("picture", *names), names, strict=False)]


def test_everything_passes_through_each_step_of_a_chain_and_through_the_end_of_a_block():
    steps = chain("a", "b")
    assert [step.name for step in bottlenecks(steps)] == ["a", "b"]
    inside = [Step("c", "other", ("b",)), Step("d", "other", ("b",)), Step("e", "merge", ("c", "d"))]
    assert [step.name for step in bottlenecks([*steps, *inside])] == ["a", "b", "e"]


def test_a_value_that_nothing_uses_is_no_stage_and_hides_none():
    steps = [*chain("a", "b"), Step("aside", "other", ("a",)), Step("end", "other", ("b",))]
    assert [step.name for step in bottlenecks(steps)] == ["a", "b", "end"]


def test_stages_are_ends_of_blocks_last_of_their_size_and_dense_layers_after_their_activations():
    def step(name: str, kind: str, before: str, places: int, shape: tuple[int, ...], *more: str) -> Step:
        return Step(name, kind, (before, *more), shape, places)

    steps = [
        step("conv", "other", "picture", 64, (2, 8, 8)),
        step("relu", "activation", "conv", 64, (2, 8, 8)),
        step("pool", "other", "relu", 16, (2, 4, 4)),
        step("inside", "other", "pool", 16, (2, 4, 4)),
        step("sum", "merge", "inside", 16, (2, 4, 4), "pool"),
        step("relu2", "activation", "sum", 16, (2, 4, 4)),
        step("pooled", "other", "relu2", 1, (2, 1, 1)),
        step("flat", "other", "pooled", 1, (2,)),
        step("fc", "dense", "flat", 1, (5,)),
        step("bias", "shift", "fc", 1, (5,)),
        step("relu3", "activation", "bias", 1, (5,)),
        step("scores", "dense", "relu3", 1, (3,)),
    ]
    assert stages(steps) == ["relu", "relu2", "pooled", "relu3", "scores"]
    no_blocks = [one for one in steps if one.name not in ("inside", "sum")]
    no_blocks[3] = step("relu2", "activation", "pool", 16, (2, 4, 4))
    assert stages(no_blocks) == ["relu", "relu2", "pooled", "relu3", "scores"]
    assert stages([]) == []
