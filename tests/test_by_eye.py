"""A person's judgements are counted against the oracles', and only those of this very contact sheet."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from defuse.annotators.people import COLUMNS, check_rows, read_rows
from defuse.core.errors import VotesError
from defuse.core.params_file import load_params
from defuse.core.storage import read_table, save_arrays, write_json, write_table
from defuse.studies.by_eye import ANSWERS, compare, sheet_digest
from experiments.compare_by_eye import tally
from experiments.shared.cell import Cell

CAUSES = np.array(["classifier mistake", "label changed", "label changed", "reconstruction"])


@pytest.fixture
def sheet(tmp_path):
    save_arrays(tmp_path / "sheet.npz", region=np.arange(4))
    return tmp_path / "sheet.npz"


def write_judgements(path, rows, digest):
    """A file of votes: of each row the place on the sheet, what the person says, and who it is."""
    table = pd.DataFrame(
        [(digest, *(judge or ["eye"]), place, "", said) for place, said, *judge in rows], columns=list(COLUMNS)
    )
    table.to_csv(path, index=False, encoding="utf-8")


def judged(folder, sheet, kind, rows, digest=None):
    write_judgements(folder / "judged.csv", rows, digest or sheet_digest(sheet))
    return compare(folder / "judged.csv", kind, sheet, CAUSES)


def test_pairs_of_what_oracles_and_person_say_are_counted(tmp_path, sheet):
    rows = [(2, "label changed"), (0, "classifier mistake"), (1, "not recognisable")]
    table = judged(tmp_path, sheet, "mistakes", rows)
    assert table.values.tolist() == [
        ["mistakes", "classifier mistake", "classifier mistake", 1],
        ["mistakes", "label changed", "label changed", 1],
        ["mistakes", "label changed", "not recognisable", 1],
    ]


def test_judgements_of_another_sheet_are_not_counted(tmp_path, sheet):
    assert judged(tmp_path, sheet, "regions", [(0, "right")], digest="0" * 12).empty
    assert compare(tmp_path / "absent.csv", "regions", sheet, CAUSES).empty
    counted = judged(tmp_path, sheet, "regions", [(0, "right")])
    save_arrays(sheet, region=np.arange(5))
    assert len(counted) == 1 and compare(tmp_path / "judged.csv", "regions", sheet, CAUSES).empty


@pytest.mark.parametrize("digest", ["123456789012", "000000000012", "1234567e8901", "00e123456789", "a1b2c3d4e5f6"])
def test_judgements_are_counted_whatever_the_digest_looks_like(tmp_path, sheet, monkeypatch, digest):
    monkeypatch.setattr("defuse.studies.by_eye.sheet_digest", lambda _: digest)
    assert judged(tmp_path, sheet, "regions", [(0, "right"), (1, "wrong")], digest)["count"].sum() == 2


@pytest.mark.parametrize("kind", ["released", "repaired"])
def test_of_a_reading_all_accepted_regions_are_judged_or_none(tmp_path, sheet, kind):
    rows = [(3, "right"), (0, "right"), (2, "cannot tell"), (1, "wrong")]
    with pytest.raises(VotesError, match="no judgement of region 1, 2; allowed: all or none"):
        judged(tmp_path, sheet, kind, rows[:2])
    table = judged(tmp_path, sheet, kind, rows)
    assert table["count"].sum() == 4 and set(table.sheet) == {kind}


def test_the_accepted_regions_of_both_readings_are_counted_and_no_others(tmp_path, tree, write_params, monkeypatch):
    cell = Cell(load_params(write_params(tree)), "compare_by_eye", "digits", results=tmp_path / "results")
    tables = cell.tables
    write_json(tables / "provenance.json", {"slug": "digits", "title": "Digits", "line": "digits"})
    regions = {"seed": 0, "region": [0, 1, 2], "verdict": "accepted"}
    write_table(tables / "digits_regions.csv", pd.DataFrame(regions))
    read = [
        (0, "released", 4, "no agreement"),
        (0, "repaired", 4, "accepted"),
        (0, "repaired", 9, "false alarm"),
        (0, "repaired", 7, "accepted"),
    ]
    of_another_seed = [(1, "repaired", region, "false alarm") for region in (4, 9, 7)]
    columns = ["seed", "reading", "region", "verdict"]
    write_table(tables / "digits_reading_regions.csv", pd.DataFrame([*of_another_seed, *read], columns=columns))
    save_arrays(tables / "digits_regions.npz", region=np.arange(3))
    save_arrays(tables / "digits_identified.npz", cause=CAUSES)
    save_arrays(tables / "digits_shown_released.npz", region=np.array([4]))
    save_arrays(tables / "digits_shown_repaired.npz", region=np.array([7, 4, 9]))  # as shown, the accepted first
    digest = sheet_digest(tables / "digits_shown_repaired.npz")
    write_judgements(tmp_path / "digits_repaired.csv", [(0, "right"), (1, "wrong")], digest)
    monkeypatch.setattr("experiments.compare_by_eye.JUDGEMENTS", tmp_path)
    assert tally(cell).startswith("2 items")
    assert read_table(tmp_path / "results/digits/by_eye.csv").to_numpy().tolist() == [
        ["repaired", "accepted", "right", 1],
        ["repaired", "accepted", "wrong", 1],
    ]
    write_judgements(tmp_path / "digits_repaired.csv", [(0, "right"), (2, "wrong")], digest)
    with pytest.raises(VotesError, match="line 3: region 2; allowed: 0, 1"):
        tally(cell)


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("regions", [(0, "label changed")], "line 2: label 'label changed'; allowed: right, wrong, cannot tell"),
        ("mistakes", [(0, "reconstruction")], "label 'reconstruction'.*; allowed: label changed, classifier mistake"),
        ("mistakes", [(0, "wrong before the search")], "'wrong before the search'; allowed: label changed"),
        ("regions", [(4, "right")], "line 2: region 4; allowed: 0, 1, 2, 3"),
        ("regions", [(1, "right"), (1, "wrong")], "line 3: 'eye' has voted on region 1 in line 2; allowed: once"),
        ("regions", [(1, "right", "Ann"), (2, "wrong", "Ben")], "judged.csv: annotators Ann, Ben; allowed: one"),
    ],
)
def test_a_judgement_that_is_not_allowed_is_named(tmp_path, sheet, kind, rows, message):
    with pytest.raises(VotesError, match=message):
        judged(tmp_path, sheet, kind, rows)


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/by_eye/*.csv")), ids=lambda path: path.stem)
def test_the_judgements_that_are_kept_are_files_of_votes(path):
    rows, (_, kind) = read_rows(path), path.stem.split("_")
    assert len({(row.run, row.annotator) for row in rows}) == 1
    assert len(rows) == {"regions": 20, "mistakes": 100}.get(kind, len(rows)) <= 100
    check_rows(path, rows, rows[0].run, dict.fromkeys(range(len(rows)), 1), ANSWERS[kind])
