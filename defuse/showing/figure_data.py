"""The images, codes and coordinates behind the figures of one cell, small enough for git."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from defuse.core import params
from defuse.core.verdicts import RegionVerdict
from defuse.data.pixels import to_bytes
from defuse.evidence.bugs import clearest_first
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import decode, encode, predict

if TYPE_CHECKING:
    import pandas


def order_regions(regions: "pandas.DataFrame", count: int) -> Int64[np.ndarray, "shown"]:
    """Numbers of the regions to show: the accepted ones first, then by their share of the mistakes."""
    accepted = regions.verdict == RegionVerdict.ACCEPTED
    ordered = regions.assign(rejected=~accepted).sort_values(["rejected", "share_of_mistakes"], ascending=[True, False])
    return ordered.region.to_numpy(np.int64)[:count]  # of an empty column pandas makes objects


def regions_to_show(regions: "pandas.DataFrame", count: int) -> Int64[np.ndarray, "shown"]:
    """As `order_regions`, with the clearest bug before all others: the atlas shows it however small it is."""
    ordered = order_regions(regions, len(regions))
    return ordered[clearest_first(ordered, regions, params.DESCRIBED)][:count]


def embed_codes(
    codes: Float32[np.ndarray, "codes latent"], perplexity: float, random_state: int
) -> Float32[np.ndarray, "codes 2"]:
    """Coordinates of latent codes by t-SNE."""
    from sklearn.manifold import TSNE

    perplexity = min(perplexity, max((len(codes) - 1) / 3, 1.0))
    init = "pca" if codes.shape[1] > 1 else "random"  # one dimension has no second component
    embedding = TSNE(perplexity=perplexity, init=init, random_state=random_state, n_jobs=1)
    return embedding.fit_transform(codes).astype(np.float32)


def identified_data(
    mistakes: dict[str, np.ndarray],
    votes: dict[str, np.ndarray],
    images: Float32[Tensor, "images channels height width"],
    vae: VAE,
    count: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Randomly drawn annotated mistakes beside their seed images and plain reconstructions.

    Args:
        mistakes: arrays of the stage identify.
        votes: arrays of the stage annotate.
        images: the seed images' split.
        vae: decodes the mistakes.
        count: at most how many to draw.
        generator: of the draw.
    """
    picked = np.sort(generator.choice(len(votes["drawn"]), min(count, len(votes["drawn"])), replace=False))
    drawn = votes["drawn"][picked]
    seeds = images[torch.from_numpy(mistakes["seed_index"][drawn])]
    return {
        "seed_images": to_bytes(seeds),
        "reconstructions": to_bytes(decode(vae, encode(vae, seeds)[0])),
        "mistakes": to_bytes(decode(vae, torch.from_numpy(mistakes["codes"][drawn]))),
        "label": mistakes["label"][drawn],
        "prediction": mistakes["prediction"][drawn],
        "cause": votes["cause"][picked],
    }


def region_data(
    regions: "pandas.DataFrame",
    samples: Float32[np.ndarray, "regions samples latent"],
    votes: dict[str, np.ndarray],
    prediction_after: Int64[np.ndarray, "regions samples"],
    vae: VAE,
    count: int,
) -> dict[str, np.ndarray]:
    """The shown draws of the regions worth showing.

    With them come the votes on each, and the classifier's predictions before and after correction.

    Args:
        regions: the cell's table of regions.
        samples: codes that the annotators saw.
        votes: arrays of the stage annotate.
        prediction_after: the corrected classifier's.
        vae: decodes the codes.
        count: at most how many regions.
    """
    chosen = regions_to_show(regions, count)
    codes = torch.from_numpy(samples[chosen])
    images = to_bytes(decode(vae, codes.reshape(-1, codes.shape[-1])))
    return {
        "region": chosen,
        "images": images.reshape(*codes.shape[:2], *images.shape[1:]),
        "prediction": votes["shown_predictions"][chosen],
        "prediction_after": prediction_after[chosen],
        "votes": votes["shown"][chosen],
    }


