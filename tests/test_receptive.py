"""Receptive fields are those that gradients show and papers list, and NaN where nobody can tell."""

from functools import partial

import numpy as np
import oracles
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from rsa.models.modules import without_memory
from rsa.models.receptive import receptive_fields


def fields(network, side=64):
    """Return (field, jump, centre) of each layer."""
    table = receptive_fields(network.eval(), (3, side, side)).set_index("layer")
    return {layer: tuple(row) for layer, row in zip(table.index, table.to_numpy(), strict=True)}


class Residual(nn.Module):
    """Two convolutions of a stride, in place activations, and a shortcut."""

    def __init__(self, stride=2):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=stride, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.short = nn.Conv2d(3, 4, 1, stride=stride)
        self.end = nn.Identity()

    def forward(self, x):
        y = self.second(self.relu(self.norm(self.first(x))))
        y += self.short(x)
        return self.end(self.relu(y))


class Branches(nn.Module):
    """Branches of several sizes, put together along the channels."""

    def __init__(self):
        super().__init__()
        self.small = nn.Conv2d(3, 2, 1)
        self.wide = nn.Conv2d(3, 2, (1, 7), padding=(0, 3))
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.large = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.Conv2d(3, 2, 3, padding=1))
        self.joined = nn.Identity()
        self.after = nn.Conv2d(9, 2, 3, stride=2)

    def forward(self, x):
        return self.after(self.joined(torch.cat([self.small(x), self.wide(x), self.pool(x), self.large(x)], 1)))


