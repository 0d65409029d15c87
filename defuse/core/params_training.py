"""Models of `params.yaml`, first part: machine, data and trainings; `defuse.core.params` has the rest."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

DatasetName = Literal["digits", "mnist", "svhn", "gtsrb"]
Likelihood = Literal["bernoulli", "gaussian", "ssim"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
WeightDecay = Annotated[float, Field(ge=0, le=1e38)]
LearningRate = Annotated[float, Field(gt=0, le=1e38)]  # torch fails where float32 ends
Count = Annotated[int, Field(ge=1, lt=2**63)]  # torch and NumPy count in 64 bits


def plain_name(name: str) -> str:
    """A name that figures show unlike any other: they make a space of each `_`, and join names by spaces."""
    if not re.fullmatch(r"[A-Za-z0-9](_?[A-Za-z0-9.+-])*", name):
        raise ValueError(
            "Input should be letters, digits, '.', '+', '-' with single '_' between, a letter or digit first"
        )
    return name


Name = Annotated[str, AfterValidator(plain_name)]


def told_apart(values: Sequence[float | None]) -> Sequence[float | None]:
    """Values of which each names an arm, a random stream or a tick: no two are shown alike."""
    shown: dict[str, str] = {}
    for value in values:
        name, whole = ("null", "null") if value is None else (f"{value:g}", str(value))
        if name in shown:
            raise ValueError(f"Input should tell its values apart: {shown[name]} and {whole} are both shown as {name}")
        shown[name] = whole
    return values


Item = TypeVar("Item")
TOLD_APART = AfterValidator(told_apart)
Arms = Annotated[tuple[Item, ...], Field(strict=False, min_length=1), TOLD_APART]  # each value is an arm of its own


class Params(BaseModel):
    """Base of every sub-tree: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Compute(Params):
    """Where and how everything is computed."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    deterministic: bool
    precision: Literal["auto", "float32", "bfloat16"]
    memory_format: Literal["auto", "channels_last", "contiguous"]
    compile: Literal["auto", "always", "never"]


class Prepare(Params):
    """Stage prepare: how images are split."""

    validation_fraction: Annotated[float, Field(gt=0, le=0.5)]
    test_fraction: Annotated[float, Field(gt=0, le=0.5)] | None


class Augmentation(Params):
    """How far training images are distorted; see `augment` for the units."""

    rotation: Annotated[float, Field(ge=0, le=180)]
    translation: Annotated[float, Field(ge=0, le=0.5)]
    scaling: Annotated[float, Field(ge=0, lt=1)]
    elastic: NonNegative
    blur: Share
    contrast: Annotated[float, Field(ge=0, lt=1)]
    brightness: Share


class Optimizer(Params):
    """An optimiser without its learning rate and decay."""

    optimizer: Literal["sgd", "adam"]
    momentum: Annotated[float, Field(ge=0, lt=1)] | None
    batch_size: Count

    @field_validator("momentum")
    @classmethod
    def belongs_to_sgd(cls, momentum: float | None, info: ValidationInfo) -> float | None:
        """Check that there is a momentum with SGD, and none with Adam."""
        optimizer = info.data.get("optimizer")
        if optimizer and (momentum is None) != (optimizer == "adam"):
            raise ValueError(f"Input should be {'a number' if momentum is None else 'null'} with {optimizer}")
        return momentum


class Optimisation(Optimizer):
    """An optimiser with one learning rate, and a decay of the weights."""

    learning_rate: LearningRate
    weight_decay: WeightDecay


class Training(Optimisation):
    """A training of so many epochs."""

    epochs: Count
    schedule: Literal["constant", "one_cycle"]


class Network(Params):
    """An architecture and its size."""

    architecture: Literal["small_cnn", "vgg", "small_residual", "resnet18"]
    width: Count | None
    stem: Literal["imagenet", "pooled_3x3", "cifar"] | None

    @field_validator("width", "stem")
    @classmethod
    def fits_the_architecture(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        """Check that ResNet-18 has a stem, and the other architectures a width."""
        architecture = info.data.get("architecture")
        null_for_resnet = info.field_name == "width"
        if architecture and (value is None) != ((architecture == "resnet18") == null_for_resnet):
            allowed = "a whole number of at least 1" if null_for_resnet else "'imagenet', 'pooled_3x3' or 'cifar'"
            raise ValueError(f"Input should be {allowed if value is None else 'null'} with {architecture}")
        return value


class TrainClassifier(Training):
    """Stage train_classifier: the classifier that is debugged."""

    network: Network
    initial_weights: Literal["imagenet"] | None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation

    @field_validator("initial_weights")
    @classmethod
    def belong_to_resnet18(cls, weights: str | None, info: ValidationInfo) -> str | None:
        """Check that weights to start from are asked only for ResNet-18."""
        network = info.data.get("network")
        if weights and network and network.architecture != "resnet18":
            raise ValueError(f"Input should be null with {network.architecture}")
        return weights


class TrainVAE(Training):
    """Stage train_vae: the autoencoder, its loss and its training."""

    latent_dim: Count
    width: Count
    batch_norm: bool
    likelihood: Likelihood
    beta: NonNegative
    warmup_share: Share
    feature_weight: NonNegative


class TrainReleasedVAE(TrainVAE):
    """Stage train_released_vae: the autoencoder of the released code."""

    @field_validator("feature_weight")
    @classmethod
    def is_zero(cls, weight: float) -> float:
        """Check that there is no feature term: the stage reads no network for it."""
        if weight:
            raise ValueError("Input should be 0: the released autoencoder has no feature term")
        return weight


class TrainFeatures(Training):
    """Stage train_features: the vgg in whose layers the autoencoder's feature term compares images."""

    width: Count
    augmentation: Augmentation


