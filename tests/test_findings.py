"""What README and the report say in words: every number is measured, every link leads somewhere, in any outcome."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_readings import write_readings
from PIL import Image

from defuse.core.storage import read_table, write_table
from defuse.evidence.results import measures_by_seed, seeds_of
from defuse.evidence.tables import over_seeds, table_measures
from defuse.showing.findings import listed, main_sentences, recorded, verdict_counts, verdict_list
from defuse.showing.written_pages import (
    MAIN,
    NOT_MEASURED,
    README,
    appendix_blocks,
    readme_blocks,
    report_blocks,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [README, *(path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*.md"))), Path("votes/README.md")]
LINK = re.compile(r"(?:\]\(|src=\")([^)\"\s]+)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = (ROOT / page).parent / file if file else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A copy of the tables of two data sets, from its parent folder as current one."""
    for name in ("mnist", "gtsrb"):
        shutil.copytree(ROOT / "results" / name / "tables", tmp_path / "results" / name / "tables")
    shutil.copy(ROOT / "results" / "claims.csv", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return Path("results")


def words(text: str) -> str:
    """A text without the targets of its links."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)


def set_medians(tables: Path, **values: float) -> None:
    """Give a data set's measures (`stage__measure`) other medians."""
    (path,) = tables.glob("*_medians.csv")
    table = read_table(path).set_index(["stage", "measure"])
    for key, value in values.items():
        table.loc[tuple(key.split("__")), "median"] = value
    write_table(path, table.reset_index())


def accept_one_region(tables: Path, agreement: float = 0.9, in_each_seed: bool = False) -> None:
    """Reject all regions of a data set but the first of its first seed, or of each: called 5, taken for 3."""
    path = tables / f"{tables.parent.name}_regions.csv"
    table = read_table(path).assign(verdict="false alarm")
    chosen = table.groupby("seed").head(1).index[: None if in_each_seed else 1]
    columns = ["verdict", "label", "prediction", "agreement", "failure_rate"]
    table.loc[chosen, columns] = ["accepted", 5, 3, agreement, 0.8]
    write_table(path, table)


def test_each_number_of_the_first_sentences_is_the_median_of_its_measure(results):
    data = recorded(results, ["mnist", "gtsrb"], README)
    said = words(main_sentences(results, data, README))
    for each in data:
        medians = read_table(each.file).set_index(["stage", "measure"])["median"]
        assert f"{medians['cause classifier mistake', 'share']:.0%}" in said
        assert f"{medians['outcome', 'test_before']:.2%}" in said
        assert f"{medians['outcome', 'test_drop']:z.2%}" in said
    counts = [
        medians["annotate", "accepted_regions"]
        for medians in (read_table(each.file).set_index(["stage", "measure"])["median"] for each in data)
    ]
    assert f"they accept {counts[0]:g} and {counts[1]:g} as bugs" in said


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"reproduced": 2}, "get 2 verdicts: 2 “reproduced”."),
        ({"inconclusive": 1, "not reproduced": 1}, "get 2 verdicts: 1 “not reproduced” and 1 “inconclusive”."),
        ({"partly": 1, "reproduced": 1, "inconclusive": 1}, "1 “reproduced”, 1 “partly” and 1 “inconclusive”."),
    ],
)
def test_verdicts_are_counted_by_kind(tmp_path, counts, expected):
    verdicts = [verdict for verdict, count in counts.items() for _ in range(count)]
    table = pd.DataFrame({"claim": [f"c{n}" for n in range(len(verdicts))], "data": "MNIST", "source": "blog"})
    ours = pd.DataFrame({"claim": ["ours"], "data": "MNIST", "source": "ours", "verdict": "reproduced", "rule": "> 0"})
    write_table(tmp_path / "claims.csv", pd.concat([table.assign(rule="> 0", verdict=verdicts), ours]))
    assert words(verdict_counts(tmp_path / "claims.csv", tmp_path / "p.md")).endswith(expected)


def test_the_conclusions_name_the_data_sets_only_where_they_differ(tmp_path):
    rows = [
        ("a", "MNIST", "reproduced"),
        ("a", "GTSRB", "reproduced"),
        ("b", "MNIST", "reproduced"),
        ("b", "GTSRB", "not reproduced"),
        ("c", "MNIST", "inconclusive"),
        ("c", "GTSRB", "inconclusive"),
    ]
    table = pd.DataFrame(rows, columns=["claim", "data", "verdict"]).assign(rule="> 0", source="blog")
    write_table(tmp_path / "claims.csv", table)
    assert verdict_list(tmp_path / "claims.csv").splitlines() == [
        "- **Holds:** a; b (MNIST).",
        "- **Does not hold:** b (GTSRB).",
        "- **Undecided:** c.",
    ]


