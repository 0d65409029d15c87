"""Novelty: are regions other types of error than the misclassified training images?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int64

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Errors:
    """Images that the classifier gets wrong.

    Attributes:
        images: in [0, 1].
        label: what they are.
        prediction: what the classifier says.
    """

    images: Float32[np.ndarray, "images channels height width"]
    label: Int64[np.ndarray, "images"]
    prediction: Int64[np.ndarray, "images"]

    @property
    def pair(self) -> Int64[np.ndarray, "images 2"]:
        """Label and prediction."""
        return np.stack([self.label, self.prediction], axis=1)


@dataclass(frozen=True)
class Neighbours:
    """Nearest misclassified training images of region samples.

    Attributes:
        index: positions among the misclassified images, nearest first.
        distance: L2 distance over pixels in [0, 1].
        reference_distance: distance of each misclassified image to its nearest other one.
    """

    index: Int64[np.ndarray, "samples neighbours"]
    distance: Float[np.ndarray, "samples neighbours"]
    reference_distance: Float[np.ndarray, "mistakes"]


def nearest_mistakes(
    samples: Float32[np.ndarray, "samples channels height width"],
    misclassified: Float32[np.ndarray, "mistakes channels height width"],
    neighbours: int,
) -> Neighbours:
    """Find the neighbours in pixel space, where the paper shows them.

    Args:
        samples: region samples, in [0, 1].
        misclassified: training images that the classifier gets wrong.
        neighbours: how many to return; at most as many as there are misclassified images.
    """
    count = min(neighbours, len(misclassified))
    if count == 0 or len(samples) == 0:
        empty = np.zeros((len(samples), count))
        return Neighbours(empty.astype(np.int64), empty, np.zeros(0))
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(misclassified.reshape(len(misclassified), -1))
    distance, index = search.kneighbors(samples.reshape(len(samples), -1))
    reference = search.kneighbors(n_neighbors=1)[0][:, 0] if len(misclassified) > 1 else np.zeros(0)
    return Neighbours(index, distance, reference)


def distance_within_pair(
    images: Float32[np.ndarray, "images channels height width"],
    pairs: Int64[np.ndarray, "images 2"],
    mistakes: Errors,
) -> Float[np.ndarray, "images"]:
    """Distance (L2 over pixels) of each image to the nearest of `mistakes` that has its pair; NaN where none has."""
    distance = np.full(len(images), np.nan)
    for pair in np.unique(pairs, axis=0):
        own, known = (pairs == pair).all(1), (mistakes.pair == pair).all(1)
        if known.any():
            distance[own] = nearest_mistakes(images[own], mistakes.images[known], 1).distance[:, 0]
    return distance


def known_distance(mistakes: Errors, look_quantile: float) -> float:
    """How near misclassified training images of one pair usually lie: below it an error looks like a known one.

    Args:
        mistakes: the misclassified training images.
        look_quantile: quantile, over those images, of the distance (L2 over pixels) to the nearest other one of the
            same pair. An image that is the only one of its pair has none.

    Returns:
        The distance; NaN where every image is the only one of its pair.
    """
    nearest = [np.zeros(0)]
    for pair in np.unique(mistakes.pair, axis=0):
        own = mistakes.images[(mistakes.pair == pair).all(1)]
        nearest.append(nearest_mistakes(own, own, 1).reference_distance)
    distances = np.concatenate(nearest)
    return float(np.quantile(distances, look_quantile)) if len(distances) else float("nan")


def error_table(
    errors: Errors, region: Int64[np.ndarray, "images"], mistakes: Errors, look_quantile: float
) -> "pandas.DataFrame":
    """Whether each region is another type of error than any misclassified training image.

    A region's pair is its label and the most frequent prediction of its images (the lowest of equally frequent ones).
    Its type is known if a misclassified training image has that pair and looks like it: the median distance of the
    region's images to the nearest one of that pair is at most `known_distance`.

    Args:
        errors: images that the classifier gets wrong, all of a region with one label.
        region: the region of each; to measure single images, give each a number of its own.
        mistakes: the misclassified training images.
        look_quantile: see `known_distance`.

    Returns:
        A row per region: region, label, prediction, failing (its images), distance (NaN where no misclassified training
        image has the pair), known_distance (NaN where any of the pair is near enough), new_pair, new_look (the pair is
        known, the look is not) and new_type (one of both).
    """
    import pandas as pd

    regions, first, place = np.unique(region, return_index=True, return_inverse=True)
    said = np.zeros((len(regions), errors.prediction.max(initial=0) + 1), np.int64)
    np.add.at(said, (place, errors.prediction), 1)
    label, prediction = errors.label[first], said.argmax(1)
    distance = distance_within_pair(errors.images, np.stack([label, prediction], axis=1)[place], mistakes)
    table = pd.DataFrame(
        {
            "region": regions,
            "label": label,
            "prediction": prediction,
            "failing": np.bincount(place, minlength=len(regions)),
            "distance": pd.Series(distance).groupby(place).median().to_numpy(),
            "known_distance": known_distance(mistakes, look_quantile),
        }
    )
    table["new_pair"] = table.distance.isna()
    table["new_look"] = table.distance > table.known_distance
    table["new_type"] = table.new_pair | table.new_look
    return table


def novelty_measures(regions: "pandas.DataFrame", test_errors: "pandas.DataFrame") -> dict[str, float]:
    """Shares of new types of error among the accepted regions, and among the classifier's errors on test images.

    The second is the null: so much is new to the misclassified training images without any search.

    Args:
        regions: `error_table` of the failing draws of accepted regions.
        test_errors: `error_table` of the misclassified test images, each as a region of one image.

    Returns:
        regions, new_pair, new_type; test_errors, new_pair_of_test_errors, new_type_of_test_errors;
        new_type_above_test_errors, the difference. Shares are NaN where there is nothing to measure.
    """

    def share(table: "pandas.DataFrame", column: str) -> float:
        return float(table[column].mean()) if len(table) else float("nan")

    found, null = share(regions, "new_type"), share(test_errors, "new_type")
    return {
        "regions": len(regions),
        "new_pair": share(regions, "new_pair"),
        "new_type": found,
        "test_errors": len(test_errors),
        "new_pair_of_test_errors": share(test_errors, "new_pair"),
        "new_type_of_test_errors": null,
        "new_type_above_test_errors": found - null,
    }


def neighbour_measures(
    errors: Errors, region: Int64[np.ndarray, "images"], mistakes: Errors, neighbours: Neighbours
) -> dict[str, float]:
    """What the nearest misclassified training images, of any pair, are like.

    Args:
        errors: failing draws of accepted regions.
        region: the region of each.
        mistakes: the misclassified training images.
        neighbours: of those draws among those images.

    Returns:
        unlike_neighbour: share of regions of which more than half of the draws have a neighbour with another pair; 1
        without any misclassified training image, NaN without a draw;
        median_distance and median_reference_distance: of draws to the nearest misclassified training image, and from
        one of these to the nearest other; NaN where there is none.
    """
    compared = len(errors.label) > 0 and len(mistakes.label) > 0
    unlike = np.ones(len(errors.label))
    if compared:
        unlike = (mistakes.pair[neighbours.index[:, 0]] != errors.pair).any(1)
    regions = np.array([unlike[region == number].mean() > 0.5 for number in np.unique(region)])
    reference = neighbours.reference_distance
    return {
        "unlike_neighbour": float(regions.mean()) if len(regions) else float("nan"),
        "median_distance": float(np.median(neighbours.distance[:, 0])) if compared else float("nan"),
        "median_reference_distance": float(np.median(reference)) if len(reference) else float("nan"),
    }
