"""Models of `params.yaml`: they check every value before any work and hold no default of their own."""

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, PlainValidator, RootModel, ValidationInfo, field_validator

from defuse.core.params_studies import CHAIN_VAE as CHAIN_VAE
from defuse.core.params_studies import AblateRegions, AblateVAE, Claims, PlantBugs, Summarize
from defuse.core.params_studies import ComparedVAE as ComparedVAE
from defuse.core.params_studies import PlantedBug as PlantedBug
from defuse.core.params_studies import Reconstructions as Reconstructions
from defuse.core.params_training import (
    TOLD_APART,
    Arms,
    CalibrateOracle,
    Compute,
    Count,
    DatasetName,
    LearningRate,
    Name,
    NonNegative,
    Optimizer,
    Params,
    Positive,
    Prepare,
    Seed,
    Share,
    TrainChecker,
    TrainClassifier,
    TrainFeatures,
    TrainOracle,
    TrainReleasedVAE,
    TrainVAE,
    Vote,
    WeightDecay,
)
from defuse.core.params_training import Augmentation as Augmentation
from defuse.core.params_training import Checking as Checking
from defuse.core.params_training import Network as Network
from defuse.core.params_training import Optimisation as Optimisation
from defuse.core.params_training import Training as Training

Distribution = Literal["beta", "beta_centred", "normal", "posterior"]
SEARCH_NOISE = "search"  # name of the search's own noise among those compared


def auto_or_count(value: object) -> object:
    """`auto` or a whole number from 1; a union of types would report one bad value twice."""
    if value == "auto" or (type(value) is int and 1 <= value < 2**63):
        return value
    raise ValueError("Input should be 'auto' or a whole number of at least 1")


class Noise(RootModel[dict[Distribution, Positive]]):
    """A distribution and its one parameter, as `{normal: 0.2}`; see `draw_noise` for what each parameter is."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("root")
    @classmethod
    def holds_one(cls, root: dict[Distribution, float]) -> dict[Distribution, float]:
        """Check that there is one distribution."""
        if len(root) != 1:
            *names, last = get_args(Distribution)
            raise ValueError(f"Input should hold exactly one of {', '.join(names)} and {last}")
        return root

    @property
    def distribution(self) -> Distribution:
        """Name of the distribution."""
        return next(iter(self.root))

    @property
    def parameter(self) -> float:
        """The distribution's parameter."""
        return self.root[self.distribution]

    def __str__(self) -> str:
        """Return, for example, "normal 0.2"."""
        return f"{self.distribution} {self.parameter:g}"


def at_most_draws(keep: int, info: ValidationInfo) -> int:
    """`keep`, checked against the `draws` before it."""
    if keep > info.data.get("draws", keep):
        raise ValueError(f"Input should be at most draws ({info.data['draws']})")
    return keep


class Search(Params):
    """A search for mistakes: where it starts, what noise it draws, and what it keeps."""

    seed_source: Literal["train", "test", "train_correct"]
    noise: Noise
    draws: Count
    keep: Count

    @field_validator("keep")
    @classmethod
    def at_most_draws(cls, keep: int, info: ValidationInfo) -> int:
        """Check that no more is kept than is drawn."""
        return at_most_draws(keep, info)


class Identify(Search):
    """Stage identify: the search of the replication."""

    max_seed_images: Count | None
    batch_size: Annotated[int | Literal["auto"], PlainValidator(auto_or_count)]


class Samples(Params):
    """How many images of a region there are at most for each purpose."""

    shown_samples: Count
    correction_samples: Count
    validation_samples: Count
    test_samples: Count


class Distill(Samples):
    """Stage distill: the mixture, its regions and their draws."""

    include_reconstruction_failures: bool
    fit_codes: Annotated[int, Field(ge=2)]
    components: Annotated[int, Field(ge=1)]
    concentration_prior: Positive | None
    max_iterations: Count
    minimum_weight: Annotated[float, Field(gt=0, lt=1)]
    tau: Positive

    @field_validator("components")
    @classmethod
    def at_most_fit_codes(cls, components: int, info: ValidationInfo) -> int:
        """Check that there are codes for all components."""
        if components > info.data.get("fit_codes", components):
            raise ValueError(f"Input should be at most fit_codes ({info.data['fit_codes']})")
        return components


class Acceptance(Params):
    """When annotators' votes make a region a bug."""

    minimum_agreement: Share
    maximum_abstention: Share
    minimum_failures: Share


