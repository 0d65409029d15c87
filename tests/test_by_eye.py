"""A person's judgements are counted against the oracles', and only those of this very contact sheet."""

import numpy as np
import pandas as pd
import pytest

from defuse.core.errors import StorageError
from defuse.core.params_file import load_params
from defuse.core.storage import read_table, save_arrays, write_json, write_table
from defuse.studies.by_eye import compare, sheet_digest
from experiments.compare_by_eye import tally
from experiments.shared.cell import Cell

CAUSES = np.array(["classifier mistake", "label changed", "label changed", "reconstruction"])


@pytest.fixture
def sheet(tmp_path):
    save_arrays(tmp_path / "sheet.npz", region=np.arange(4))
    return tmp_path / "sheet.npz"


def judged(folder, sheet, kind, rows, digest=None):
    table = pd.DataFrame(rows, columns=["position", "by_eye"]).assign(digest=digest or sheet_digest(sheet))
    table.to_csv(folder / "judged.csv", index=False, encoding="utf-8")
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
    with pytest.raises(StorageError, match="no judgement of position 1, 2; allowed: all or none"):
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
    judgements = pd.DataFrame({"position": [0, 1], "by_eye": ["right", "wrong"]})
    digest = sheet_digest(tables / "digits_shown_repaired.npz")
    write_table(tmp_path / "digits_repaired.csv", judgements.assign(digest=digest))
    monkeypatch.setattr("experiments.compare_by_eye.JUDGEMENTS", tmp_path)
    assert tally(cell).startswith("2 items")
    assert read_table(tmp_path / "results/digits/by_eye.csv").to_numpy().tolist() == [
        ["repaired", "accepted", "right", 1],
        ["repaired", "accepted", "wrong", 1],
    ]
    write_table(tmp_path / "digits_repaired.csv", judgements.assign(digest=digest, position=[0, 2]))
    with pytest.raises(StorageError, match="position 2; allowed: 0 to 1, each once"):
        tally(cell)


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("regions", [(0, "label changed")], "by_eye is 'label changed'; allowed: right, wrong, cannot tell"),
        ("mistakes", [(0, "reconstruction")], "by_eye is 'reconstruction'; allowed: label changed, classifier mistake"),
        ("mistakes", [(0, "wrong before the search")], "by_eye is 'wrong before the search'; allowed: label changed"),
        ("regions", [(4, "right")], "position 4; allowed: 0 to 3, each once"),
        ("regions", [(1, "right"), (1, "wrong")], "position 1; allowed: 0 to 3, each once"),
    ],
)
def test_a_judgement_that_is_not_allowed_is_named(tmp_path, sheet, kind, rows, message):
    with pytest.raises(StorageError, match=message):
        judged(tmp_path, sheet, kind, rows)
