"""The images, codes and coordinates behind the figures of one cell, small enough for git."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from defuse import params
from defuse.networks import VAE
from defuse.summary import embed_codes, order_regions
from defuse.vae import decode, encode


def to_bytes(images: Tensor) -> np.ndarray:
    """uint8 (N, H, W, C) of float32 images (N, C, H, W) in [0, 1]."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def identified_data(
    mistakes: dict[str, np.ndarray], votes: dict[str, np.ndarray], images: Tensor, vae: VAE, count: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Randomly drawn annotated mistakes beside their seed images and plain reconstructions.

    Args:
        mistakes, votes: arrays of the stages identify and annotate.
        images: the seed images' split, float32 (N, C, 32, 32).
        count: at most how many to draw.
    """  # fmt: skip
    picked = np.sort(generator.choice(len(votes["drawn"]), min(count, len(votes["drawn"])), replace=False))
    drawn = votes["drawn"][picked]
    seeds = images[torch.from_numpy(mistakes["seed_index"][drawn])]
    return {
        "seed_images": to_bytes(seeds), "reconstructions": to_bytes(decode(vae, encode(vae, seeds)[0])),
        "mistakes": to_bytes(decode(vae, torch.from_numpy(mistakes["codes"][drawn]))),
        "label": mistakes["label"][drawn], "prediction": mistakes["prediction"][drawn],
        "cause": votes["cause"][picked],
    }  # fmt: skip


def region_data(
    regions: pd.DataFrame, samples: np.ndarray, votes: dict[str, np.ndarray], vae: VAE, count: int
) -> dict[str, np.ndarray]:
    """The shown draws of the regions worth showing, with the classifier's prediction on each.

    Args:
        regions: the cell's table of regions.
        samples: codes float32 (R, S, latent_dim) that the annotators saw.
        votes: arrays of the stage annotate.
        count: at most how many regions.
    """
    chosen = order_regions(regions, count)
    codes = torch.from_numpy(samples[chosen])
    images = to_bytes(decode(vae, codes.reshape(-1, codes.shape[-1])))
    return {
        "region": chosen, "images": images.reshape(*codes.shape[:2], *images.shape[1:]),
        "prediction": votes["shown_predictions"][chosen],
    }  # fmt: skip


def tsne_data(
    mistakes: dict[str, np.ndarray], images: Tensor, labels: Tensor, vae: VAE, settings: params.Summarize,
    random_state: int,
) -> dict[str, np.ndarray]:
    """t-SNE of training codes and mistakes' codes together, and three decoded mistakes (paper's figure).

    Mistakes whose plain reconstruction was already wrong are left out.
    """  # fmt: skip
    generator = np.random.default_rng(random_state)
    wanted = np.flatnonzero(~mistakes["reconstruction_failure"])
    picked = generator.choice(wanted, min(settings.tsne_codes, len(wanted)), replace=False)
    training = generator.choice(len(images), min(settings.tsne_codes, len(images)), replace=False)
    means = encode(vae, images[training])[0].numpy()
    coordinates = embed_codes(
        np.concatenate([means, mistakes["codes"][picked]]), settings.tsne_perplexity, random_state
    )
    shown = np.arange(min(3, len(picked)))
    return {
        "training": coordinates[: len(training)], "training_label": labels[training].numpy(),
        "mistakes": coordinates[len(training) :], "shown": shown,
        "images": to_bytes(decode(vae, torch.from_numpy(mistakes["codes"][picked[shown]]))),
        "label": mistakes["label"][picked[shown]], "prediction": mistakes["prediction"][picked[shown]],
    }  # fmt: skip
