"""Seed images drawn at random: where the ablations of the search start from."""

import numpy as np

from defuse.data.prepared import load_split
from defuse.method.identification import Seeds, prepare_seeds
from defuse.models.subject import Subject
from experiments.shared.cell import Cell


def candidate_seeds(cell: Cell, subject: Subject, split: str, count: int, generator: np.random.Generator) -> Seeds:
    """Seeds of at most `count` images of a split, drawn at random by `generator`, in the order of the draw."""
    images, labels = load_split(cell.data_file, split)
    picked = generator.permutation(len(labels))[:count]
    return prepare_seeds(subject, images[picked], labels[picked])
