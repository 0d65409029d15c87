"""Gather a data set's cells into small tables and the data behind its figures, in results/."""

import shutil

import pandas as pd

from defuse.params import Settings
from defuse.results import provenance, result_path
from defuse.storage import read_json, read_table, save_arrays, write_json, write_table
from defuse.summary import (
    accepted_region_measures,
    check_cells,
    gather_measures,
    gather_table,
    outcome_measures,
    over_seeds,
    planted_measures,
    rival_measures,
    table_measures,
)
from experiments.cell import ARTIFACTS, RESULTS, data_file, dataset_command
from experiments.shown_data import shown_data

STAGES = ("train_classifier", "train_vae", "identify", "ablate_noise", "ablate_search", "ablate_vae", "distill",
          "annotate", "ablate_regions", "correct", "finetune_baseline", "compare_rivals", "novelty",
          "plant_bugs")  # fmt: skip
ACCURACIES = ("test_accuracy", "region_test_accuracy")
# Stage, file, and the columns that are used here.
TABLES = {
    "classifier_curve": ("train_classifier", "curve.csv"), "vae_curve": ("train_vae", "curve.csv"),
    "kl_per_dimension": ("train_vae", "kl_per_dimension.csv"), "class_pairs": ("identify", "class_pairs.csv"),
    "noise": ("ablate_noise", "noise.csv", "noise"), "causes": ("annotate", "causes.csv", "cause"),
    "regions": ("annotate", "regions.csv", "region", "verdict", "failure_rate", "share_of_mistakes"),
    "acceptance": ("annotate", "acceptance.csv"), "corrected_regions": ("correct", "regions.csv"),
    "lambda_sweep": ("correct", "sweep.csv", "arm", "chosen", *ACCURACIES),
    "searches": ("ablate_search", "searches.csv", "search"), "vaes": ("ablate_vae", "vaes.csv", "vae"),
    "taus": ("ablate_regions", "tau.csv", "tau"),
    "mixtures": ("ablate_regions", "mixtures.csv", "components", "concentration_prior"),
    "rivals": ("compare_rivals", "rivals.csv", "arm", "test_accuracy", "region_test_accuracy", "mistake_test_accuracy"),
    "planted": ("plant_bugs", "planted.csv", "bug", "arm", "strength", "found", "took"),
    "baseline": ("finetune_baseline", "baseline.csv", "chosen", *ACCURACIES),
}  # fmt: skip
# Tables whose every number becomes a measure: what the arms are, and the columns that name an arm.
ARMS = {
    "noise": ("noise", "noise"), "causes": ("cause", "cause"), "searches": ("search", "search"), "vaes": ("VAE", "vae"),
    "taus": ("tau", "tau"), "mixtures": ("mixture", "components", "concentration_prior"), "rivals": ("rival", "arm"),
}  # fmt: skip
HEADLINES = ("train_classifier.test_accuracy", "identify.reconstruction_accuracy_of_correct", "identify.mistakes",
             "distill.regions", "annotate.accepted_regions", "outcome.test_before", "outcome.test_after_correction",
             "outcome.region_test_before", "outcome.region_test_after_correction", "outcome.test_after_baseline",
             "outcome.region_test_after_baseline", "novelty.unlike_neighbour", "plant_bugs.found",
             "plant_bugs.found_in_control")  # fmt: skip


def summarize(settings: Settings, dataset: str) -> str:
    seeds = list(settings.seeds)
    folders = {name: ARTIFACTS / name / dataset for name in STAGES}
    check_cells(list(folders.values()), seeds)
    tables = RESULTS / dataset / "tables"
    shutil.rmtree(tables, ignore_errors=True)
    write_json(tables / "provenance.json", read_json(data_file(dataset).with_name("provenance.json")))

    gathered = {name: gather_table(folders[part], seeds, *rest) for name, (part, *rest) in TABLES.items()}
    measures = pd.concat([
        gather_measures(list(folders.values()), seeds),
        outcome_measures(gathered["lambda_sweep"], gathered["baseline"]),
        accepted_region_measures(gathered["regions"]), planted_measures(gathered["planted"]),
        rival_measures(gathered["rivals"]), *(table_measures(gathered[name], *keys) for name, keys in ARMS.items()),
    ], ignore_index=True)  # fmt: skip
    means = over_seeds(measures, ["stage", "measure"], "value")
    for name, table in {**gathered, "measures": measures, "means": means}.items():
        write_table(result_path(tables, f"{name}.csv"), table)
    oracles = read_table(ARTIFACTS / "calibrate_oracle" / dataset / "oracles.csv")
    write_table(result_path(tables, "oracles.csv"), oracles)
    by_name = {f"{row.stage}.{row.measure}": row.mean for row in means.itertuples(index=False)}
    write_json(RESULTS / dataset / "metrics.json", {
        "data": provenance(tables)["title"], **{name: by_name.get(name) for name in HEADLINES},
    })  # fmt: skip

    figures = shown_data(settings, dataset)
    for name, arrays in figures.items():
        save_arrays(result_path(tables, f"{name}.npz"), **arrays)
    accepted = int((gathered["regions"].verdict == "accepted").sum())
    return (f"{len(gathered) + 3} tables and {len(figures)} figures' data of {len(seeds)} seed(s) in {tables}; "
            f"{accepted} accepted regions")  # fmt: skip


if __name__ == "__main__":
    dataset_command("summarize", summarize, __doc__)
