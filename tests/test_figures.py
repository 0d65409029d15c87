"""Figures of the committed tables, and what they say where there is nothing to draw."""

import json
import re
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from fontTools import ttLib
from made_readings import READINGS, empty_readings, write_readings
from matplotlib import font_manager, pyplot

from defuse.core.errors import StorageError
from defuse.core.storage import load_arrays, read_table, save_arrays, write_table
from defuse.showing import (
    correction_figures,
    drawing,
    novelty_figures,
    pair_figures,
    planting_figures,
    reading_figures,
    region_figures,
    search_figures,
    study_figures,
)
from defuse.showing.cells import show_over_seeds

RESULTS = Path(__file__).resolve().parent.parent / "results"
FIGURES = {
    search_figures: ("identified_mistakes", "causes", "interpolation", "tsne"),
    region_figures: ("named_bug", "procedure", "regions", "acceptance"),
    correction_figures: ("lambda_sweep", "results_table"),
    novelty_figures: ("novelty",),
    study_figures: ("noise", "searches", "vaes", "tau", "mixtures", "rivals"),
    planting_figures: ("planted_bugs",),
    reading_figures: ("readings", "repair"),
    pair_figures: ("bugs_over_seeds",),
}
DRAWN = {name: getattr(module, name) for module, names in FIGURES.items() for name in names}


@pytest.fixture(autouse=True)
def nothing_stays_open():
    with matplotlib.rc_context():
        drawing.set_theme()
        yield
    pyplot.close("all")


@pytest.fixture
def tables(tmp_path) -> Path:
    """A copy of SVHN's tables, to be changed, with one seed alone."""
    folder = Path(shutil.copytree(RESULTS / "svhn" / "tables", tmp_path / "tables"))
    first = read_table(folder / "svhn_greyscale_subset_measures.csv", "seed").seed.iloc[0]
    for path in folder.glob("*.csv"):
        table = read_table(path)
        if "seed" in table:
            write_table(path, table[table.seed == first])
    return folder


def words(figure) -> str:
    """All text of a figure, those of its axes and subfigures included."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("dataset", ["mnist", "svhn", "gtsrb"])
def test_every_figure_names_its_data(dataset, name):
    folder = RESULTS / dataset / "tables"
    figure = drawing.drawn(DRAWN[name], folder)
    text, about = words(figure), json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert f"{about['title']}: " in text
    assert about["line"].replace(" ", "") in text.replace("\n", "").replace(" ", "")
    for line in figure.texts:  # the title and the provenance line lie inside of the picture
        extent = line.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 and extent.y0 >= 0 and extent.y1 <= figure.bbox.y1


def test_a_missing_table_is_named_in_place_of_its_figure(tables):
    (tables / "svhn_greyscale_subset_taus.csv").unlink()
    text = "".join(words(drawing.drawn(study_figures.tau, tables)).split())
    assert "svhn_greyscale_subset_taus.csv:nosuchfile;thestagesummarizemakesit" in text
    (tables / "svhn_greyscale_subset_taus.csv").write_bytes(b"\xff")
    with pytest.raises(StorageError, match="no readable"):
        drawing.drawn(study_figures.tau, tables)


def test_each_figure_stands_in_one_notebook():
    text = "".join(path.read_text(encoding="utf-8") for path in (RESULTS.parent / "notebooks").glob("*.ipynb"))
    shown = re.findall(r"show_figure\((\w+)\.(\w+), tables, figures\)", text)
    assert sorted(shown) == sorted((DRAWN[name].__module__.rpartition(".")[2], name) for name in DRAWN)


def test_causes_are_bars_as_long_as_their_shares(tables):
    table = read_table(tables / "svhn_greyscale_subset_causes.csv").set_index("cause").loc[list(drawing.CAUSE_COLOURS)]
    axes = search_figures.causes(tables).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(table.share.tolist(), nan_ok=True)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(table.index)


def test_causes_of_several_seeds_are_bars_to_their_median_and_a_dot_for_each_seed(tables):
    path = tables / "svhn_greyscale_subset_causes.csv"
    table = read_table(path)
    write_table(path, pd.concat([table.assign(seed=seed, share=share) for seed, share in enumerate((0.1, 0.2, 0.6))]))
    axes = search_figures.causes(tables).axes[0]
    assert {bar.get_width() for bar in axes.patches} == {0.2} and len(axes.lines) == len(drawing.CAUSE_COLOURS)
    assert all(line.get_xdata().tolist() == [0.1, 0.2, 0.6] for line in axes.lines)


def test_noises_are_stacked_bars_that_end_at_their_wrong_draws(tables):
    wrong = read_table(tables / "svhn_greyscale_subset_noise.csv").groupby("noise", sort=False).wrong.mean()
    last = study_figures.noise(tables).axes[0].patches[-len(wrong) :]
    assert [bar.get_x() + bar.get_width() for bar in last] == pytest.approx(wrong.tolist(), abs=1e-6)


def test_an_arm_without_all_strengths_has_marks_at_its_own_and_no_line(tables):
    path = tables / "svhn_greyscale_subset_planted.csv"
    table = read_table(path)
    arms = [*table.arm.unique()[:5], "repaired"]  # an image of its regions is shown
    ends = table[(table.arm == "mixture") & table.strength.isin([0, 1])]
    between = [table[table.strength == 1].assign(strength=strength) for strength in (0.25, 0.5)]
    all_strengths = pd.concat([table[table.strength.isin([0, 1])], *between])
    kept = all_strengths[all_strengths.arm.isin(arms)]
    write_table(path, pd.concat([kept, *(ends.assign(arm=f"ends {n}") for n in range(3))]))
    lines = {line.get_label(): line for line in planting_figures.planted_bugs(tables).subfigs[0].axes[0].lines}
    for name in ("ends 0", "ends 1", "ends 2"):
        assert lines[name].get_linestyle() == "None" and len(lines[name].get_xdata()) == 2
        assert np.round(lines[name].get_xdata()).tolist() == [0, 3]
    assert lines["mixture"].get_linestyle() == "-" and len(lines["mixture"].get_xdata()) == 4
    looks = {(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in lines.values()}
    assert len(looks) > 8  # of the arms, and the seeds' dots


def test_facts_beside_planted_images_are_of_the_first_of_the_studies_seeds(tables):
    """The images are that seed's, which need not be the first of the main chain."""
    path = tables / "svhn_greyscale_subset_planted.csv"
    first = read_table(path).assign(seed=2, subgroup_accuracy=0.123)
    write_table(path, pd.concat([first, first.assign(seed=0, subgroup_accuracy=0.987)]))
    text = words(planting_figures.planted_bugs(tables))
    assert "accuracy 12%\nwithout the bug 12%" in text and "accuracy 99%" not in text


