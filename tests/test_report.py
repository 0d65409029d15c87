"""README's numbers are those of the committed tables, and no other."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defuse.core.params_file import load_params
from defuse.showing.report import (
    ARMS,
    BEGIN,
    END,
    arms_table,
    by_eye_table,
    conditions_table,
    main_numbers,
    replication_block,
    results_block,
    shown,
    with_results,
    with_spread,
)

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_the_committed_tables(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = Path("README.md").read_text(encoding="utf-8")
    block = results_block(Path("results"), list(load_params(Path("params.yaml")).datasets))
    assert with_results(text, block) == text, "README is behind results/: run `make readme`"
    assert len(re.findall(r"\d+\.\d+ ?%", block)) > 20


def test_the_page_on_the_replication_shows_the_committed_tables(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = Path("docs/replication.md").read_text(encoding="utf-8")
    block = replication_block(Path("results"), list(load_params(Path("params.yaml")).datasets))
    assert with_results(text, block) == text, "docs/replication.md is behind results/: run `make readme`"


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_a_mean_has_half_of_its_interval_beside_it():
    means = pd.DataFrame({"mean": [0.5, 0.25], "low": [0.4, np.nan], "high": [0.6, np.nan]}, index=["several", "one"])
    found = [with_spread("{:.1%}", means, key) for key in ("several", "one", "absent")]
    assert found == ["50.0% ± 10.0%", "25.0%", "–"]


def test_accepted_regions_are_listed_by_seed():
    tables = ROOT / "results" / "mnist" / "tables"
    measures = pd.read_csv(tables / "mnist_measures.csv", encoding="utf-8")
    counts = measures[measures.measure == "accepted_regions"].sort_values("seed").value
    line = next(row for row in cells(main_numbers([tables])) if row[0].startswith("regions that the annotators"))
    assert line[1] == ", ".join(f"{count:g}" for count in counts) and len(counts) == measures.seed.nunique() > 1


@pytest.mark.parametrize("kind", ARMS)
def test_each_arm_of_the_mnist_has_a_row_with_its_means(kind):
    tables = ROOT / "results" / "mnist" / "tables"
    name, keys = {
        "rival": ("rivals", ["arm"]),
        "VAE": ("vaes", ["vae"]),
        "search": ("searches", ["search"]),
        "noise": ("noise", ["noise"]),
        "tau": ("taus", ["tau"]),
        "mixture": ("mixtures", ["components", "concentration_prior"]),
    }[kind]
    column, (_, template) = next(iter(ARMS[kind].items()))
    means = pd.read_csv(tables / f"mnist_{name}.csv", encoding="utf-8").groupby(keys, sort=False)[column].mean()
    rows = cells(arms_table(tables, kind))
    assert [row[1].partition(" ±")[0] for row in rows] == [shown(template, value) for value in means]


def test_conditions_have_their_rule_value_and_decision(tmp_path):
    pd.DataFrame(
        {
            "claim": ["a", "a", "b"],
            "data": "MNIST",
            "measure": ["x", "y", "z"],
            "rule": [">= 1", "<= 2", ""],
            "value": [1.5, np.nan, 7],
            "low": [1.25, np.nan, np.nan],
            "high": [1.75, np.nan, np.nan],
            "holds": ["yes", "", ""],
            "verdict": "partly",
        }
    ).to_csv(tmp_path / "claims.csv", index=False, encoding="utf-8")
    assert cells(conditions_table(tmp_path / "claims.csv")) == [
        ["a", "MNIST", "x", ">= 1", "1.5 (1.25 to 1.75)", "yes", "partly"],
        ["a", "MNIST", "y", "<= 2", "–", "open", "partly"],
    ]


def test_judgements_by_eye_are_a_table_only_where_there_are_some(tmp_path):
    assert by_eye_table(tmp_path, ["digits"]) == ""
    (tmp_path / "digits" / "tables").mkdir(parents=True)
    (tmp_path / "digits" / "tables" / "provenance.json").write_text(
        '{"title": "Digits", "slug": "digits"}', encoding="utf-8"
    )
    (tmp_path / "digits" / "by_eye.csv").write_text(
        "sheet,oracles,by_eye,count\nregions,accepted,right,5\n", encoding="utf-8"
    )
    assert cells(by_eye_table(tmp_path, ["digits"])) == [["Digits", "regions", "accepted", "right", "5"]]


def test_the_rest_of_the_text_is_kept():
    assert with_results(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"


def test_a_missing_marker_is_an_error():
    with pytest.raises(ValueError, match="results:begin"):
        with_results("no markers", "new")


def test_absent_numbers_are_a_dash():
    assert shown("{:.1%}", float("nan")) == "–" and shown("{:.1%}", 0.123) == "12.3%"
