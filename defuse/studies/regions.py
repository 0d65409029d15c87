"""Ablations of the regions: how far draws may spread (tau), and how the mixture divides the codes."""

import numpy as np
import torch
from jaxtyping import Float32

from defuse.annotators.oracles import Annotators, judge_regions
from defuse.core import params
from defuse.core.statistics import share
from defuse.core.verdicts import RegionVerdict
from defuse.method.annotation import ABSTAIN, consensus, judge_region
from defuse.method.distillation import Regions, sample_regions
from defuse.models.evaluation import decode


def region_variety(annotators: Annotators, codes: Float32[np.ndarray, "samples latent"]) -> float:
    """Mean distance between two decoded draws of a region, L2 over pixels in [0, 1]; NaN for fewer than two.

    Args:
        annotators: whose VAE decodes.
        codes: the region's draws.
    """
    distances = torch.pdist(decode(annotators.subject.vae, torch.from_numpy(codes)).flatten(1))
    return float(distances.mean())


def tau_row(
    annotators: Annotators,
    regions: Regions,
    tau: float,
    samples: int,
    settings: params.Annotate,
    generator: np.random.Generator,
) -> dict[str, float]:
    """What draws of N(mean, tau * covariance) are like, over all regions.

    Args:
        annotators: oracles and networks.
        regions: as distilled.
        tau: factor on the covariances.
        samples: draws of each region.
        settings: thresholds of the annotation.
        generator: of the draws.

    Returns:
        regions and accepted: counts; means over regions (NaN without any) of variety (`region_variety`), failure_rate
        (of the draws with a consensus of the oracles, the share where it contradicts the classifier; a region without
        such a draw takes no part), recognisable (share of the draws with a consensus) and agreement.
    """
    import pandas as pd

    rows, columns = [], ["variety", "failure_rate", "recognisable", "agreement", "accepted"]
    for codes in sample_regions(regions, samples, tau, generator):
        votes, predictions = annotators.annotate(codes)
        consensus_label = consensus(votes, annotators.consensus)
        judged = judge_region(votes, predictions, settings.minimum_agreement, settings)
        given = consensus_label != ABSTAIN
        rows.append(
            (
                region_variety(annotators, codes),
                share(consensus_label != predictions, given),
                given.mean(),
                judged.agreement,
                judged.verdict == RegionVerdict.ACCEPTED,
            )
        )
    table = pd.DataFrame(rows, columns=columns)
    return {"regions": len(regions), "accepted": int(table.accepted.sum()), **table[columns[:4]].mean().to_dict()}


def mixture_row(
    annotators: Annotators,
    regions: Regions,
    settings: params.Distill,
    annotate: params.Annotate,
    generator: np.random.Generator,
) -> dict[str, float]:
    """What one mixture's regions are like.

    Args:
        annotators: oracles and networks.
        regions: of the mixture.
        settings: tau, and how many draws the annotators are shown.
        annotate: thresholds of the annotation.
        generator: of the draws.

    Returns:
        regions and accepted: counts; coverage: share of the codes in a region; largest_weight (0 without regions);
        agreement: mean over regions; iterations; converged (0 or 1).
    """
    import pandas as pd

    shown = sample_regions(regions, settings.shown_samples, settings.tau, generator)
    judged = judge_regions(annotators, shown, annotate)
    agreement = pd.Series([item.agreement for item in judged], dtype=float)
    return {
        "regions": len(regions),
        "accepted": sum(item.verdict == RegionVerdict.ACCEPTED for item in judged),
        "coverage": float((regions.assignment >= 0).mean()) if len(regions.assignment) else 0.0,
        "largest_weight": float(regions.weight.max(initial=0.0)),
        "agreement": float(agreement.mean()),
        "iterations": regions.iterations,
        "converged": int(regions.converged),
    }
