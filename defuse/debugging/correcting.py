"""`defuse correct` and `defuse export`: from labelled regions to a better classifier, here or elsewhere."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from defuse.core.errors import ClassifierError, RunError
from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.core.storage import write_table
from defuse.data.own_images import to_size
from defuse.data.pixels import channels_first, from_bytes, to_bytes
from defuse.data.prepared import Labelled
from defuse.debugging.annotating import Annotation, annotate_run
from defuse.debugging.measuring import CORRECTED, measure_classifier
from defuse.debugging.run_folder import RunFolder
from defuse.debugging.settings import load_settings
from defuse.method.correction import accuracies, choose_arm, classified_right, correct, draw_batches
from defuse.models.machine import set_up_machine
from defuse.models.own_classifier import OwnClassifier
from defuse.models.weights import save_weights

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SWEEP = "sweep.csv"
WEIGHTS = "classifier.safetensors"


@dataclass(frozen=True)
class Correction:
    """What a correction came to.

    Attributes:
        annotation: what the labellers say.
        sweep: a row per arm: arm (before, or correction), lambda, the accuracies on validation images, on test images
            and on region images of either kind, and whether it was chosen.
        weights: file of the corrected network's weights; None where no arm could be chosen.
    """

    annotation: Annotation
    sweep: "pd.DataFrame"
    weights: Path | None

    def table(self) -> str:
        """The sweep in a few lines of text."""
        lines = [f"{'':14}{'test images':>14}{'held-out bugs':>16}"]
        for row in self.sweep.to_dict("records"):
            name = "before" if row["arm"] == "before" else f"lambda {row['lambda']:g}{' *' if row['chosen'] else ''}"
            lines.append(f"{name:14}{row['test_accuracy']:>14.1%}{row['region_test_accuracy']:>16.1%}")
        return "\n".join([*lines, "* chosen on validation images"])


def region_images(folder: RunFolder, accepted: dict[int, int], purpose: str, size: tuple[int, int]) -> Labelled:
    """Images of the accepted regions for one purpose, of the classifier's own size, with the labellers' labels."""
    parts = folder.load_region_images(purpose)
    chosen = [(from_bytes(parts[number]), label) for number, label in accepted.items()]
    images = torch.cat([to_size(part, size) for part, _ in chosen])
    return images, torch.cat([torch.full((len(part),), label) for part, label in chosen])


def stored(folder: RunFolder, split: str) -> tuple[Tensor, Tensor]:
    """A split's images, as bytes, and labels."""
    images, labels = folder.load_split(split)
    return channels_first(images), torch.from_numpy(labels)


def need_same(folder: RunFolder, classifier: OwnClassifier) -> None:
    """Check that this is the classifier that the run searched.

    Raises:
        RunError: its weights are others.
    """
    held = folder.read_facts()["identity"]["classifier"]
    if classifier.fingerprint() != held:
        raise RunError(
            f"{folder.path}: the run searched a classifier with other weights; allowed: the same one, or "
            "`defuse report --retrained` to measure another"
        )


