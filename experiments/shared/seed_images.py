"""Seed images drawn at random: where the ablations of the search start from."""

import numpy as np
from torch import nn

from defuse.data.prepared import load_split
from defuse.method.identification import Seeds, prepare_seeds
from defuse.models.autoencoder import VAE
from experiments.shared.cell import data_file


def candidate_seeds(
    vae: VAE, classifier: nn.Module, dataset: str, split: str, count: int, generator: np.random.Generator
) -> Seeds:
    """Seeds of at most `count` images of a split, drawn at random by `generator`, in the order of the draw."""
    images, labels = load_split(data_file(dataset), split)
    picked = generator.permutation(len(labels))[:count]
    return prepare_seeds(vae, classifier, images[picked], labels[picked])
