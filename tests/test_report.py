"""README's numbers are those of the committed tables, and no other."""

import re
from pathlib import Path

import pytest

from defuse.params_file import load_params
from defuse.report import BEGIN, END, results_block, shown, trial_table, with_results

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_the_committed_tables(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = Path("README.md").read_text()
    block = results_block(Path("results"), list(load_params(Path("params.yaml")).datasets))
    assert with_results(text, block) == text, "README is behind results/: run `make readme`"
    assert len(re.findall(r"\d+\.\d+ ?%", block)) > 20


def test_the_page_on_the_first_runs_shows_the_committed_tables(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = Path("docs/first-runs.md").read_text()
    assert with_results(text, trial_table(Path("results/mnist/tables"))) == text, "run `make readme`"


def test_the_rest_of_the_text_is_kept():
    assert with_results(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb"


def test_a_missing_marker_is_an_error():
    with pytest.raises(ValueError, match="results:begin"):
        with_results("no markers", "new")


def test_absent_numbers_are_a_dash():
    assert shown("{:.1%}", float("nan")) == "–" and shown("{:.1%}", 0.123) == "12.3%"