def test_where_nothing_is_recorded_the_pages_say_so_and_show_no_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    results.mkdir()
    text = "\n".join([*readme_blocks(results, ["mnist"]).values(), *report_blocks(results, ["mnist"]).values()])
    assert "Nothing has been recorded yet" in text and NOT_MEASURED in text
    assert not re.search(r"\d", text.replace("95%", "")) and "nan" not in text and "None" not in text


def test_where_no_region_was_accepted_there_was_nothing_to_correct(results):
    nothing = dict.fromkeys(("outcome__region_test_before", "outcome__region_test_after_correction"), np.nan)
    for name in ("mnist", "gtsrb"):
        set_medians(results / name / "tables", annotate__accepted_regions=0, **nothing)
    said = words(readme_blocks(results, ["mnist", "gtsrb"])["findings"])
    assert re.search(r"of the [\d.]+ and [\d.]+ regions found among them, they accept 0 and 0 as bugs[.;]", said)
    assert "No region was accepted, so there was nothing to correct." in said and "nan" not in said


def test_a_data_set_without_a_measure_has_a_dash_in_its_place(results):
    nothing = dict.fromkeys(("outcome__region_test_before", "outcome__region_test_after_correction"), np.nan)
    set_medians(results / "gtsrb" / "tables", **nothing)
    said = words(readme_blocks(results, ["mnist", "gtsrb"])["findings"])
    assert re.search(
        r"gets [\d.]+% and – of new images drawn from the accepted regions right, after it \d+% and –;", said
    )


def test_a_search_that_found_nothing_costs_no_number(results):
    path = results / "mnist" / "tables" / "mnist_measures.csv"
    table = read_table(path)
    place = (table.stage == "search small_many") & (table.measure == "draws_per_classifier_mistake")
    table.loc[place, "value"] = [*[np.inf] * 3, *[1000.0] * (place.sum() - 3)]
    write_table(path, table)
    set_medians(path.parent, **{"search small_many__draws_per_classifier_mistake": np.inf})
    assert f"∞ (none found in 3 of {place.sum()} seeds) with small noise and many draws" in words(
        report_blocks(results, ["mnist"])["cost"]
    )


def test_the_picture_is_of_the_clearest_bug_of_all_data_sets_that_have_one(results):
    assert readme_blocks(results, ["mnist", "gtsrb"])["picture"] == ""
    for name in ("mnist", "gtsrb"):
        (results / name / "figures").mkdir()
        (results / name / "figures" / f"{name}_named_bug.png").touch()
        accept_one_region(results / name / "tables", agreement=1.0 if name == "mnist" else 0.7)
    path = results / "mnist" / "tables" / "mnist_corrected_regions.csv"
    region = read_table(path.with_name("mnist_regions.csv")).region.iloc[0]
    write_table(path, read_table(path).head(1).assign(region=region, accuracy_control=0.75, accuracy_after=1.0))
    shown = readme_blocks(results, ["gtsrb", "mnist"])["picture"]
    assert 'src="results/mnist/figures/mnist_named_bug.png"' in shown
    assert "on MNIST: annotators call these images 5, the classifier calls them 3. It fails on 80% of" in words(shown)
    assert words(shown).endswith("on 0% after correction, and on 25% after the same training without regions.*")
    accept_one_region(results / "mnist" / "tables", agreement=0.6)
    shown = words(readme_blocks(results, ["gtsrb", "mnist"])["picture"])
    assert "on GTSRB: annotators call these images 5 (limit 80), the classifier calls them 3 (limit 60)" in shown
    assert "of fresh draws of its region" in shown


def test_figures_of_the_report_are_shrunk_alike_up_to_the_widest(results):
    folder = results / "mnist" / "figures"
    folder.mkdir()
    for name, width in (("causes", 1000), ("procedure", 3000)):
        Image.new("1", (width, 10)).save(folder / f"mnist_{name}.png")
    blocks = report_blocks(results, ["mnist"])
    assert 'mnist_causes.png" alt="Causes of the kept images, MNIST" width="600">' in blocks["search"]
    assert 'width="680">' in blocks["regions"] and "<img" not in blocks["correction"]


def test_the_readings_are_told_where_they_were_compared(results):
    tables = write_readings(results / "mnist" / "tables")
    path = tables / "mnist_medians.csv"
    write_table(path, read_table(path).query("not stage.str.contains('^reading|^rival')"))
    assert report_blocks(results, ["mnist"])["readings"] == NOT_MEASURED
    rows = [
        table_measures(read_table(tables / f"mnist_{file}.csv"), kind, key)
        for file, kind, key in (("readings", "reading", "reading"), ("rivals", "rival", "arm"))
    ]
    medians = over_seeds(pd.concat(rows))
    write_table(path, pd.concat([read_table(path), medians]))
    said = words(report_blocks(results, ["mnist"])["readings"])
    assert (
        "that the released method groups into regions, 12% are the classifier's own; of the described one's, 22%;"
        in said
    )
    assert "accept 1 of 6 regions of the released method, 2 of 6 of the described one, and 5 of 6 of the" in said
    assert "our repaired method, 77% of the mistakes are the classifier's own, and they accept 5 of 6 regions" in words(
        readme_blocks(results, ["mnist"])["findings"]
    )


