"""Models of `params.yaml`, second part: studies that know no search, figures, claims; the rest is in `params`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from defuse.core.params_training import (
    Arms,
    Count,
    Likelihood,
    Name,
    Network,
    NonNegative,
    Params,
    Positive,
    Share,
)

CHAIN_VAE = "train_vae"  # name of the main chain's autoencoder among those compared


class ComparedVAE(Params):
    """What an autoencoder of the ablation has of its own."""

    latent_dim: Count
    width: Count
    likelihood: Likelihood
    feature_weight: NonNegative


class AblateVAE(Params):
    """Stage ablate_vae: the autoencoders to compare."""

    seed_images: Count
    judged_mistakes: Count
    arms: dict[Name, ComparedVAE] = Field(min_length=1)

    @field_validator("arms")
    @classmethod
    def leave_the_chain_its_name(cls, arms: dict[str, ComparedVAE]) -> dict[str, ComparedVAE]:
        """Check that no arm has the name under which the main chain's autoencoder is compared."""
        if CHAIN_VAE in arms:
            raise ValueError(f"Input should hold no {CHAIN_VAE}: under that name stands the main chain's own")
        return arms


class AblateRegions(Params):
    """Stage ablate_regions: spreads of draws, truncations and priors to compare."""

    taus: Arms[Positive]
    samples: Annotated[int, Field(ge=2)]
    components: Arms[Count]
    concentration_priors: Arms[Positive | None]


class PlantedBug(Params):
    """A bug to plant: a subgroup of a class, and what is done to it in training."""

    label: Annotated[int, Field(ge=0)]
    property: Literal["thickness", "slant", "brightness", "contrast"]
    side: Literal["low", "high"]
    share: Annotated[float, Field(gt=0, lt=1)]
    kind: Literal["mislabelled", "left_out"]
    target: Annotated[int, Field(ge=0)] | None

    @field_validator("target")
    @classmethod
    def belongs_to_mislabelled(cls, target: int | None, info: ValidationInfo) -> int | None:
        """Check that mislabelled images get another label, and those left out none."""
        kind, label = info.data.get("kind"), info.data.get("label")
        if kind == "mislabelled" and target in (None, label):
            raise ValueError(f"Input should be another class than label ({label}) with mislabelled")
        if kind == "left_out" and target is not None:
            raise ValueError("Input should be null with left_out")
        return target


class PlantBugs(Params):
    """Stage plant_bugs: the bugs, the classifiers that learn them, and when a region matches one."""

    network: Network
    epochs: Count
    bugs: dict[Name, PlantedBug] = Field(min_length=1)
    strengths: Arms[Annotated[float, Field(gt=0, le=1)]]
    seed_images: Count
    kmeans_starts: Count
    minimum_precision: Annotated[float, Field(gt=0, le=1)]
    minimum_members: Count
    top_regions: Count
    minimum_drop: Annotated[float, Field(gt=0, le=1)]
    shown_images: Count

    @field_validator("strengths")
    @classmethod
    def end_with_the_whole(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        """Check that the strengths increase up to the whole subgroup."""
        if strengths[-1] != 1 or list(strengths) != sorted(set(strengths)):
            raise ValueError("Input should increase and end with 1 (the whole subgroup)")
        return strengths


class Summarize(Params):
    """Stage summarize: how much the figures show."""

    tsne_codes: Annotated[int, Field(ge=10)]
    tsne_perplexity: Positive
    shown_regions: Count
    shown_members: Count
    shown_neighbours: Count
    shown_mistakes: Count
    shown_pairs: Count
    interpolation_steps: Annotated[int, Field(ge=2)]


class Reconstructions(Params):
    """Share of right reconstructions that the claim asks of each data set."""

    mnist: Share
    svhn: Share
    gtsrb: Share


class Claims(Params):
    """Stage claims: the bounds of the claims."""

    region_accuracy: Share
    accuracy_drop: Share
    agreement: Share
    new_error_types: Share
    labels_kept: Share
    planted_found: Share
    planted_advantage: Annotated[float, Field(gt=0, le=1)]
    reconstructions: Reconstructions
    released_discoveries: Share
    label_advantage: Share
    kept_accuracy: Share
    right_by_eye: Share
