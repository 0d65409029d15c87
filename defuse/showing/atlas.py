"""The bug atlas: pages that show each misclassification region as a bug one can look at."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED
from defuse.core.storage import load_arrays
from defuse.core.verdicts import RegionVerdict
from defuse.data.class_names import class_name, pair_name
from defuse.evidence.bugs import FAILURE, clearest_bug, clearest_first
from defuse.evidence.pairs import pairs_by_reading
from defuse.evidence.results import (
    measures_by_seed,
    of_first_study_seed,
    of_seed,
    provenance,
    result_path,
    seeds_of,
)
from defuse.method.annotation import ABSTAIN, NO_VOTE, SEVERAL
from defuse.showing.pages import data_uri, render
from defuse.showing.report import OUTCOMES, shown_over_seeds

# Of votes that name no class.
VOTE_SIGNS = {ABSTAIN: "–", SEVERAL: "+", NO_VOTE: "·"}
# The claims of the post, each with the figure that carries it.
CARRIERS = {
    "end to end": "procedure",
    "correction": "lambda_sweep",
    "baseline": "results_table",
    "novelty": "novelty",
    "bugs with a name": "regions",
    "small perturbation": "noise",
}


FIGURES = (
    "results_table",
    "procedure",
    "regions",
    "tsne",
    "interpolation",
    "lambda_sweep",
    "novelty",
    "causes",
    "bugs_over_seeds",
)
STUDY_FIGURES = ("readings", "noise", "rivals", "planted_bugs")
# On what the classifier fails, of the two readings whose clearest bug is shown (`evidence.bugs.FAILURE`).
FAILS_ON = {DESCRIBED: "fresh draws of the region", REPAIRED: "images of the region that nobody was shown"}
TAKEN = {DESCRIBED: "as described", REPAIRED: "as repaired"}  # the method, in a sentence
PLACES = {DESCRIBED: "region", REPAIRED: "repaired"}  # of a region's card on the page, before its number
REPAIRED_ARRAYS = ("region", "images", "shown", "prediction", "votes")
# Each reading of the method, what it is, and the part of the page that shows its regions.
READINGS = {
    RELEASED: ("as released", "the settings of the authors' code, as far as they can be followed", ""),
    DESCRIBED: ("as described", "what the post says, with controls; the main chain of this replication", "regions"),
    REPAIRED: (
        "repaired",
        "only mistakes that a second network does not make, grouped by label and prediction; annotators see these",
        "repaired",
    ),
}


def filled(template: str, **context: object) -> str:
    """A page of the atlas, with the filters that its templates use."""
    filters = {
        "percent": lambda share: "–" if pd.isna(share) else f"{share:.0%}",
        "by_seed": lambda values: shown_over_seeds("{:.3g}", list(map(float, values.split()))),
    }
    return render(template, filters, **context)


def headline(dataset: str, region: pd.Series) -> str:
    """What is wrong with a region's images, in a few words."""
    said = class_name(dataset, int(region.prediction))
    if region.verdict == RegionVerdict.ACCEPTED:
        return pair_name(dataset, int(region.label), int(region.prediction), "taken for")
    if region.verdict == RegionVerdict.NOT_RECOGNISABLE:
        return f"Nothing that annotators recognise; the classifier says {said}"
    if region.verdict == RegionVerdict.NO_AGREEMENT:
        return f"Annotators do not agree; the classifier says {said}"
    label = class_name(dataset, int(region.label))
    if region.verdict == RegionVerdict.FALSE_ALARM:
        return f"{label}: no bug on the draws shown"
    return f"{label} taken for {said}"


def by_clearness(table: pd.DataFrame, reading: str) -> pd.DataFrame:
    """A reading's regions by their number: the clearest bug, then the accepted ones, then by share of the mistakes."""
    accepted = table.verdict == RegionVerdict.ACCEPTED
    ordered = table.assign(accepted=accepted).sort_values(["accepted", "share_of_mistakes"], ascending=False)
    places = clearest_first(ordered.region.to_numpy(np.int64), ordered, reading)
    return ordered.iloc[places].set_axis(ordered.region.iloc[places].tolist())


