"""Bugs over seeds: which pairs of label and prediction come back, and the clearest bug of a data set."""

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_readings import empty_readings, write_readings
from matplotlib import pyplot
from matplotlib.colors import to_hex

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED
from defuse.core.storage import read_table, write_table
from defuse.evidence.bugs import clearest_bug, clearest_first
from defuse.evidence.pairs import accepted_pairs, come_back, pairs_by_reading
from defuse.evidence.results import measures_by_seed
from defuse.showing.cells import show_pairs
from defuse.showing.pair_figures import BACK, MOST_ROWS, ONCE, SEVERAL, bugs_over_seeds, how_many_come_back

RESULTS = Path(__file__).resolve().parent.parent / "results"


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    pyplot.close("all")


def regions_of(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["seed", "label", "prediction", "verdict"])


OF_FOUR_SEEDS = regions_of(
    (0, 4, 9, "accepted"),
    (0, 4, 9, "accepted"),
    (1, 4, 9, "accepted"),
    (3, 4, 9, "accepted"),
    (1, 2, 7, "accepted"),
    (3, 2, 7, "accepted"),
    (3, 1, 8, "accepted"),
    (3, 9, 4, "false alarm"),
    (1, -1, 4, "no agreement"),
)


def test_pairs_are_counted_by_seed_and_those_of_most_seeds_come_first():
    pairs = accepted_pairs(OF_FOUR_SEEDS, [3, 0, 1, 2])
    assert pairs.columns.tolist() == [3, 0, 1, 2]  # seed 2 has no accepted region
    assert {pair: row.tolist() for pair, row in pairs.iterrows()} == {
        (4, 9): [1, 2, 1, 0],
        (2, 7): [1, 0, 1, 0],
        (1, 8): [1, 0, 0, 0],
    }
    assert pairs.index.tolist() == [(4, 9), (2, 7), (1, 8)]


@pytest.mark.parametrize(
    ("seeds", "expected", "words"),
    [
        ([0, 1, 2, 3], [True, True, False], "2 of 3 pairs in at least half of the seeds, 1 in one seed only"),
        (list(range(5)), [True, False, False], "1 of 3 pairs in at least half of the seeds, 1 in one seed only"),
        ([3, 2], [False, False, False], "0 of 3 pairs in at least half of the seeds, 3 in one seed only"),
        ([3], [False, False, False], "3 pairs; one seed cannot tell which come back"),
        ([2, 9], [], "no region was accepted in any seed"),
        ([2], [], "no region was accepted"),
    ],
)
def test_a_pair_comes_back_in_half_of_the_seeds_and_never_in_one_alone(seeds, expected, words):
    pairs = accepted_pairs(OF_FOUR_SEEDS[OF_FOUR_SEEDS.seed.isin(seeds)], seeds)
    assert come_back(pairs).tolist() == expected and how_many_come_back(pairs) == words


def of_clearness(*rows: tuple) -> pd.DataFrame:
    names = ["region", "verdict", "agreement", "member_failure", "failure_rate", "share_of_mistakes"]
    return pd.DataFrame(rows, columns=names)


def test_the_clearest_bug_has_the_most_agreement_times_failure_and_equals_are_told_apart():
    rows = [
        (0, "false alarm", 1.0, 1.0, 1.0, 0.9),
        (1, "accepted", 0.6, 1.0, 0.9, 0.1),
        (2, "accepted", 1.0, 0.6, 0.5, 0.2),
        (3, "accepted", 0.6, 1.0, 0.8, 0.2),
        (4, "accepted", 1.0, np.nan, 0.7, 0.9),
    ]
    for order in (rows, rows[::-1]):
        assert clearest_bug(of_clearness(*order), REPAIRED).region == 2  # of 2 and 3, equals, the first by number
        assert clearest_bug(of_clearness(*order), DESCRIBED).region == 4
        assert clearest_bug(of_clearness(*order[1:-1]), REPAIRED).region == 2
    assert clearest_bug(of_clearness(*[row for row in rows if row[0] != 2]), REPAIRED).region == 3  # the larger
    assert clearest_bug(of_clearness(rows[4]), REPAIRED).region == 4  # accepted, though no failure was measured
    assert clearest_bug(of_clearness(rows[0]), REPAIRED) is None
    assert clearest_first(np.array([4, 2, 0]), of_clearness(*rows), REPAIRED).tolist() == [1, 0, 2]
    assert clearest_first(np.array([4, 0]), of_clearness(rows[0]), REPAIRED).tolist() == [0, 1]
    empty = of_clearness().assign(draw_failure=[])
    assert [clearest_bug(empty, reading) for reading in (RELEASED, DESCRIBED, REPAIRED)] == [None] * 3