def test_each_seed_has_a_bar_of_its_own_causes(tables):
    path = tables / "svhn_greyscale_subset_noise.csv"
    first = read_table(path).iloc[:1].assign(label_changed=0.0, third_label=0.0, not_recognisable=0.0)
    seeds = [
        first.assign(seed=0, wrong=0.1, classifier_mistake=1.0),
        first.assign(seed=1, wrong=0.3, classifier_mistake=0.0),
    ]
    write_table(path, pd.concat(seeds))
    bars = study_figures.noise(tables).axes[0].patches[:2]
    assert [bar.get_width() for bar in bars] == pytest.approx([0.1, 0.0])  # not 0.2 x 0.5 for both
    assert bars[0].get_y() < bars[1].get_y()


def test_a_seed_without_regions_counts_for_none_of_the_others(tables):
    path = tables / "svhn_greyscale_subset_acceptance.csv"
    table = read_table(path)
    table = table[table.region < 4].assign(verdict="accepted", seed=3)  # the tables' other seeds have no region
    write_table(path, table)
    axes = region_figures.acceptance(tables).axes[0]
    assert {bar.get_height() for bar in axes.patches} == {4, 0} and "a bar for each seed" in axes.get_ylabel()


@pytest.mark.parametrize("seeds", [2, 7])
def test_the_sweep_of_several_seeds_has_their_median_a_dot_for_each_and_a_band_for_many(tables, seeds):
    path = tables / "svhn_greyscale_subset_lambda_sweep.csv"
    sweep = read_table(path)
    sweep = sweep[~sweep.diverged]
    each = [sweep.assign(seed=seed, test_accuracy=sweep.test_accuracy - 0.01 * seed) for seed in range(seeds)]
    write_table(path, pd.concat(each))
    axes = correction_figures.lambda_sweep(tables).axes[0]
    arms = sweep[sweep.arm == "correction"].sort_values("lambda")
    assert axes.lines[0].get_ydata() == pytest.approx(arms.test_accuracy.to_numpy() - 0.005 * (seeds - 1))
    assert len(axes.lines[1].get_ydata()) == seeds * len(arms) and axes.lines[1].get_linestyle() == "None"
    paths = axes.collections[0].get_paths()
    assert bool(paths and len(paths[0].vertices)) == (seeds == 7)
    if seeds == 7:  # of seven values the interval leaves out none
        heights = paths[0].vertices[:, 1]
        assert heights.max() == pytest.approx(arms.test_accuracy.max())
        assert heights.min() == pytest.approx(arms.test_accuracy.min() - 0.06)


