"""Compare how far a region's draws spread (tau), and how truncation and prior of the mixture divide the mistakes."""

import itertools

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from defuse.core.storage import load_arrays, write_table
from defuse.method.distillation import Regions, fit_regions
from defuse.studies.regions import mixture_row, tau_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import distilled_codes


def ablate(cell: Cell) -> str:
    """Draw the regions at each tau, fit each mixture, and write what both are like."""
    import pandas as pd

    chosen = cell.params()
    distill, annotate = cell.params("distill"), cell.params("annotate")
    annotators = load_annotators(cell)
    threadpool_limits(cell.settings.compute.threads)
    parts = load_arrays(cell.folder("distill") / "regions.npz", "weight", "mean", "covariance", "assignment", "fitted")
    regions = Regions(**parts, converged=True, iterations=0)
    taus = [
        {
            "tau": tau,
            **tau_row(
                annotators,
                regions,
                tau,
                chosen.samples,
                annotate,
                cell.streams.numpy("tau", f"{tau:g}"),
            ),
        }
        for tau in tqdm(chosen.taus, desc=f"tau {cell.dataset} {cell.seed}", disable=None, leave=False)
    ]
    codes = distilled_codes(cell, annotators.subject.vae)["codes"]
    mixtures = []
    grid = list(itertools.product(chosen.components, chosen.concentration_priors))
    for components, prior in tqdm(grid, desc=f"mixtures {cell.dataset} {cell.seed}", disable=None, leave=False):
        arm = distill.model_copy(update={"components": components, "concentration_prior": prior})
        fitted = fit_regions(codes, arm, cell.streams.integer("mixture"))
        generator = cell.streams.numpy("shown", f"{components} {prior}")
        row = mixture_row(annotators, fitted, arm, annotate, generator)
        named = {
            "components": components,
            "prior": "1/K" if prior is None else f"{prior:g}",
            "concentration_prior": 1 / components if prior is None else prior,
        }
        mixtures.append({**named, **row})
    table = pd.DataFrame(mixtures)
    folder = cell.folder()
    write_table(folder / "tau.csv", pd.DataFrame(taus))
    write_table(folder / "mixtures.csv", table)
    return f"{table.regions.min()} to {table.regions.max()} regions over {len(table)} mixtures"


if __name__ == "__main__":
    cell_command("ablate_regions", ablate, __doc__)
