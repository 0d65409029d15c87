"""Search the latent codes around the seed images for mistakes of the classifier."""

import numpy as np
import pandas as pd

from defuse.core.params import Settings
from defuse.core.random_streams import numpy_generator, seed_sequence
from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import load_split
from defuse.method.identification import find_mistakes, prepare_seeds, reconstructed_accuracy
from defuse.models.search_network import search_network
from experiments.shared.cell import cell_command, cell_folder, data_file
from experiments.shared.trained import load_trained


def identify(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.identify[dataset], "identify"
    machine, classifier, vae = load_trained(settings, dataset, seed)
    split = "test" if chosen.seed_source == "test" else "train"
    everything = prepare_seeds(vae, classifier, *load_split(data_file(dataset), split))
    seeds = everything.take(everything.correct) if chosen.seed_source == "train_correct" else everything
    if chosen.max_seed_images is not None and chosen.max_seed_images < len(seeds.label):
        generator = numpy_generator(seed, stage, dataset, "seed images")
        seeds = seeds.take(np.sort(generator.choice(len(seeds.label), chosen.max_seed_images, replace=False)))
    key = seed_sequence(seed, stage, dataset, "noise").generate_state(2, np.uint64)
    mistakes = find_mistakes(
        search_network(vae, classifier, machine),
        vae,
        classifier,
        seeds,
        chosen.noise,
        chosen.draws,
        chosen.keep,
        chosen.batch_size,
        key,
        f"identify {dataset} {seed}",
    )
    right = everything.raw_prediction == everything.label
    measures = {
        "seed_images": len(seeds.label),
        "draws": mistakes.draws,
        "wrong_draws": mistakes.wrong_draws,
        "wrong_draw_share": mistakes.wrong_draws / max(mistakes.draws, 1),
        "mistakes": len(mistakes.label),
        "doubtful": mistakes.doubtful,
        "dropped": mistakes.dropped,
        "seed_images_with_mistakes": len(np.unique(mistakes.seed_index)),
        "reconstruction_failures": int(mistakes.reconstruction_failure.sum()),
        "raw_accuracy": right.mean(),
        "reconstruction_accuracy": (everything.reconstruction_prediction == everything.label).mean(),
        "reconstruction_accuracy_of_correct": everything.correct.sum() / max(right.sum(), 1),
        "validation_reconstruction_accuracy": reconstructed_accuracy(
            classifier, vae, *load_split(data_file(dataset), "validation")
        ),
    }
    folder = cell_folder(stage, dataset, seed)
    arrays = {name: value for name, value in vars(mistakes).items() if isinstance(value, np.ndarray)}
    save_arrays(folder / "mistakes.npz", **arrays)
    pairs = pd.DataFrame({"label": mistakes.label, "prediction": mistakes.prediction})
    write_table(folder / "class_pairs.csv", pairs.value_counts(sort=False).rename("mistakes").reset_index())
    write_json(folder / "metrics.json", measures)
    kept = measures["validation_reconstruction_accuracy"]
    control = (
        "no validation image is right"
        if np.isnan(kept)
        else (f"{kept:.1%} of correct validation images right reconstructed")
    )
    return f"{len(mistakes.label):,} mistakes from {len(seeds.label):,} seed images; {control}"


if __name__ == "__main__":
    cell_command("identify", identify, __doc__)
