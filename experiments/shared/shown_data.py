"""The images, codes and coordinates that the figures show, all of the first seed's cell."""

import numpy as np

from defuse.core.params import Settings
from defuse.core.random_streams import integer_seed, numpy_generator
from defuse.core.storage import load_arrays, read_table
from defuse.data.prepared import load_split
from defuse.showing.figure_data import (
    identified_data,
    interpolation_data,
    member_data,
    novelty_data,
    region_data,
    tsne_data,
)
from experiments.shared.cell import cell_folder, data_file
from experiments.shared.trained import load_codes, load_trained


def shown_data(settings: Settings, dataset: str) -> dict[str, dict[str, np.ndarray]]:
    """Named arrays by the figure that shows them."""
    chosen, first, stage = settings.summarize[dataset], settings.seeds[0], "summarize"
    _, classifier, vae = load_trained(settings, dataset, first)
    mistakes = load_codes(
        cell_folder("identify", dataset, first) / "mistakes.npz",
        vae,
        "seed_index",
        "label",
        "prediction",
        "codes",
        "reconstruction_failure",
    )
    votes = load_arrays(
        cell_folder("annotate", dataset, first) / "votes.npz", "drawn", "cause", "shown", "shown_predictions"
    )
    shown = load_codes(cell_folder("distill", dataset, first) / "samples.npz", vae, "shown")["shown"]
    after = load_arrays(cell_folder("correct", dataset, first) / "shown.npz")["prediction_after"]
    neighbours = load_arrays(
        cell_folder("novelty", dataset, first) / "neighbours.npz",
        "region",
        "samples",
        "label",
        "prediction",
        "distance",
        "neighbour",
        "neighbour_label",
        "neighbour_prediction",
    )
    members = load_arrays(cell_folder("distill", dataset, first) / "regions.npz", "mistake", "assignment")
    regions = read_table(cell_folder("annotate", dataset, first) / "regions.csv")
    split = "test" if settings.identify[dataset].seed_source == "test" else "train"
    images, labels = load_split(data_file(dataset), "train")
    seed_images = images if split == "train" else load_split(data_file(dataset), split)[0]

    def stream(purpose: str) -> np.random.Generator:
        return numpy_generator(first, stage, dataset, purpose)

    return {
        "identified": identified_data(mistakes, votes, seed_images, vae, chosen.shown_mistakes, stream("identified")),
        "regions": region_data(regions, shown, votes, after, vae, chosen.shown_regions),
        "members": member_data(regions, members, mistakes, seed_images, vae, chosen, stream("members")),
        "interpolation": interpolation_data(
            *load_split(data_file(dataset), "test"), vae, classifier, chosen, stream("interpolation")
        ),
        "tsne": tsne_data(mistakes, images, labels, vae, chosen, integer_seed(first, stage, dataset, "t-SNE")),
        "novelty": novelty_data(neighbours, regions, chosen),
        "planted": load_arrays(cell_folder("plant_bugs", dataset, first) / "examples.npz"),
    }
