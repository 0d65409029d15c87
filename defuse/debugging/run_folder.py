"""The folder of one run: what lies where, and whose run it is."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defuse.core.errors import RunError, StorageError
from defuse.core.params_debugging import Debugging
from defuse.core.storage import atomic_path, load_arrays, read_json, read_table, save_arrays, write_json
from defuse.data.own_images import OwnImages

SPLITS = ("train", "validation", "test")
PURPOSES = ("shown", "correction", "validation", "test")
LATER = ("acceptance", "correct", "compute")  # settings that change nothing of what `find` writes


@dataclass(frozen=True)
class RunFolder:
    """A run's folder; every path that the commands share is named here.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def facts(self) -> Path:
        """What was run on what, and what it measured: JSON."""
        return self.path / "run.json"

    @property
    def pixels(self) -> Path:
        """All images, uint8 (N, H, W, C) of the classifier's own size: `.npy`, so that parts can be read."""
        return self.path / "images.npy"

    @property
    def labels(self) -> Path:
        """Label and split of each image."""
        return self.path / "labels.npz"

    @property
    def mistakes(self) -> Path:
        """What the search found."""
        return self.path / "mistakes.npz"

    @property
    def region_images(self) -> Path:
        """The regions' images by purpose, and the classifier's word on those shown."""
        return self.path / "region_images.npz"

    @property
    def regions(self) -> Path:
        """One row per region."""
        return self.path / "regions.csv"

    @property
    def shown(self) -> Path:
        """What labellers are shown."""
        return self.path / "shown.npz"

    @property
    def label_page(self) -> Path:
        """The page on which they label it."""
        return self.path / "label.html"

    @property
    def annotation(self) -> Path:
        """What the labellers' votes come to, one row per region."""
        return self.path / "annotation.csv"

    @property
    def corrected(self) -> Path:
        """Folder of the corrected classifier and its measures."""
        return self.path / "corrected"

    @property
    def report(self) -> Path:
        """The page of the findings."""
        return self.path / "report.html"

    def network(self, name: str) -> Path:
        """Weights of one of the run's own networks."""
        return self.path / "networks" / f"{name}.safetensors"

    def checkpoint(self, name: str) -> Path:
        """Where a training goes on that was interrupted."""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def vote_files(self) -> list[Path]:
        """The files of votes that lie in the folder, by name."""
        return sorted(self.path.glob("votes-*.csv"))

    def read_facts(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            RunError: the folder holds no run.
        """
        if not self.facts.exists():
            raise RunError(f"{self.path}: no run of defuse is here (run.json is missing); `defuse find` makes one")
        return read_json(self.facts)

    @property
    def finished(self) -> bool:
        """Whether `find` has laid out its regions; their table is written last."""
        return self.regions.exists()

    def need_finished(self) -> None:
        """Check that `find` has come to its end.

        Raises:
            RunError: it has not, or no run is here.
        """
        self.read_facts()
        if not self.finished:
            raise RunError(f"{self.path}: the search has not come to its end; the same `defuse find` again goes on")

    def need_regions(self) -> None:
        """Check that `find` has come to its end and found something.

        Raises:
            RunError: it has not.
        """
        self.need_finished()
        if not len(read_table(self.regions)):
            raise RunError(f"{self.path}: the search found no region; there is nothing to label")

    def load_region_images(self, purpose: str) -> list[np.ndarray]:
        """Of each region its images for one purpose, uint8 (N, side, side, C); N may differ."""
        arrays = load_arrays(self.region_images, purpose, f"{purpose}_count")
        return np.split(arrays[purpose], np.cumsum(arrays[f"{purpose}_count"])[:-1])

    def add_facts(self, **more: object) -> None:
        """Write more facts into `run.json`."""
        write_json(self.facts, {**self.read_facts(), **more})

    def load_split(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, H, W, C) and labels int64 (N,) of one split."""
        arrays = load_arrays(self.labels, "label", "split")
        chosen = np.flatnonzero(arrays["split"] == SPLITS.index(split))
        try:
            pixels = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.pixels}: no readable array ({error})") from error
        return np.asarray(pixels[chosen]), arrays["label"][chosen]


def images_digest(images: OwnImages | None) -> str | None:
    """Sha256 of pixels, labels and class names; None for no images."""
    if images is None:
        return None
    digest = hashlib.sha256("\n".join(images.class_names).encode())
    digest.update(f"{images.images.shape}".encode() + images.labels.tobytes())
    for part in np.array_split(images.images, max(1, len(images.images) // 1000)):
        digest.update(part.tobytes())
    return digest.hexdigest()


def identity_of(
    weights: str | None, images: OwnImages, test: OwnImages | None, settings: Debugging
) -> dict[str, str | None]:
    """What makes two runs the same: the classifier's weights, the images, and each setting that `find` reads."""
    chosen = settings.model_dump(mode="json", exclude=set(LATER))
    return {
        "classifier": weights,
        "images": images_digest(images),
        "test images": images_digest(test),
        **{f"setting {name}": str(value) for name, value in chosen.items()},
    }


def start_run(folder: RunFolder, identity: dict[str, str | None], facts: dict[str, Any]) -> None:
    """Begin a run in an empty folder, or go on with the same one.

    Raises:
        RunError: the folder holds another run, or other files.
    """
    if folder.facts.exists():
        held = folder.read_facts().get("identity", {})
        differing = sorted(name for name in identity.keys() | held.keys() if identity.get(name) != held.get(name))
        if differing:
            raise RunError(
                f"{folder.path} holds another run: {', '.join(differing)} differ; allowed: the same run, which goes "
                "on, or another folder"
            )
        return
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise RunError(f"{folder.path} is no empty folder and holds no run of defuse; allowed: an empty or a new one")
    write_json(folder.facts, {**facts, "identity": identity})


def save_images(folder: RunFolder, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write images and labels by split, so that later commands need no image folder."""
    with atomic_path(folder.pixels) as temporary:
        np.save(temporary, np.concatenate([parts[split][0] for split in SPLITS]), allow_pickle=False)
    save_arrays(
        folder.labels,
        label=np.concatenate([parts[split][1] for split in SPLITS]),
        split=np.repeat(np.arange(len(SPLITS)), [len(parts[split][1]) for split in SPLITS]),
    )