def region_rows(tables: Path, dataset: str, first: int) -> pd.DataFrame:
    """One row per region of the first seed, by its number: the clearest bug, the other accepted ones, then the rest.

    It holds the table of regions, and the failure rates after continued training (lambda = 0) and after correction, NaN
    where nothing was corrected.
    """
    table, corrected = (of_seed(tables, name, first) for name in ("regions.csv", "corrected_regions.csv"))
    failure = 1 - corrected.set_index("region").astype(float)
    table = table.assign(
        failure_control=table.region.map(failure.accuracy_control),
        failure_after=table.region.map(failure.accuracy_after),
    )
    table["headline"] = [headline(dataset, region) for _, region in table.iterrows()]
    return by_clearness(table, DESCRIBED)


def load_shown(tables: Path) -> tuple[dict[str, np.ndarray], ...]:
    """The images of the regions worth showing: draws, members beside their seeds, samples beside their neighbours."""
    return tuple(load_arrays(result_path(tables, f"{name}.npz")) for name in ("regions", "members", "novelty"))


def region_card(dataset: str, shown: tuple[dict[str, np.ndarray], ...], facts: pd.Series) -> dict[str, Any]:
    """What the page shows of one region: facts, draws with votes, members and neighbours."""
    regions, members, novelty = shown
    region = facts.region
    place = regions["region"].tolist().index(region)

    def name(label: int) -> str:
        return "–" if label == ABSTAIN else class_name(dataset, int(label))

    draws = [
        {
            "image": data_uri(image),
            "prediction": int(before),
            "after": "–" if after == ABSTAIN else int(after),
            "right": facts.label in (ABSTAIN, before),  # without a label nothing is wrong
            "votes": [VOTE_SIGNS.get(vote, vote) for vote in votes.tolist()],
            "words": f"draw of region {region}: the classifier says {name(before)}, after correction {name(after)}",
        }
        for image, before, after, votes in zip(
            regions["images"][place],
            regions["prediction"][place],
            regions["prediction_after"][place],
            regions["votes"][place],
        )
    ]
    pairs = [
        {
            "seed": data_uri(members["seed_images"][number]),
            "mistake": data_uri(members["mistakes"][number]),
            "label": name(members["label"][number]),
            "prediction": name(members["prediction"][number]),
        }
        for number in np.flatnonzero(members["region"] == region)
    ]
    neighbours = [
        {
            "sample": data_uri(np.moveaxis(novelty["samples"][number], 0, -1)),
            "label": name(novelty["label"][number]),
            "prediction": name(novelty["prediction"][number]),
            "nearest": [
                {"image": data_uri(np.moveaxis(image, 0, -1)), "label": name(label), "prediction": name(said)}
                for image, label, said in zip(
                    novelty["neighbour"][number],
                    novelty["neighbour_label"][number],
                    novelty["neighbour_prediction"][number],
                )
            ],
        }
        for number in np.flatnonzero(novelty["region"] == region)
    ]
    return {"facts": facts, "draws": draws, "pairs": pairs, "neighbours": neighbours}


def reading_rows(measures: dict[str, pd.Series]) -> list[dict[str, str]]:
    """What the page says of each reading."""
    columns = {"accepted": "{:.0f}", "regions": "{:.0f}", "classifier_mistake": "{:.0%}"}
    return [
        {
            "name": name,
            "words": words,
            "place": place,
            **{
                column: shown_over_seeds(template, measures[f"reading {reading}.{column}"])
                for column, template in columns.items()
            },
        }
        for reading, (name, words, place) in READINGS.items()
    ]


def repaired_rows(tables: Path, dataset: str) -> pd.DataFrame:
    """The same of the repaired reading and of the studies' first seed, without what comes after."""
    table = of_first_study_seed(tables, "reading_regions.csv")
    table = table[table.reading == REPAIRED]
    table = table.assign(headline=[headline(dataset, region) for _, region in table.iterrows()])
    return by_clearness(table, REPAIRED)


