"""The bug atlas: pages that show each misclassification region as a bug one can look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from defuse.core.storage import load_arrays, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.data.class_names import class_name
from defuse.evidence.results import (
    measures_by_seed,
    of_first_seed,
    of_first_study_seed,
    provenance,
    result_path,
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
)
STUDY_FIGURES = ("readings", "noise", "rivals", "planted_bugs")
# Each reading of the method, what it is, and the part of the page that shows its regions.
READINGS = {
    "released": ("as released", "the settings of the authors' code, as far as they can be followed", ""),
    "described": ("as described", "what the post says, with controls; the main chain of this replication", "regions"),
    "repaired": (
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
    if region.verdict == RegionVerdict.NOT_RECOGNISABLE:
        return f"Nothing that annotators recognise; the classifier says {said}"
    if region.verdict == RegionVerdict.NO_AGREEMENT:
        return f"Annotators do not agree; the classifier says {said}"
    label = class_name(dataset, int(region.label))
    if region.verdict == RegionVerdict.FALSE_ALARM:
        return f"{label}: no bug on the draws shown"
    return f"{label} taken for {said}"


def region_rows(tables: Path, dataset: str) -> pd.DataFrame:
    """One row per region of the first seed, the accepted first.

    It holds the table of regions, and the failure rates after continued training (lambda = 0) and after correction, NaN
    where nothing was corrected.
    """
    table, corrected = of_first_seed(tables, "regions.csv"), of_first_seed(tables, "corrected_regions.csv")
    failure = 1 - corrected.set_index("region").astype(float)
    table = table.assign(
        failure_control=table.region.map(failure.accuracy_control),
        failure_after=table.region.map(failure.accuracy_after),
        accepted=table.verdict == RegionVerdict.ACCEPTED,
    )
    table["headline"] = [headline(dataset, region) for _, region in table.iterrows()]
    return table.sort_values(["accepted", "share_of_mistakes"], ascending=False)


def load_shown(tables: Path) -> tuple[dict[str, np.ndarray], ...]:
    """The images of the regions worth showing: draws, members beside their seeds, samples beside their neighbours."""
    return tuple(load_arrays(result_path(tables, f"{name}.npz")) for name in ("regions", "members", "novelty"))


def region_card(dataset: str, facts: pd.Series, shown: tuple[dict[str, np.ndarray], ...]) -> dict[str, Any]:
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


def reading_rows(tables: Path, measures: dict[str, pd.Series]) -> list[dict[str, str]]:
    """What the page says of each reading; nothing where the readings were not studied, as in the demonstration."""
    if not result_path(tables, "readings.csv").is_file():
        return []
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


def repaired_cards(tables: Path, dataset: str) -> list[dict[str, Any]]:
    """What the page shows of the repaired reading's regions: facts, and the images that annotators saw with votes."""
    shown = load_arrays(result_path(tables, "shown_repaired.npz"), "region", "images", "shown", "prediction", "votes")
    table = of_first_study_seed(tables, "reading_regions.csv")
    table = table[table.reading == "repaired"].set_index("region", drop=False)
    cards = []
    for place, region in enumerate(shown["region"]):
        facts, there = table.loc[region], slice(shown["shown"][place])
        draws = [
            {
                "image": data_uri(image),
                "prediction": int(prediction),
                "right": facts.label in (ABSTAIN, prediction),  # without a label nothing is wrong
                "votes": [VOTE_SIGNS.get(vote, vote) for vote in votes.tolist()],
                "words": f"image of repaired region {region}: the classifier says "
                f"{class_name(dataset, int(prediction))}",
            }
            for image, prediction, votes in zip(
                *(shown[name][place, there] for name in ("images", "prediction", "votes"))
            )
        ]
        cards.append({"facts": facts, "headline": headline(dataset, facts), "draws": draws})
    return cards


def worst_bug(tables: Path, dataset: str) -> dict[str, Any]:
    """What the front page shows of a data set.

    That is counts of regions, and the card of the accepted region that fails most with most agreement, None if none was
    accepted.
    """
    rows, shown = region_rows(tables, dataset).set_index("region", drop=False), load_shown(tables)
    accepted = rows.loc[shown[0]["region"]].query("accepted")
    worst = (accepted.failure_rate * accepted.agreement).idxmax() if len(accepted) else None
    card = None if worst is None else region_card(dataset, accepted.loc[worst], shown)
    return {"card": card, "regions": len(rows), "accepted": int(rows.accepted.sum())}


def dataset_page(tables: Path, dataset: str, figures: Sequence[str], front_page: bool = True) -> str:
    """The atlas of a data set's first seed: a table of all regions, a card for each region worth showing, figures.

    Args:
        tables: folder of the data set's tables.
        dataset: its name.
        figures: names of figures that the page shows; it expects each as `DATASET/SLUG_FIGURE.png` beside it.
        front_page: whether there is one to go back to.
    """
    rows, shown = region_rows(tables, dataset).set_index("region", drop=False), load_shown(tables)
    cards = [region_card(dataset, rows.loc[region], shown) for region in shown[0]["region"]]
    measures = measures_by_seed(tables)
    readings = reading_rows(tables, measures)
    outcome = [
        (words, *(shown_over_seeds("{:.2%}", measures[f"outcome.{data}_{when}"]) for data in ("region_test", "test")))
        for when, words in OUTCOMES.items()
    ]
    return filled(
        "dataset.html",
        about=provenance(tables),
        dataset=dataset,
        rows=[row for _, row in rows.iterrows()],
        cards=cards,
        figures=figures,
        readings=readings,
        repaired=repaired_cards(tables, dataset) if readings else [],
        front_page=front_page,
        carded={int(card["facts"].region) for card in cards},
        outcome=outcome if measures["outcome.region_test_after_correction"].notna().any() else [],
        novelty=[
            shown_over_seeds("{:.0%}", measures[f"novelty.{name}"]) for name in ("new_type", "new_type_of_test_errors")
        ],
        seeds=read_table(result_path(tables, "measures.csv")).seed.nunique(),
    )


def front_page(claims: pd.DataFrame, tables: dict[str, Path]) -> str:
    """The front page: one bug of each data set, the post's six claims with verdicts and figures, links to the pages.

    Args:
        claims: the claims table; it may lack a data set.
        tables: folder of tables of each data set that has a page.
    """
    about = {dataset: provenance(folder) for dataset, folder in tables.items()}
    bugs = [
        {"dataset": dataset, "about": about[dataset], **worst_bug(folder, dataset)}
        for dataset, folder in tables.items()
    ]
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
    return filled("front.html", bugs=bugs, claims=judged)
