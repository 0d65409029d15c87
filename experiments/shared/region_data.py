"""Decoded draws of the accepted regions with their labels: what correction, baseline and novelty share."""

import numpy as np
from torch import Tensor

from defuse.core.errors import StorageError
from defuse.core.storage import load_rows, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.data.prepared import load_split
from defuse.method.annotation import ABSTAIN
from defuse.method.correction import label_regions
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import decode
from experiments.shared.cell import Cell
from experiments.shared.trained import load_codes


def region_count(cell: Cell) -> int:
    """Number of regions that the annotators judged."""
    return len(read_table(cell.folder("annotate") / "regions.csv", "region"))


def annotated_mistakes(cell: Cell, vae: VAE) -> dict[str, np.ndarray]:
    """The mistakes that annotators labelled one by one.

    codes: float32 (N, latent_dim); seed_index: int64 (N,), number of the seed image; consensus: int64 (N,), their label
    or ABSTAIN; is_mistake: bool (N,), they give a label, and another than the classifier.
    """
    mistakes = load_codes(cell.folder("identify") / "mistakes.npz", vae, "codes", "prediction", "seed_index")
    votes = load_rows(cell.folder("annotate") / "votes.npz", "drawn", "consensus")
    consensus_label, predicted = votes["consensus"], mistakes["prediction"][votes["drawn"]]
    return {
        "codes": mistakes["codes"][votes["drawn"]],
        "seed_index": mistakes["seed_index"][votes["drawn"]],
        "consensus": consensus_label,
        "is_mistake": (consensus_label != ABSTAIN) & (consensus_label != predicted),
    }


def accepted_regions(cell: Cell) -> np.ndarray:
    """Numbers of the accepted regions, int64 (A,)."""
    table = read_table(cell.folder("annotate") / "regions.csv", "region", "verdict")
    return table.region[table.verdict == RegionVerdict.ACCEPTED].to_numpy(
        np.int64
    )  # of an empty column pandas makes objects


def decoded_regions(cell: Cell, vae: VAE, purpose: str) -> tuple[Tensor, Tensor]:
    """Images float32 (N, C, 32, 32) and annotators' labels int64 (N,) of one kind of draw, region by region."""
    file = cell.folder("annotate") / "regions.csv"
    table = read_table(file, "region", "label")
    codes = load_codes(cell.folder("distill") / "samples.npz", vae, purpose)[purpose]
    if len(table) != len(codes):
        raise StorageError(f"{file}: {len(table)} regions; samples.npz of the stage distill holds {len(codes)}")
    codes, labels = label_regions(codes, table.label.to_numpy(), accepted_regions(cell))
    return decode(vae, codes), labels


def evaluation_data(cell: Cell, vae: VAE) -> dict[str, tuple[Tensor, Tensor]]:
    """Images and labels by name: what correction and baseline choose an arm by, and what they report."""
    return {
        "validation": load_split(cell.data_file, "validation"),
        "test": load_split(cell.data_file, "test"),
        "region_validation": decoded_regions(cell, vae, "validation"),
        "region_test": decoded_regions(cell, vae, "test"),
    }
