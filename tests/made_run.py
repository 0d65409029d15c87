"""A small run on a classifier that the package did not train: images, the classifier, settings, the folder.

Grey images of 24x32 pixels show a patch at the left or at the right. The classifier compares the two sides and takes
dim patches at the left for ones at the right: that is what there is to find.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from defuse.annotators.people import write_votes
from defuse.core.params_debugging import Debugging
from defuse.core.storage import read_table
from defuse.data.own_images import OwnImages, images_from_arrays
from defuse.debugging.finding import find_bugs
from defuse.debugging.settings import load_settings
from defuse.method.shown import load_shown
from defuse.models.own_classifier import OwnClassifier

HEIGHT, WIDTH = SIZE = (24, 32)
NAMES = ("left", "right")
TINY = {"epochs": 1, "batch_size": 16, "width": 4}
SETTINGS = {
    "minimum_steps": 110,
    "minimum_members": 4,
    "regions": 4,
    "train_features": TINY,
    "train_checker": {"epochs": 1, "batch_size": 16, "network": {"width": 4}},
    "train_vae": {**TINY, "latent_dim": 4, "learning_rate": 0.01, "beta": 0.1, "feature_weight": 100.0},
    "search": {"draws": 6},
    "checking": {"blends_passed": 0.9, "minimum_originals": 0.0, "maximum_blends": 1.0},
    "correct": {"steps": 20, "learning_rate": 0.02, "lambdas": [0.0, 1.0]},
}
# What a user would have in a file of their own; the tests write it beside their images.
SOURCE = """
import numpy as np
from made_run import SIZE, network
from defuse.models.own_classifier import OwnClassifier

def classifier():
    return OwnClassifier(network(), SIZE, channels=1)

def repaired():
    return OwnClassifier(network(threshold=0.0), SIZE, channels=1)

def function():
    weights = network()[1].weight.detach().numpy(), network()[1].bias.detach().numpy()
    return OwnClassifier(lambda images: images.reshape(len(images), -1) @ weights[0].T + weights[1], SIZE, channels=1)
"""


def draw(count: int = 320, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 24, 32) and labels (N,): a patch of some brightness at the left or the right."""
    generator, labels = np.random.default_rng(seed), 2 * np.arange(count) // count
    images = generator.uniform(0, 0.1, (count, HEIGHT, WIDTH))
    for image, label in zip(images, labels):
        row, column = generator.integers(2, 10), generator.integers(1, 6) + (16 if label else 0)
        image[row : row + 12, column : column + 10] += generator.uniform(0.2, 0.9)
    return (images.clip(0, 1) * 255).astype(np.uint8), labels


def own_images(count: int = 320, seed: int = 0) -> OwnImages:
    """The same as a classifier of one's own takes them."""
    return images_from_arrays(*draw(count, seed), NAMES, SIZE, 1)


def network(threshold: float = 3.5) -> nn.Sequential:
    """Logits of left and right by the sums of the two sides; the left needs `threshold` more."""
    sides = torch.zeros(2, HEIGHT, WIDTH)
    sides[0, :, : WIDTH // 2], sides[1, :, WIDTH // 2 :] = 1 / 12, 1 / 12
    made = nn.Sequential(nn.Flatten(), nn.utils.skip_init(nn.Linear, HEIGHT * WIDTH, 2))
    with torch.no_grad():
        made[1].weight.copy_(sides.reshape(2, -1))
        made[1].bias.copy_(torch.tensor([-threshold, 0.0]))
    return made


def classifier(threshold: float = 3.5) -> OwnClassifier:
    """The network as a user hands it over."""
    return OwnClassifier(network(threshold), SIZE, channels=1)


def settings(**changes: object) -> Debugging:
    """Settings of a run that takes seconds."""
    return load_settings(**{**SETTINGS, **changes})


def find(out: Path, **changes: object) -> Path:
    """The whole search, in a folder."""
    find_bugs(classifier(), own_images(), out, settings=settings(**changes), source="mine:classifier")
    return out


def vote(run: Path, name: str = "ann", label: int = 0, where: Path | None = None) -> Path:
    """A file of votes of one labeller, who gives every region the same answer."""
    shown, path = load_shown(run / "shown.npz"), (where or run) / f"votes-{name}.csv"
    write_votes(path, shown, [np.full((len(images), 1), label) for images in shown.images], [name])
    return path


def vote_right(run: Path, name: str = "ann") -> Path:
    """A file of votes of a labeller who sees what the regions' seed images are."""
    shown, path = load_shown(run / "shown.npz"), run / f"votes-{name}.csv"
    labels = [NAMES.index(seed_class) for seed_class in read_table(run / "regions.csv").seed_class]
    votes = [np.full((len(images), 1), label) for images, label in zip(shown.images, labels)]
    write_votes(path, shown, votes, [name])
    return path


def write_folder(path: Path, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = NAMES) -> Path:
    """Images as an image folder, PATH/CLASS/NUMBER.png."""
    for number, (image, label) in enumerate(zip(images, labels)):
        place = path / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Name and bytes of each file in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
