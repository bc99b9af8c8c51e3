"""Networks that are no plain stacks of convolutions, as functions of the user's: attention, memory, volumes, grey."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIDE, PATCH, N_HEADS, N_EACH = 24, 8, 2, 4
"""Side of the input and of a patch in pixels, heads of attention, and channels of each."""


def transform(picture, n_colours=3):
    values = np.asarray(picture.resize((SIDE, SIDE)), dtype=np.float32).transpose(2, 0, 1) / 255
    return torch.from_numpy(values if n_colours == 3 else values.mean(axis=0, keepdims=True))


def as_it_is(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255)


class Attention(nn.Module):
    """A layer of attention whose queries and weights are outputs of modules; a class token stands before the others."""

    def __init__(self):
        super().__init__()
        n = N_HEADS * N_EACH
        self.patch, self.qkv = nn.Conv2d(3, n, PATCH, stride=PATCH), nn.Linear(n, 3 * n)
        self.cls_token = nn.Parameter(torch.randn(1, 1, n))
        self.query, self.weights, self.end, self.head = nn.Identity(), nn.Identity(), nn.Linear(n, n), nn.Linear(n, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        query, key, value = self.qkv(x).unflatten(2, (3, N_HEADS, N_EACH)).permute(2, 0, 3, 1, 4)
        weights = self.weights((self.query(query) @ key.transpose(-1, -2)).softmax(-1))
        return self.head(self.end((weights @ value).transpose(1, 2).flatten(2))[:, 0])


class Memory(nn.Module):
    """A recurrent layer that reads a map place by place, each with all that came before it."""

    def __init__(self):
        super().__init__()
        self.map, self.memory, self.head = nn.Conv2d(3, 4, 6, stride=6), nn.RNN(4, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        states, _ = self.memory(self.map(x).flatten(2).transpose(1, 2))
        return self.head(states[:, -1])


class Volume(nn.Module):
    """A convolution in three dimensions among others: its output has four axes."""

    def __init__(self):
        super().__init__()
        self.map, self.volume, self.end = nn.Conv2d(3, 4, 3, 3), nn.Conv3d(1, 2, 3, padding=1), nn.Conv2d(8, 3, 3)

    def forward(self, x):
        return self.end(self.volume(self.map(x)[:, None]).relu().flatten(1, 2))


def attention():
    return Attention(), transform


def memory():
    return Memory(), transform


def volume():
    return Volume(), transform


def colours(n=1):
    network = nn.Sequential(nn.Conv2d(n, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(144, 3))
    return network, lambda picture: transform(picture, 1).repeat(n, 1, 1)


def blue_first():
    network, _ = colours(3)
    with torch.no_grad():
        network[0].weight *= torch.tensor([3.0, 1.0, 0.1])[:, None, None]
    return network, lambda picture: transform(picture).flip(0)


def unscaled():
    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()), as_it_is


def sometimes():
    """Scale all pictures but those as wide as 30 pixels, which no test of a transform shows."""
    return unscaled()[0], lambda picture: as_it_is(picture) if picture.width == 30 else transform(picture)


class Random(nn.Module):
    """A dropout that is on whether the network is trained or not."""

    def forward(self, x):
        return functional.dropout(x, 0.2, training=True)


class NoNumbers(nn.Module):
    """Pictures with a pixel of exactly mid grey become NaN."""

    def forward(self, x):
        has_grey = (x == 0.5).all(dim=1).flatten(1).any(dim=1)
        return x.where(~has_grey[:, None, None, None], torch.nan)


AMISS = {
    "dropout": Random,
    "batch": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "grey": NoNumbers,
}
"""What is amiss before the first convolution of `amiss`."""


def amiss(kind):
    return nn.Sequential(AMISS[kind](), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 22 * 22, 3)), transform
