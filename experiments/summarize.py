"""Gather a data set's cells into small tables and the data behind its figures, in results/."""

import shutil

import pandas as pd

from defuse.data import load_split
from defuse.figure_data import identified_data, region_data, tsne_data
from defuse.networks import VAE, load_network
from defuse.params import Settings
from defuse.randomness import integer_seed, numpy_generator
from defuse.results import provenance, result_path
from defuse.storage import load_arrays, read_json, read_table, save_arrays, write_json, write_table
from defuse.summary import (
    accepted_region_measures,
    check_cells,
    gather_measures,
    gather_table,
    outcome_measures,
    over_seeds,
    planted_measures,
    table_measures,
)
from defuse.training import set_up_machine
from experiments.cell import ARTIFACTS, RESULTS, cell_folder, data_file, dataset_command
from experiments.trained import load_codes

STAGES = ("train_classifier", "train_vae", "identify", "ablate_noise", "distill", "annotate", "correct",
          "finetune_baseline", "novelty", "plant_bugs")  # fmt: skip
ACCURACIES = ("test_accuracy", "region_test_accuracy")
# Stage, file, and the columns that are used here.
TABLES = {
    "classifier_curve": ("train_classifier", "curve.csv"), "vae_curve": ("train_vae", "curve.csv"),
    "kl_per_dimension": ("train_vae", "kl_per_dimension.csv"), "class_pairs": ("identify", "class_pairs.csv"),
    "noise": ("ablate_noise", "noise.csv", "noise"), "causes": ("annotate", "causes.csv", "cause"),
    "regions": ("annotate", "regions.csv", "region", "verdict", "failure_rate", "share_of_mistakes"),
    "acceptance": ("annotate", "acceptance.csv"), "corrected_regions": ("correct", "regions.csv"),
    "lambda_sweep": ("correct", "sweep.csv", "arm", "chosen", *ACCURACIES),
    "planted": ("plant_bugs", "planted.csv", "bug", "arm", "strength", "found", "took"),
    "baseline": ("finetune_baseline", "baseline.csv", "chosen", *ACCURACIES),
}  # fmt: skip
HEADLINES = ("train_classifier.test_accuracy", "identify.reconstruction_accuracy_of_correct", "identify.mistakes",
             "distill.regions", "annotate.accepted_regions", "outcome.test_before", "outcome.test_after_correction",
             "outcome.region_test_before", "outcome.region_test_after_correction", "outcome.test_after_baseline",
             "outcome.region_test_after_baseline", "novelty.unlike_neighbour", "plant_bugs.found",
             "plant_bugs.found_in_control")  # fmt: skip


def summarize(settings: Settings, dataset: str) -> str:
    chosen, seeds, stage = settings.summarize[dataset], list(settings.seeds), "summarize"
    folders = {name: ARTIFACTS / name / dataset for name in STAGES}
    set_up_machine(settings.compute)
    check_cells(list(folders.values()), seeds)
    tables = RESULTS / dataset / "tables"
    shutil.rmtree(tables, ignore_errors=True)
    write_json(tables / "provenance.json", read_json(data_file(dataset).with_name("provenance.json")))

    gathered = {name: gather_table(folders[part], seeds, *rest) for name, (part, *rest) in TABLES.items()}
    measures = pd.concat([
        gather_measures(list(folders.values()), seeds),
        outcome_measures(gathered["lambda_sweep"], gathered["baseline"]),
        table_measures(gathered["noise"], "noise", "noise"), table_measures(gathered["causes"], "cause", "cause"),
        accepted_region_measures(gathered["regions"]), planted_measures(gathered["planted"]),
    ], ignore_index=True)  # fmt: skip
    means = over_seeds(measures, ["stage", "measure"], "value")
    for name, table in {**gathered, "measures": measures, "means": means}.items():
        write_table(result_path(tables, f"{name}.csv"), table)
    write_table(result_path(tables, "oracles.csv"), read_table(ARTIFACTS / "train_oracle" / dataset / "oracles.csv"))
    by_name = {f"{row.stage}.{row.measure}": row.mean for row in means.itertuples(index=False)}
    write_json(RESULTS / dataset / "metrics.json", {
        "data": provenance(tables)["title"], **{name: by_name.get(name) for name in HEADLINES},
    })  # fmt: skip

    first = seeds[0]
    vae = load_network(cell_folder("train_vae", dataset, first) / "vae.safetensors", VAE)
    mistakes = load_codes(cell_folder("identify", dataset, first) / "mistakes.npz", vae, "seed_index", "label",
                          "prediction", "codes", "reconstruction_failure")  # fmt: skip
    votes = load_arrays(cell_folder("annotate", dataset, first) / "votes.npz", "drawn", "cause", "shown_predictions")
    shown = load_codes(cell_folder("distill", dataset, first) / "samples.npz", vae, "shown")["shown"]
    regions = read_table(cell_folder("annotate", dataset, first) / "regions.csv")
    split = "test" if settings.identify[dataset].seed_source == "test" else "train"
    images, labels = load_split(data_file(dataset), "train")
    seed_images = images if split == "train" else load_split(data_file(dataset), split)[0]
    generator = numpy_generator(first, stage, dataset, "identified")
    figures = {
        "identified": identified_data(mistakes, votes, seed_images, vae, chosen.shown_mistakes, generator),
        "regions": region_data(regions, shown, votes, vae, chosen.shown_regions),
        "tsne": tsne_data(mistakes, images, labels, vae, chosen, integer_seed(first, stage, dataset, "t-SNE")),
        "novelty": load_arrays(cell_folder("novelty", dataset, first) / "neighbours.npz"),
        "planted": load_arrays(cell_folder("plant_bugs", dataset, first) / "examples.npz"),
    }  # fmt: skip
    for name, arrays in figures.items():
        save_arrays(result_path(tables, f"{name}.npz"), **arrays)
    accepted = int((gathered["regions"].verdict == "accepted").sum())
    return (f"{len(gathered) + 3} tables and {len(figures)} figures' data of {len(seeds)} seed(s) in {tables}; "
            f"{accepted} accepted regions")  # fmt: skip


if __name__ == "__main__":
    dataset_command("summarize", summarize, __doc__)
