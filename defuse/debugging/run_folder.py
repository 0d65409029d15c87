"""The folder of one run: what lies where, and whose run it is."""

import hashlib
import json
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
    def sweep(self) -> Path:
        """One row per lambda that was tried."""
        return self.corrected / "sweep.csv"

    @property
    def corrected_weights(self) -> Path:
        """Weights of the corrected classifier, by the names of the user's module."""
        return self.corrected / "classifier.safetensors"

    @property
    def report(self) -> Path:
        """The page of the findings."""
        return self.path / "report.html"

    def network(self, name: str) -> Path:
        """Weights of one of the run's own networks."""
        return self.path / "networks" / f"{name}.safetensors"

    @property
    def checkpoints(self) -> Path:
        """Folder of what an interrupted `find` goes on from; removed at its end."""
        return self.path / "checkpoints"

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
            raise RunError(f"{self.path}: the search has not finished; run the same `defuse find` again to continue")

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
        ends = np.cumsum(arrays[f"{purpose}_count"])
        return [arrays[purpose][end - count : end] for end, count in zip(ends, arrays[f"{purpose}_count"])]

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
    classifier: str, images: OwnImages, test: OwnImages | None, settings: Debugging
) -> dict[str, str | None]:
    """What makes two runs the same: the classifier, the images, and each setting that `find` reads.

    Args:
        classifier: digest of its weights, or of its answers where it shows none.
        images: that it was trained on.
        test: that it is measured on; None where some of `images` are set aside.
        settings: of the run.
    """
    return {
        "classifier": classifier,
        "images": images_digest(images),
        "test images": images_digest(test),
        **leaves(settings.model_dump(mode="json", exclude=set(LATER))),
    }


def leaves(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """Values of nested mappings as JSON, by the path of their keys, joined by dots."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        found |= leaves(value, f"{name}.") if isinstance(value, dict) else {name: json.dumps(value)}
    return found


def need_own_or_empty(folder: RunFolder) -> None:
    """Check that a run may begin in a folder, or go on there: before anything else takes time.

    Raises:
        RunError: the folder holds other files.
    """
    if folder.facts.exists() or not folder.path.exists():
        return
    if not folder.path.is_dir() or any(folder.path.iterdir()):
        raise RunError(f"{folder.path} is neither empty nor the folder of a run; allowed: an empty folder or a new one")


def start_run(folder: RunFolder, identity: dict[str, Any], facts: dict[str, Any]) -> None:
    """Begin a run in an empty folder, or go on with the same one; settings that later commands read may change.

    Raises:
        RunError: the folder holds another run, or other files.
    """
    need_own_or_empty(folder)
    if not folder.facts.exists():
        write_json(folder.facts, {**facts, "identity": identity})
        return
    held = folder.read_facts().get("identity", {})
    names = {"classifier": "another classifier", "images": "other images", "test images": "other test images"}
    parts = [
        names.get(name, f"{name} is {held.get(name)} there and {identity.get(name)} now")
        for name in {**identity, **held}
        if identity.get(name) != held.get(name)
    ]
    if parts:
        raise RunError(
            f"{folder.path} holds another run: {'; '.join(parts)}; allowed: the same run, which continues, or another "
            "folder"
        )
    folder.add_facts(**facts)


def save_images(folder: RunFolder, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write images and labels by split, so that later commands need no image folder."""
    with atomic_path(folder.pixels) as temporary:
        np.save(temporary, np.concatenate([parts[split][0] for split in SPLITS]), allow_pickle=False)
    save_arrays(
        folder.labels,
        label=np.concatenate([parts[split][1] for split in SPLITS]),
        split=np.repeat(np.arange(len(SPLITS)), [len(parts[split][1]) for split in SPLITS]),
    )
