"""The validation split, and the arrays that the stage prepare writes."""

import numpy as np
from jaxtyping import Bool

from defuse.core.errors import DataError
from defuse.data.sources import Source, to_side


def split_validation(source: Source, fraction: float, random_state: int) -> Bool[np.ndarray, "images"]:
    """Which training images become validation; stratified, and no group on both sides.

    With groups the share is that of one of round(1 / fraction) folds.

    Raises:
        DataError: a class has too few images or groups to be on both sides.
    """
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    chosen = np.zeros(len(source.y_train), bool)
    try:
        if source.group_train is None:
            indices = np.arange(len(chosen))
            _, validation = train_test_split(
                indices, test_size=fraction, stratify=source.y_train, random_state=random_state
            )
        else:
            folds = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=random_state)
            _, validation = next(folds.split(source.x_train, source.y_train, source.group_train))
    except ValueError as error:
        raise DataError(f"training images cannot be split with validation_fraction {fraction}: {error}") from error
    chosen[validation] = True
    missing = sorted(set(source.y_train.tolist()) - set(source.y_train[~chosen].tolist()))
    if missing:
        raise DataError(f"too few groups: validation took every image of class {', '.join(map(str, missing))}")
    return chosen


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