def test_a_lambda_that_diverges_is_a_cross_and_takes_no_part_in_the_curve(tables):
    path = tables / "svhn_greyscale_subset_lambda_sweep.csv"
    sweep = read_table(path)
    sweep = sweep[~sweep.diverged]
    largest = sweep["lambda"].max()
    broken = sweep["lambda"] == largest
    accuracy = [name for name in sweep if name.endswith("accuracy")]
    sweep.loc[broken, "diverged"], sweep.loc[broken, accuracy] = True, np.nan
    write_table(path, sweep)
    axes = correction_figures.lambda_sweep(tables).axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    assert curves["diverged"].get_xdata().tolist() == [largest] and curves["diverged"].get_marker() == "x"
    assert "diverged" in [text.get_text() for text in axes.get_legend().get_texts()] and not axes.texts
    assert np.isnan(curves["original test set"].get_ydata()).tolist() == [False] * (len(axes.get_xticks()) - 1) + [True]

    whole = sweep.assign(seed=1, diverged=False)
    whole.loc[broken, accuracy] = 0.5
    write_table(path, pd.concat([sweep, whole]))
    axes = correction_figures.lambda_sweep(tables).axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    assert [text.get_text() for text in axes.texts] == ["1 of 2"]
    assert curves["original test set"].get_ydata()[-1] == 0.5

    write_table(path, sweep.assign(diverged=False))
    assert "diverged" not in words(correction_figures.lambda_sweep(tables))


def test_samples_of_many_regions_share_the_figure_of_the_nearest_mistakes(tables):
    data = load_arrays(tables / "svhn_greyscale_subset_novelty.npz")
    regions = len(np.unique(data["region"]))
    titles = [axes.get_title() for axes in novelty_figures.novelty(tables).axes[: min(10, len(data["region"]))]]
    firsts = [np.flatnonzero(data["region"] == region)[0] for region in np.unique(data["region"])][:10]
    assert regions > 1 and titles[: len(firsts)] == [
        f"{data['label'][first]} taken\nfor {data['prediction'][first]}" for first in firsts
    ]


@pytest.mark.parametrize(
    ("seeds", "expected", "said"),
    [(3, "{0:.1%} / {1:.1%} / –", "each seed"), (7, "{2:.1%} ({0:.1%} to {3:.1%}, 6 of 7 seeds)", "median")],
)
def test_the_results_table_shows_each_of_few_seeds_and_the_median_of_more(tables, seeds, expected, said):
    path = tables / "svhn_greyscale_subset_measures.csv"
    measures = read_table(path)
    first = measures[(measures.stage == "outcome") & (measures.seed == measures.seed.iloc[0])]
    start = {name: 0.1 + 0.05 * place for place, name in enumerate(first.measure)}
    rows = [
        first.assign(seed=seed, value=np.nan if seed == seeds - 1 else first.measure.map(start) + seed / 100)
        for seed in range(seeds)
    ]
    write_table(path, pd.concat(rows))
    figure = correction_figures.results_table(tables)
    cells = {place: cell.get_text().get_text() for place, cell in figure.axes[0].tables[0].get_celld().items()}
    for row, when in enumerate(("before", "after_control", "after_baseline", "after_correction"), 1):
        for column, data in enumerate(("test", "region_test")):
            low = start[f"{data}_{when}"]
            assert cells[row, column] == expected.format(low, low + 0.01, low + 0.025, low + 0.05)
    assert said in words(figure)


