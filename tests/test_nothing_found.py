"""Runs at the edges: no mistake, nothing but mistakes, too few codes, annotators who disagree, extreme parameters."""

import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_cell import STAGES, TRAINING, always_say, finished_project, relabel, run_stage, small_params

from defuse.core import params
from defuse.core.errors import DistillationError, SearchError
from defuse.core.params_file import load_params
from defuse.method.annotation import judge_region
from defuse.method.distillation import fit_regions, sample_regions
from defuse.method.identification import Seeds, classes_and_gaps, perturb
from defuse.models.machine import set_up_machine
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
from defuse.showing.atlas import dataset_page
from experiments.figures import draw
from experiments.shared.cell import Cell

SEARCH = [stage for stage in STAGES if stage not in TRAINING]
FIGURES = (
    region_figures.named_bug,
    region_figures.procedure,
    search_figures.interpolation,
    search_figures.tsne,
    region_figures.regions,
    correction_figures.lambda_sweep,
    novelty_figures.novelty,
    correction_figures.results_table,
    search_figures.identified_mistakes,
    search_figures.causes,
    region_figures.acceptance,
    pair_figures.bugs_over_seeds,
    reading_figures.readings,
    reading_figures.repair,
    study_figures.noise,
    study_figures.searches,
    study_figures.vaes,
    study_figures.tau,
    study_figures.mixtures,
    study_figures.rivals,
    planting_figures.planted_bugs,
)


@pytest.fixture(scope="module")
def trained(shipped_tree, tmp_path_factory):
    """A tiny project in which the stages that train have run."""
    return finished_project(tmp_path_factory.mktemp("trained"), small_params(shipped_tree), TRAINING)


@pytest.fixture
def project(trained, shipped_tree, tmp_path, monkeypatch):
    """Function that copies the trained project, with changed parameters, and enters it."""

    def make(**changes):
        shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
        (tmp_path / "params.yaml").write_text(json.dumps(small_params(shipped_tree, **changes)), encoding="utf-8")
        monkeypatch.chdir(tmp_path)

    return make


@pytest.fixture
def closing(caplog):
    """Function that runs a stage without any warning and returns its closing line, without the time."""

    def run(stage):
        caplog.set_level(logging.INFO)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run_stage(stage)
        return caplog.messages[-1].partition(": ")[2].rpartition(" (")[0]

    return run


def drawn_figures(folder):
    """Every figure of the notebooks, drawn, and the atlas' page, made; the words on each figure."""
    assert "Bug atlas" in dataset_page(
        Path("results/digits/tables"), "digits", [draw_figure.__name__ for draw_figure in FIGURES]
    )
    words = {}
    for draw_figure in FIGURES:
        figure = draw_figure(Path("results/digits/tables"))
        words[draw_figure.__name__] = [text.get_text() for text in figure.texts]
        drawing.save(figure, str(folder / f"{draw_figure.__name__}.png"))
    return words


NOTHING = {
    "identify": "0 mistakes from 24 seed images; 100.0% of correct validation images right reconstructed",
    "ablate_search": "none of 7 searches finds a mistake",
    "ablate_vae": "100.0% to 100.0% of reconstructions are right over 2 VAEs",
    "ablate_noise": "wrong draws from 0.0% to 0.0% over 8 noises",
    "show_regions": "0 regions to label, run 29dd21f55e46",
    "vote": "votes of oracle 0, oracle 1, oracle 2 on 0 regions",
    "annotate": "0 of 0 regions accepted; of 0 mistakes 0 are the classifier's, in 0 the label changed",
    "distill": "0 regions from 0 codes (converged after 0 iterations)",
    "correct": "0 accepted regions: no lambda could be chosen",
    "finetune_baseline": "0 annotated mistakes: no learning rate could be chosen",
    "novelty": "0 accepted regions: no failing sample to compare",
    "ablate_regions": "0 to 0 regions over 1 mixtures",
    # All images are of one class: there is no blend of two, and no share of them that passes.
    "compare_readings": (
        "accepted regions: released 0 of 0, described 0 of 0, repaired 0 of 0, no search 0 of 0; 14 rivals; "
        "the checker cannot work: too many blends of two images pass it"
    ),
    "summarize_cell": "12 tables and the measures of 8 stages in results/digits/cells/0",
    "summarize_studies": (
        "11 tables and the measures of train_checker, train_released_vae, compare_readings, plant_bugs in "
        "results/digits/studies/0"
    ),
    "summarize": "25 tables and 9 figures' data of 1 seed(s) in results/digits/tables; 0 accepted regions",
}