def member_data(
    regions: "pandas.DataFrame",
    members: dict[str, np.ndarray],
    mistakes: dict[str, np.ndarray],
    images: Float32[Tensor, "images channels height width"],
    vae: VAE,
    settings: params.Summarize,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Mistakes drawn from the regions worth showing, beside their seed images; `region` numbers each one's region.

    Args:
        regions: the cell's table of regions.
        members: `mistake` and `assignment` of the stage distill.
        mistakes: arrays of the stage identify.
        images: the seed images' split.
        vae: decodes the mistakes.
        settings: how many regions, and how many mistakes of each.
        generator: of the draws.
    """
    picked, region_of = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for region in regions_to_show(regions, settings.shown_regions):
        own = members["mistake"][members["assignment"] == region]
        drawn = np.sort(generator.choice(own, min(settings.shown_members, len(own)), replace=False))
        picked.append(drawn)
        region_of.append(np.full(len(drawn), region))
    drawn = np.concatenate(picked)
    return {
        "region": np.concatenate(region_of),
        "seed_images": to_bytes(images[torch.from_numpy(mistakes["seed_index"][drawn])]),
        "mistakes": to_bytes(decode(vae, torch.from_numpy(mistakes["codes"][drawn]))),
        "label": mistakes["label"][drawn],
        "prediction": mistakes["prediction"][drawn],
    }


def novelty_data(
    neighbours: dict[str, np.ndarray], regions: "pandas.DataFrame", settings: params.Summarize
) -> dict[str, np.ndarray]:
    """The first failing samples of each region worth showing, and the training mistakes nearest to them.

    Args:
        neighbours: arrays of the stage novelty, rows in the order of the regions.
        regions: the cell's table of regions.
        settings: how many regions, samples of each and neighbours of each sample.
    """
    import pandas as pd

    rank = pd.Series(neighbours["region"]).groupby(neighbours["region"]).cumcount().to_numpy()
    shown = np.isin(neighbours["region"], regions_to_show(regions, settings.shown_regions))
    kept = {name: values[shown & (rank < settings.shown_members)] for name, values in neighbours.items()}
    by_neighbour = ("distance", "neighbour", "neighbour_label", "neighbour_prediction")
    return {**kept, **{name: kept[name][:, : settings.shown_neighbours] for name in by_neighbour}}


def interpolation_data(
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[Tensor, "images"],
    vae: VAE,
    classifier: nn.Module,
    settings: params.Summarize,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Straight lines through the latent space between pairs of test images of different classes (post, figure 2).

    Args:
        images: test images.
        labels: their labels.
        vae: encodes the ends and decodes what lies between.
        classifier: predicts the decoded images' classes.
        settings: how many pairs, and how many steps from one image to the other.
        generator: draws the pairs.

    Returns:
        ends uint8 (P, 2, H, W, C), the test images; end_label int64 (P, 2); images uint8 (P, steps, H, W, C), decoded,
        the first and the last from the ends' own codes; prediction int64 (P, steps), the classifier's.
    """
    order = generator.permutation(len(labels))
    first = order[: len(order) // 2]
    second = order[len(order) // 2 : 2 * len(first)]
    pairs = np.stack([first, second], axis=1)
    pairs = pairs[labels[first].numpy() != labels[second].numpy()][: settings.shown_pairs]
    ends = images[torch.from_numpy(pairs.reshape(-1))]
    means = encode(vae, ends)[0]
    codes = means.reshape(len(pairs), 2, means.shape[1])
    weight = torch.linspace(0, 1, settings.interpolation_steps)[:, None]
    lines = (1 - weight) * codes[:, :1] + weight * codes[:, 1:]
    decoded = decode(vae, lines.flatten(0, 1))
    shape = (len(pairs), settings.interpolation_steps)
    pictures = to_bytes(decoded)
    return {
        "ends": to_bytes(ends).reshape(len(pairs), 2, *pictures.shape[1:]),
        "end_label": labels.numpy()[pairs],
        "images": pictures.reshape(*shape, *pictures.shape[1:]),
        "prediction": predict(classifier, decoded).argmax(1).numpy().reshape(shape),
    }


def tsne_data(
    mistakes: dict[str, np.ndarray],
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[Tensor, "images"],
    vae: VAE,
    settings: params.Summarize,
    random_state: int,
) -> dict[str, np.ndarray]:
    """t-SNE of training codes and mistakes' codes together, and three decoded mistakes (paper's figure).

    Mistakes of the VAE, whose seed image is right and its plain reconstruction wrong, are left out.
    """
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
        "training": coordinates[: len(training)],
        "training_label": labels[training].numpy(),
        "mistakes": coordinates[len(training) :],
        "shown": shown,
        "images": to_bytes(decode(vae, torch.from_numpy(mistakes["codes"][picked[shown]]))),
        "label": mistakes["label"][picked[shown]],
        "prediction": mistakes["prediction"][picked[shown]],
    }
