"""The worked example over several seeds: is the planted bug found, what does it cost, and is it gone afterwards?

`python seeds.py FOLDER TABLE --seeds 5` makes the data and the classifier anew for each seed, runs Defuse on them, and
writes a row per seed. A network that learnt from the right labels stands in for the person who labels.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import shapes
import torch
from safetensors.torch import load_file
from torch import nn

import defuse
from defuse.annotators.people import write_votes
from defuse.core.storage import write_rows
from defuse.method.shown import Shown

BUG = ("triangle", "square")  # what it is, and what the classifier says


def labeller(folder: Path, seed: int) -> nn.Module:
    """A network that learnt from the right labels."""
    own = defuse.read_image_folder(folder / "train", (shapes.SIZE, shapes.SIZE), 3)
    return shapes.train(own.images, own.labels, seed + 1000)


def label(person: nn.Module, shown: Shown) -> list[np.ndarray]:
    """One answer for each region: what the network sees on most of its images."""
    answers = []
    for images in shown.images:
        own = defuse.OwnClassifier(person, shapes.SIZE, 3, shapes.MEAN, shapes.STD)
        seen = defuse.predict(own, torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1)
        answers.append(np.full((len(images), 1), int(seen.mode().values)))
    return answers


def rank_of_bug(findings: defuse.Findings) -> int | None:
    """Place of the planted bug among the regions shown, from 1: the first of its pair that is mostly red."""
    for place, row in enumerate(findings.regions.itertuples()):
        middle = findings.shown.images[place][:, 12:20, 12:20].mean((0, 1, 2))
        if (row.seed_class, row.taken_for) == BUG and middle.argmax() == 0 and middle[0] > 1.5 * middle[1]:
            return place + 1
    return None


def run(folder: Path, seed: int) -> dict[str, float | int | None]:
    """One seed, from data to corrected classifier."""
    shapes.make(folder, seed)
    os.environ["SHAPES"] = str(folder)
    classifier, start = shapes.classifier(), time.perf_counter()
    training, test = (defuse.read_image_folder(folder / split, classifier.size, 3) for split in ("train", "test"))
    settings = defuse.load_settings(Path(__file__).with_name("settings.yaml"), seed=seed, side=32)
    findings = defuse.find_bugs(classifier, training, folder / "bugs", test, settings)
    write_votes(
        folder / "bugs" / "votes-network.csv",
        findings.shown,
        label(labeller(folder, seed), findings.shown),
        ["network"],
    )
    correction = defuse.correct_bugs(classifier, folder / "bugs", settings=settings)
    corrected = shapes.build_network()
    corrected.load_state_dict(load_file(correction.weights))
    defuse.report_bugs(folder / "bugs", settings=settings)
    before, after = correction.sweep.iloc[0], correction.sweep[correction.sweep.chosen].iloc[0]
    return {
        "seed": seed,
        "regions": len(findings.regions),
        "rank": rank_of_bug(findings),
        "labels_asked": len(findings.regions),
        "bugs_named": len(correction.annotation.accepted),
        "bug_before": shapes.accuracy(classifier.network, *shapes.bug_images(200, seed)),
        "bug_after": shapes.accuracy(corrected, *shapes.bug_images(200, seed)),
        "test_before": float(before.test_accuracy),
        "test_after": float(after.test_accuracy),
        "lambda": float(after["lambda"]),
        "seconds": round(time.perf_counter() - start),
    }


def main() -> None:
    """Run all seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder for data and runs")
    parser.add_argument("table", type=Path, help="CSV to write")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0")
    chosen = parser.parse_args()
    rows = []
    for seed in range(chosen.seeds):
        rows.append(run(chosen.folder / str(seed), seed))
        print(rows[-1], flush=True)
    write_rows(chosen.table, rows)


if __name__ == "__main__":
    main()