@pytest.fixture
def tables(tmp_path) -> Path:
    """MNIST's tables with made-up accepted regions of ten seeds, and readings of five."""
    folder = write_readings(Path(shutil.copytree(RESULTS / "mnist" / "tables", tmp_path / "tables")), tuple(range(5)))
    first = read_table(folder / "mnist_measures.csv").query("seed == 0")
    write_table(folder / "mnist_measures.csv", pd.concat([first.assign(seed=seed) for seed in range(10)]))
    row = read_table(folder / "mnist_regions.csv").iloc[:1].assign(verdict="accepted")
    found = {(3, 8): range(5), (4, 9): (2, 7), (1, 7): (6, 6), (1, 1): (0,)}
    rows = [
        row.assign(seed=seed, region=place, label=label, prediction=said)
        for place, ((label, said), seeds) in enumerate(found.items())
        for seed in seeds
    ]
    write_table(folder / "mnist_regions.csv", pd.concat(rows))
    return folder


def panels(figure) -> list[dict[str, tuple[str, ...]]]:
    """Of each panel, by pair: seeds found of all, colours and weight of the name."""
    figure.canvas.draw()
    found = []
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        bars = [[bar for bar in axes.patches if round(bar.get_y() + 0.4) == place] for place in range(len(names))]
        weights = [label.get_fontweight() for label in axes.get_yticklabels()]
        told = [text.get_text() for text in axes.texts if " of " in text.get_text()]
        colours = [{to_hex(bar.get_facecolor()).upper() for bar in own} for own in bars]
        found.append(dict(zip(names, zip(told, [len(own) for own in bars], colours, weights))))
    return found


def words(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_the_figure_has_a_row_for_each_pair_and_a_square_for_each_seed_that_has_it(tables):
    figure = bugs_over_seeds(tables)
    described, repaired = panels(figure)
    assert described == {
        "3 → 8": ("5 of 10", 5, {BACK}, "bold"),
        "4 → 9": ("2 of 10", 2, {SEVERAL}, "normal"),
        "1 → 7": ("1 of 10", 1, {ONCE}, "normal"),
        "1 → another class": ("1 of 10", 1, {ONCE}, "normal"),
    }
    assert repaired == {"3 → 8": ("5 of 5", 5, {BACK}, "bold")}
    text = words(figure)
    assert "1 of 4 pairs in at least half of the seeds, 2 in one seed only" in text
    assert "1 of 1 pairs in at least half of the seeds, 0 in one seed only" in text
    counts = [text.get_text() for axes in figure.axes for text in axes.texts if " of " not in text.get_text()]
    assert counts == ["2", *("5" if seed % 2 == 0 else "6" for seed in range(5))]  # regions of one pair and seed


def test_the_figure_leaves_out_the_rarest_of_many_pairs_and_says_so(tables):
    row = read_table(tables / "mnist_regions.csv").iloc[:1]
    many = [row.assign(label=label, prediction=said) for label in range(6) for said in range(6, 10)]
    many += [row.assign(label=label, prediction=said, seed=1) for label in range(6, 10) for said in range(4)]
    write_table(tables / "mnist_regions.csv", pd.concat(many))
    figure = bugs_over_seeds(tables)
    assert len(panels(figure)[0]) == MOST_ROWS and "and 10 more, in one seed each" in words(figure)


def test_the_figure_says_where_nothing_was_accepted_and_where_nothing_was_compared(tables):
    path = tables / "mnist_regions.csv"
    write_table(path, read_table(path).assign(verdict="false alarm"))
    empty_readings(tables)
    figure = bugs_over_seeds(tables)
    assert not figure.axes and words(figure).count("no region was accepted in any seed") == 2
    (tables / "mnist_readings.csv").unlink()
    assert "The readings were not compared in this recording." in words(bugs_over_seeds(tables))
    assert show_pairs(str(tables)).data.splitlines() == [
        "| annotators' class → the classifier's | as described |",
        "| --- | --- |",
    ]


def test_the_table_beside_the_figure_names_the_seeds(tables):
    assert show_pairs(str(tables)).data.splitlines() == [
        "| annotators' class → the classifier's | as described | repaired |",
        "| --- | --- | --- |",
        "| 3 → 8 | 5 of 10: 0, 1, 2, 3, 4 | 5 of 5: 0, 1, 2, 3, 4 |",
        "| 4 → 9 | 2 of 10: 2, 7 | – |",
        "| 1 → another class | 1 of 10: 0 | – |",
        "| 1 → 7 | 1 of 10: 6 | – |",
    ]


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "gtsrb"])
def test_pairs_of_the_committed_tables_are_those_of_their_accepted_regions(dataset):
    tables = RESULTS / dataset / "tables"
    measures = measures_by_seed(tables)
    pairs = pairs_by_reading(tables, measures)[DESCRIBED]
    assert pairs.sum().to_dict() == measures["annotate.accepted_regions"].to_dict()