def test_a_table_over_seeds_has_a_dash_for_a_seed_without_a_row():
    tables = RESULTS / "gtsrb" / "tables"  # some of its seeds have no accepted region
    sweep = read_table(tables / "gtsrb_lambda_sweep.csv")
    columns = {"test_accuracy": ("test", "{:.2%}"), "chosen": ("chosen", "")}
    lines = show_over_seeds(
        str(tables), "lambda_sweep.csv", {"arm": "arm", "lambda": "lambda"}, columns
    ).data.splitlines()
    for value in (0.01, 0.1):
        arms = sweep[(sweep.arm == "correction") & (sweep["lambda"] == value)].set_index("seed")
        arms = arms.reindex(sweep.seed.unique())
        assert 0 < arms.chosen.isna().sum() < len(arms)
        accuracies = " / ".join("–" if np.isnan(accuracy) else f"{accuracy:.2%}" for accuracy in arms.test_accuracy)
        chosen = arms.chosen.eq(True).sum()
        assert f"| correction | {value:g} | {accuracies} | {chosen} of {len(arms)} |" in lines


@pytest.mark.parametrize("draw", [correction_figures.results_table, study_figures.rivals])
@pytest.mark.parametrize("dataset", ["mnist", "gtsrb"])
def test_no_words_of_a_tall_or_wide_figure_lie_over_each_other(dataset, draw):
    figure = draw(RESULTS / dataset / "tables")
    figure.canvas.draw()
    labels = [text for text in figure.axes[0].get_yticklabels() if text.get_text()]
    labels += [cell.get_text() for table in figure.axes[0].tables for cell in table.get_celld().values()]
    boxes = [text.get_window_extent() for text in labels if text.get_text()]
    assert len(boxes) > 10 and min(box.x0 for box in boxes) > 0
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_the_procedure_says_where_there_was_nothing_to_correct(tables):
    path = tables / "svhn_greyscale_subset_corrected_regions.csv"
    assert "3. the same draws after correction" in words(region_figures.procedure(tables))
    write_table(path, read_table(path).head(0))
    assert "3. nothing to correct" in words(region_figures.procedure(tables))


def test_the_procedure_shows_three_regions_before_and_after_correction(tables):
    shown = load_arrays(tables / "svhn_greyscale_subset_regions.npz")
    text = words(region_figures.procedure(tables))
    verdicts = read_table(tables / "svhn_greyscale_subset_regions.csv").set_index("region").verdict
    assert verdicts[shown["region"][0]] == "accepted"
    for region in shown["region"][:3]:
        assert f"region {region}, {verdicts[region]}; annotators: " in text
    corners = [int(line) for line in text.splitlines() if line.isdigit()]
    for place in range(3):
        for kind in ("prediction", "prediction_after"):
            assert set(shown[kind][place, :5]) <= set(corners)


def test_the_named_bug_is_the_clearest_one_and_is_told_before_and_after_correction(tables):
    path = tables / "svhn_greyscale_subset_regions.csv"
    regions = read_table(path)
    first, *_, last = regions.index[regions.verdict == "accepted"]
    regions.loc[[first, last], ["agreement", "failure_rate"]] = [[0.9, 0.5], [0.8, 0.75]]
    write_table(path, regions.drop(regions.index[(regions.verdict == "accepted") & ~regions.index.isin([first, last])]))
    corrected = read_table(tables / "svhn_greyscale_subset_corrected_regions.csv").set_index("region")
    text, bug = words(region_figures.named_bug(tables)), regions.loc[last]
    assert f"annotators call this {bug.label}, the classifier {bug.prediction}" in text
    assert "25% right" in text and f"{corrected.accuracy_after[bug.region]:.0%} right" in text
    emptied(tables / "svhn_greyscale_subset_corrected_regions.csv")
    assert "nothing\ncorrected" in words(region_figures.named_bug(tables))
    write_table(path, regions.assign(verdict="false alarm"))
    assert "Annotators accepted no region as a bug." in words(region_figures.named_bug(tables))


def emptied(path: Path) -> None:
    """Keep the names and the types of a file of arrays or of a table, and no row."""
    if path.suffix == ".csv":
        write_table(path, read_table(path).iloc[:0])
    else:
        save_arrays(path, **{name: array[:0] for name, array in load_arrays(path).items()})


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("identified_mistakes", "identified.npz", "The search found no mistake."),
        ("procedure", "regions.npz", "No component of the mixture is heavy enough"),
        ("interpolation", "interpolation.npz", "No two test images have different labels."),
        ("results_table", "measures.csv", "No region was accepted, so there is nothing to correct."),
        ("regions", "regions.npz", "No component of the mixture is heavy enough"),
        ("acceptance", "acceptance.csv", "No component of the mixture is heavy enough"),
        ("novelty", "novelty.npz", "No failing region sample, or no misclassified training image."),
    ],
)
def test_where_there_is_nothing_to_draw_the_figure_says_so(tables, name, file, message):
    emptied(tables / f"svhn_greyscale_subset_{file}")
    assert message in words(DRAWN[name](tables))


