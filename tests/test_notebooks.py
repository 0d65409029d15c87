"""Running a notebook: parameter names are checked first, failures are named, executed copies are byte-stable."""

from pathlib import Path

import pytest

from defuse.core.errors import NotebookError
from defuse.showing.notebooks import run_notebook

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "notebooks" / "causes.ipynb"


def test_an_unknown_parameter_is_refused_before_execution(tmp_path):
    with pytest.raises(NotebookError, match="unknown parameter table; it takes tables, figure_file"):
        run_notebook(SOURCE, tmp_path / "executed.ipynb", {"table": "results/digits/tables"})
    assert not list(tmp_path.iterdir())


def test_a_failing_cell_is_named_and_leaves_no_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(NotebookError, match="MissingFileError.*provenance.json"):
        run_notebook(SOURCE, tmp_path / "executed.ipynb", {"tables": str(tmp_path / "absent")})
    assert not list(tmp_path.iterdir())


def test_the_committed_copy_comes_out_again_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    committed, here = ROOT / "results" / "digits", tmp_path / "results" / "digits"
    here.mkdir(parents=True)
    (here / "tables").symlink_to(committed / "tables")
    parameters = {"tables": "results/digits/tables", "figure_file": "results/digits/figures/digits_causes.png"}
    run_notebook(SOURCE, here / "executed.ipynb", parameters)
    assert (here / "executed.ipynb").read_bytes() == (committed / "notebooks/digits_causes.ipynb").read_bytes()
    assert (here / "figures/digits_causes.png").read_bytes() == (committed / "figures/digits_causes.png").read_bytes()
