"""Models of `params.yaml`: they check every value before any work and hold no default of their own."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

DatasetName = Literal["digits", "mnist", "svhn", "gtsrb"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


def auto_or_count(value: Any) -> Any:
    """`auto` or a whole number from 1; a union of types would report one bad value twice."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError("Input should be 'auto' or a whole number of at least 1")


class ParamsError(Exception):
    """`params.yaml` is unreadable or holds values that are not allowed; the message lists all of them."""


class Params(BaseModel):
    """Base of every sub-tree: frozen, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Compute(Params):
    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    deterministic: bool
    precision: Literal["auto", "float32", "bfloat16"]
    memory_format: Literal["auto", "channels_last", "contiguous"]
    compile: Literal["auto", "always", "never"]


class Prepare(Params):
    validation_fraction: Annotated[float, Field(gt=0, le=0.5)]
    test_fraction: Annotated[float, Field(gt=0, le=0.5)] | None


class Augmentation(Params):
    rotation: Annotated[float, Field(ge=0, le=180)]
    translation: Annotated[float, Field(ge=0, le=0.5)]
    scaling: Annotated[float, Field(ge=0, lt=1)]
    elastic: NonNegative
    blur: Share
    contrast: Annotated[float, Field(ge=0, lt=1)]
    brightness: Share


class Optimizer(Params):
    optimizer: Literal["sgd", "adam"]
    momentum: Annotated[float, Field(ge=0, lt=1)] | None
    weight_decay: NonNegative
    batch_size: Count

    @model_validator(mode="after")
    def momentum_belongs_to_sgd(self) -> "Optimizer":
        if (self.optimizer == "sgd") != (self.momentum is not None):
            raise ValueError(f"momentum is {self.momentum}; allowed: a number with sgd, null with adam")
        return self


class Optimisation(Optimizer):
    learning_rate: Positive


class Training(Optimisation):
    epochs: Count
    schedule: Literal["constant", "one_cycle"]


class Network(Params):
    architecture: Literal["small_cnn", "vgg", "small_residual", "resnet18"]
    width: Count | None
    stem: Literal["imagenet", "pooled_3x3", "cifar"] | None

    @model_validator(mode="after")
    def stem_or_width(self) -> "Network":
        if (self.architecture == "resnet18") != (self.stem is not None):
            raise ValueError("stem is given for resnet18 and null for every other architecture")
        if (self.architecture == "resnet18") != (self.width is None):
            raise ValueError("width is null for resnet18 and a whole number for every other architecture")
        return self


class TrainClassifier(Training):
    network: Network
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Augmentation


class TrainVAE(Training):
    latent_dim: Count
    width: Count
    batch_norm: bool
    likelihood: Literal["bernoulli", "gaussian", "ssim"]
    beta: NonNegative
    warmup_steps: Annotated[int, Field(ge=0)]


class TrainOracle(Training):
    networks: tuple[Network, ...] = Field(strict=False, min_length=2)
    augmentation: Augmentation
    blend_fraction: Annotated[float, Field(ge=0, lt=1)]
    originals_recognised: Annotated[float, Field(gt=0, lt=1)]


class Noise(Params):
    distribution: Literal["beta", "normal", "posterior"]
    concentration: Positive | None
    centred: bool | None
    scale: Positive | None

    @model_validator(mode="after")
    def fits_the_distribution(self) -> "Noise":
        is_beta = self.distribution == "beta"
        if is_beta and (self.concentration is None or self.centred is None or self.scale is not None):
            raise ValueError("beta noise takes concentration and centred, and scale is null")
        if not is_beta and (self.scale is None or self.concentration is not None or self.centred is not None):
            raise ValueError(f"{self.distribution} noise takes scale; concentration and centred are null")
        return self


class Identify(Params):
    seed_source: Literal["train", "test", "train_correct"]
    max_seed_images: Count | None
    noise: Noise
    draws: Count
    keep: Count
    batch_size: Annotated[int | Literal["auto"], PlainValidator(auto_or_count)]

    @model_validator(mode="after")
    def keep_at_most_draws(self) -> "Identify":
        if self.keep > self.draws:
            raise ValueError(f"keep ({self.keep}) must not exceed draws ({self.draws})")
        return self


class Distill(Params):
    include_reconstruction_failures: bool
    fit_codes: Annotated[int, Field(ge=2)]
    components: Annotated[int, Field(ge=1)]
    concentration_prior: Positive | None
    max_iterations: Count
    minimum_weight: Annotated[float, Field(gt=0, lt=1)]
    tau: Positive
    shown_samples: Count
    correction_samples: Count
    validation_samples: Count
    test_samples: Count

    @model_validator(mode="after")
    def components_at_most_codes(self) -> "Distill":
        if self.components > self.fit_codes:
            raise ValueError(f"components ({self.components}) must not exceed fit_codes ({self.fit_codes})")
        return self


class Annotate(Params):
    minimum_agreement: Share
    strictness: tuple[Share, ...] = Field(strict=False, min_length=1)
    maximum_abstention: Share
    minimum_failures: Share
    slip_rate: Share
    annotated_mistakes: Count


class FineTuning(Optimisation):
    steps: Count
    maximum_accuracy_drop: Share


class Correct(FineTuning):
    lambdas: tuple[NonNegative, ...] = Field(strict=False, min_length=2)

    @model_validator(mode="after")
    def lambdas_start_at_the_control(self) -> "Correct":
        if self.lambdas[0] != 0 or list(self.lambdas) != sorted(set(self.lambdas)):
            raise ValueError("lambdas must start with 0 (the control without regions) and increase")
        return self


class FinetuneBaseline(Optimizer):
    learning_rates: tuple[Positive, ...] = Field(strict=False, min_length=1)
    steps: Count
    maximum_accuracy_drop: Share


class Novelty(Params):
    samples: Count
    neighbours: Count


class AblateNoise(Params):
    seed_images: Count
    draws: Count
    noises: dict[str, Noise] = Field(min_length=1)


class Summarize(Params):
    tsne_codes: Annotated[int, Field(ge=10)]
    tsne_perplexity: Positive
    shown_regions: Count
    shown_mistakes: Count


class Claims(Params):
    minimum_seeds: Annotated[int, Field(ge=2)]
    region_accuracy: Share
    accuracy_drop: Share
    agreement: Share
    new_error_types: Share
    labels_kept: Share


class Settings(Params):
    """All of `params.yaml`."""

    datasets: tuple[DatasetName, ...] = Field(strict=False, min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(strict=False, min_length=1)
    compute: Compute
    prepare: dict[DatasetName, Prepare]
    train_classifier: dict[DatasetName, TrainClassifier]
    train_vae: dict[DatasetName, TrainVAE]
    train_oracle: dict[DatasetName, TrainOracle]
    identify: dict[DatasetName, Identify]
    distill: dict[DatasetName, Distill]
    annotate: dict[DatasetName, Annotate]
    correct: dict[DatasetName, Correct]
    finetune_baseline: dict[DatasetName, FinetuneBaseline]
    novelty: dict[DatasetName, Novelty]
    ablate_noise: dict[DatasetName, AblateNoise]
    summarize: dict[DatasetName, Summarize]
    claims: Claims

    @model_validator(mode="after")
    def whole(self) -> "Settings":
        problems = []
        for name in ("datasets", "seeds"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                problems.append(f"{name} holds a value twice: {list(values)}")
        for stage in type(self).model_fields:
            tree = getattr(self, stage)
            if isinstance(tree, dict):
                missing = [name for name in self.datasets if name not in tree]
                problems += [f"{stage}.{name} is missing, and datasets names {name}" for name in missing]
        for name, tree in self.prepare.items():
            if (name == "digits") != (tree.test_fraction is not None):
                problems.append(f"prepare.{name}.test_fraction is a number for digits and null for others")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def allowed_keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Keys allowed where `path` ends, found by walking the models down."""
    annotation: Any = model
    for key in path:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(key))
            annotation = field.annotation if field else None
        else:
            annotation = next((part for part in reversed(getattr(annotation, "__args__", ()))
                               if isinstance(part, type) and issubclass(part, BaseModel)), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def describe(error: Mapping[str, Any], path: Path) -> str:
    """One line for one error of pydantic's: file, key path, bad value, what is allowed."""
    where = ".".join(str(part) for part in error["loc"] if part != "[key]") or "the whole file"
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys(Settings, error["loc"][:-1])
        close = difflib.get_close_matches(str(error["loc"][-1]), allowed, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{path}: {where}: unknown key{hint} (allowed: {', '.join(allowed)})"
    if error["type"] == "missing":
        return f"{path}: {where}: this key is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict | list) else f"{error['input']!r} is not allowed: "
    return f"{path}: {where}: {shown}{message}"


def load_params(path: Path) -> Settings:
    """Read and check `params.yaml`.

    Raises:
        ParamsError: with one line for each problem, naming the file, the key path, the bad value and what is
            allowed.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file") from None
    except YAMLError as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from None
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise ParamsError("\n".join(describe(item, path) for item in error.errors())) from None
