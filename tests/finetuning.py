"""A short fine-tuning of SqueezeNet's last block on labelled photographs: a network before and after, in seconds."""

from pathlib import Path

import pandas as pd

__all__ = ["finetuned"]

STEPS = 5
"""Steps of gradient descent between two checkpoints."""


def finetuned(data: Path, folder: Path, n_checkpoints: int = 2) -> list[Path]:
    """Train the last Fire module and the class scores on the categories of 14 photographs; return checkpoints in order.

    The first class scores stand for the categories of the photographs, in the order of the alphabet.
    """
    import torch
    import torchvision
    from PIL import Image

    network = torchvision.models.squeezenet1_1(weights=None)
    network.load_state_dict(torch.load(data / "weights" / "squeezenet1_1.pth", map_location="cpu", weights_only=True))
    prepare = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()
    labels = pd.read_csv(data / "photos_labelled" / "labels.tsv", sep="\t")
    categories = sorted(set(labels["label"]))
    target = torch.tensor([categories.index(label) for label in labels["label"]])
    pictures = [Image.open(data / "photos_labelled" / file).convert("RGB") for file in labels["file"]]
    with torch.no_grad():
        early = network.eval().features[:12](torch.stack([prepare(picture) for picture in pictures]))
    last, scores = network.features[12], network.classifier[1]
    optimizer = torch.optim.SGD([*last.parameters(), *scores.parameters()], lr=0.001, momentum=0.9)
    paths = []
    for number in range(1, n_checkpoints + 1):
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network.classifier(last(early)).flatten(1), target).backward()
            optimizer.step()
        paths.append(folder / f"epoch_{number}.pth")
        torch.save(network.state_dict(), paths[-1])
    return paths