class ChannelsLast(nn.Module):
    """A ConvNeXt of one block: the channels at the end, a linear layer for each place, and back."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.depthwise = nn.Conv2d(4, 4, 7, padding=3, groups=4)
        self.norm, self.linear = nn.LayerNorm(4), nn.Linear(4, 4)
        self.end = nn.Identity()

    def forward(self, x):
        x = self.stem(x)
        y = self.linear(self.norm(self.depthwise(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.end(functional.gelu(y) + x)


class Shuffled(nn.Module):
    """Halves of the channels, of which one is convolved; then channels change places; and parts of a padded map."""

    def __init__(self):
        super().__init__()
        self.own, self.mixed, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Identity(), nn.Conv2d(4, 3, 1)
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.scaled = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        a, b = self.stem(functional.pad(x, (0, 1, 0, 1))).chunk(2, dim=1)
        mixed = torch.cat([a, self.own(b)], dim=1).view(len(x), 2, 2, *a.shape[2:]).transpose(1, 2).flatten(1, 2)
        last = self.last(self.mixed(mixed))
        return self.scaled(functional.avg_pool2d(functional.relu6(last), 3, stride=3))


NETWORKS = {
    "plain": (nn.Sequential(nn.Conv2d(3, 2, 5), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2)), ["0", "1", "2"]),
    "strided": (nn.Sequential(nn.Conv2d(3, 2, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, 3, 2)), ["0", "1", "2"]),
    "dilated": (
        nn.Sequential(nn.Conv2d(3, 2, 3, dilation=4), nn.Conv2d(2, 2, 3, 2, padding=2, dilation=2)),
        ["0", "1"],
    ),
    "gaps": (nn.Sequential(nn.Conv2d(3, 2, 1, stride=3), nn.Conv2d(2, 2, 2), nn.Conv2d(2, 2, 2)), ["0", "1", "2"]),
    "ceil": (nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 2, 3)), ["0", "1"]),
    "residual": (nn.Sequential(Residual(), Residual(1)), []),
    "one residual": (Residual(), ["first", "norm", "second", "short", "end"]),
    "branches": (Branches(), ["small", "wide", "pool", "large", "joined", "after"]),
    "channels last": (ChannelsLast(), ["stem", "depthwise", "end"]),
    "shuffled": (Shuffled(), ["stem", "own", "mixed", "last", "scaled"]),
    "unshuffled": (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 3)), ["1"]),
}
NETWORKS["residual"] = (nn.Sequential(Residual(), nn.Conv2d(4, 3, 1), Residual(1)), ["0", "1", "2.second", "2"])


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_where_the_gradient_is(name):
    network, layers = NETWORKS[name]
    found = fields(network)
    for layer in layers:
        assert found[layer] == oracles.receptive_field(network, layer, (3, 64, 64)), layer


def test_fields_of_a_part_of_a_real_network_are_where_the_gradient_is():
    network = torchvision.models.resnet18(weights=None)
    for layer in ("maxpool", "layer1.1", "layer2.0.downsample.0", "layer2"):
        shortened = torchvision.models.resnet18(weights=None)  # what follows would only take time
        shortened.layer3 = shortened.layer4 = shortened.avgpool = shortened.fc = nn.Sequential()
        assert fields(network, 160)[layer] == oracles.receptive_field(shortened, layer, (3, 160, 160)), layer


def torchvision_fields(name, side, **options):
    table = fields(without_memory(partial(torchvision.models.get_model, name, weights=None, **options)), side)
    return {layer: row[0] for layer, row in table.items()}


def test_published_fields():
    """AlexNet, VGG-16 and Inception v3 as in Araujo et al. (2019), Distill."""
    alexnet = torchvision_fields("alexnet", 224)
    assert [alexnet[f"features.{i}"] for i in (0, 3, 6, 8, 10, 12)] == [11, 51, 99, 131, 163, 195]
    vgg = torchvision_fields("vgg16", 224)
    assert [vgg[f"features.{i}"] for i in (28, 30)] == [196, 212]
    options = {"aux_logits": False, "init_weights": False}
    assert torchvision_fields("inception_v3", 299, **options)["Mixed_7c"] == 1311
    assert torchvision_fields("mobilenet_v2", 224)["features.18"] == 491


@pytest.mark.parametrize(("name", "field", "field_v1"), [("resnet50", 427, 483), ("resnet101", 971, 1027)])
def test_published_fields_of_residual_networks(name, field, field_v1):
    """Published are those with the stride in the first convolution of a block; torchvision has it in the second."""
    assert torchvision_fields(name, 224)["layer4"] == field

    def first_version():
        network = torchvision.models.get_model(name, weights=None)
        for layer in (network.layer2, network.layer3, network.layer4):
            layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
        return network

    assert fields(without_memory(first_version), 224)["layer4"][0] == field_v1


def test_pictures_of_any_size_have_the_same_fields_and_devices_do_not_matter():
    build = partial(torchvision.models.resnet18, weights=None)
    expected = fields(without_memory(build), 224)
    for side in (160, 225):
        assert {layer: row[0] for layer, row in fields(without_memory(build), side).items()} == pytest.approx(
            {layer: row[0] for layer, row in expected.items()}, nan_ok=True
        )
    real = fields(build(), 224)
    assert list(real) == list(expected)
    np.testing.assert_array_equal(list(real.values()), list(expected.values()))
    half = receptive_fields(build().half().to("meta").eval(), (3, 224, 224))
    np.testing.assert_array_equal(half.set_index("layer").to_numpy(), list(expected.values()))


# --------------------------------------------------------------------------------------- all, or unknown


class Gated(nn.Module):
    """Channels are weighted by what is in all of the picture."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.end = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.end(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())


def test_what_sees_all_of_the_picture():
    flat = fields(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 62 * 62, 5), nn.Linear(5, 3)))
    assert [row[0] for row in flat.values()] == [3, 3, np.inf, np.inf]
    pooled = fields(nn.Sequential(nn.Conv2d(3, 2, 9), nn.AvgPool2d(56), nn.Flatten(), nn.Linear(2, 2)))
    assert [row[0] for row in pooled.values()] == [9, np.inf, np.inf, np.inf]
    assert {layer: row[0] for layer, row in fields(Gated()).items()} == {"conv": 3, "gate": np.inf, "end": np.inf}
    grouped = fields(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)))
    assert [row[0] for row in grouped.values()] == [3, np.inf]
    parts = fields(nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.AdaptiveAvgPool2d(4)))
    assert parts["1"] == (18, 16, 7.5)


