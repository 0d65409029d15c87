"""The validation split, and the arrays that the stage prepare writes."""

import numpy as np
from jaxtyping import Bool, Int64

from defuse.core.errors import DataError
from defuse.data.sources import Source, to_side


def split_validation(source: Source, fraction: float, random_state: int) -> Bool[np.ndarray, "images"]:
    """Which training images become validation; stratified, no group on both sides, every class on both.

    With groups the share is that of one of round(1 / fraction) folds, and of one group more for each class that this
    fold lacks.

    Raises:
        DataError: a class has too few images or groups to be on both sides, or so many groups more are needed that
            validation would be more than twice the fraction.
    """
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    labels, groups = source.y_train, source.group_train
    chosen = np.zeros(len(labels), bool)
    try:
        if groups is None:
            indices = np.arange(len(chosen))
            _, validation = train_test_split(indices, test_size=fraction, stratify=labels, random_state=random_state)
        else:
            folds = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=random_state)
            _, validation = next(folds.split(source.x_train, labels, groups))
    except ValueError as error:
        raise DataError(f"training images cannot be split with validation_fraction {fraction}: {error}") from error
    chosen[validation] = True
    if groups is not None:
        share_groups(labels, groups, chosen, np.random.default_rng(random_state))
    allowed = f"more {'images' if groups is None else 'groups'} of each, or a larger validation_fraction (at most 0.5)"
    for name, part in (("validation", chosen), ("training", ~chosen)):
        missing = sorted(set(labels.tolist()) - set(labels[part].tolist()))
        if missing:
            classes = ", ".join(map(str, missing))
            raise DataError(
                f"with validation_fraction {fraction}, {name} has no image of class {classes}; allowed: {allowed}"
            )
    if chosen.sum() > max(2 * fraction * len(chosen), len(validation)):
        raise DataError(
            f"with validation_fraction {fraction}, a group of each class makes validation {chosen.mean():.0%} of the "
            f"training images; allowed: {allowed}"
        )
    return chosen


def share_groups(
    labels: Int64[np.ndarray, "images"],
    groups: Int64[np.ndarray, "images"],
    chosen: Bool[np.ndarray, "images"],
    generator: np.random.Generator,
) -> None:
    """Move to validation, then to training, one group for each class that is not there; the rest keeps all its classes.

    Args:
        labels: of the training images.
        groups: of the training images; one with few images of the class is taken.
        chosen: which of them are validation; changed in place.
        generator: draws among equally small groups.
    """
    for side in (True, False):
        for label in sorted(set(labels.tolist()) - set(labels[chosen == side].tolist())):
            if (chosen[labels == label] == side).any():  # it came along with another
                continue
            rest = set(labels[chosen != side].tolist())
            numbers, sizes = np.unique(groups[labels == label], return_counts=True)
            for group in numbers[np.lexsort((generator.permutation(len(numbers)), sizes))]:
                if set(labels[(chosen != side) & (groups != group)].tolist()) == rest:
                    chosen[groups == group] = side
                    break


def prepare_arrays(source: Source, validation: Bool[np.ndarray, "images"]) -> dict[str, np.ndarray]:
    """The one array format: `x_<split>` uint8 (N, 32, 32, C), `y_<split>` int64 (N,), three splits."""
    x_train, y_train = to_side(source.x_train), source.y_train.astype(np.int64)
    return {
        "x_train": x_train[~validation],
        "y_train": y_train[~validation],
        "x_validation": x_train[validation],
        "y_validation": y_train[validation],
        "x_test": to_side(source.x_test),
        "y_test": source.y_test.astype(np.int64),
    }
