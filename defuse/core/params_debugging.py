"""Models of `defuse/debugging/defaults.yaml`: the settings of a run on a user's own classifier."""

from typing import Annotated, Literal

from pydantic import Field

from defuse.core.params import Acceptance, Checking, Correct, MinimumMembers, NoisySearch, Samples
from defuse.core.params_training import (
    Augmentation,
    Compute,
    Count,
    Params,
    Seed,
    TrainChecker,
    TrainFeatures,
    TrainVAE,
    WeightDecay,
)


class CorrectOwn(Correct):
    """Fine-tuning of a classifier whose own recipe nobody knows here."""

    weight_decay: WeightDecay
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation | None


class Debugging(Params):
    """Everything that a run on one's own classifier can change."""

    seed: Seed
    side: Literal["auto", 32, 48, 64, 96]
    regions: Count
    minimum_members: MinimumMembers
    validation_share: Annotated[float, Field(gt=0, le=0.5)]
    test_share: Annotated[float, Field(gt=0, le=0.5)]
    max_seed_images: Count | None
    minimum_steps: Count
    compute: Compute
    train_features: TrainFeatures
    train_checker: TrainChecker
    train_vae: TrainVAE
    search: NoisySearch
    checking: Checking
    samples: Samples
    acceptance: Acceptance
    correct: CorrectOwn
