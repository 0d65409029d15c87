"""Recovery of planted bugs: group a classifier's mistakes in several ways, and measure whether a group is the bug."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.data.prepared import Labelled
from defuse.method.distillation import fit_regions, group_by_kmeans
from defuse.method.identification import Seeds, find_mistakes, prepare_seeds
from defuse.models.evaluation import decode, encode, predict
from defuse.models.subject import Subject
from defuse.studies.checker import Checker
from defuse.studies.planting import Subgroup, belongs_to_bug
from defuse.studies.readings import NO_SEARCH, Searches, group, misclassified_by_pair

if TYPE_CHECKING:
    import pandas

MIXTURE, KMEANS, TEST_MISTAKES = "mixture", "k-means", "mixture of test mistakes"
ALL_MISTAKES = " of all mistakes"
SHOWN_ARMS = (MIXTURE, params.REPAIRED)
MAIN_VAE = "train_vae"  # the stage that trained the main chain's autoencoder


@dataclass(frozen=True)
class Clustered:
    """Mistakes of a classifier, grouped by one arm.

    Attributes:
        test: whether the images are test images; else training images.
        image: number of the (seed) image in its split.
        prediction: what the classifier says.
        codes: latent codes of the images.
        assignment: region of each mistake, or -1 for none.
        autoencoder: the stage that trained the autoencoder of the codes.
    """

    test: bool
    image: Int64[np.ndarray, "mistakes"]
    prediction: Int64[np.ndarray, "mistakes"]
    codes: Float32[np.ndarray, "mistakes latent"]
    assignment: Int64[np.ndarray, "mistakes"]
    autoencoder: str = MAIN_VAE


def cluster_arms(
    subject: Subject,
    data: dict[str, Labelled],
    seed_images: Int64[np.ndarray, "seeds"],
    identify: params.Identify,
    distill: params.Distill,
    kmeans_starts: int,
    streams: Streams,
    description: str,
) -> tuple[dict[str, Clustered], Seeds]:
    """Search for the classifier's mistakes and group them, in each of five arms.

    The mixture and k-means with as many clusters, each on the mistakes that are not the VAE's and, as the paper does,
    on all; and the mixture on the codes of misclassified test images.

    Args:
        subject: the classifier whose mistakes are searched for.
        data: images with their true labels of the splits `train` and `test`.
        seed_images: numbers of the training images to search around.
        identify: the search's noise, draws and keep; `seed_source` is not used.
        distill: the mixture's settings.
        kmeans_starts: initialisations of k-means, of which the best is taken.
        streams: of the noise, of the mixture and of k-means.
        description: shown by the progress bar.

    Returns:
        The arms by name, and the seeds with their image's number in the training split.
    """
    chosen, random_state = torch.from_numpy(seed_images), streams.integer("clusters")
    training, test = data["train"], data["test"]
    seeds = replace(prepare_seeds(subject, training[0][chosen], training[1][chosen]), index=seed_images)
    mistakes = find_mistakes(subject, seeds, identify, streams.key("noise"), description, identify.batch_size)
    arms = {}
    for suffix, used in (("", ~mistakes.reconstruction_failure), (ALL_MISTAKES, slice(None))):
        codes = mistakes.codes[used]
        regions = fit_regions(codes, distill, random_state)
        clusters = group_by_kmeans(codes, len(regions), kmeans_starts, random_state)
        for name, assignment in ((MIXTURE, regions.assignment), (KMEANS, clusters)):
            arms[name + suffix] = Clustered(
                False, mistakes.seed_index[used], mistakes.prediction[used], codes, assignment
            )
    predictions = predict(subject.classifier, test[0]).argmax(1)
    wrong = torch.nonzero(predictions != test[1])[:, 0]
    codes = encode(subject.vae, test[0][wrong])[0].numpy()
    assignment = fit_regions(codes, distill, random_state).assignment
    arms[TEST_MISTAKES] = Clustered(True, wrong.numpy(), predictions[wrong].numpy(), codes, assignment)
    return arms, seeds


def reading_arms(
    searches: Searches,
    checker: Checker,
    settings: params.CompareReadings,
    distill: params.Distill,
    count: int,
    streams: Streams,
) -> dict[str, Clustered]:
    """Mistakes as the released and the repaired reading find and group them, and those that need no search.

    The last are all misclassified training images, grouped by label and prediction. All labels are the true ones.

    Args:
        searches: with the classifier and the training images to search around.
        checker: of the repaired reading.
        settings: of the readings.
        distill: the mixture's settings.
        count: regions of each arm at most, the largest.
        streams: of the mixtures.

    Returns:
        The arms by name.
    """
    arms, random_state = {}, streams.integer("clusters")
    for name, reading in ((params.RELEASED, settings.released), (params.REPAIRED, settings.repaired)):
        mistakes, _ = searches.kept(checker, reading, "train")
        assignment = group(mistakes, reading, settings.minimum_members, distill, count, random_state).assignment
        arms[name] = Clustered(
            False, mistakes.seed_index, mistakes.prediction, mistakes.codes, assignment, reading.autoencoder
        )
    subject, training = searches.subjects[MAIN_VAE], searches.splits["train"]
    wrong, predictions, assignment = misclassified_by_pair(
        subject.classifier, training, settings.minimum_members, count
    )
    codes = encode(subject.vae, training[0][wrong])[0].numpy()
    arms[NO_SEARCH] = Clustered(False, wrong.numpy(), predictions, codes, assignment)
    return arms


def match_regions(
    assignment: Int64[np.ndarray, "mistakes"], belongs: Bool[np.ndarray, "mistakes"], settings: params.PlantBugs
) -> tuple[dict[str, float], int | None]:
    """How well regions match a bug, and the number of the region that does best.

    A region matches if it has enough members and enough of them belong to the bug. The best is the first matching
    one by number of members; without any, the one of highest precision with enough members, or None.

    Args:
        assignment: region of each mistake, or -1.
        belongs: from `belongs_to_bug`.
        settings: minimum_members, minimum_precision, top_regions.

    Returns:
        mistakes, bug_mistakes, regions (those with a member), found (0 or 1), rank (of the first matching region by
        members, from 1; NaN without one), top_precision (mean over the `top_regions` largest; NaN without regions),
        best_precision (NaN where no region has enough members), recall (share of the bug's mistakes in matching
        regions; NaN where the bug has none).
    """
    regions, sizes = np.unique(assignment[assignment >= 0], return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    regions, sizes = regions[order], sizes[order]
    hits = np.array([(belongs & (assignment == region)).sum() for region in regions], int)
    precision, enough = hits / sizes, sizes >= settings.minimum_members
    matching = np.flatnonzero(enough & (precision >= settings.minimum_precision))
    best = None
    if enough.any():
        best = int(matching[0]) if len(matching) else int(np.where(enough, precision, -1.0).argmax())
    return {
        "mistakes": len(belongs),
        "bug_mistakes": int(belongs.sum()),
        "regions": len(regions),
        "found": int(len(matching) > 0),
        "rank": matching[0] + 1 if len(matching) else np.nan,
        "top_precision": precision[: settings.top_regions].mean() if len(regions) else np.nan,
        "best_precision": np.nan if best is None else precision[best],
        "recall": hits[matching].sum() / belongs.sum() if belongs.any() else np.nan,
    }, None if best is None else int(regions[best])


def bug_rows(
    arms: dict[str, Clustered],
    seeds: Seeds,
    right: Bool[np.ndarray, "test"],
    subgroup: Subgroup,
    bug: params.PlantedBug,
    settings: params.PlantBugs,
) -> tuple[list[dict[str, object]], dict[str, int | None]]:
    """One row per arm that says whether it found the bug, and each arm's best region.

    `seen_raw` and `seen_reconstructed` are the shares of the subgroup's seed images on which the classifier does what
    the bug taught it, and on their plain reconstructions: what the VAE loses, no search can find.

    Args:
        arms: from `cluster_arms` and `reading_arms`.
        seeds: from `cluster_arms`.
        right: test images that the classifier gets right.
        subgroup: what the bug is about.
        bug: the planted bug.
        settings: when a region matches the bug.
    """

    def seen(predictions: Int64[np.ndarray, "seeds"]) -> float:
        inside = subgroup.training[seeds.index]
        return float((belongs_to_bug(inside, predictions, bug) & (predictions != seeds.label))[inside].mean())

    common = {
        **bug.model_dump(),
        "bound": subgroup.bound,
        "training_images": int(subgroup.training.sum()),
        "test_images": int(subgroup.test.sum()),
        "subgroup_accuracy": right[subgroup.test].mean(),
        "rest_accuracy": right[~subgroup.test].mean(),
        "seen_raw": seen(seeds.raw_prediction),
        "seen_reconstructed": seen(seeds.reconstruction_prediction),
    }
    rows, best = [], {}
    for name, arm in arms.items():
        inside = (subgroup.test if arm.test else subgroup.training)[arm.image]
        measures, best[name] = match_regions(arm.assignment, belongs_to_bug(inside, arm.prediction, bug), settings)
        rows.append({**common, "arm": name, **measures})
    return rows, best


def with_outcome(table: "pandas.DataFrame", settings: params.PlantBugs) -> "pandas.DataFrame":
    """The table with two more columns that say whether the classifier learnt the bug.

    `extra_drop` is by how much the accuracy on the subgroup fell from the control's beyond that on the rest; `took` (0
    or 1) is whether it is at least `minimum_drop`. A classifier that fails everywhere has no planted bug.
    """
    control = table[table.strength == 0].drop_duplicates("bug").set_index("bug")
    drops = {name: table.bug.map(control[name]) - table[name] for name in ("subgroup_accuracy", "rest_accuracy")}
    extra = drops["subgroup_accuracy"] - drops["rest_accuracy"]
    return table.assign(extra_drop=extra, took=(extra >= settings.minimum_drop).astype(int))


def as_configured(distill: params.Distill) -> str:
    """The arm that does what the stage distill does."""
    return MIXTURE + (ALL_MISTAKES if distill.include_reconstruction_failures else "")


def region_total(arm: Clustered) -> int:
    """Number of an arm's regions that have a member."""
    return len(np.unique(arm.assignment[arm.assignment >= 0]))


