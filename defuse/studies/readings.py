"""Readings of the method: from a search's mistakes to regions, what annotators say of them, and labelled images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from defuse.annotators.oracles import Annotators
from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.data.prepared import Labelled
from defuse.method.annotation import ABSTAIN, consensus
from defuse.method.distillation import Regions, fit_regions, regions_within
from defuse.method.identification import Mistakes, Seeds, find_mistakes, join_mistakes, prepare_seeds
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import decode, predict
from defuse.models.subject import Subject
from defuse.studies.checker import Checker
from defuse.studies.region_images import (
    Annotated,
    ImageList,
    RegionImages,
    annotate_regions,
    draw_images,
    fresh_draws,
    member_images,
    reading_row,
    region_rival,
    region_rows,
)
from defuse.studies.rivals import Rival, single_mistakes, split_by_seed
from defuse.studies.searches import judge_mistakes

OF_THE_SEARCH = ("autoencoder", "noises", "draws", "keep", "include_reconstruction_failures", "checker")
NO_SEARCH, NO_LABEL, SINGLE_LABELS = "no search", "no label asked", "single labels"  # rivals of the readings


@dataclass(frozen=True)
class Study:
    """What all readings of a cell have in common.

    Attributes:
        annotators: oracles, classifier, and the main chain's autoencoder.
        checker: of the readings that have one.
        settings: of the comparison.
        distill: how many images for each purpose, tau, and the mixture.
        annotate: when a region is accepted.
        count: regions that annotators judge at most.
        streams: of all draws.
    """

    annotators: Annotators
    checker: Checker
    settings: params.CompareReadings
    distill: params.Distill
    annotate: params.Annotate
    count: int
    streams: Streams


@dataclass(frozen=True)
class Outcome:
    """What one reading came to.

    Attributes:
        row: its numbers.
        regions: a row for each region.
        rival: what there is to train on.
        shown: images that annotators saw of each region.
        annotated: the regions.
    """

    row: dict[str, float]
    regions: list[dict[str, Any]]
    rival: Rival
    shown: ImageList
    annotated: list[Annotated]


class Searches:
    """Searches of several readings around the same seed images; one that several readings have is made once."""

    def __init__(
        self,
        subjects: dict[str, Subject],
        splits: dict[str, Labelled],
        numbers: dict[str, Int64[np.ndarray, "_seeds"]],
        streams: Streams,
    ) -> None:
        """Search nothing yet.

        Args:
            subjects: the classifier with each autoencoder, by the name that a reading gives it.
            splits: images and labels to search around.
            numbers: of the seed images in each split.
            streams: of the noise; a noise draws the same whatever else a reading has.
        """
        self.subjects, self.splits, self.numbers, self.streams = subjects, splits, numbers, streams
        self.prepared: dict[tuple[str, str], Seeds] = {}
        self.found: dict[tuple[str, str, str, int, int], Mistakes] = {}
        self.looked_at: dict[tuple[object, ...], tuple[Mistakes, Tensor]] = {}

    def seeds(self, autoencoder: str, split: str) -> Seeds:
        """The seed images of a split in the latent space of an autoencoder."""
        if (autoencoder, split) not in self.prepared:
            numbers, (images, labels) = self.numbers[split], self.splits[split]
            chosen = torch.from_numpy(numbers)
            seeds = prepare_seeds(self.subjects[autoencoder], images[chosen], labels[chosen])
            self.prepared[autoencoder, split] = replace(seeds, index=numbers)
        return self.prepared[autoencoder, split]

    def with_noise(self, reading: params.Reading, noise: params.Noise, split: str) -> Mistakes:
        """What a reading's search with one of its noises finds."""
        key = (reading.autoencoder, split, str(noise), reading.draws, reading.keep)
        if key not in self.found:
            settings = params.Search(seed_source="train", noise=noise, draws=reading.draws, keep=reading.keep)
            subject, seeds = self.subjects[reading.autoencoder], self.seeds(reading.autoencoder, split)
            stream = self.streams.key("noise", str(noise))
            self.found[key] = find_mistakes(subject, seeds, settings, stream, f"{split} images, {noise}")
        return self.found[key]

    def mistakes(self, reading: params.Reading, split: str) -> Mistakes:
        """A reading's mistakes, of all its noises, without the VAE's unless it includes them."""
        mistakes = join_mistakes([self.with_noise(reading, noise, split) for noise in reading.noises])
        return mistakes if reading.include_reconstruction_failures else mistakes.take(~mistakes.reconstruction_failure)

    def kept(self, checker: Checker, reading: params.Reading, split: str) -> tuple[Mistakes, Tensor]:
        """`kept_mistakes` of a reading; readings that differ only in what follows share them."""
        key = (split, *(str(getattr(reading, name)) for name in OF_THE_SEARCH))
        if key not in self.looked_at:
            vae = self.subjects[reading.autoencoder].vae
            self.looked_at[key] = kept_mistakes(checker, vae, self.mistakes(reading, split), reading)
        return self.looked_at[key]