def test_no_mistake_ends_well_and_says_so(project, closing, tmp_path, monkeypatch):
    project(distill={"include_reconstruction_failures": False}, annotate={"slip_rate": 0.0})
    relabel(3)
    always_say(3)
    precision = set_up_machine(load_params(Path("params.yaml")).compute).description["precision"]
    summarized = f"{NOTHING['summarize']}; computed in {precision}"
    assert {stage: closing(stage) for stage in SEARCH} == {**NOTHING, "summarize": summarized}
    words = drawn_figures(tmp_path)
    assert "No component of the mixture is heavy enough to be a region." in words["regions"]
    assert "No region was accepted, so there is nothing to correct." in words["lambda_sweep"]
    assert "The search found no mistake." in words["identified_mistakes"]
    assert "No component of the mixture is heavy enough to be a region." in words["procedure"]
    assert "No region was accepted, so there is nothing to correct." in words["results_table"]
    monkeypatch.setattr("experiments.figures.draw_figures", lambda *_, **__: [])
    assert draw(Cell(load_params(Path("params.yaml")), "figures", "digits")).endswith("; 0 accepted regions")


def test_a_classifier_that_makes_only_mistakes_can_have_regions_and_goes_through(project, closing, tmp_path):
    project(distill={"include_reconstruction_failures": False})  # none is the VAE's: the images are wrong already
    relabel(3)
    always_say(5)
    lines = {stage: closing(stage) for stage in SEARCH}
    said = {
        "identify": "96 mistakes from 24 seed images; no validation image is right",
        "ablate_search": "the classifier's own mistakes are 0.0% to 0.0% of what 7 searches find",
        "ablate_vae": "no validation image is right: there is no reconstruction to compare it with",
        "ablate_noise": "no training image is right both raw and reconstructed: there is nothing to perturb",
    }
    assert {stage: lines[stage] for stage in said} == said
    assert "regions from 96 codes" in lines["distill"] and not lines["annotate"].startswith("0 of ")
    assert lines["correct"].startswith("lambda 0: region test 0.0% -> 0.0%, test 0.00% -> 0.00%")
    assert "accepted regions" in lines["summarize"] and "; 0 accepted regions" not in lines["summarize"]
    drawn_figures(tmp_path)


def test_arms_that_diverge_have_no_accuracy_and_are_never_chosen(project, closing, tmp_path):
    project(
        correct={"lambdas": [0, 1e30]},
        finetune_baseline={"learning_rates": [1e30, 1e-3]},
        compare_readings={"lambdas": [1e30, 1e31]},
    )
    lines = {stage: closing(stage) for stage in SEARCH}
    assert lines["correct"].startswith("lambda 0: ") and ", rate 0.001: " in lines["finetune_baseline"]
    tables = Path("results/digits/tables")
    sweep = pd.read_csv(tables / "digits_lambda_sweep.csv", encoding="utf-8")
    baseline = pd.read_csv(tables / "digits_baseline.csv", encoding="utf-8")
    assert sweep.diverged.tolist() == [False, False, True] and baseline.diverged.tolist() == [True, False]
    for table in (sweep, baseline):
        measured = table[[name for name in table if name.endswith("accuracy")]]
        assert measured[table.diverged].isna().all(axis=None) and measured[~table.diverged].notna().all(axis=None)
        assert not table.chosen[table.diverged].any() and table.chosen.sum() == 1
    rivals = pd.read_csv(tables / "digits_rivals.csv", encoding="utf-8").set_index("arm")
    assert np.isnan(rivals.loc["regions", ["lambda", "test_accuracy"]].astype(float)).all()
    drawn_figures(tmp_path)