def repaired_card(dataset: str, shown: dict[str, np.ndarray], facts: pd.Series) -> dict[str, Any]:
    """What the page shows of one of these regions: facts, and the images that annotators saw with votes."""
    place = shown["region"].tolist().index(facts.region)
    there = slice(shown["shown"][place])
    draws = [
        {
            "image": data_uri(image),
            "prediction": int(prediction),
            "right": facts.label in (ABSTAIN, prediction),  # without a label nothing is wrong
            "votes": [VOTE_SIGNS.get(vote, vote) for vote in votes.tolist()],
            "words": f"image of repaired region {facts.region}: the classifier says "
            f"{class_name(dataset, int(prediction))}",
        }
        for image, prediction, votes in zip(*(shown[name][place, there] for name in ("images", "prediction", "votes")))
    ]
    return {"facts": facts, "draws": draws}


def seeds_with_bug(pairs: pd.DataFrame, facts: pd.Series) -> str:
    """In how many seeds a region of an accepted region's label and prediction was accepted; empty for a single seed.

    Args:
        pairs: `accepted_pairs` of the region's reading.
        facts: of the region.
    """
    if facts.verdict != RegionVerdict.ACCEPTED or len(pairs.columns) == 1:
        return ""
    return f"{(pairs.loc[(facts.label, facts.prediction)] > 0).sum()} of {len(pairs.columns)} seeds"


class Regions(NamedTuple):
    """A reading's regions, of the seed whose images there are."""

    rows: pd.DataFrame  # by the region's number: facts, headline and `seeds_with_bug`
    shown: list[int]  # numbers of those with images, in the order of their cards
    card: Callable[[pd.Series], dict[str, Any]]  # what the page shows of one of them


def regions_by_reading(tables: Path, dataset: str, measures: dict[str, pd.Series]) -> dict[str, Regions]:
    """The regions as described and, where the readings were studied, as repaired."""
    pairs, shown = pairs_by_reading(tables, measures), load_shown(tables)
    rows = {DESCRIBED: region_rows(tables, dataset, seeds_of(measures)[0])}
    there, cards = {DESCRIBED: set(shown[0]["region"])}, {DESCRIBED: partial(region_card, dataset, shown)}
    if REPAIRED in pairs:
        images = load_arrays(result_path(tables, "shown_repaired.npz"), *REPAIRED_ARRAYS)
        rows[REPAIRED] = repaired_rows(tables, dataset)
        there[REPAIRED], cards[REPAIRED] = set(images["region"]), partial(repaired_card, dataset, images)
    return {
        reading: Regions(
            own.assign(seeds=[seeds_with_bug(pairs[reading], facts) for _, facts in own.iterrows()]),
            [region for region in own.index if region in there[reading]],
            cards[reading],
        )
        for reading, own in rows.items()
    }


def rule(readings: Iterable[str], seed: int) -> str:
    """How the clearest bug of these readings is chosen (`evidence.bugs.clearest_bug`), in words."""
    measured = "; ".join(f"{READINGS[reading][0]}: {FAILS_ON[reading]}" for reading in readings)
    return (
        "The clearest bug is the accepted region with the greatest product of two shares: of the annotators' votes, "
        "those for its label; of further images, those on which the classifier fails "
        f"({measured}). Of equals it is the one with more of the mistakes, then the one with the lower number. Images "
        f"are of seed {seed}, the first in params.yaml, in whose order values by seed stand."
    )


def clearest(reading: str, regions: Regions) -> dict[str, Any] | None:
    """The card of a reading's clearest bug, how often the classifier fails and on what; None if none was accepted."""
    bug = clearest_bug(regions.rows.loc[regions.shown], reading)
    if bug is None:
        return None
    about = {"reading": TAKEN[reading], "on": FAILS_ON[reading], "place": f"{PLACES[reading]}-{bug.region}"}
    return {**regions.card(bug), "failure": bug[FAILURE[reading]], **about}


