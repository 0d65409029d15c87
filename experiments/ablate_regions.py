"""Compare how far a region's draws spread (tau), and how truncation and prior of the mixture divide the mistakes."""

import itertools

import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from defuse.core.params import Settings
from defuse.core.random_streams import integer_seed, numpy_generator
from defuse.core.storage import load_arrays, write_table
from defuse.method.distillation import Regions, fit_regions
from defuse.studies.regions import mixture_row, tau_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import cell_command, cell_folder
from experiments.shared.trained import distilled_codes


def ablate(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.ablate_regions[dataset], "ablate_regions"
    distill, annotate = settings.distill[dataset], settings.annotate[dataset]
    _, annotators = load_annotators(settings, dataset, seed)
    threadpool_limits(settings.compute.threads)
    parts = load_arrays(
        cell_folder("distill", dataset, seed) / "regions.npz", "weight", "mean", "covariance", "assignment", "fitted"
    )
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
                numpy_generator(seed, stage, dataset, "tau", f"{tau:g}"),
            ),
        }
        for tau in tqdm(chosen.taus, desc=f"tau {dataset} {seed}", disable=None, leave=False)
    ]
    codes = distilled_codes(dataset, seed, annotators.vae)["codes"]
    mixtures = []
    grid = list(itertools.product(chosen.components, chosen.concentration_priors))
    for components, prior in tqdm(grid, desc=f"mixtures {dataset} {seed}", disable=None, leave=False):
        arm = distill.model_copy(update={"components": components, "concentration_prior": prior})
        fitted = fit_regions(codes, arm, integer_seed(seed, stage, dataset, "mixture"))
        generator = numpy_generator(seed, stage, dataset, "shown", f"{components} {prior}")
        row = mixture_row(annotators, fitted, arm, annotate, generator)
        mixtures.append(
            {"components": components, "concentration_prior": 1 / components if prior is None else prior, **row}
        )
    table = pd.DataFrame(mixtures)
    folder = cell_folder(stage, dataset, seed)
    write_table(folder / "tau.csv", pd.DataFrame(taus))
    write_table(folder / "mixtures.csv", table)
    return f"{table.regions.min()} to {table.regions.max()} regions over {len(table)} mixtures"


if __name__ == "__main__":
    cell_command("ablate_regions", ablate, __doc__)