def correct_bugs(
    classifier: OwnClassifier, path: Path, votes: Sequence[Path] = (), settings: Debugging | None = None
) -> Correction:
    """Fine-tune a classifier on its training images plus labelled regions, for each lambda; keep the best.

    Lambda is chosen on validation images and held-out members of the regions; test images choose nothing. The weights
    are written as safetensors, by the names of the user's own module.

    Args:
        classifier: that the run searched; left as it is.
        path: folder of the run.
        votes: files of votes; none for all `votes-*.csv` in the folder.
        settings: `acceptance` and `correct` of them are used; None for the defaults.

    Raises:
        ClassifierError: the classifier cannot be fine-tuned here; `export_regions` serves it.
        RunError: no finished run, one on another classifier, or no region that the labellers call a bug.
        VotesError: as `read_votes`.
    """
    import pandas as pd

    settings, folder = settings or load_settings(), RunFolder(path)
    chosen = settings.correct
    folder.need_regions()
    need_same(folder, classifier)
    if not classifier.can_be_tuned:
        raise ClassifierError(
            "the classifier has no weights that gradients reach, and cannot be fine-tuned here; allowed: `defuse "
            "export` and training elsewhere, then `defuse report --retrained`"
        )
    annotation = annotate_run(path, votes, settings.acceptance)
    accepted = annotation.accepted
    if not accepted:
        raise RunError(
            f"{folder.annotation}: the labellers call no region a bug, so that there is nothing to correct; its "
            "verdicts say why"
        )
    machine, streams = set_up_machine(settings.compute), Streams(settings.seed, ("debugging", "correct"))
    batches = draw_batches(stored(folder, "train"), chosen, streams.torch("training"), chosen.augmentation)
    regions = {
        purpose: region_images(folder, accepted, purpose, classifier.size)
        for purpose in ("correction", "validation", "test")
    }
    region_batches = draw_batches(regions["correction"], chosen, streams.torch("regions"))
    data = {
        "validation": stored(folder, "validation"),
        "test": stored(folder, "test"),
        "region_validation": regions["validation"],
        "region_test": regions["test"],
    }
    arms: list[dict[str, float]] = [accuracies(classified_right(classifier, data))]
    networks: list[nn.Module] = [classifier]
    for lambda_ in chosen.lambdas:
        networks.append(
            correct(classifier, batches, region_batches, lambda_, chosen, chosen, machine, f"lambda {lambda_:g}")
        )
        arms.append(accuracies(classified_right(networks[-1], data)))
    best = choose_arm(arms[1:], arms[0]["validation_accuracy"], chosen.maximum_accuracy_drop)
    sweep = pd.DataFrame(arms)
    sweep.insert(0, "arm", ["before", *["correction"] * len(chosen.lambdas)])
    sweep.insert(1, "lambda", [None, *chosen.lambdas])
    sweep["chosen"] = sweep.index == (0 if best is None else best + 1)
    weights = None
    if best is not None:
        tuned = networks[best + 1]
        assert isinstance(tuned, OwnClassifier)
        assert isinstance(tuned.network, nn.Module)
        weights = folder.corrected / WEIGHTS
        # Copies: safetensors takes no two names for one tensor.
        state = {name: value.clone() for name, value in tuned.network.state_dict().items()}
        save_weights(weights, state, {"corrected": folder.read_facts()["classifier"]})
        measure_classifier(folder, tuned, CORRECTED)
    write_table(folder.corrected / SWEEP, sweep)
    return Correction(annotation, sweep, weights)


def export_regions(path: Path, out: Path, votes: Sequence[Path] = (), settings: Debugging | None = None) -> int:
    """Write the labelled regions' images as an image folder to train on, `OUT/CLASS/region-NUMBER-IMAGE.png`.

    For classifiers that cannot be fine-tuned here. They have the classifier's own size. Those that are kept to measure
    on are not among them.

    Args:
        path: folder of the run.
        out: new or empty folder for the images.
        votes: files of votes; none for all `votes-*.csv` in the run's folder.
        settings: `acceptance` of them is used; None for the defaults.

    Returns:
        How many images there are.

    Raises:
        RunError: no finished run, no region that the labellers call a bug, or a folder that holds something.
        VotesError: as `read_votes`.
    """
    from PIL import Image

    folder = RunFolder(path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: not empty; allowed: a new or an empty folder")
    annotation = annotate_run(path, votes, (settings or load_settings()).acceptance)
    if not annotation.accepted:
        raise RunError(f"{folder.annotation}: the labellers call no region a bug, so that there is nothing to export")
    facts, written = folder.read_facts(), 0
    height, width = facts["size"]
    for number, label in annotation.accepted.items():
        images, _ = region_images(folder, {number: label}, "correction", (height, width))
        place = out / facts["class_names"][label]
        place.mkdir(parents=True, exist_ok=True)
        for count, image in enumerate(to_bytes(images)):
            Image.fromarray(image.squeeze()).save(place / f"region-{number}-{count}.png")
        written += len(images)
    return written