def test_without_an_accepted_region_the_sweep_says_so(tables):
    sweep = read_table(tables / "svhn_greyscale_subset_lambda_sweep.csv")
    write_table(tables / "svhn_greyscale_subset_lambda_sweep.csv", sweep.assign(region_test_accuracy=np.nan))
    assert "No region was accepted" in words(correction_figures.lambda_sweep(tables))


@pytest.mark.parametrize("drawn", ["causes", "procedure"])
def test_a_saved_figure_has_the_same_bytes_again(tables, tmp_path, drawn):
    for name in ("one", "two"):
        shown = drawing.save(DRAWN[drawn](tables), str(tmp_path / "figures" / f"{name}.png"))
        assert shown == (tmp_path / "figures" / f"{name}.png").read_bytes() and not pyplot.get_fignums()
    for kind in ("png", "pdf"):
        one, two = (tmp_path / "figures" / f"{name}.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    assert drawing.save(DRAWN[drawn](tables), "") == shown and len(list((tmp_path / "figures").iterdir())) == 4


def test_lines_from_the_latent_space_to_its_three_pictures_do_not_cross(tables):
    data = load_arrays(tables / "svhn_greyscale_subset_tsne.npz")
    data["mistakes"][data["shown"]] = [[0, -1], [0, 1], [0, 0]]
    save_arrays(tables / "svhn_greyscale_subset_tsne.npz", **data)
    lines = search_figures.tsne(tables).axes[0].texts
    assert [line.xy[1] for line in lines] == [1, 0, -1]
    assert [line.xyann[1] for line in lines] == sorted((line.xyann[1] for line in lines), reverse=True)


@pytest.fixture
def with_readings(tables) -> Path:
    """SVHN's tables with made-up readings of three seeds."""
    return write_readings(tables)


def test_the_readings_stand_side_by_side_with_what_was_shown_said_and_repaired(with_readings):
    figure = reading_figures.readings(with_readings)
    text = words(figure)
    for heading in ("As released", "As described", "Repaired", "What\nannotators\nwere shown", "What they\nsaid"):
        assert heading in text
    assert [f"{count} of 6 accepted" in text for count in (1, 2, 5)] == [True] * 3  # of the first seed
    assert text.count("annotators: 3, classifier: 8") == 4  # one of the released, three of the repaired
    assert text.count("annotators: nothing, classifier: 8") == 2
    for repaired in (11, 31, 61):  # medians of the seeds, over the three kinds of mistakes
        assert f"unseen mistakes 3% → {repaired}%" in text
    assert text.count("test images 99.0% → 98.5%") == 3
    bars = [axes for axes in figure.axes if axes.patches and not axes.images]
    lengths = [[patch.get_width() for patch in axes.patches[:4]] for axes in bars[:3]]
    assert lengths == [[1, 0, 0, 5], [2, 0, 0, 4], [5, 0, 0, 1]]
    dots = [line.get_xdata().tolist() for axes in bars[:3] for line in axes.lines]
    assert dots == [[1, 2, 1], [2, 3, 2], [5, 6, 5]]
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 3 * 3 * 5


def test_the_clearest_regions_are_shown_accepted_first_and_no_blank_image(with_readings):
    path = with_readings / "svhn_greyscale_subset_reading_regions.csv"
    table = read_table(path)
    clear = (table.reading == "repaired") & (table.region == 2)
    write_table(path, table.assign(agreement=table.agreement.where(~clear, 1.0)))
    shown = reading_figures.shown_regions(with_readings, "repaired")
    assert shown.facts.region.tolist()[0] == 2 and shown.facts.verdict.tolist() == ["accepted"] * 5 + [
        "not recognisable"
    ]
    data = load_arrays(with_readings / "svhn_greyscale_subset_shown_repaired.npz")
    for region, images, count in zip(shown.facts.region, shown.images, shown.counts):
        place = data["region"].tolist().index(region)
        assert (images == data["images"][place]).all() and count == data["shown"][place]
    path = with_readings / "svhn_greyscale_subset_shown_repaired.npz"
    save_arrays(path, **{**data, "shown": np.full(6, 2)})
    pictures = [axes for axes in reading_figures.readings(with_readings).axes if axes.images]
    assert len(pictures) == 2 * 3 * 5 + 3 * 2


def test_readings_without_an_accepted_region_and_without_any_are_drawn(with_readings):
    tables = with_readings
    regions, rows = (tables / f"svhn_greyscale_subset_{name}.csv" for name in ("reading_regions", "readings"))
    arms = tables / "svhn_greyscale_subset_rivals.csv"
    write_table(regions, read_table(regions).assign(verdict="no agreement"))
    write_table(rows, read_table(rows).assign(accepted=0, no_agreement=6, not_recognisable_regions=0))
    table = read_table(arms)
    nothing = table.arm.isin(("released", "regions", "repaired"))
    accuracies = [name for name in table if name.endswith("accuracy")]
    table.loc[nothing, accuracies] = np.nan
    write_table(arms, table)
    text = words(reading_figures.readings(tables))
    assert text.count("0 of 6 accepted") == 3 and text.count("nothing to train on") == 3
    assert text.count("annotators disagree, classifier: 8") == 6 and "nan" not in text
    assert text.count("unseen mistakes 3% → 3%") == 3  # the classifier stays as it was
    empty_readings(tables)
    table[[f"{reading}_mistakes_accuracy" for reading in READINGS]] = np.nan
    write_table(arms, table)
    text = words(reading_figures.readings(tables))
    assert text.count("0 of 0 accepted") == 3 and text.count("no unseen mistakes to measure") == 3
    assert text.count("no region") == 2 and "nan" not in text  # the described reading's are the main chain's


def test_the_repair_is_shown_without_each_of_its_parts(with_readings):
    left, middle, right = reading_figures.repair(with_readings).axes
    assert [label.get_text() for label in left.get_yticklabels()] == list(reading_figures.ABLATION.values())

    def medians(axes):
        marks = [line for line in axes.lines if np.ptp(line.get_xdata()) == 0 and 0.5 < np.ptp(line.get_ydata()) < 0.9]
        return [float(mark.get_xdata()[0]) for mark in marks]

    assert medians(left) == pytest.approx([5 / 6, 3 / 6, 4 / 6, 2 / 6, 5 / 6])
    assert medians(middle) == pytest.approx([0.77, 0.32, 0.72, 0.77, 0.82])
    assert medians(right) == pytest.approx([0.61, 0.41, 0.51, 0.36, 0.56])


def test_a_repair_that_was_not_taken_apart_says_so(tables):
    assert "The parts of the repair were not studied on these data." in words(
        reading_figures.repair(write_readings(tables, ablated=False))
    )


def same_as_committed(name, tmp_path):
    """Whether a figure of MNIST has the bytes of its files in git."""
    drawing.set_theme()
    drawing.save(DRAWN[name](RESULTS / "mnist/tables"), str(tmp_path / f"{name}.png"))
    committed = RESULTS / "mnist/figures"
    return [
        (tmp_path / f"{name}.{kind}").read_bytes() == (committed / f"mnist_{name}.{kind}").read_bytes()
        for kind in ("png", "pdf")
    ] == [True, True]


@pytest.mark.parametrize(
    ("name", "rc"),
    [
        ("novelty", {"image.origin": "lower", "savefig.bbox": "tight", "figure.facecolor": "black"}),
        ("causes", {"text.usetex": True, "font.family": "cursive", "pdf.compression": 0, "lines.linewidth": 9}),
        ("tau", {"axes.formatter.use_locale": True, "mathtext.fontset": "cm", "figure.autolayout": True}),
    ],
)
def test_the_user_s_matplotlibrc_changes_no_figure(tmp_path, name, rc):
    matplotlib.rcParams.update(rc)
    assert same_as_committed(name, tmp_path)


def test_an_installed_font_changes_no_figure(tmp_path, monkeypatch):
    """Another face under the names of seaborn's first choice and of our own."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    other = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif.ttf"
    for family in ("Arial", "DejaVu Sans"):
        font = ttLib.TTFont(other)
        for number in (1, 4, 16):
            font["name"].setName(family, number, 3, 1, 0x409)
            font["name"].setName(family, number, 1, 0, 0)
        font.save(tmp_path / f"{family}.ttf")
        manager.addfont(tmp_path / f"{family}.ttf")
    assert Path(font_manager.findfont("Arial")) == tmp_path / "Arial.ttf"
    assert same_as_committed("causes", tmp_path)
