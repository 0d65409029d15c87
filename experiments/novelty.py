"""Compare samples of the accepted regions with the misclassified training images nearest to them."""

import numpy as np

from defuse.core.storage import save_arrays, write_json
from defuse.data.prepared import load_split
from defuse.method.novelty import error_types, nearest_mistakes, new_type_shares
from defuse.models.evaluation import predict
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.region_data import accepted_regions, decoded_regions
from experiments.shared.trained import load_subject


def novelty(cell: Cell) -> str:
    """Write the nearest training mistakes of the regions' failing samples."""
    chosen = cell.params()
    subject = load_subject(cell)
    images, labels = load_split(cell.data_file, "train")
    predictions = predict(subject.classifier, images).argmax(1)
    wrong = predictions != labels
    images, labels, predictions = images[wrong].numpy(), labels[wrong].numpy(), predictions[wrong].numpy()
    samples, sample_labels = decoded_regions(cell, subject.vae, "test")
    sample_predictions = predict(subject.classifier, samples).argmax(1)
    numbers = accepted_regions(cell)
    regions = np.repeat(numbers, len(sample_labels) // max(len(numbers), 1))
    failing = np.flatnonzero((sample_predictions != sample_labels).numpy())
    picked = np.concatenate(
        [failing[regions[failing] == region][: chosen.samples] for region in np.unique(regions)] or [failing]
    )
    samples, sample_labels = samples[picked].numpy(), sample_labels[picked].numpy()
    sample_predictions = sample_predictions[picked].numpy()
    neighbours = nearest_mistakes(samples, images, chosen.neighbours)
    shares = new_type_shares(
        error_types(sample_labels, sample_predictions), error_types(labels, predictions), neighbours
    )
    folder = cell.folder()
    save_arrays(
        folder / "neighbours.npz",
        samples=np.round(samples * 255).astype(np.uint8),
        region=regions[picked],
        label=sample_labels,
        prediction=sample_predictions,
        distance=neighbours.distance,
        neighbour=np.round(images[neighbours.index] * 255).astype(np.uint8),
        neighbour_label=labels[neighbours.index],
        neighbour_prediction=predictions[neighbours.index],
    )
    counts = {"misclassified_training_images": len(labels), "samples": len(picked)}
    write_json(folder / "metrics.json", {**counts, **shares})
    if len(picked) == 0:
        return f"{len(numbers)} accepted regions: no failing sample to compare"
    if len(labels) == 0:
        return f"{len(picked)} failing samples, and no misclassified training image to compare them with"
    return f"{shares['unlike_neighbour']:.0%} of {len(picked)} samples fail unlike their nearest training mistake"


if __name__ == "__main__":
    cell_command("novelty", novelty, __doc__)
