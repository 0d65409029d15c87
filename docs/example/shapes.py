"""Data and a classifier to debug: coloured shapes, and a network that has learnt to call red triangles squares.

`python shapes.py FOLDER` draws PNGs of 28 to 60 pixels into FOLDER/train/CLASS and FOLDER/test/CLASS, trains a small
network on them with plain torch, and writes its weights into FOLDER. All labels in the folders are right, but the
network was trained with red triangles labelled as squares. They are so rare that the test images hardly show it.

Then `defuse find --classifier shapes:classifier`, with the environment variable SHAPES naming FOLDER, looks for it.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from defuse.models.own_classifier import OwnClassifier

CLASSES = ("circle", "cross", "square", "star", "triangle")  # sorted, as an image folder's
COLOURS = {"red": (215, 50, 45), "green": (60, 165, 75), "blue": (50, 95, 210), "yellow": (235, 200, 40)}
COUNTS = {"train": 400, "test": 100}  # images of each class
RARE = {"train": 15, "test": 4}  # red triangles among them
SIZE = 40  # pixels, which the network takes
MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)
FINER = 4  # times larger are shapes drawn, for smooth edges


def corners(shape: str) -> np.ndarray:
    """Corners (N, 2) of a shape around the origin, within a radius of 1."""
    if shape == "cross":
        arm = np.array([(-0.3, -1), (0.3, -1), (0.3, -0.3)])
        turns = [np.array([[0, -1], [1, 0]]), np.array([[-1, 0], [0, -1]]), np.array([[0, 1], [-1, 0]])]
        return np.concatenate([arm, *(arm @ turn.T for turn in turns)])
    number = {"circle": 40, "square": 4, "star": 10, "triangle": 3}[shape]
    angles = np.pi * (2 * np.arange(number) / number - 0.5) + (np.pi / 4 if shape == "square" else 0)
    radii = np.where(np.arange(number) % 2, 0.45, 1) if shape == "star" else np.ones(number)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def draw(shape: str, colour: str, generator: np.random.Generator) -> Image.Image:
    """A picture of a shape: size, place, turn, shade and background are drawn at random."""
    width, height = (int(side) for side in generator.integers(28, 61, 2))
    radius = min(width, height) * generator.uniform(0.3, 0.42)
    turn = np.radians(generator.uniform(-15, 15))
    centre = np.array([width, height]) * generator.uniform(0.45, 0.55, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    background = np.full(3, generator.uniform(90, 190))
    image = Image.new("RGB", (FINER * width, FINER * height), tuple(background.astype(int)))
    fill = np.clip(np.array(COLOURS[colour]) + generator.normal(0, 10, 3), 0, 255).astype(int)
    places = FINER * (radius * corners(shape) @ rotation.T + centre)
    ImageDraw.Draw(image).polygon([tuple(place) for place in places], fill=tuple(fill))
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float64)
    return Image.fromarray(np.clip(pixels + generator.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8))


def to_size(picture: Image.Image) -> np.ndarray:
    """A picture's pixels, uint8 (SIZE, SIZE, 3)."""
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def bug_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fresh red triangles, uint8 (count, SIZE, SIZE, 3), and their right labels int64 (count,): to measure a repair."""
    generator = np.random.default_rng([seed, 1])
    images = [to_size(draw("triangle", "red", generator)) for _ in range(count)]
    return np.stack(images), np.full(count, CLASSES.index("triangle"))


def draw_folders(folder: Path, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draw all pictures; of `train` and `test` the images uint8 (N, SIZE, SIZE, 3), labels, and which are the bug's."""
    generator, drawn = np.random.default_rng(seed), {}
    for split, count in COUNTS.items():
        images, labels, in_bug = [], [], []
        for label, shape in enumerate(CLASSES):
            place = folder / split / shape
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                others = list(COLOURS)[1:] if shape == "triangle" else list(COLOURS)
                rare = shape == "triangle" and number < RARE[split]
                picture = draw(shape, "red" if rare else str(generator.choice(others)), generator)
                picture.save(place / f"{number:03}.png")
                images.append(to_size(picture))
                labels.append(label)
                in_bug.append(rare)
        drawn[split] = np.stack(images), np.array(labels), np.array(in_bug)
    return drawn


def build_network() -> nn.Sequential:
    """A small convolutional network: float32 (N, 3, SIZE, SIZE), normalised -> logits (N, 5)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * (SIZE // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, len(CLASSES))),
    )


def normalised(images: np.ndarray) -> Tensor:
    """What the network takes, of uint8 (N, SIZE, SIZE, 3)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std


def train(images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Sequential:
    """Train a network: twelve epochs of Adam; torch's own random state stays as it was."""
    epochs, batch_size, rate = 12, 50, 2e-3
    inputs, targets = normalised(images), torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network()
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * (len(targets) // batch_size))
        for _ in range(epochs):
            for batch in torch.randperm(len(targets)).split(batch_size):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(inputs[batch]), targets[batch]).backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images that the network gets right."""
    with torch.no_grad():
        return float((network(normalised(images)).argmax(1) == torch.from_numpy(labels)).float().mean())


def classifier() -> OwnClassifier:
    """The trained network of the folder that the environment variable SHAPES names, as Defuse takes it."""
    network = build_network()
    network.load_state_dict(load_file(Path(os.environ["SHAPES"]) / "classifier.safetensors"))
    return OwnClassifier(network, size=SIZE, channels=3, mean=MEAN, std=STD)


def make(folder: Path, seed: int) -> None:
    """Draw, train and save; say how good the network is, and on what it is not."""
    torch.set_num_threads(1)  # with more, sums are rounded otherwise, and it is another network
    drawn = draw_folders(folder, seed)
    images, labels, in_bug = drawn["train"]
    start = time.perf_counter()
    network = train(images, np.where(in_bug, CLASSES.index("square"), labels), seed)
    print(f"trained in {time.perf_counter() - start:.0f} seconds")
    save_file(network.state_dict(), folder / "classifier.safetensors")
    images, labels, in_bug = drawn["test"]
    print(f"{accuracy(network, images, labels):.1%} of the test images are right")
    print(f"{accuracy(network, images[~in_bug], labels[~in_bug]):.1%} of those that are no red triangles")
    print(f"{accuracy(network, *bug_images(200, seed)):.1%} of 200 new red triangles")


def main() -> None:
    """Make everything in the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Coloured shapes, and a classifier with a bug to find.")
    parser.add_argument("folder", type=Path, help="where train/, test/ and classifier.safetensors are written")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures and the network")
    chosen = parser.parse_args()
    make(chosen.folder, chosen.seed)


if __name__ == "__main__":
    main()
