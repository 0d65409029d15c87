"""The search around a user's training images, and the regions that its mistakes are divided into."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from defuse.core import params
from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.core.storage import load_arrays, save_arrays
from defuse.data.own_images import to_size
from defuse.data.pixels import from_bytes, to_bytes
from defuse.data.prepared import Labelled
from defuse.debugging.run_folder import PURPOSES, RunFolder
from defuse.method.identification import COUNTS, PER_MISTAKE, Mistakes, find_mistakes, join_mistakes, prepare_seeds
from defuse.method.shown import Shown, save_shown
from defuse.models.evaluation import decode
from defuse.models.subject import Subject
from defuse.studies.checker import Checker
from defuse.studies.readings import heaviest, pair_regions
from defuse.studies.region_images import member_images

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SEEDS_AT_ONCE = 1000  # seed images of one part of a search; an interrupted one goes on after its last whole part
REGION_COLUMNS = ("region", "seed_class", "taken_for", "mistakes", "seed_images", "wrong_before", "share_of_mistakes")


def find_all(
    subject: Subject, images: Tensor, labels: Tensor, settings: Debugging, streams: Streams, kept: Path | None = None
) -> Mistakes:
    """Mistakes around images with each noise, in parts.

    Args:
        subject: classifier and autoencoder.
        images: float32 (N, C, side, side) in [0, 1].
        labels: the true ones.
        settings: of the run.
        streams: of the noise.
        kept: folder where each part is kept once it is done, and where those that are done lie; None to keep none.
    """
    seeds = prepare_seeds(subject, images, labels)
    parts = [(noise, start) for noise in settings.search.noises for start in range(0, len(seeds.label), SEEDS_AT_ONCE)]
    found = []
    for number, (noise, start) in enumerate(parts, 1):
        path = None if kept is None else kept / f"search-{number}.npz"
        if path is not None and path.exists():
            arrays: dict[str, Any] = load_arrays(path, *PER_MISTAKE, *COUNTS)
            found.append(Mistakes(**{**arrays, **{name: int(arrays[name]) for name in COUNTS}}))
            continue
        chosen = params.Search(seed_source="train", noise=noise, draws=settings.search.draws, keep=settings.search.keep)
        own, key = seeds.take(slice(start, start + SEEDS_AT_ONCE)), streams.key("noise", str(noise))
        found.append(find_mistakes(subject, own, chosen, key, f"search {number}/{len(parts)}, noise {noise}"))
        if path is not None:
            save_arrays(path, **{name: np.asarray(value) for name, value in vars(found[-1]).items()})
    return join_mistakes(found)


def search_parts(settings: Debugging, seeds: int) -> list[tuple[params.Noise, int]]:
    """Noise and first seed image of each part of a search around so many."""
    return [(noise, start) for noise in settings.search.noises for start in range(0, seeds, SEEDS_AT_ONCE)]


def search(
    folder: RunFolder,
    subject: Subject,
    training: Labelled,
    settings: Debugging,
    checker: Checker | None,
    streams: Streams,
) -> tuple[Mistakes, Tensor, dict[str, int]]:
    """The mistakes that the checker keeps, their images (M, C, side, side), and counts of where all others went."""
    images, labels = training
    drawn = np.sort(streams.numpy("seed images").permutation(len(labels))[: settings.max_seed_images])
    chosen = torch.from_numpy(drawn)
    found = find_all(subject, images[chosen], labels[chosen], settings, streams, folder.checkpoints)
    mistakes = found.take(~found.reconstruction_failure)
    pictures = decode(subject.vae, torch.from_numpy(mistakes.codes))
    counts = {
        "seed_images": len(drawn),
        "draws": found.draws,
        "identified": len(found.label),
        "autoencoder": len(found.label) - len(mistakes.label),
        "other_label": 0,
    }
    if checker:
        passes = checker.passes(pictures, mistakes.label)
        counts["other_label"] = int((~passes).sum())
        mistakes, pictures = mistakes.take(passes), pictures[torch.from_numpy(passes)]
    counts |= {"kept": len(mistakes.label), "wrong_before": int(mistakes.raw_failure.sum())}
    log.info(
        "%(draws)s images made around %(seed_images)s; of %(identified)s mistakes among them %(autoencoder)s are the "
        "autoencoder's, in %(other_label)s the checker does not see the label, and %(kept)s are kept",
        {name: f"{count:,}" for name, count in counts.items()},
    )
    return mistakes, pictures, counts


def lay_out(
    folder: RunFolder,
    mistakes: Mistakes,
    pictures: Tensor,
    class_names: tuple[str, ...],
    size: tuple[int, int],
    settings: Debugging,
    streams: Streams,
) -> "pd.DataFrame":
    """Divide the mistakes into regions; write what is shown of them and the rest of their images; a row of each.

    Labellers see images that are as wide and as high, in proportion, as the classifier's `size`.

    A region is left out where its seed images cannot be divided so that every purpose has some.
    """
    import pandas as pd

    found = pair_regions(mistakes, settings.minimum_members, settings.regions, streams.integer("regions"))
    regions = heaviest(found, mistakes, settings.minimum_members, settings.regions)
    members = member_images(
        pictures,
        mistakes.seed_index,
        regions.assignment,
        len(regions),
        settings.samples,
        streams.numpy("members"),
    )
    images = {purpose: [to_bytes(part) for part in getattr(members, purpose)] for purpose in PURPOSES}
    whole = [number for number in range(len(regions)) if all(len(images[purpose][number]) for purpose in PURPOSES)]
    regions = regions.take(np.array(whole, np.int64))
    images = {purpose: [images[purpose][number] for number in whole] for purpose in PURPOSES}
    rows = []
    for number in range(len(regions)):
        own = mistakes.take(regions.assignment == number)
        rows.append(
            {
                "region": number,
                "seed_class": class_names[int(np.bincount(own.label).argmax())],
                "taken_for": class_names[int(np.bincount(own.prediction).argmax())],
                "mistakes": len(own.label),
                "seed_images": len(np.unique(own.seed_index)),
                "wrong_before": float(own.raw_failure.mean()),
                "share_of_mistakes": len(own.label) / len(mistakes.label),
            }
        )
    blank = to_bytes(pictures[:0])
    arrays = {purpose: np.concatenate([blank, *parts]) for purpose, parts in images.items()}
    arrays |= {f"{purpose}_count": np.array([len(part) for part in parts], int) for purpose, parts in images.items()}
    save_arrays(folder.mistakes, **{name: getattr(mistakes, name) for name in PER_MISTAKE}, region=regions.assignment)
    save_arrays(folder.region_images, **arrays)
    height, width = (max(1, round(pictures.shape[2] * side / max(size))) for side in size)
    shown = [to_bytes(to_size(from_bytes(part), (height, width))) for part in images["shown"]]
    save_shown(folder.shown, Shown(np.arange(len(regions)), shown, class_names))
    return pd.DataFrame(rows, columns=list(REGION_COLUMNS))
