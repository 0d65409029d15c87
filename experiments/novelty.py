"""Is each accepted region another type of error than the misclassified training images?"""

import numpy as np
from torch import nn

from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import Labelled, load_split
from defuse.method.novelty import Errors, error_table, nearest_mistakes, neighbour_measures, novelty_measures
from defuse.models.evaluation import predict
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.region_data import accepted_regions, decoded_regions
from experiments.shared.trained import load_subject


def errors_among(classifier: nn.Module, data: Labelled) -> tuple[Errors, np.ndarray]:
    """The images that the classifier gets wrong, and their numbers, int64 (E,)."""
    images, labels = data
    predictions = predict(classifier, images).argmax(1)
    wrong = predictions != labels
    return Errors(*(part[wrong].numpy() for part in (images, labels, predictions))), np.flatnonzero(wrong.numpy())


def novelty(cell: Cell) -> str:
    """Write how new the regions' errors are, and the nearest training mistakes of their failing samples."""
    chosen = cell.params()
    subject = load_subject(cell)
    mistakes, _ = errors_among(subject.classifier, load_split(cell.data_file, "train"))
    test_errors, test_numbers = errors_among(subject.classifier, load_split(cell.data_file, "test"))
    drawn = decoded_regions(cell, subject.vae, "test")
    numbers = accepted_regions(cell)
    failing, places = errors_among(subject.classifier, drawn)
    regions = np.repeat(numbers, len(drawn[1]) // max(len(numbers), 1))[places]
    picked = np.concatenate(
        [np.flatnonzero(regions == region)[: chosen.samples] for region in np.unique(regions)] or [places]
    )
    samples, regions = Errors(*(part[picked] for part in vars(failing).values())), regions[picked]
    neighbours = nearest_mistakes(samples.images, mistakes.images, chosen.neighbours)
    table = error_table(samples, regions, mistakes, chosen.look_quantile)
    measures = {
        **novelty_measures(table, error_table(test_errors, test_numbers, mistakes, chosen.look_quantile)),
        **neighbour_measures(samples, regions, mistakes, neighbours),
    }
    folder = cell.folder()
    save_arrays(
        folder / "neighbours.npz",
        samples=np.round(samples.images * 255).astype(np.uint8),
        region=regions,
        label=samples.label,
        prediction=samples.prediction,
        distance=neighbours.distance,
        neighbour=np.round(mistakes.images[neighbours.index] * 255).astype(np.uint8),
        neighbour_label=mistakes.label[neighbours.index],
        neighbour_prediction=mistakes.prediction[neighbours.index],
    )
    write_table(folder / "regions.csv", table)
    counts = {"misclassified_training_images": len(mistakes.label), "samples": len(picked)}
    write_json(folder / "metrics.json", {**counts, **measures})
    if len(picked) == 0:
        return f"{len(numbers)} accepted regions: no failing sample to compare"
    if len(mistakes.label) == 0:
        return f"{len(picked)} failing samples, and no misclassified training image to compare them with"
    null = measures["new_type_of_test_errors"]
    return f"{measures['new_type']:.0%} of {len(table)} regions are a new type of error; " + (
        "no test image is misclassified"
        if np.isnan(null)
        else f"{null:.0%} of {len(test_numbers):,} errors on test images"
    )


if __name__ == "__main__":
    cell_command("novelty", novelty, __doc__)
