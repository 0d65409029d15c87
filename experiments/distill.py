"""Cluster the codes of the mistakes into misclassification regions and draw samples from each."""

import numpy as np
from threadpoolctl import threadpool_limits

from defuse.core.storage import load_rows, save_arrays, write_json
from defuse.method.distillation import fit_regions, sample_regions
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command


def distill(cell: Cell) -> str:
    """Fit the mixture and write the regions and their draws."""
    chosen = cell.params()
    threadpool_limits(cell.settings.compute.threads)
    mistakes = load_rows(cell.folder("identify") / "mistakes.npz", "codes", "reconstruction_failure")
    used = ~mistakes["reconstruction_failure"] | chosen.include_reconstruction_failures
    codes = mistakes["codes"][used]
    regions = fit_regions(codes, chosen, cell.streams.integer("mixture"))
    folder = cell.folder()
    save_arrays(
        folder / "regions.npz",
        weight=regions.weight,
        mean=regions.mean,
        covariance=regions.covariance,
        assignment=regions.assignment,
        mistake=np.flatnonzero(used),
        fitted=regions.fitted,
    )
    counts = {
        "shown": chosen.shown_samples,
        "correction": chosen.correction_samples,
        "validation": chosen.validation_samples,
        "test": chosen.test_samples,
    }
    # One stream for each purpose: the draws are disjoint.
    save_arrays(
        folder / "samples.npz",
        **{
            purpose: sample_regions(regions, count, chosen.tau, cell.streams.numpy(purpose))
            for purpose, count in counts.items()
        },
    )
    write_json(
        folder / "metrics.json",
        {
            "codes": len(codes),
            "fitted_codes": int(regions.fitted.sum()),
            "regions": len(regions),
            "mixture_converged": regions.converged,
            "mixture_iterations": regions.iterations,
            "coverage": (regions.assignment >= 0).mean() if len(codes) else 0.0,
        },
    )
    state = "converged" if regions.converged else "not converged"
    return f"{len(regions)} regions from {len(codes):,} codes ({state} after {regions.iterations} iterations)"


if __name__ == "__main__":
    cell_command("distill", distill, __doc__)