class Annotate(Acceptance):
    """Stage annotate: when a region is a bug, and which mistakes get a cause."""

    strictness: Arms[Share]
    consensus: Annotated[float, Field(gt=0.5, le=1)]
    slip_rate: Share
    annotated_mistakes: Count


class FineTuning(Optimizer):
    """Fine-tuning of the classifier."""

    steps: Count
    maximum_accuracy_drop: Share


class Correct(FineTuning):
    """Stage correct: fine-tuning with regions, and the lambdas to try.

    Label smoothing, distortions and weight decay are those that the classifier was trained with.
    """

    learning_rate: LearningRate
    lambdas: Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=2), TOLD_APART]

    @field_validator("lambdas")
    @classmethod
    def start_at_the_control(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        """Check that the lambdas start at 0 and increase."""
        if lambdas[0] != 0 or list(lambdas) != sorted(set(lambdas)):
            raise ValueError("Input should start with 0 (the control without regions) and increase")
        return lambdas


class FinetuneBaseline(FineTuning):
    """Stage finetune_baseline: fine-tuning on single mistakes, and the learning rates to try."""

    weight_decay: WeightDecay
    learning_rates: Arms[LearningRate]


class NoisySearch(Params):
    """A search with several noises, each on its own, and whether a checker looks at what it finds."""

    noises: tuple[Noise, ...] = Field(strict=False, min_length=1)
    draws: Count
    keep: Count
    checker: bool

    @field_validator("noises")
    @classmethod
    def differ(cls, noises: tuple[Noise, ...]) -> tuple[Noise, ...]:
        """Check that no noise is there twice: it would find the same mistakes again."""
        if len({str(noise) for noise in noises}) != len(noises):
            raise ValueError("Input should hold no noise twice")
        return noises

    @field_validator("keep")
    @classmethod
    def at_most_draws(cls, keep: int, info: ValidationInfo) -> int:
        """Check that no more is kept than is drawn."""
        return at_most_draws(keep, info)


class Reading(NoisySearch):
    """One reading of the method: how it searches, what it groups, and what annotators are shown."""

    autoencoder: Literal["train_vae", "train_released_vae"]
    include_reconstruction_failures: bool
    groups: Literal["mixture", "pairs"]
    shown: Literal["draws", "members"]
    abstention: bool


RELEASED, DESCRIBED, REPAIRED = "released", "described", "repaired"


MinimumMembers = Annotated[int, Field(ge=4)]  # half of them is shown, and a quarter each chooses and tests


class CompareReadings(Checking):
    """Stage compare_readings: the readings of the method, and what they are compared with."""

    seed_images: Count
    judged_mistakes: Count
    measured_images: Count
    minimum_members: MinimumMembers
    released: Reading
    repaired: Reading
    without: Annotated[tuple[Literal["checker", "pairs", "members", "noises"], ...], Field(strict=False)]
    lambdas: Annotated[tuple[Positive, ...], Field(strict=False, min_length=2), TOLD_APART]
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    kmeans_starts: Count

    @field_validator("without")
    @classmethod
    def hold_none_twice(cls, without: tuple[str, ...]) -> tuple[str, ...]:
        """Check that nothing is taken away twice."""
        if len(set(without)) != len(without):
            raise ValueError("Input should hold no value twice")
        return without

    @field_validator("lambdas")
    @classmethod
    def increase(cls, lambdas: tuple[float, ...]) -> tuple[float, ...]:
        """Check that the lambdas increase: a tie goes to the first."""
        if list(lambdas) != sorted(set(lambdas)):
            raise ValueError("Input should increase")
        return lambdas


def compared_readings(settings: CompareReadings, noise: Noise) -> dict[str, Reading]:
    """The readings that `compare_readings` compares with the main chain, by name.

    Apart from the released and the repaired one these are the repaired one without each single part named in `without`:
    what the main chain has is in its place.

    Args:
        settings: of `compare_readings`.
        noise: of `identify`, on the same data set.
    """
    changes: dict[str, dict[str, object]] = {
        "checker": {"checker": False},
        "pairs": {"groups": "mixture"},
        "members": {"shown": "draws"},
        "noises": {"noises": (noise,)},
    }
    repaired = settings.repaired
    taken_away = {f"without_{name}": repaired.model_copy(update=changes[name]) for name in settings.without}
    return {RELEASED: settings.released, REPAIRED: repaired, **taken_away}


class Novelty(Params):
    """Stage novelty: how many samples and neighbours are compared, and how near a known look is."""

    samples: Count
    neighbours: Count
    look_quantile: Annotated[float, Field(gt=0, le=1)]


class AblateNoise(Params):
    """Stage ablate_noise: the noises to compare."""

    seed_images: Count
    draws: Count
    noises: dict[Name, Noise] = Field(min_length=1)

    @field_validator("noises")
    @classmethod
    def leave_the_search_its_name(cls, noises: dict[str, Noise]) -> dict[str, Noise]:
        """Check that no noise has the name under which the search's own is compared."""
        if SEARCH_NOISE in noises:
            raise ValueError(f"Input should hold no {SEARCH_NOISE}: under that name stands identify's own noise")
        return noises


def compared_noises(noises: dict[str, Noise], own: Noise) -> dict[str, Noise]:
    """The noises that `ablate_noise` compares, by name: with the search's own, as SEARCH_NOISE where none is equal.

    Args:
        noises: of `ablate_noise`.
        own: of `identify`, on the same data set.
    """
    return noises if own in noises.values() else {**noises, SEARCH_NOISE: own}


class AblateSearch(Params):
    """Stage ablate_search: the whole searches to compare."""

    seed_images: Count
    judged_mistakes: Count
    searches: dict[Name, Search] = Field(min_length=1)


class Settings(Params):
    """All of `params.yaml`."""

    datasets: tuple[DatasetName, ...] = Field(strict=False, min_length=1)
    seeds: tuple[Seed, ...] = Field(strict=False, min_length=1)
    study_seeds: tuple[Seed, ...] = Field(strict=False, min_length=1)
    compute: Compute
    prepare: dict[DatasetName, Prepare]
    train_classifier: dict[DatasetName, TrainClassifier]
    train_vae: dict[DatasetName, TrainVAE]
    train_released_vae: dict[DatasetName, TrainReleasedVAE]
    train_oracle: dict[DatasetName, TrainOracle]
    train_features: dict[DatasetName, TrainFeatures]
    train_checker: dict[DatasetName, TrainChecker]
    calibrate_oracle: dict[DatasetName, CalibrateOracle]
    identify: dict[DatasetName, Identify]
    distill: dict[DatasetName, Distill]
    vote: dict[DatasetName, Vote]
    annotate: dict[DatasetName, Annotate]
    correct: dict[DatasetName, Correct]
    finetune_baseline: dict[DatasetName, FinetuneBaseline]
    compare_readings: dict[DatasetName, CompareReadings]
    novelty: dict[DatasetName, Novelty]
    ablate_noise: dict[DatasetName, AblateNoise]
    ablate_search: dict[DatasetName, AblateSearch]
    ablate_vae: dict[DatasetName, AblateVAE]
    ablate_regions: dict[DatasetName, AblateRegions]
    plant_bugs: dict[DatasetName, PlantBugs]
    summarize: dict[DatasetName, Summarize]
    claims: Claims

    @field_validator("datasets", "seeds", "study_seeds")
    @classmethod
    def holds_no_value_twice(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        """Check that no value is there twice."""
        if len(set(values)) != len(values):
            raise ValueError("Input should hold no value twice")
        return values

    @field_validator("study_seeds")
    @classmethod
    def are_seeds(cls, study_seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        """Check that the studies' seeds are among the seeds."""
        seeds = info.data.get("seeds", study_seeds)
        if not set(study_seeds) <= set(seeds):
            raise ValueError(f"Input should hold none but seeds ({', '.join(map(str, seeds))})")
        return study_seeds

    @field_validator("*")
    @classmethod
    def has_every_data_set(cls, tree: object, info: ValidationInfo) -> object:
        """Check that there are settings for every data set, the digits included."""
        missing = [name for name in info.data.get("datasets", ()) if isinstance(tree, dict) and name not in tree]
        said = [f"{', '.join(missing)} is missing, and datasets names it"] if missing else []
        if isinstance(tree, dict) and "digits" not in (*tree, *missing):
            said.append("digits is missing, and the stage demo runs it")
        if said:
            raise ValueError("; ".join(said))
        return tree

    @field_validator("prepare")
    @classmethod
    def splits_the_digits_alone(cls, tree: dict[DatasetName, Prepare]) -> dict[DatasetName, Prepare]:
        """Check that the digits, and no other data set, have a share of test images."""
        wrong = [name for name, part in tree.items() if (name == "digits") != (part.test_fraction is not None)]
        if wrong:
            held = ", ".join(f"{name}.test_fraction is {tree[name].test_fraction}" for name in wrong)
            raise ValueError(f"{held}; allowed: a number for digits, null for others")
        return tree
