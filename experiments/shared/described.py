"""The main chain beside the other readings and rivals: its own outputs, in the form in which they are compared."""

import numpy as np
import torch

from defuse.core import params
from defuse.core.storage import load_arrays, read_json
from defuse.data.prepared import Labelled
from defuse.method.annotation import judge_region
from defuse.method.distillation import Regions, kmeans_regions, regions_within
from defuse.method.identification import Mistakes
from defuse.models.evaluation import decode
from defuse.studies.readings import Outcome, Study, outcome
from defuse.studies.region_images import Annotated, RegionImages, annotate_regions, draw_images, region_rival
from defuse.studies.rivals import SINGLE_MISTAKES, Rival, single_mistakes, split_by_seed
from defuse.studies.searches import judge_mistakes
from experiments.shared.cell import Cell
from experiments.shared.region_data import annotated_mistakes
from experiments.shared.trained import distilled_codes, load_codes


def described_search(cell: Cell) -> params.Reading:
    """The main chain's search and division as a reading."""
    identify, distill = cell.params("identify"), cell.params("distill")
    return params.Reading(
        autoencoder="train_vae",
        noises=[identify.noise],
        draws=identify.draws,
        keep=identify.keep,
        include_reconstruction_failures=distill.include_reconstruction_failures,
        checker=False,
        groups="mixture",
        shown="draws",
        abstention=True,
    )


def described_reading(cell: Cell, study: Study) -> Outcome:
    """The main chain's regions, with the votes that decided on them."""
    vae, settings, annotate = study.annotators.subject.vae, study.settings, study.annotate
    names = ("seed_index", "label", "prediction", "noise_norm", "codes", "raw_failure", "reconstruction_failure")
    arrays = load_codes(cell.folder("identify") / "mistakes.npz", vae, *names)
    mistakes = Mistakes(**arrays, draws=0, wrong_draws=0, doubtful=0, dropped=0)
    samples = load_codes(cell.folder("distill") / "samples.npz", vae, "shown", "correction", "validation", "test")
    images = RegionImages(
        **{name: [decode(vae, torch.from_numpy(codes)) for codes in regions] for name, regions in samples.items()}
    )
    votes = load_arrays(cell.folder("annotate") / "votes.npz", "shown", "shown_predictions")
    annotated = [
        Annotated(own, predictions, judge_region(own, predictions, annotate.minimum_agreement, annotate))
        for own, predictions in zip(votes["shown"], votes["shown_predictions"])
    ]
    divided = load_arrays(cell.folder("distill") / "regions.npz", "mistake", "assignment")
    generator, members = study.streams.numpy("members"), []
    for region in range(len(annotated)):
        own = generator.permutation(divided["mistake"][divided["assignment"] == region])
        members.append(decode(vae, torch.from_numpy(mistakes.codes[own[: settings.measured_images]])))
    searched = read_json(cell.folder("identify") / "metrics.json")
    facts = {
        **{name: searched[name] for name in ("seed_images", "draws")},
        "identified": len(mistakes.label),
        "mistakes": len(divided["mistake"]),
        **judge_mistakes(
            study.annotators, mistakes.take(divided["mistake"]), settings.judged_mistakes, study.streams.numpy("judged")
        ),
    }
    return outcome(study, facts, images, annotated, members, images.test, divided["assignment"], False)


def clusterings(cell: Cell, study: Study) -> dict[str, Rival]:
    """The main chain's mistakes divided in other ways, shown and sampled as its regions are."""
    annotators = study.annotators
    distilled, random_state = distilled_codes(cell, annotators.subject.vae), study.streams.integer("clusters")
    codes, label = distilled["codes"], distilled["label"]

    def rival(regions: Regions, name: str) -> Rival:
        streams = study.streams.within(name)
        images = draw_images(annotators.subject.vae, regions, study.distill, streams)
        annotated = annotate_regions(annotators, images.shown, study.annotate, True, streams.numpy("slips"))
        return region_rival(images, annotated)

    return {
        name: rival(regions, name)
        for name, regions in (
            ("k-means", kmeans_regions(codes, study.count, study.settings.kmeans_starts, random_state)),
            ("mixture per class", regions_within(codes, label, study.count, random_state)),
        )
    }


def singles(cell: Cell, study: Study) -> tuple[dict[str, Rival], Labelled]:
    """The main chain's mistakes labelled one by one, within the budget and beyond; those that no rival trains on."""
    vae, streams = study.annotators.subject.vae, study.streams
    looked_at = annotated_mistakes(cell, vae)
    seeds, half = looked_at["seed_index"], (len(looked_at["seed_index"]) + 1) // 2
    pool, held_out = split_by_seed(seeds, half, streams.numpy("mistakes"))
    budget = study.count * study.distill.shown_samples
    within_budget = pool[split_by_seed(seeds[pool], budget, streams.numpy("budget"))[0]]

    def rival(numbers: np.ndarray, validation_share: float) -> Rival:
        images = decode(vae, torch.from_numpy(looked_at["codes"][numbers]))
        facts = (looked_at[name][numbers] for name in ("consensus", "is_mistake", "seed_index"))
        return single_mistakes(images, *facts, validation_share, streams.numpy("validation"))

    share = study.settings.validation_share
    rivals = {SINGLE_MISTAKES: rival(within_budget, share), "single mistakes, more labels": rival(pool, share)}
    return rivals, rival(held_out, 0.0).training
