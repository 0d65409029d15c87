"""What the comparison of readings writes: tables of readings, regions and rivals, and what annotators were shown."""

from torch import Tensor

from defuse.core.params import RELEASED, REPAIRED
from defuse.core.storage import save_arrays, write_table
from defuse.data.prepared import Labelled
from defuse.method.correction import draw_batches
from defuse.showing.figure_data import order_regions
from defuse.studies.readings import Outcome, Study
from defuse.studies.region_images import REGION_COLUMNS, shown_arrays
from defuse.studies.rivals import Rival, compare_rivals
from experiments.shared.cell import Cell


def write_outcomes(cell: Cell, outcomes: dict[str, Outcome], image: Tensor) -> None:
    """Write each reading's row, and the regions of those that figures show; `image` gives the shape of one."""
    import pandas as pd

    folder = cell.folder()
    rows = [{"reading": name, **result.row} for name, result in outcomes.items()]
    write_table(folder / "readings.csv", pd.DataFrame(rows))
    regions = [{"reading": name, **row} for name in (RELEASED, REPAIRED) for row in outcomes[name].regions]
    write_table(folder / "reading_regions.csv", pd.DataFrame(regions, columns=list(REGION_COLUMNS)))
    for name in (RELEASED, REPAIRED):
        result = outcomes[name]
        table = pd.DataFrame(result.regions, columns=list(REGION_COLUMNS[1:]))
        order, count = order_regions(table, len(table)), cell.params("distill").shown_samples
        arrays = shown_arrays(result.shown, result.annotated, order, count, image)
        save_arrays(folder / f"shown_{name}.npz", **arrays)


def write_rivals(
    cell: Cell, study: Study, rivals: dict[str, Rival], training: Labelled, measured: dict[str, Labelled]
) -> None:
    """Fine-tune in each arm, and write the accuracies."""
    import pandas as pd

    correction, recipe = cell.params("correct"), cell.params("train_classifier")
    # One stream for both: they draw the same images in the same order.
    batches = {
        arm: draw_batches(training, correction, cell.streams.torch("training"), augmentation)
        for arm, augmentation in (
            ("more training", recipe.augmentation),
            ("more training, augmented", cell.params("train_oracle").augmentation),
        )
    }
    rows = compare_rivals(
        study.annotators.subject,
        batches,
        rivals,
        measured,
        study.settings,
        correction,
        cell.params("finetune_baseline"),
        recipe,
        cell.streams,
    )
    write_table(cell.folder() / "rivals.csv", pd.DataFrame(rows))
