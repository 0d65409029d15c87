"""Names read back as they were written: arms called like numbers or gaps stay arms, in tables, figures and sheets."""

import csv
import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_cell
from matplotlib import pyplot

from defuse.core import storage
from defuse.core.storage import TEXT_COLUMNS, read_table
from defuse.evidence.results import measures_by_seed, provenance
from defuse.showing import planting_figures, study_figures
from defuse.showing.report import arms_table
from experiments.running.progress import Attempt, record_seconds

ROOT = Path(__file__).resolve().parent.parent
NOISES = ("1", "01", "NA", "None", "0.1", "0.10", "1e1")
SEARCHES = ("from_train", "null", "None", "nan")
PRIORS = ("0.01", "1/K", "1", "100")


class Written:
    """Columns of tables by what they hold in memory, words or numbers, as `table.csv: column`."""

    def __init__(self):
        self.words, self.numbers = set(), set()

    def note(self, path, column, values):
        for value in values:
            if isinstance(value, str):
                self.words.add(f"{path.name}: {column}")
            elif not pd.isna(value):
                self.numbers.add(f"{path.name}: {column}")


@pytest.fixture(scope="module")
def written():
    return Written()


@pytest.fixture(scope="module")
def tables(shipped_tree, tmp_path_factory, written):
    """The tables of a tiny cell whose arms are named like numbers and gaps; all that it writes is noted."""
    noise, search = {"normal": 0.3}, {"seed_source": "train", "noise": {"normal": 0.3}, "draws": 4, "keep": 3}
    vae, bug = (tiny_cell.SMALL[stage][key] for stage, key in (("ablate_vae", "arms"), ("plant_bugs", "bugs")))
    params = tiny_cell.small_params(
        shipped_tree,
        ablate_noise={"noises": dict.fromkeys(NOISES, noise)},
        ablate_search={"searches": {name: {**search, "draws": 4 + place} for place, name in enumerate(SEARCHES)}},
        ablate_vae={"arms": {"007": {**vae["small"], "feature_weight": 0.0}}},
        ablate_regions={"components": [1], "concentration_priors": [0.01, None, 1.0, 100.0]},
        plant_bugs={"bugs": {"1": bug["bright_4"]}},
    )
    of_table, of_rows = storage.write_table, storage.write_rows

    def write_table(path, table):
        for column in table:
            written.note(path, column, table[column])
        of_table(path, table)

    def write_rows(path, rows):
        for row in rows:
            for column, value in row.items():
                written.note(path, column, [value])
        of_rows(path, rows)

    for stage in tiny_cell.STAGES:
        importlib.import_module(f"experiments.{stage}")
    with pytest.MonkeyPatch.context() as patch:
        for module in list(sys.modules.values()):
            for name, original, noting in (
                ("write_table", of_table, write_table),
                ("write_rows", of_rows, write_rows),
            ):
                if getattr(module, name, None) is original:
                    patch.setattr(module, name, noting)
        folder = tiny_cell.finished_project(tmp_path_factory.mktemp("names"), params, tiny_cell.STAGES)
        ran = Attempt(process=None, log=Path(), start=0.0, seconds=1.0, result="ran")
        record_seconds(folder / "artifacts/stage-seconds.csv", {"prepare@digits": ran, "claims": ran})
    return folder / "results/digits/tables"


def test_every_column_of_words_that_a_stage_writes_is_read_as_words(tables, written):
    assert len(written.words) > 20 and len(written.numbers) > 100
    assert {place for place in written.words if place.partition(": ")[2] not in TEXT_COLUMNS} == set()
    assert {place for place in written.numbers if place.partition(": ")[2] in TEXT_COLUMNS} == set()


def test_results_keep_what_the_checker_and_the_released_autoencoder_learned(tables):
    artifacts = tables.parents[2] / "artifacts"
    curve = read_table(artifacts / "train_checker/digits/curve.csv")
    assert read_table(tables / "digits_checker_curve.csv").drop(columns="seed").equals(curve)
    released = read_table(artifacts / "train_released_vae/digits/0/curve.csv")
    assert read_table(tables / "digits_released_vae_curve.csv").drop(columns="seed").equals(released)
    measures = measures_by_seed(tables)
    assert measures["train_checker.validation_accuracy"][0] == curve.validation_accuracy.iloc[-1]
    assert measures["train_released_vae.validation_elbo"][0] == released.elbo.iloc[-1]
    assert {"train_checker", "train_released_vae"} <= set(provenance(tables.parent / "studies/0")["machines"])


def test_every_column_of_words_in_the_repository_is_read_as_words():
    """Claims and judgements by eye among them, which the tiny cell does not make."""

    def is_number(text):
        try:
            return bool(text in ("", "True", "False") or float(text) or True)
        except ValueError:
            return False

    found, seen = set(), set()
    for path in ROOT.glob("results/**/*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                seen |= set(row)
                found |= {name for name, text in row.items() if not is_number(text)}
    assert {"claim", "by_eye", "oracles", "noise", "seed", "value"} <= seen
    assert found - TEXT_COLUMNS == set()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("noise", NOISES),
        ("search", SEARCHES),
        ("VAE", ("train_vae", "007")),
        ("mixture", [f"1 {prior}" for prior in PRIORS]),
        ("tau", ("0.01", "1")),
    ],
)
def test_each_arm_of_one_seed_has_one_seed_under_its_own_name(tables, kind, names):
    medians = read_table(tables / "digits_medians.csv")
    medians = medians[medians.stage.str.startswith(f"{kind} ") & medians["median"].notna()]
    assert list(dict.fromkeys(medians.stage)) == [f"{kind} {name}" for name in names]
    assert set(medians.seeds) == {1}
    rows = [
        line.split(" | ")[0].removeprefix("| ") for line in arms_table(measures_by_seed(tables), kind).splitlines()[2:]
    ]
    assert rows == [name.replace("_", " ") for name in names]


def test_dots_stand_beside_the_name_of_their_search(tables):
    table = read_table(tables / "digits_searches.csv")
    table = table.assign(draws_per_classifier_mistake=[10.0, 20.0, 30.0, 40.0])
    storage.write_table(tables / "digits_searches.csv", table)
    left, right = study_figures.searches(tables).axes
    dots = {int(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in right.lines if line.get_marker() == "o"}
    labels = [text.get_text() for text in left.get_yticklabels()]
    pyplot.close("all")
    assert labels == ["from train", "null", "None", "nan"] and dots == {0: 10, 1: 20, 2: 30, 3: 40}


def test_the_legend_names_the_prior_of_its_curve(tables):
    """Whatever their order, and where 1/K is equal to another one."""
    legend = study_figures.mixtures(tables).axes[0].get_legend()
    pyplot.close("all")
    assert [text.get_text() for text in legend.get_texts()] == [f"prior {name}" for name in PRIORS]


def test_the_prior_1_over_k_keeps_its_number_beside_its_name(tables):
    table = read_table(tables / "digits_mixtures.csv")
    assert table.concentration_prior.tolist() == [0.01, 1.0, 1.0, 100.0] and table.prior.tolist() == list(PRIORS)


def test_a_bug_named_like_a_number_is_drawn(tables):
    figure = planting_figures.planted_bugs(tables)
    pyplot.close("all")
    assert any(text.get_text().startswith("1\naccuracy ") for text in figure.findobj(type(figure.texts[0])))
