"""The numbers of README and of the report are those of the committed tables, and no other."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_readings import write_readings

from defuse.core.params_file import load_params
from defuse.core.storage import read_table, write_json, write_table
from defuse.evidence.results import measures_by_seed
from defuse.evidence.tables import table_measures
from defuse.showing.atlas import FIGURES, dataset_page
from defuse.showing.cells import show_counts
from defuse.showing.report import (
    ARMS,
    COUNT,
    arms_table,
    by_eye_table,
    claims_table,
    conditions_table,
    lambda_table,
    main_numbers,
    shown,
    shown_over_seeds,
    shown_with_range,
    with_results,
)
from defuse.showing.written_pages import README
from experiments.readme import PAGES

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_shows_the_committed_tables(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = shown_now = page.read_text(encoding="utf-8")
    blocks = PAGES[page](Path("results"), list(load_params(Path("params.yaml")).datasets))
    for name, block in blocks.items():
        shown_now = with_results(shown_now, block, name)
    assert shown_now == text, f"{page} is behind results/: run `make readme`"


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "–"),
        ([np.nan, np.nan], "–"),
        ([0.5], "50.0%"),
        ([0.425, 0.015, np.nan], "42.5% / 1.5% / –"),  # was "22.0% ± 260.5%"
        ([1.0, 1.0, 0.999, np.nan, 1.0], "100.0% / 100.0% / 99.9% / – / 100.0%"),
        ([0.1, 0.9, 0.2, 0.8, 0.3, 0.7], "50.0% (10.0% to 90.0%)"),
        ([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, np.nan], "50.0% (10.0% to 90.0%, 6 of 7 seeds)"),
    ],
)
def test_few_seeds_are_told_one_by_one_and_more_by_median_and_interval(values, expected):
    assert shown_over_seeds("{:.1%}", values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "–"),
        ([np.nan], "–"),
        ([0.5, 0.5], "50.0%"),
        ([0.1, 0.9, 0.2], "20.0% (10.0% to 90.0%)"),
        ([0.1, np.nan, 0.3], "20.0% (10.0% to 30.0%, 2 of 3 seeds)"),
        ([0.1, np.nan], "10.0% (1 of 2 seeds)"),
    ],
)
def test_the_front_page_shows_the_median_with_the_lowest_and_the_highest_value(values, expected):
    assert shown_with_range("{:.1%}", values) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_no_share_outside_of_0_to_1_is_ever_printed(values):
    numbers = [float(number) for number in re.findall(r"-?[0-9.]+(?=%)", shown_over_seeds("{:.4%}", values))]
    assert numbers and min(numbers) >= 0 and max(numbers) <= 100


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "gtsrb"])
def test_the_committed_tables_of_the_report_hold_nothing_impossible(dataset):
    tables = ROOT / "results" / dataset / "tables"
    text = "\n".join(
        [
            main_numbers([tables], README),
            lambda_table(tables),
            *(arms_table(measures_by_seed(tables), kind) for kind in ARMS),
        ]
    )
    shares = [float(number) for number in re.findall(r"-?[0-9.]+(?=%)", text)]
    assert len(shares) > 100 and min(shares) >= 0 and max(shares) <= 100 and "nan" not in text and "±" not in text


def test_each_measure_tells_the_seeds_in_the_order_of_the_params(tmp_path):
    write_json(tmp_path / "provenance.json", {"slug": "a", "title": "A"})
    rows = [(4, "x", 0.4), (0, "x", 0.0), (2, "x", 0.2), (0, "y", 0.1), (2, "y", np.nan), (4, "y", 0.5), (0, "z", 0.3)]
    table = pd.DataFrame([(seed, "stage", *row) for seed, *row in rows], columns=["seed", "stage", "measure", "value"])
    write_table(tmp_path / "a_measures.csv", table)
    measures = measures_by_seed(tmp_path)
    assert [values.index.tolist() for values in measures.values()] == [[4, 0, 2], [4, 0, 2], [0]]
    assert shown_over_seeds("{:g}", measures["stage.y"]) == "0.5 / 0.1 / –"


def test_a_median_of_counts_keeps_its_half_and_a_large_one_its_digits():
    assert [COUNT.format(value) for value in (38.5, 2.0, 29250.5)] == ["38.5", "2", "29,250.5"]


def test_accepted_regions_are_told_over_the_seeds():
    tables = ROOT / "results" / "mnist" / "tables"
    measures = pd.read_csv(tables / "mnist_measures.csv", encoding="utf-8")
    counts = measures[measures.measure == "accepted_regions"].value
    line = next(row for row in cells(main_numbers([tables], README)) if row[0] == "regions accepted as bugs")
    assert line[1] == shown_over_seeds(COUNT, counts) and len(counts) == measures.seed.nunique() > 1


def test_the_accuracy_on_test_images_is_told_for_each_lambda():
    tables = ROOT / "results" / "gtsrb" / "tables"
    rows = {row[0]: row[1:] for row in cells(lambda_table(tables))}
    sweep = read_table(tables / "gtsrb_lambda_sweep.csv")
    seeds, arms = sweep.seed.unique(), sweep[(sweep.arm == "correction") & (sweep["lambda"] == 0)].set_index("seed")
    arms = arms.reindex(seeds)  # a seed without a region has no arm
    assert arms.test_accuracy.notna().any()
    assert rows["0 (control)"] == [
        shown_over_seeds("{:.2%}", arms.test_accuracy),
        shown_over_seeds("{:.1%}", arms.region_test_accuracy),
        f"0 of {len(seeds)}",
    ]
    assert rows["100"] == ["–", "–", f"0 of {len(seeds)}"]  # diverged, or without a region


def test_each_reading_has_a_row_and_each_arm_its_accuracy_on_every_kind_of_mistakes(tmp_path):
    tables = write_readings(Path(shutil.copytree(ROOT / "results" / "mnist" / "tables", tmp_path / "tables")))
    names = (("readings", "reading", "reading"), ("rivals", "rival", "arm"))
    rows = [table_measures(read_table(tables / f"mnist_{table}.csv"), *name) for table, *name in names]
    write_table(tables / "mnist_measures.csv", pd.concat(rows))
    text = arms_table(measures_by_seed(tables), "reading")
    assert text.splitlines()[0].startswith("| reading | mistakes | the classifier's own | regions shown | accepted |")
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["repaired"][1:4] == ["75.0% / 77.0% / 79.0%", "6 / 6 / 6", "5 / 6 / 5"] and "without checker" in rows
    heading, _, *_ = (line.split(" | ") for line in arms_table(measures_by_seed(tables), "rival").splitlines())
    place = heading.index("unseen mistakes, repaired")
    rows = {row[0]: row for row in cells(arms_table(measures_by_seed(tables), "rival"))}
    assert rows["repaired"][place] == "60.0% / 61.0% / 62.0%" and rows["before"][place] == "2.0% / 3.0% / 4.0%"


@pytest.mark.parametrize("kind", [kind for kind in ARMS if kind not in ("reading", "planted")])
def test_each_arm_of_the_mnist_has_a_row_with_the_value_of_each_seed(kind):
    tables = ROOT / "results" / "mnist" / "tables"
    name, keys = {
        "rival": ("rivals", ["arm"]),
        "VAE": ("vaes", ["vae"]),
        "search": ("searches", ["search"]),
        "noise": ("noise", ["noise"]),
        "tau": ("taus", ["tau"]),
        "mixture": ("mixtures", ["components", "prior"]),
    }[kind]
    column, (_, template) = next(iter(ARMS[kind].items()))
    groups = read_table(tables / f"mnist_{name}.csv").groupby(keys, sort=False)[column]
    expected = [" / ".join(shown(template, value) for value in values) for _, values in groups]
    assert [row[1] for row in cells(arms_table(measures_by_seed(tables), kind))] == expected


def test_conditions_have_their_rule_values_and_decision_and_claims_the_cells_that_meet_them_all(tmp_path):
    claims = tmp_path / "results" / "claims.csv"
    table = pd.DataFrame(
        {
            "claim": ["a", "a", "b"],
            "statement": ["all well", "all well", "?"],
            "data": "MNIST",
            "measure": ["x", "y", "z"],
            "rule": [">= 1", "<= 2", None],
            "values": ["1.5 0.5", "nan 7", "7 7"],
            "met": [1, 0, None],
            "judged": [2, 1, None],
            "seeds": 2,
            "holds": ["open", "no", None],
            "all_met": [0, 0, None],
            "all_judged": [2, 2, None],
            "verdict": ["partly", "partly", "measured"],
            "file": "results/mnist/x.csv",
            "stage": "annotate, summarize@mnist",
        }
    )
    write_table(claims, table)
    page = tmp_path / "docs" / "page.md"
    made = "`annotate`, `summarize@mnist`"
    x, y = (f"[{name}](../results/mnist/x.csv)" for name in "xy")
    assert cells(conditions_table(claims, page)) == [
        ["a", "MNIST", x, ">= 1", "1 (1.5 / 0.5)", "1 of 2", "open", "partly", made],
        ["a", "MNIST", y, "<= 2", "7 (– / 7)", "0 of 1, 1 not judged", "no", "partly", made],
    ]
    assert cells(claims_table(claims, page)) == [["**a**: all well", "partly (0 of 2)"]]


def test_judgements_by_eye_are_a_table_only_where_there_are_some(tmp_path):
    page = tmp_path / "page.md"
    assert by_eye_table(tmp_path, ["digits"], page) == ""
    (tmp_path / "digits" / "tables").mkdir(parents=True)
    (tmp_path / "digits" / "tables" / "provenance.json").write_text(
        '{"title": "Digits", "slug": "digits"}', encoding="utf-8"
    )
    (tmp_path / "digits" / "by_eye.csv").write_text(
        "sheet,oracles,by_eye,count\nregions,accepted,right,5\n", encoding="utf-8"
    )
    title = "[Digits](digits/by_eye.csv)"
    assert cells(by_eye_table(tmp_path, ["digits"], page)) == [[title, "regions", "accepted", "right", "5"]]


def test_only_the_part_between_the_marks_of_a_name_is_replaced():
    text = "a\n<!-- one:begin -->\nold\n<!-- one:end -->\nb\n<!-- two:begin -->\n<!-- two:end -->\n"
    assert with_results(text, "new", "one") == text.replace("old", "\nnew\n")


def test_a_missing_mark_is_an_error():
    with pytest.raises(ValueError, match="results:begin"):
        with_results("no marks", "new")


def test_absent_numbers_are_a_dash():
    assert shown("{:.1%}", float("nan")) == "–" and shown("{:.1%}", 0.123) == "12.3%"


def test_a_cost_at_which_nothing_was_found_is_infinite():
    assert shown_over_seeds("{:.0f}", [100, np.inf, np.nan]) == "100 / ∞ / –"
    assert shown_with_range("{:.0f}", [100, np.inf, np.inf]) == "∞ (100 to ∞)"


@pytest.mark.parametrize(
    "make",
    [
        lambda tables: dataset_page(tables, "mnist", FIGURES),
        lambda tables: main_numbers([tables], README),
        lambda tables: show_counts(str(tables), "regions.csv", "verdict"),
    ],
)
def test_a_page_or_table_reads_the_measures_once(monkeypatch, make):
    read, of_pandas = [], pd.read_csv
    monkeypatch.setattr(pd, "read_csv", lambda path, **options: (read.append(path.name), of_pandas(path, **options))[1])
    make(ROOT / "results" / "mnist" / "tables")
    assert read.count("mnist_measures.csv") == 1
