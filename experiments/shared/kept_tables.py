"""The tables of a cell that results/ keeps: the stage that writes each, its file, and the columns used there."""

from pathlib import Path

from defuse.core.storage import read_json, read_table, write_json, write_table
from defuse.evidence.results import result_path
from defuse.evidence.tables import UNSEEN_MISTAKES
from experiments.shared.cell import Cell

Tables = dict[str, tuple[str, ...]]  # name -> stage, file, columns that must be there

ACCURACIES = ("test_accuracy", "region_test_accuracy")
CHAIN_TABLES: Tables = {
    "classifier_curve": ("train_classifier", "curve.csv"),
    "vae_curve": ("train_vae", "curve.csv"),
    "kl_per_dimension": ("train_vae", "kl_per_dimension.csv"),
    "class_pairs": ("identify", "class_pairs.csv"),
    "causes": ("annotate", "causes.csv", "cause"),
    "regions": ("annotate", "regions.csv", "region", "verdict", "failure_rate", "share_of_mistakes"),
    "acceptance": ("annotate", "acceptance.csv"),
    "corrected_regions": ("correct", "regions.csv"),
    "lambda_sweep": ("correct", "sweep.csv", "arm", "chosen", "diverged", *ACCURACIES),
    "baseline": ("finetune_baseline", "baseline.csv", "chosen", "diverged", *ACCURACIES),
    "novelty_regions": ("novelty", "regions.csv", "region", "new_pair", "new_look", "new_type"),
}
CHAIN_MEASURES = (
    "train_classifier",
    "train_vae",
    "identify",
    "distill",
    "annotate",
    "correct",
    "finetune_baseline",
    "novelty",
)
STUDY_TABLES: Tables = {
    "noise": ("ablate_noise", "noise.csv", "noise"),
    "searches": ("ablate_search", "searches.csv", "search"),
    "vaes": ("ablate_vae", "vaes.csv", "vae"),
    "taus": ("ablate_regions", "tau.csv", "tau"),
    "mixtures": ("ablate_regions", "mixtures.csv", "components", "concentration_prior", "prior"),
    "rivals": (
        *("compare_readings", "rivals.csv", "arm", "lambda", "learning_rate"),
        *("test_accuracy", "region_test_accuracy", "mistake_test_accuracy", *UNSEEN_MISTAKES),
    ),
    "readings": ("compare_readings", "readings.csv", "reading", "regions", "accepted", "classifier_mistake"),
    "reading_regions": (
        *("compare_readings", "reading_regions.csv", "reading", "region", "label", "prediction", "verdict"),
        *("agreement", "abstention", "share_of_mistakes", "member_failure", "draw_failure"),
    ),
    "planted": ("plant_bugs", "planted.csv", "bug", "arm", "strength", "found", "took"),
    "released_vae_curve": ("train_released_vae", "curve.csv"),
}
STUDY_MEASURES = ("train_released_vae", "compare_readings", "plant_bugs")
SHARED_MEASURES = ("train_checker",)


def keep_tables(
    cell: Cell, folder: Path, tables: Tables, measured: tuple[str, ...], shared: tuple[str, ...] = ()
) -> None:
    """Copy a cell's tables and the measures of its stages into `folder`, where git keeps them.

    Args:
        cell: of a data set and a seed.
        folder: of the copies.
        tables: which.
        measured: stages of the cell.
        shared: stages that run once for the data set; each cell keeps their measures beside its own.
    """
    folders = {stage: cell.folder(stage) for stage in measured}
    folders |= {stage: cell.dataset_folder(stage) for stage in shared}
    measures = {stage: read_json(place / "metrics.json") for stage, place in folders.items()}
    machines = {stage: values.pop("machine") for stage, values in measures.items() if "machine" in values}
    about = read_json(cell.data_file.with_name("provenance.json"))
    write_json(folder / "provenance.json", {**about, "machines": machines} if machines else about)
    for name, (stage, file, *columns) in tables.items():
        write_table(result_path(folder, f"{name}.csv"), read_table(cell.folder(stage) / file, *columns))
    write_json(result_path(folder, "measures.json"), measures)