class TrainOracle(Training):
    """Stage train_oracle: the annotators' networks."""

    networks: tuple[Network, ...] = Field(strict=False, min_length=2)
    augmentation: Augmentation
    blend_fraction: Annotated[float, Field(ge=0, lt=1)]


class Checking(Params):
    """When a checker sees a label, and when it cannot work."""

    blends_passed: Annotated[float, Field(gt=0, lt=1)]
    minimum_originals: Share
    maximum_blends: Share

    @field_validator("maximum_blends")
    @classmethod
    def at_least_blends_passed(cls, maximum_blends: float, info: ValidationInfo) -> float:
        """Check that the threshold aimed at would do."""
        if maximum_blends < info.data.get("blends_passed", 0):
            raise ValueError(f"Input should be at least blends_passed ({info.data['blends_passed']})")
        return maximum_blends


class TrainChecker(Training):
    """Stage train_checker: a network trained like an annotator's, and never asked as one."""

    network: Network
    augmentation: Augmentation
    blend_fraction: Annotated[float, Field(ge=0, lt=1)]


class CalibrateOracle(Params):
    """Stage calibrate_oracle: when an oracle says "not recognisable"."""

    originals_recognised: Annotated[float, Field(gt=0, lt=1)]


def file_of_votes(name: str) -> str:
    """The name of a file of votes, as the page writes it, in the folder that the stage vote depends on."""
    if not re.fullmatch(r"votes/votes-[^/\\]+\.csv", name):
        raise ValueError("Input should be votes/votes-NAME.csv, a file in the folder votes/")
    return name


class Vote(Params):
    """Stage vote: whose votes decide on the regions."""

    files: Annotated[tuple[Annotated[str, AfterValidator(file_of_votes)], ...], Field(strict=False)]

    @field_validator("files")
    @classmethod
    def hold_none_twice(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        """Check that no file is there twice."""
        if len(set(files)) != len(files):
            raise ValueError("Input should hold no file twice")
        return files
