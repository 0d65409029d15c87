"""Compare whole searches (seed source, noise, draws): what they find, and the causes of equally many mistakes."""

from tqdm import tqdm

from defuse.core.storage import write_table
from defuse.studies.searches import search_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.seed_images import candidate_seeds


def ablate(cell: Cell) -> str:
    """Run each search and write what it finds and what causes its mistakes."""
    import pandas as pd

    chosen = cell.params()
    annotators = load_annotators(cell)
    candidates = {
        split: candidate_seeds(
            cell, annotators.subject, split, 2 * chosen.seed_images, cell.streams.numpy("seed images", split)
        )
        for split in ("train", "test")
    }
    key = cell.streams.key("noise")
    rows = []
    for name, search in tqdm(chosen.searches.items(), desc=str(cell), disable=None, leave=False):
        seeds = candidates["test" if search.seed_source == "test" else "train"]
        if search.seed_source == "train_correct":
            seeds = seeds.take(seeds.correct)
        seeds = seeds.take(slice(chosen.seed_images))
        generator = cell.streams.numpy("judged", name)
        row = search_row(annotators, seeds, search, chosen.judged_mistakes, key, generator, name)
        rows.append({"search": name, **row})
    table = pd.DataFrame(rows)
    write_table(cell.folder() / "searches.csv", table)
    own = table.classifier_mistake
    if own.isna().all():
        return f"none of {len(table)} searches finds a mistake"
    return f"the classifier's own mistakes are {own.min():.1%} to {own.max():.1%} of what {len(table)} searches find"


if __name__ == "__main__":
    cell_command("ablate_search", ablate, __doc__)