def pair_regions(mistakes: Mistakes, minimum_seeds: int, count: int, random_state: int) -> Regions:
    """At most about `count` regions: mixtures within each pair of label and prediction, each with its share of them.

    A pair with fewer than twice `minimum_seeds` seed images for each of these gets fewer, at least one: components that
    hold too few are no regions (`heaviest`), and a pair cut into such would be lost.
    """
    pairs = np.unique(np.stack([mistakes.label, mistakes.prediction]), axis=1, return_inverse=True)[1].reshape(-1)
    limits = {}
    for pair in np.unique(pairs).tolist():
        seeds = len(np.unique(mistakes.seed_index[pairs == pair]))
        limits[pair] = max(1, seeds // (2 * minimum_seeds)) if minimum_seeds else seeds
    return regions_within(mistakes.codes, pairs, count, random_state, limits)


def heaviest(regions: Regions, mistakes: Mistakes, minimum_seeds: int, count: int) -> Regions:
    """The heaviest `count` of the regions that have mistakes of at least `minimum_seeds` seed images."""
    seeds = [len(np.unique(mistakes.seed_index[regions.assignment == region])) for region in range(len(regions))]
    return regions.take(np.flatnonzero(np.array(seeds, int) >= minimum_seeds)[:count])


def group(
    mistakes: Mistakes,
    reading: params.Reading,
    minimum_members: int,
    distill: params.Distill,
    count: int,
    random_state: int,
) -> Regions:
    """Divide mistakes into at most `count` regions, the heaviest: one mixture for all of them, or some for each pair.

    Where members are shown, a region with mistakes of fewer than `minimum_members` seed images is none.
    """
    minimum = minimum_members if reading.shown == "members" else 0
    if reading.groups == "mixture":
        regions = fit_regions(mistakes.codes, distill, random_state)
    else:
        regions = pair_regions(mistakes, minimum, count, random_state)
    return heaviest(regions, mistakes, minimum, count)


def outcome(
    study: Study,
    facts: Mapping[str, float],
    images: RegionImages,
    annotated: list[Annotated],
    members: ImageList,
    draws: ImageList,
    assignment: Int64[np.ndarray, "mistakes"],
    measured_on_members: bool,
) -> Outcome:
    """What a reading came to.

    Args:
        study: whose annotators measure failure and purity.
        facts: what is known of its mistakes, for its row.
        images: of the regions, by purpose.
        annotated: the regions.
        members: held-out members of each region; the first `measured_images` are looked at.
        draws: fresh draws of each region; likewise.
        assignment: region of each mistake.
        measured_on_members: as for `region_rows`.
    """
    looked_at = study.settings.measured_images
    counts = np.bincount(assignment[assignment >= 0], minlength=len(annotated))
    rows = region_rows(
        study.annotators,
        annotated,
        [part[:looked_at] for part in members],
        [part[:looked_at] for part in draws],
        counts,
        len(assignment),
        measured_on_members,
    )
    rival = region_rival(images, annotated)
    return Outcome({**facts, **reading_row(rows, rival.labels_asked)}, rows, rival, images.shown, annotated)


def kept_mistakes(checker: Checker, vae: VAE, found: Mistakes, reading: params.Reading) -> tuple[Mistakes, Tensor]:
    """The mistakes that the checker keeps, or all where the reading has none, and their images (M, C, H, W)."""
    images = decode(vae, torch.from_numpy(found.codes))
    if not reading.checker:
        return found, images
    kept = checker.passes(images, found.label)
    return found.take(kept), images[torch.from_numpy(kept)]


def take_reading(
    study: Study,
    own: Annotators,
    found: Mistakes,
    kept: tuple[Mistakes, Tensor],
    reading: params.Reading,
    streams: Streams,
) -> Outcome:
    """A reading from its mistakes to labelled images.

    Args:
        study: what it shares with the others.
        own: the study's annotators with the reading's autoencoder.
        found: the reading's mistakes around training images.
        kept: those of them that its checker keeps, and their images.
        reading: its settings.
        streams: of its own.
    """
    vae, (mistakes, pictures) = own.subject.vae, kept
    minimum, clusters = study.settings.minimum_members, study.streams.integer("clusters")
    regions = group(mistakes, reading, minimum, study.distill, study.count, clusters)
    members = member_images(
        pictures, mistakes.seed_index, regions.assignment, len(regions), study.distill, streams.numpy("members")
    )
    by_members = reading.shown == "members"
    images = members if by_members else draw_images(vae, regions, study.distill, streams)
    draws = fresh_draws(vae, regions, study.distill, streams) if by_members else images.test
    annotated = annotate_regions(own, images.shown, study.annotate, reading.abstention, streams.numpy("slips"))
    facts = {
        "seed_images": study.settings.seed_images,
        "draws": found.draws,
        "identified": len(found.label),
        "mistakes": len(mistakes.label),
        **judge_mistakes(own, mistakes, study.settings.judged_mistakes, streams.numpy("judged")),
    }
    return outcome(study, facts, images, annotated, members.test, draws, regions.assignment, by_members)


def without_search(study: Study, training: Labelled, streams: Streams) -> Outcome:
    """The rival without a search: misclassified training images, grouped by label and prediction.

    Annotators are shown images of the largest groups; a group has at least `minimum_members`.

    Args:
        study: what it shares with the readings.
        training: images and labels.
        streams: of its own.
    """
    images = training[0]
    wrong, _, assignment = misclassified_by_pair(
        study.annotators.subject.classifier, training, study.settings.minimum_members, study.count
    )
    regions = int(assignment.max(initial=-1)) + 1
    members = member_images(images[wrong], wrong.numpy(), assignment, regions, study.distill, streams.numpy("members"))
    annotated = annotate_regions(study.annotators, members.shown, study.annotate, True, streams.numpy("slips"))
    facts = {"identified": len(wrong), "mistakes": len(wrong)}
    none_drawn = [images[:0]] * regions
    return outcome(study, facts, members, annotated, members.test, none_drawn, assignment, True)


def misclassified_by_pair(
    classifier: nn.Module, data: Labelled, minimum: int, count: int
) -> tuple[Int64[Tensor, "mistakes"], Int64[np.ndarray, "mistakes"], Int64[np.ndarray, "mistakes"]]:
    """Misclassified images in groups by label and prediction, found without any search.

    Args:
        classifier: its logits, of images in [0, 1].
        data: images and labels.
        minimum: images of a group, at least.
        count: groups at most, the largest.

    Returns:
        Numbers of the misclassified images, what the classifier says of them, and their group, or -1 for none.
    """
    images, labels = data
    predictions = predict(classifier, images).argmax(1)
    wrong = torch.nonzero(predictions != labels)[:, 0]
    said = predictions[wrong].numpy()
    pair = largest_pairs(labels[wrong].numpy(), said, minimum)
    return wrong, said, np.where(pair < count, pair, -1)


def largest_pairs(
    labels: Int64[np.ndarray, "mistakes"], predictions: Int64[np.ndarray, "mistakes"], minimum: int
) -> Int64[np.ndarray, "mistakes"]:
    """Number of each mistake's pair of label and prediction, the largest first; -1 in one of fewer than `minimum`."""
    pairs = np.stack([labels, predictions])
    _, pair, sizes = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    place = np.argsort(order, kind="stable")
    place[sizes < minimum] = -1
    return place[pair.reshape(-1)]


def unseen_mistakes(annotators: Annotators, mistakes: Mistakes, count: int, generator: np.random.Generator) -> Labelled:
    """The classifier's mistakes among some drawn at random, with the annotators' labels.

    Args:
        annotators: with the autoencoder of the mistakes.
        mistakes: around images that no reading searches around.
        count: how many the annotators look at.
        generator: of the draw.
    """
    picked = np.sort(generator.permutation(len(mistakes.label))[:count])
    images = decode(annotators.subject.vae, torch.from_numpy(mistakes.codes[picked]))
    votes, predictions = annotators.annotate_images(images)
    labels = consensus(votes, annotators.consensus)
    chosen = np.flatnonzero((labels != ABSTAIN) & (labels != predictions))
    return images[torch.from_numpy(chosen)], torch.from_numpy(labels[chosen])


def unlabelled_and_single(study: Study, kept: tuple[Mistakes, Tensor]) -> dict[str, Rival]:
    """Two rivals that train on single mistakes of a reading's search, those that its checker keeps.

    NO_LABEL takes all of them with their seed images' labels, and asks nobody. SINGLE_LABELS shows as many as the
    regions' images to annotators, one by one, and takes those that they call the classifier's mistakes.

    Args:
        study: what they share with the readings.
        kept: those mistakes around training images, and their images.
    """
    annotators, streams, share = study.annotators, study.streams, study.settings.validation_share
    mistakes, images = kept
    everything = np.ones(len(mistakes.label), bool)
    unasked = single_mistakes(
        images, mistakes.label, everything, mistakes.seed_index, share, streams.numpy("validation", NO_LABEL)
    )
    budget = study.count * study.distill.shown_samples
    asked, _ = split_by_seed(mistakes.seed_index, budget, streams.numpy("budget", SINGLE_LABELS))
    shown = images[torch.from_numpy(asked)]
    votes, predictions = annotators.annotate_images(
        shown, study.annotate.slip_rate, streams.numpy("slips", SINGLE_LABELS)
    )
    labels = consensus(votes, annotators.consensus)
    is_mistake = (labels != ABSTAIN) & (labels != predictions)
    generator = streams.numpy("validation", SINGLE_LABELS)
    single = single_mistakes(shown, labels, is_mistake, mistakes.seed_index[asked], share, generator)
    return {NO_LABEL: replace(unasked, labels_asked=0), SINGLE_LABELS: single}
