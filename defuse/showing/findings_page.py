"""The page of the findings on a user's own classifier."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan

import numpy as np
from jaxtyping import UInt8

from defuse.core.verdicts import RegionVerdict
from defuse.showing.pages import data_uri, render


@dataclass(frozen=True)
class RegionCard:
    """One region on the page.

    Attributes:
        number: of the region.
        label: what the labellers call it; None where nobody did.
        verdict: what follows from their votes; None before anybody labelled.
        seed_class: class of the images that the search started from.
        mistakes: how many the region holds.
        seed_images: around how many images they were found.
        wrong_before: share of the mistakes whose seed image itself is misclassified.
        images: shown to the labellers.
        predictions: class names of each image shown, by the classifier's name: before, corrected or retrained.
        right: of the held-out images the share that is right by the label, by the same names; empty without a label.
    """

    number: int
    label: str | None
    verdict: str | None
    seed_class: str
    mistakes: int
    seed_images: int
    wrong_before: float
    images: UInt8[np.ndarray, "shown height width channels"]
    predictions: dict[str, list[str]]
    right: dict[str, float] = field(default_factory=dict)


def findings_page(
    title: str,
    lead: str,
    measures: Sequence[tuple[str, float, float]],
    facts: Sequence[tuple[str, str]],
    cards: Sequence[RegionCard],
    next_steps: Sequence[tuple[str, str]],
) -> str:
    """One static HTML page, everything inside of it.

    Args:
        title: of the page.
        lead: what was found, in a sentence or two.
        measures: of each classifier its name, its share of right test images, and of right held-out images of the bugs.
        facts: what was done and measured, as pairs of words.
        cards: the regions, bugs first.
        next_steps: what to do now, each with its command, which may be empty.
    """
    shown = [
        {
            "card": card,
            "bug": card.verdict == RegionVerdict.ACCEPTED,
            "headline": headline(card),
            "pictures": [
                {
                    "image": data_uri(image),
                    "said": {name: said[place] for name, said in card.predictions.items()},
                    "wrong": {
                        name: card.label is not None and said[place] != card.label
                        for name, said in card.predictions.items()
                    },
                }
                for place, image in enumerate(card.images)
            ],
        }
        for card in cards
    ]
    filters = {
        "percent": lambda share: "–" if isnan(share) else f"{share:.0%}",
        "tenths": lambda share: "–" if isnan(share) else f"{share:.1%}",
    }
    return render(
        "findings.html",
        filters,
        title=title,
        lead=lead,
        measures=measures,
        facts=facts,
        regions=shown,
        next_steps=next_steps,
    )


def headline(card: RegionCard) -> str:
    """What is wrong with a region's images, in a few words."""
    said = card.predictions["before"]
    most = max(sorted(set(said)), key=said.count)
    if card.verdict == RegionVerdict.ACCEPTED:
        return f"{card.label} taken for {most}"
    if card.verdict is None:
        return f"Around images of {card.seed_class}, taken for {most}"
    return f"Taken for {most}"