def test_transformers_see_all_from_their_first_attention_on():
    found = torchvision_fields("vit_b_16", 224)
    assert found["conv_proj"] == found["encoder.dropout"] == found["encoder.layers.encoder_layer_0.ln_1"] == 16
    after = [field for layer, field in found.items() if "layer_0.ln_1" not in layer][2:]
    assert len(after) > 100
    assert set(after) == {np.inf}


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_kernels_of_attention_of_gpus_see_all(kernel):
    """On a GPU torch chooses one of several operations by type and size; on `meta` each of them can be asked for."""
    attend = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention")
    options = () if kernel == "flash" else (None, False)

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.end = nn.Conv2d(3, 8, 8, stride=8), nn.Identity()

        def forward(self, x):
            tokens = self.patch(x).flatten(2).transpose(1, 2)[:, None]
            return self.end(attend(tokens, tokens, tokens, *options)[0])

    assert [row[0] for row in fields(Attending().half().to("meta")).values()] == [8, np.inf]


class Uneven(nn.Module):
    """Channels of one place with different middles are mixed: a field larger than the picture stays a number."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.end = nn.Conv2d(3, 2, 62, padding=31), nn.Conv2d(3, 2, 61, padding=30), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.end(torch.cat([self.a(x)[..., :-1, :-1], self.b(x)], dim=1))


def test_channels_with_other_middles_are_not_the_whole_picture():
    assert fields(Uneven(), 32)["end"] == (62, 1, -0.5)


def test_windows_of_attention_and_what_goes_round():
    """Attention within windows sees a window. Shifted windows meet at the border, so there is no one field."""
    found = torchvision_fields("swin_t", 224)
    assert found["features.0"] == 4
    assert found["features.1.0"] == 7 * 4
    assert np.isnan(found["features.1.1"])


class Odd(nn.Module):
    """A layer that is called twice, one that comes from sorting, and one whose output a part was written into."""

    def __init__(self):
        super().__init__()
        self.twice, self.same = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.sorted, self.written = nn.Identity(), nn.Identity()

    def forward(self, x):
        x = self.same(self.twice(self.same(self.twice(x))))
        y = x.clone()
        y[:, 0] += x.amax((2, 3), keepdim=True)[:, 0]
        return self.sorted(x.sort(dim=-1).values), self.written(y)


def test_what_is_not_known_is_said():
    found = fields(Odd())
    assert list(found) == ["twice", "same", "sorted", "written"]
    assert all(np.isnan(row[0]) for row in found.values())
    assert found["twice"][1:] == (1, 0)
    tiny = fields(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 1, 1)), 4)
    assert [row[0] for row in tiny.values()] == [3, np.inf, np.inf], (
        "the last map has one place, which sees all 4 pixels"
    )
    one = fields(nn.Sequential(nn.Conv2d(3, 2, 1, 9), nn.Conv2d(2, 2, 3, padding=1)), 4)
    assert one["0"][0] == 1
    assert np.isnan(one["1"][0]), "one place does not tell how far it is to the next"
    edge = fields(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, stride=6, padding=2)), 3)
    assert (edge["1"][0], edge["1"][2]) == (3, -1), "one window, over a corner, is no window over all"


class Moved(nn.Module):
    """A convolution, and then a change of its places."""

    def __init__(self, move):
        super().__init__()
        self.move, self.conv, self.end = move, nn.Conv2d(3, 2, 3), nn.Identity()

    def forward(self, x):
        return self.end(self.move(self.conv(x)))


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.flip(-1),
        lambda x: x.transpose(-1, -2),
        lambda x: torch.cat([x[..., :31, :], x[..., 31:, :].flip(-2)], dim=-2),
    ],
    ids=["mirrored", "turned", "half of it mirrored"],
)
def test_places_in_another_order_than_those_of_the_picture_are_unknown(move):
    """A unit in the first column of a mirrored map sees the last one of the picture: no step tells where fields lie."""
    found = fields(Moved(move))
    assert found["conv"] == (3, 1, 1)
    np.testing.assert_array_equal(found["end"], (3, np.nan, np.nan))


def test_channels_of_pixels_beside_each_other_have_no_one_place():
    """Of 2 x 2 pixels each is a channel: a step is of 2 pixels, but channels begin at other ones."""
    np.testing.assert_array_equal(fields(nn.Sequential(nn.PixelUnshuffle(2)))["0"], (1, np.nan, np.nan))