def test_bugs_that_come_back_are_counted_over_the_seeds_of_each_reading(results):
    for name in ("mnist", "gtsrb"):
        (results / name / "tables" / f"{name}_readings.csv").unlink()
        accept_one_region(results / name / "tables", in_each_seed=name == "mnist")
    said = words(report_blocks(results, ["mnist", "gtsrb"])["over_seeds"])
    seeds = len(seeds_of(measures_by_seed(results / "mnist" / "tables")))
    assert said.startswith(f"The accepted regions of {seeds} seeds have 1 and 1 different pairs")
    assert "repaired" not in said
    assert "of these, 1 and 0 are found in at least half of the seeds." in said
    studied = read_table(write_readings(results / "mnist" / "tables") / "mnist_readings.csv").seed.nunique()
    said = words(report_blocks(results, ["mnist", "gtsrb"])["over_seeds"])
    assert f"Those of the repaired method, of {studied} seeds, have 1 and – different pairs" in said
    assert "1 and – are found" in said


def test_a_page_says_of_how_many_seeds_a_number_is_where_not_all_have_it(results):
    for name, kept, corrected in (("mnist", 2, None), ("gtsrb", None, 1)):
        path = results / name / "tables" / f"{name}_measures.csv"
        table = read_table(path)
        first = table.seed.unique()
        if kept:  # seeds with studies
            studies = table.stage.str.match("reading |rival |planted |plant_bugs")
            table = table[~studies | table.seed.isin(first[:kept])]
        else:
            outcome = (table.stage == "outcome") & (table.measure != "test_before")
            table.loc[outcome, "value"] = np.where(table.seed[outcome].isin(first[:corrected]), 0.5, np.nan)
        write_table(path, table)
    seeds = len(first)
    blocks = readme_blocks(results, ["mnist", "gtsrb"])
    said, rows = words(blocks["findings"]), blocks["results"].splitlines()
    assert re.search(rf"costs [\d.]+% and [-\d.]+% \(1 of {seeds} seeds\) of them\.", said)
    row = next(row for row in rows if row.startswith("| regions accepted as bugs, repaired method"))
    assert f"2 of {seeds} seeds" in row.split("|")[2]
    row = next(row for row in rows if row.startswith("| test accuracy after correction"))
    assert f"1 of {seeds} seeds" in row.split("|")[3] and "seeds" not in row.split("|")[2]
    said = words(readme_blocks(results, ["mnist"])["findings"])
    assert f"medians over {seeds} seeds (2 for the repaired method and for studies) on MNIST;" in said
    appendix = appendix_blocks(results, ["mnist"])["results"]
    assert (
        f"## Accuracy by lambda: MNIST ({seeds} seeds)" in appendix and "## Planted bugs: MNIST (2 seeds)" in appendix
    )


def test_a_cause_that_no_picture_shows_is_not_held_against_the_judge(results):
    counts = [
        ("mistakes", "label changed", "label changed", 3),
        ("mistakes", "classifier mistake", "label changed", 2),
        ("mistakes", "reconstruction", "label changed", 7),
        ("mistakes", "wrong before the search", "cannot tell", 5),
        ("mistakes", "not recognisable", "cannot tell", 1),
    ]
    table = pd.DataFrame(counts, columns=["sheet", "oracles", "by_eye", "count"])
    write_table(results / "mnist" / "by_eye.csv", table)
    rows = report_blocks(results, ["mnist"])["seen"].splitlines()
    assert [row for row in rows if "cause" in row] == ["| single mistakes: the cause, where it can be seen | 3, 2, 1 |"]


def test_each_table_of_the_appendix_names_its_file_its_stage_and_a_command(results):
    sections = appendix_blocks(results, ["mnist", "gtsrb"])["results"].split("\n## ")
    assert len(sections) > 15
    for section in sections:
        above = section.partition("\n| ")[0]
        assert re.search(r"stage `\w+`", above) and "`dvc repro " in above, above
        assert LINK.search(section), above


def test_readme_has_at_most_eight_rows_of_main_numbers(results):
    table = [line for line in readme_blocks(results, ["mnist"])["results"].splitlines() if line.startswith("| ")]
    assert len(table) - 2 == len(MAIN) <= 8


def test_words_are_listed_as_in_a_sentence():
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