def headlines(table: "pandas.DataFrame", configured: str) -> dict[str, float]:
    """Means over the bugs at full strength.

    found, found_by_kmeans: shares that the arm `configured`, and k-means on the same codes, find; found_in_control:
    what the arm finds where nothing was planted; above_control, above_kmeans: the differences; found_beyond_no_search:
    share that the repaired reading finds and misclassified training images do not show; took, seen_raw,
    seen_reconstructed: as in the table.
    """

    def found(strength: float, arm: str) -> float:
        return float(table[(table.strength == strength) & (table.arm == arm)].found.mean())

    full, control = found(1, configured), found(0, configured)
    kmeans = found(1, configured.replace(MIXTURE, KMEANS))
    by_arm = table[table.strength == 1].pivot(index="bug", columns="arm", values="found")
    return {
        "found": full,
        "found_in_control": control,
        "found_by_kmeans": kmeans,
        "above_control": full - control,
        "above_kmeans": full - kmeans,
        "found_beyond_no_search": float((by_arm[params.REPAIRED] > by_arm[NO_SEARCH]).mean()),
        **table[table.strength == 1][["took", "seen_raw", "seen_reconstructed"]].mean().to_dict(),
    }


def example_images(
    images: Float32[Tensor, "images channels height width"],
    subjects: dict[str, Subject],
    subgroup: Bool[np.ndarray, "images"],
    arms: dict[str, Clustered],
    best: dict[str, int | None],
    count: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Images drawn at random from the subgroup, and of each arm of SHOWN_ARMS mistakes decoded from its best region.

    Args:
        images: the training images.
        subjects: the classifier with each autoencoder, by the stage that trained it.
        subgroup: those images that the bug is about.
        arms: from `cluster_arms` and `reading_arms`.
        best: number of each arm's best region, from `bug_rows`.
        count: at most how many of each.
        generator: of the draws.

    Returns:
        subgroup uint8 (count, C, 32, 32), region uint8 (arms, count, C, 32, 32), black where there are fewer;
        shown int64 (arms,), how many of the region there are.
    """

    def drawn(numbers: Int64[np.ndarray, "numbers"]) -> Int64[np.ndarray, "drawn"]:
        return generator.choice(numbers, min(count, len(numbers)), replace=False)

    def filled(
        pictures: Float32[Tensor, "pictures channels height width"],
    ) -> UInt8[np.ndarray, "count channels height width"]:
        blank = np.zeros((count, *images.shape[1:]), np.uint8)
        blank[: len(pictures)] = np.round(pictures.numpy() * 255)
        return blank

    regions, shown = [], []
    for name in SHOWN_ARMS:
        members = np.flatnonzero((arms[name].assignment == best[name]) & (best[name] is not None))
        codes = torch.from_numpy(arms[name].codes[drawn(members)])
        regions.append(filled(decode(subjects[arms[name].autoencoder].vae, codes) if len(codes) else images[:0]))
        shown.append(len(codes))
    chosen = torch.from_numpy(drawn(np.flatnonzero(subgroup)))
    return {"subgroup": filled(images[chosen]), "region": np.stack(regions), "shown": np.array(shown)}
