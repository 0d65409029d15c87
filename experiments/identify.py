"""Search the latent codes around the seed images for mistakes of the classifier."""

import numpy as np

from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import load_split
from defuse.method.identification import find_mistakes, prepare_seeds, reconstructed_accuracy
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_subject


def identify(cell: Cell) -> str:
    """Search, and write the mistakes and their counts."""
    import pandas as pd

    chosen = cell.params()
    subject = load_subject(cell)
    split = "test" if chosen.seed_source == "test" else "train"
    everything = prepare_seeds(subject, *load_split(cell.data_file, split))
    seeds = everything.take(everything.correct) if chosen.seed_source == "train_correct" else everything
    if chosen.max_seed_images is not None and chosen.max_seed_images < len(seeds.label):
        generator = cell.streams.numpy("seed images")
        seeds = seeds.take(np.sort(generator.choice(len(seeds.label), chosen.max_seed_images, replace=False)))
    mistakes = find_mistakes(subject, seeds, chosen, cell.streams.key("noise"), str(cell), chosen.batch_size)
    validation = load_split(cell.data_file, "validation")
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
        "raw_failures": int(mistakes.raw_failure.sum()),
        "reconstruction_failures": int(mistakes.reconstruction_failure.sum()),
        "raw_accuracy": right.mean(),
        "reconstruction_accuracy": (everything.reconstruction_prediction == everything.label).mean(),
        "reconstruction_accuracy_of_correct": everything.correct.sum() / max(right.sum(), 1),
        "validation_reconstruction_accuracy": reconstructed_accuracy(subject, *validation),
    }
    folder = cell.folder()
    arrays = {name: value for name, value in vars(mistakes).items() if isinstance(value, np.ndarray)}
    save_arrays(folder / "mistakes.npz", **arrays)
    pairs = pd.DataFrame({"label": mistakes.label, "prediction": mistakes.prediction})
    write_table(folder / "class_pairs.csv", pairs.value_counts(sort=False).rename("mistakes").reset_index())
    write_json(folder / "metrics.json", {**measures, "machine": subject.machine.description})
    kept = measures["validation_reconstruction_accuracy"]
    control = (
        "no validation image is right"
        if np.isnan(kept)
        else (f"{kept:.1%} of correct validation images right reconstructed")
    )
    return f"{len(mistakes.label):,} mistakes from {len(seeds.label):,} seed images; {control}"


if __name__ == "__main__":
    cell_command("identify", identify, __doc__)
