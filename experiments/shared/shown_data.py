"""The images, codes and coordinates that the figures show, all of the first seed's cell."""

import numpy as np

from defuse.core.params import RELEASED, REPAIRED
from defuse.core.storage import load_arrays, read_table
from defuse.data.prepared import load_split
from defuse.evidence.bugs import clearest_first
from defuse.showing.figure_data import (
    identified_data,
    interpolation_data,
    member_data,
    novelty_data,
    region_data,
    tsne_data,
)
from experiments.shared.cell import Cell
from experiments.shared.trained import load_codes, load_subject


def shown_data(cell: Cell) -> dict[str, dict[str, np.ndarray]]:
    """Named arrays by the figure that shows them."""
    chosen = cell.params()
    cell = cell.at_seed(cell.settings.seeds[0])
    subject = load_subject(cell)
    vae = subject.vae
    mistakes = load_codes(
        cell.folder("identify") / "mistakes.npz",
        vae,
        "seed_index",
        "label",
        "prediction",
        "codes",
        "reconstruction_failure",
    )
    votes = load_arrays(cell.folder("annotate") / "votes.npz", "drawn", "cause", "shown", "shown_predictions")
    shown = load_codes(cell.folder("distill") / "samples.npz", vae, "shown")["shown"]
    after = load_arrays(cell.folder("correct") / "shown.npz")["prediction_after"]
    neighbours = load_arrays(
        cell.folder("novelty") / "neighbours.npz",
        "region",
        "samples",
        "label",
        "prediction",
        "distance",
        "neighbour",
        "neighbour_label",
        "neighbour_prediction",
    )
    members = load_arrays(cell.folder("distill") / "regions.npz", "mistake", "assignment")
    regions = read_table(cell.folder("annotate") / "regions.csv")
    split = "test" if cell.params("identify").seed_source == "test" else "train"
    images, labels = load_split(cell.data_file, "train")
    seed_images = images if split == "train" else load_split(cell.data_file, split)[0]

    studied = {}
    for seed in cell.settings.study_seeds[:1]:
        studied["planted"] = load_arrays(cell.at_seed(seed).folder("plant_bugs") / "examples.npz")
        compared = cell.at_seed(seed).folder("compare_readings")
        of_readings = read_table(compared / "reading_regions.csv", "reading")
        for reading in (RELEASED, REPAIRED):
            arrays, own = load_arrays(compared / f"shown_{reading}.npz"), of_readings[of_readings.reading == reading]
            places = clearest_first(arrays["region"], own, reading)[: chosen.shown_regions]
            studied[f"shown_{reading}"] = {key: array[places] for key, array in arrays.items()}
    return {
        "identified": identified_data(
            mistakes, votes, seed_images, vae, chosen.shown_mistakes, cell.streams.numpy("identified")
        ),
        "regions": region_data(regions, shown, votes, after, vae, chosen.shown_regions),
        "members": member_data(regions, members, mistakes, seed_images, vae, chosen, cell.streams.numpy("members")),
        "interpolation": interpolation_data(
            *load_split(cell.data_file, "test"), vae, subject.classifier, chosen, cell.streams.numpy("interpolation")
        ),
        "tsne": tsne_data(mistakes, images, labels, vae, chosen, cell.streams.integer("t-SNE")),
        "novelty": novelty_data(neighbours, regions, chosen),
        **studied,
    }
