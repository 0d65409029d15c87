"""Ablations of the search and of the VAE: what is found, and whether it is the classifier's mistake, by the oracles."""

import numpy as np
from jaxtyping import UInt64

from defuse.annotators.oracles import Annotators
from defuse.core import params
from defuse.core.statistics import share, wilson_interval
from defuse.core.verdicts import Cause
from defuse.method.annotation import ABSTAIN, causes_of_mistakes, consensus
from defuse.method.identification import Mistakes, Seeds, find_mistakes, perturb


def noise_row(
    annotators: Annotators, seeds: Seeds, noise: params.Noise, draws: int, key: UInt64[np.ndarray, "2"]
) -> dict[str, float]:
    """What one noise does, over `draws` perturbations of each seed image.

    Args:
        annotators: oracles and networks.
        seeds: images right raw and reconstructed, so that every difference comes from the noise; without any,
            the measures are NaN.
        noise: to draw from.
        draws: perturbations of each seed image.
        key: of the noise streams.

    Returns:
        draws: number of perturbed codes; noise_norm: their mean L2 noise;
        wrong: share that the classifier does not call the seed's label, with low and high of its 95 % interval;
        of those wrong, by the oracles' consensus: classifier_mistake (the seed's label), label_changed (the
        classifier's), third_label and not_recognisable;
        recognisable: share of all draws with a consensus (validity);
        label_kept: share of the recognisable draws that keep the seed's label;
        seeds_with_classifier_mistake: share of seed images with at least one.
    """
    codes, norms = perturb(seeds, noise, draws, key)
    votes, prediction = annotators.annotate(codes.reshape(-1, codes.shape[2]))
    consensus_label = consensus(votes, annotators.consensus)
    label = np.repeat(seeds.label, draws)
    wrong, given = prediction != label, consensus_label != ABSTAIN
    mistake, everything = wrong & (consensus_label == label), np.ones(len(label), bool)
    low, high = wilson_interval(int(wrong.sum()), len(wrong))
    return {
        "draws": len(label),
        "noise_norm": float(norms.mean()) if len(label) else float("nan"),
        "wrong": share(wrong, everything),
        "wrong_low": low,
        "wrong_high": high,
        "classifier_mistake": share(mistake, wrong),
        "label_changed": share(consensus_label == prediction, wrong),
        "third_label": share(given & (consensus_label != prediction) & (consensus_label != label), wrong),
        "not_recognisable": share(~given, wrong),
        "recognisable": share(given, everything),
        "label_kept": share(consensus_label == label, given),
        "seeds_with_classifier_mistake": share(mistake.reshape(-1, draws).any(1), everything[::draws]),
    }


def cost_of_each(mistakes: float, draws: int) -> float:
    """Draws for one mistake: infinite where there is none, NaN without any draw."""
    return float("nan") if draws == 0 else draws / mistakes if mistakes > 0 else float("inf")


def judge_mistakes(
    annotators: Annotators, found: Mistakes, judged: int, generator: np.random.Generator
) -> dict[str, float]:
    """Causes of mistakes drawn at random, by the oracles.

    Args:
        annotators: oracles and networks.
        found: the mistakes.
        judged: how many are drawn at most.
        generator: of the draw.

    Returns:
        judged: how many were drawn; one column for each `Cause` (with underscores): shares of them; recognisable: share
        of them with a consensus; label_kept: share of those with the seed's label. NaN where there is none.
    """
    picked = np.sort(generator.permutation(len(found.label))[:judged])
    votes, _ = annotators.annotate(found.codes[picked])
    consensus_label, drawn = consensus(votes, annotators.consensus), found.take(picked)
    causes = causes_of_mistakes(
        consensus_label, drawn.label, drawn.prediction, drawn.raw_failure, drawn.reconstruction_failure
    )
    given, everything = consensus_label != ABSTAIN, np.ones(len(picked), bool)
    return {
        "judged": len(picked),
        **{cause.replace(" ", "_"): share(causes == cause, everything) for cause in Cause},
        "recognisable": share(given, everything),
        "label_kept": share(consensus_label == drawn.label, given),
    }


def search_row(
    annotators: Annotators,
    seeds: Seeds,
    search: params.Search,
    judged: int,
    key: UInt64[np.ndarray, "2"],
    generator: np.random.Generator,
    description: str,
) -> dict[str, float]:
    """What a whole search finds, and the causes of equally many of its mistakes.

    Args:
        annotators: oracles and networks.
        seeds: the seed images; `search.seed_source` is not used.
        search: noise, draws and keep.
        judged: mistakes that the oracles label, drawn at random; all where there are fewer.
        key: of the noise streams.
        generator: draws the judged mistakes.
        description: shown by the progress bar.

    Returns:
        seed_images, draws and mistakes (kept): counts; wrong_draws: share of the draws;
        seeds_with_mistake: share of seed images; noise_norm: mean L2 noise of the kept mistakes;
        what `judge_mistakes` gives;
        draws_per_classifier_mistake: how many draws one kept mistake of the classifier costs, infinite without one.
        NaN where there is nothing to measure.
    """
    found = find_mistakes(annotators.subject, seeds, search, key, description)
    count, judged_mistakes = len(found.label), judge_mistakes(annotators, found, judged, generator)
    mistakes = judged_mistakes["classifier_mistake"] * count
    return {
        "seed_images": len(seeds.label),
        "draws": found.draws,
        "mistakes": count,
        "wrong_draws": found.wrong_draws / found.draws if found.draws else float("nan"),
        "seeds_with_mistake": len(np.unique(found.seed_index)) / max(len(seeds.label), 1),
        "noise_norm": float(found.noise_norm.mean()) if count else float("nan"),
        **judged_mistakes,
        "draws_per_classifier_mistake": cost_of_each(mistakes, found.draws),
    }