def test_accepted_regions_without_misclassified_training_images_say_so(project, closing):
    project()
    for stage in SEARCH[: SEARCH.index("novelty")]:
        run_stage(stage)
    always_say(3)
    relabel(3)
    assert closing("novelty").endswith("and no misclassified training image to compare them with")


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_fewer_codes_than_components_go_through_the_stages(project, closing, count):
    project()
    run_stage("identify")
    file = Path("artifacts/identify/digits/0/mistakes.npz")
    with np.load(file) as held:
        arrays = {name: array[:count] for name, array in dict(held).items()}
    np.savez(file, **arrays)
    lines = {stage: closing(stage) for stage in SEARCH[SEARCH.index("distill") : SEARCH.index("summarize_cell")]}
    assert f"regions from {count} codes" in lines["distill"]
    if count < 2:
        assert lines["correct"] == "0 accepted regions: no lambda could be chosen"


@pytest.mark.parametrize(("threshold", "verdict"), [(0.0, "no agreement"), (2.0, "not recognisable")])
def test_annotators_who_never_agree_or_never_answer_accept_nothing(project, closing, threshold, verdict):
    # All votes are slips, so that they never agree; above a confidence of 2 nobody answers.
    project(annotate={"minimum_agreement": 1.0, "maximum_abstention": 0.9, "slip_rate": 1.0})
    table = Path("artifacts/calibrate_oracle/digits/oracles.csv")
    pd.read_csv(table, encoding="utf-8").assign(threshold=threshold).to_csv(table, index=False, encoding="utf-8")
    for stage in ("identify", "distill", "show_regions", "vote"):
        run_stage(stage)
    assert closing("annotate").startswith("0 of ")
    assert set(pd.read_csv("artifacts/annotate/digits/0/regions.csv", encoding="utf-8").verdict) == {verdict}
    assert closing("correct") == "0 accepted regions: no lambda could be chosen"


def test_votes_that_are_all_different_are_no_agreement():
    settings = params.Annotate(
        minimum_agreement=0.6,
        consensus=0.6,
        strictness=[0.6],
        maximum_abstention=0.5,
        minimum_failures=0.5,
        slip_rate=0.0,
        annotated_mistakes=1,
    )
    judged = judge_region(np.arange(50).reshape(10, 5), np.full(10, 99), 0.6, settings)
    assert (judged.verdict, judged.agreement) == ("no agreement", 0.02)


def test_one_class_has_no_next_one_to_lead():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes, gaps = classes_and_gaps(torch.zeros(3, 1))
    assert classes.tolist() == [0, 0, 0] and np.isnan(gaps).all()  # NaN: doubtful, so looked at in float32


def test_one_latent_dimension_has_its_figure(project, closing):
    project(train_vae={"latent_dim": 1})
    run_stage("train_vae")
    assert [closing(stage) for stage in SEARCH][-1].startswith("25 tables")


def distill_settings(**changes):
    return params.Distill(
        **{
            "include_reconstruction_failures": False,
            "fit_codes": 200,
            "components": 12,
            "concentration_prior": None,
            "max_iterations": 50,
            "minimum_weight": 0.02,
            "tau": 1.0,
            "shown_samples": 1,
            "correction_samples": 1,
            "validation_samples": 1,
            "test_samples": 1,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("codes", "settings", "message"),
    [
        (np.outer(np.arange(100), np.ones(4)) * 1e5, {}, "no mixture can be fitted to 100 codes from 0 to 9.9e+06"),
        (np.eye(4), {"tau": 1e300}, "tau is 1e+300 and draws codes beyond float32; allowed: a lower one"),
    ],
)
def test_codes_that_cannot_be_clustered_or_sampled_are_said(codes, settings, message):
    chosen = distill_settings(**settings)

    def distill():
        regions = fit_regions(codes.astype(np.float32), chosen, 0)
        sample_regions(regions, 5, chosen.tau, np.random.default_rng(0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DistillationError) as caught:
            distill()
    assert message in str(caught.value)


@pytest.mark.parametrize("scale", [1e30, 1e300])
def test_noise_beyond_float32_is_said(scale):
    noise = params.Noise({"normal": scale})
    one = np.zeros(1, np.int64)
    seeds = Seeds(one, one, np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32), one, one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SearchError) as caught:
            perturb(seeds, noise, 50, np.zeros(2, np.uint64))
    assert str(caught.value) == f"the noise normal {scale:g} leads beyond float32; allowed: a smaller one"
