"""`defuse correct` and `defuse export`: from labelled regions to a better classifier, here or elsewhere."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from defuse.core.errors import ClassifierError, RunError
from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.core.storage import atomic_path, write_table
from defuse.data.own_images import to_size
from defuse.data.pixels import channels_first, from_bytes, to_bytes
from defuse.data.prepared import Labelled
from defuse.debugging.annotating import Annotation, annotate_run
from defuse.debugging.checking import need_wrapped
from defuse.debugging.measuring import CORRECTED, measure_classifier, measures_file
from defuse.debugging.run_folder import RunFolder
from defuse.debugging.settings import settings_of_run
from defuse.method.correction import accuracies, choose_arm, classified_right, correct, draw_batches
from defuse.models.machine import set_up_machine
from defuse.models.own_classifier import OwnClassifier
from defuse.models.weights import save_weights

if TYPE_CHECKING:
    import pandas as pd


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
        RunError: its weights are others; of one that shows no weights nobody can tell.
    """
    weights = classifier.fingerprint()
    if weights is not None and weights != folder.read_facts()["identity"]["classifier"]:
        raise RunError(
            f"{folder.path}: the run searched a classifier with other weights; allowed: the same one, or "
            "`defuse report --retrained` to measure another"
        )


def need_tunable(classifier: OwnClassifier) -> None:
    """Check that a classifier can be fine-tuned.

    Raises:
        ClassifierError: gradients reach no weights, or it cannot be copied.
    """
    allowed = "allowed: `defuse export` and training elsewhere, then `defuse report --retrained`"
    if not classifier.can_be_tuned:
        raise ClassifierError(
            f"the classifier has no weights that gradients reach, and cannot be fine-tuned here; {allowed}"
        )
    try:
        copy.deepcopy(classifier)
    except Exception as error:  # the user's code may raise anything
        raise ClassifierError(
            f"copy.deepcopy cannot copy the classifier ({type(error).__name__}: {error}), and the original is not "
            f"fine-tuned; allowed: a module that can be copied, or {allowed.removeprefix('allowed: ')}"
        ) from error


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
        settings: `acceptance` and `correct` of them are used; None for those of the run.

    Raises:
        ClassifierError: the classifier cannot be fine-tuned here, or not be copied; `export_regions` serves it.
        RunError: no finished run, one on another classifier, or no region that the labellers call a bug.
        VotesError: as `read_votes`.
    """
    import pandas as pd

    need_wrapped(classifier)
    folder = RunFolder(Path(path))
    folder.need_regions()
    settings = settings or settings_of_run(folder)
    chosen = settings.correct
    need_same(folder, classifier)
    need_tunable(classifier)
    annotation = annotate_run(folder.path, votes, settings.acceptance)
    accepted = annotation.accepted
    if not accepted:
        raise RunError(
            f"{folder.annotation}: the labellers call no region a bug, so there is nothing to correct; its "
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
    for outdated in (folder.corrected_weights, measures_file(folder, CORRECTED)):  # of an earlier correction
        outdated.unlink(missing_ok=True)
    if best is not None:
        save_corrected(folder, networks[best + 1], arms[best + 1]["test_accuracy"])
    write_table(folder.sweep, sweep)
    return Correction(annotation, sweep, None if best is None else folder.corrected_weights)


def save_corrected(folder: RunFolder, tuned: nn.Module, test_accuracy: float) -> None:
    """Write the weights of the corrected classifier, and what it says of the run's images."""
    assert isinstance(tuned, OwnClassifier)
    assert isinstance(tuned.network, nn.Module)
    # Copies: safetensors takes no two names for one tensor. What is no tensor is none of the weights.
    state = {name: value.clone() for name, value in tuned.network.state_dict().items() if isinstance(value, Tensor)}
    save_weights(folder.corrected_weights, state, {"corrected": folder.read_facts()["classifier"]})
    measure_classifier(folder, tuned, CORRECTED, test_accuracy)


def export_regions(path: Path, out: Path, votes: Sequence[Path] = (), settings: Debugging | None = None) -> int:
    """Write the labelled regions' images as an image folder to train on, `OUT/CLASS/region-NUMBER-IMAGE.png`.

    For classifiers that cannot be fine-tuned here. They have the classifier's own size. Those that are kept to measure
    on are not among them.

    Args:
        path: folder of the run.
        out: new or empty folder for the images; a class whose name holds a slash has _ for it.
        votes: files of votes; none for all `votes-*.csv` in the run's folder.
        settings: `acceptance` of them is used; None for those of the run.

    Returns:
        How many images there are.

    Raises:
        RunError: no finished run, no region that the labellers call a bug, or a folder that holds something.
        VotesError: as `read_votes`.
    """
    from PIL import Image

    folder, out = RunFolder(Path(path)), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: not an empty folder; allowed: a new or an empty one")
    settings = settings or settings_of_run(folder)
    accepted = annotate_run(folder.path, votes, settings.acceptance).accepted
    if not accepted:
        raise RunError(f"{folder.annotation}: the labellers call no region a bug, so there is nothing to export")
    facts, written = folder.read_facts(), 0
    height, width = facts["size"]
    places, parts = folder_names(facts["class_names"]), folder.load_region_images("correction")
    for number, label in accepted.items():
        images = to_size(from_bytes(parts[number]), (height, width))
        for count, image in enumerate(to_bytes(images)):
            with atomic_path(out / places[label] / f"region-{number}-{count}.png") as temporary:
                Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(temporary)
        written += len(images)
    return written


def folder_names(class_names: Sequence[str]) -> list[str]:
    """A folder's name for each class: its own, with _ in place of what would lead to another folder.

    Raises:
        RunError: two classes would share a folder.
    """
    names = ["_" if name in (".", "..") else name.replace("/", "_").replace("\\", "_") for name in class_names]
    for name, place in zip(class_names, names):
        if names.count(place) > 1:
            raise RunError(f"class {name!r} would share the folder {place!r} with another; allowed: other class names")
    return names
