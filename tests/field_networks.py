"""Networks whose receptive fields are known, as users' functions write them; their input is a picture of 32 pixels."""

import numpy as np
import torch
from torch import nn

SIDE = 32

KNOWN = {
    "odd": (3, lambda: [nn.Conv2d(3, 2, 3)]),
    "even": (4, lambda: [nn.Conv2d(3, 2, 4)]),
    "padded": (5, lambda: [nn.Conv2d(3, 2, 5, padding=2)]),
    "two with strides": (3 + 4 * 2, lambda: [nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 2, 5, padding=1)]),
    "uneven": (5, lambda: [nn.Conv2d(3, 2, 5, stride=(2, 1), padding=(1, 3))]),
    "dilated": (9, lambda: [nn.Conv2d(3, 2, 3, dilation=4)]),
    "pooled": (3 + 2, lambda: [nn.Conv2d(3, 2, 3), nn.AvgPool2d(3, stride=2)]),
}
"""What each network is, and the side of the field of its last layer in pixels."""


def prepare(picture):
    return torch.from_numpy(np.asarray(picture.resize((SIDE, SIDE)), dtype=np.float32).transpose(2, 0, 1) / 255)


def network(kind):
    """Return a network of `KNOWN`, with weights that are not near 0."""
    layers = KNOWN[kind][1]()
    for layer in layers:
        for weight in layer.parameters():
            signs = torch.randint(0, 2, weight.shape) * 2.0 - 1
            weight.data = signs * (0.5 + torch.rand(weight.shape))
    return nn.Sequential(*layers), prepare


def lopsided():
    """Return a convolution of 7 x 7 pixels which weighs an upright bar right of its middle: channel 0 alone."""
    layer = nn.Conv2d(3, 2, 7)
    layer.weight.data.zero_()
    layer.weight.data[0, :, 1:6, 4] = 1.0
    layer.weight.data[1] = 1e-3
    layer.bias.data.zero_()
    return nn.Sequential(layer), prepare


def spaceless():
    """Return scores without space."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 5)), prepare


class Ends(nn.Module):
    """A map that depends on the place alone."""

    def forward(self, x):
        return x + torch.linspace(0, 1, x.shape[-1])


def deaf():
    """Return channel 0, which sees a pixel, and channel 1, which sees nothing and yet differs from place to place."""
    layer = nn.Conv2d(3, 2, 3, padding=1)
    layer.weight.data[1] = 0.0
    return nn.Sequential(layer, Ends()), prepare


def ends_with_classes():
    """Return four features, and four scores made of them, which three layers give: two and the block of both."""
    scores = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    return nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), scores), prepare


def ends_with_zeros():
    """Return four features, and four scores that are zero: features are not."""
    network, prepared = ends_with_classes()
    nn.init.zeros_(network[3][0].weight)
    nn.init.zeros_(network[3][0].bias)
    return network, prepared


def corners():
    """Return scores of four classes, each of which adds up one quarter of the picture."""
    layer = nn.Linear(3 * SIDE * SIDE, 4)
    weights, half = torch.zeros(4, 3, SIDE, SIDE), SIDE // 2
    for one, (row, column) in enumerate([(0, 0), (0, half), (half, 0), (half, half)]):
        weights[one, :, row : row + half, column : column + half] = torch.rand(3, half, half) / 50
    layer.weight.data = weights.flatten(1)
    layer.bias.data.zero_()
    return nn.Sequential(nn.Flatten(), layer), prepare
