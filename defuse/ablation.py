"""Ablation of the noise: what each distribution does to labels, by classifier and oracles (design decision 1)."""

import numpy as np
import torch
from torch import nn

from defuse import params
from defuse.annotation import wilson_interval
from defuse.identification import Seeds, perturb
from defuse.networks import VAE
from defuse.oracles import ABSTAIN, cast_votes, majority
from defuse.training import predict
from defuse.vae import decode


def noise_row(
    vae: VAE,
    classifier: nn.Module,
    oracles: list[nn.Module],
    thresholds: list[float],
    seeds: Seeds,
    noise: params.Noise,
    draws: int,
    key: np.ndarray,
) -> dict[str, float]:
    """What one noise does, over `draws` perturbations of each seed image.

    Args:
        seeds: images right raw and reconstructed, so that every difference comes from the noise; without any,
            the measures are NaN.
        key: uint64 (2,) of the noise streams.

    Returns:
        draws: number of perturbed codes; noise_norm: their mean L2 noise;
        wrong: share that the classifier does not call the seed's label, with low and high of its 95 % interval;
        of those wrong, by the oracles' majority: classifier_mistake (the seed's label), label_changed (the
        classifier's), third_label and not_recognisable;
        recognisable: share of all draws with a majority (validity);
        label_kept: share of the recognisable draws that keep the seed's label;
        seeds_with_classifier_mistake: share of seed images with at least one.
    """
    codes, norms = perturb(seeds, noise, draws, key)
    images = decode(vae, torch.from_numpy(codes.reshape(-1, codes.shape[2])))
    prediction = predict(classifier, images).argmax(1).numpy()
    named = majority(cast_votes(oracles, thresholds, images))
    label = np.repeat(seeds.label, draws)
    wrong, given = prediction != label, named != ABSTAIN
    mistake, everything = wrong & (named == label), np.ones(len(label), bool)
    low, high = wilson_interval(int(wrong.sum()), len(wrong))

    def share(part: np.ndarray, whole: np.ndarray) -> float:
        return float(part[whole].mean()) if whole.any() else float("nan")

    return {
        "draws": len(label), "noise_norm": float(norms.mean()) if len(label) else float("nan"),
        "wrong": share(wrong, everything),
        "wrong_low": low, "wrong_high": high, "classifier_mistake": share(mistake, wrong),
        "label_changed": share(named == prediction, wrong),
        "third_label": share(given & (named != prediction) & (named != label), wrong),
        "not_recognisable": share(~given, wrong), "recognisable": share(given, everything),
        "label_kept": share(named == label, given),
        "seeds_with_classifier_mistake": share(mistake.reshape(-1, draws).any(1), everything[::draws]),
    }  # fmt: skip
