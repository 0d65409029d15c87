"""Novelty: region samples against their nearest neighbours among the misclassified training images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64


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


def error_types(
    labels: Int64[np.ndarray, "images"], predictions: Int64[np.ndarray, "images"]
) -> Int64[np.ndarray, "images 2"]:
    """Pairs of label and prediction: what kind of error an image is."""
    return np.stack([labels, predictions], axis=1)


def new_type_shares(
    sample_types: Int64[np.ndarray, "samples 2"], mistake_types: Int64[np.ndarray, "mistakes 2"], neighbours: Neighbours
) -> dict[str, float]:
    """How new the region samples' errors are.

    Args:
        sample_types: of region samples that the classifier gets wrong.
        mistake_types: of the misclassified training images.
        neighbours: of those samples among those images.

    Returns:
        unlike_neighbour: share of samples whose nearest neighbour is another type of error;
        absent_from_training: share whose type no misclassified training image has;
        median_distance and median_reference_distance: to the neighbour, and between misclassified images.
        NaN where there is nothing to compare; without any misclassified image every sample is new.
    """
    if len(sample_types) == 0:
        return dict.fromkeys(
            ("unlike_neighbour", "absent_from_training", "median_distance", "median_reference_distance"), float("nan")
        )
    known = {tuple(pair) for pair in mistake_types.tolist()}
    absent = np.array([tuple(pair) not in known for pair in sample_types.tolist()])
    compared = neighbours.index.shape[1] > 0
    unlike = (mistake_types[neighbours.index[:, 0]] != sample_types).any(1) if compared else np.ones(1)
    reference = neighbours.reference_distance
    return {
        "unlike_neighbour": float(unlike.mean()),
        "absent_from_training": float(absent.mean()),
        "median_distance": float(np.median(neighbours.distance[:, 0])) if compared else float("nan"),
        "median_reference_distance": float(np.median(reference)) if len(reference) else float("nan"),
    }
