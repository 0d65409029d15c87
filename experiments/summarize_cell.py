"""Copy a cell's tables and measures into results/, where git keeps them: seeds can be run at different times."""

from defuse.core.params import Settings
from defuse.core.storage import read_json, read_table, write_json, write_table
from defuse.evidence.results import result_path
from experiments.shared.cell import ARTIFACTS, RESULTS, cell_command, cell_folder, data_file
from experiments.shared.cell_tables import TABLES

MEASURED = (
    "train_classifier",
    "train_vae",
    "identify",
    "distill",
    "annotate",
    "correct",
    "finetune_baseline",
    "novelty",
    "plant_bugs",
)


def summarize_cell(settings: Settings, dataset: str, seed: int) -> str:
    folder = RESULTS / dataset / "cells" / str(seed)
    write_json(folder / "provenance.json", read_json(data_file(dataset).with_name("provenance.json")))
    for name, (stage, file, *columns) in TABLES.items():
        table = read_table(cell_folder(stage, dataset, seed) / file, *columns)
        write_table(result_path(folder, f"{name}.csv"), table)
    oracles = read_table(ARTIFACTS / "calibrate_oracle" / dataset / "oracles.csv")
    write_table(result_path(folder, "oracles.csv"), oracles)
    measures = {stage: read_json(cell_folder(stage, dataset, seed) / "metrics.json") for stage in MEASURED}
    write_json(result_path(folder, "measures.json"), measures)
    return f"{len(TABLES) + 1} tables and the measures of {len(MEASURED)} stages in {folder}"


if __name__ == "__main__":
    cell_command("summarize_cell", summarize_cell, __doc__)