def front_bug(tables: Path, dataset: str) -> dict[str, Any]:
    """What the front page shows of a data set.

    That is how many regions were accepted by reading, and the clearest bug of both readings; of equals that of the
    method as described. It is None where no region was accepted.
    """
    found = regions_by_reading(tables, dataset, measures_by_seed(tables))
    bugs = [bug for reading, regions in found.items() if (bug := clearest(reading, regions))]
    return {
        "bug": max(bugs, key=lambda bug: bug["facts"].clearness, default=None),
        "counts": {
            TAKEN[reading]: f"{(rows.verdict == RegionVerdict.ACCEPTED).sum()} of {len(rows)}"
            for reading, (rows, *_) in found.items()
        },
        "readings": list(found),
    }


def dataset_page(tables: Path, dataset: str, figures: Sequence[str], front_page: bool = True) -> str:
    """The atlas of a data set's first seed: its clearest bugs, a table of all regions, a card for each worth showing.

    Args:
        tables: folder of the data set's tables.
        dataset: its name.
        figures: names of figures that the page shows; it expects each as `DATASET/SLUG_FIGURE.png` beside it.
        front_page: whether there is one to go back to.
    """
    measures = measures_by_seed(tables)
    found = regions_by_reading(tables, dataset, measures)
    cards = {reading: [own.card(own.rows.loc[region]) for region in own.shown] for reading, own in found.items()}
    outcome = [
        (words, *(shown_over_seeds("{:.2%}", measures[f"outcome.{data}_{when}"]) for data in ("region_test", "test")))
        for when, words in OUTCOMES.items()
    ]
    return filled(
        "dataset.html",
        rule=rule(found, seeds_of(measures)[0]),
        about=provenance(tables),
        dataset=dataset,
        clearest={READINGS[reading][0]: clearest(reading, own) for reading, own in found.items()},
        rows=[row for _, row in found[DESCRIBED].rows.iterrows()],
        cards=cards[DESCRIBED],
        figures=figures,
        readings=reading_rows(measures) if REPAIRED in found else [],
        repaired=cards.get(REPAIRED, []),
        front_page=front_page,
        carded=set(found[DESCRIBED].shown),
        outcome=outcome if measures["outcome.region_test_after_correction"].notna().any() else [],
        novelty=[
            shown_over_seeds("{:.0%}", measures[f"novelty.{name}"]) for name in ("new_type", "new_type_of_test_errors")
        ],
        seeds=len(seeds_of(measures)),
    )


def front_page(claims: pd.DataFrame, tables: dict[str, Path]) -> str:
    """The front page: one bug of each data set, the post's six claims with verdicts and figures, links to the pages.

    Args:
        claims: the claims table; it may lack a data set.
        tables: folder of tables of each data set that has a page.
    """
    about = {dataset: provenance(folder) for dataset, folder in tables.items()}
    bugs = [
        {"dataset": dataset, "about": about[dataset], **front_bug(folder, dataset)}
        for dataset, folder in tables.items()
    ]
    readings = dict.fromkeys(reading for bug in bugs for reading in bug["readings"])
    judged = []
    for claim, figure in CARRIERS.items():
        rows = claims[claims.claim == claim]
        verdicts = [
            {
                "dataset": dataset,
                "title": about[dataset]["title"],
                "slug": about[dataset]["slug"],
                "verdict": own.verdict.iloc[0],
                "met": f"{own.all_met.iloc[0]:.0f} of {own.all_judged.iloc[0]:.0f}",
                "values": [row for _, row in own.iterrows()],
            }
            for dataset in tables
            if len(own := rows[rows.data == about[dataset]["title"]])
        ]
        shown = verdicts[0] if verdicts else {**about[next(iter(tables))], "dataset": next(iter(tables))}
        judged.append(
            {
                "claim": claim,
                "statement": rows.statement.iloc[0] if len(rows) else "",
                "verdicts": verdicts,
                "figure": figure,
                "shown": shown,
            }
        )
    first = seeds_of(measures_by_seed(next(iter(tables.values()))))[0]
    return filled("front.html", bugs=bugs, claims=judged, rule=rule(readings, first))
