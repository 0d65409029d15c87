"""The whole DVC pipeline on a cut-down digits run, in a temporary clone."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from conftest import DIGITS, ROOT, edit, run, waiting_stages

from experiments import claims, front_page
from experiments.running.bundle import make_bundles
from experiments.running.pipeline import opened, stage_graph
from experiments.shared.command import STUDIES
from experiments.shared.command import run as run_stage


def changed_params(folder: Path) -> set[str]:
    """Stages of the digits that `dvc status` names for changed params."""
    with opened(folder) as repository:
        status = repository.status()
    return {
        stage
        for stage, changes in status.items()
        if "digits" in stage
        for change in changes
        if isinstance(change, dict) and "params.yaml" in change.get("changed deps", {})
    }


def test_every_stage_ran_and_its_results_are_there(clone):
    tables = clone / "results" / "digits" / "tables"
    causes = pd.read_csv(tables / "digits_causes.csv", encoding="utf-8")
    assert causes.share.sum() == pytest.approx(1)
    sweep = pd.read_csv(tables / "digits_lambda_sweep.csv", encoding="utf-8")
    assert sweep["lambda"].dropna().tolist() == [0.0, 0.1] and sweep.chosen.sum() == 1
    regions = pd.read_csv(tables / "digits_regions.csv", encoding="utf-8")
    assert len(regions) > 0 and (regions.verdict == "accepted").any()
    assert regions.failure_rate.between(regions.failure_low, regions.failure_high).all()
    planted = pd.read_csv(tables / "digits_planted.csv", encoding="utf-8")
    assert set(planted.strength) == {0, 1} and planted.groupby(["bug", "strength"]).arm.nunique().eq(8).all()
    assert (planted.touched == planted.training_images * planted.strength).all() and planted.found.isin([0, 1]).all()
    sources = {path.stem for path in (clone / "notebooks").glob("*.ipynb")}
    executed = list((clone / "results/digits/notebooks").iterdir())
    assert {path.stem.removeprefix("digits_") for path in executed} == sources
    text = "".join(path.read_text(encoding="utf-8") for path in executed)
    drawn = set(re.findall(r"show_figure\(\w+\.(\w+), tables, figures\)", text))
    for kind in ("png", "pdf"):
        figures = (clone / "results/digits/figures").glob(f"*.{kind}")
        assert {path.stem.removeprefix("digits_") for path in figures} == drawn
    page = (clone / "results/report/digits.html").read_text(encoding="utf-8")
    assert all(f'id="region-{region}"' in page for region in regions.region)


def test_draws_for_showing_correction_validation_and_test_are_disjoint(clone):
    import numpy as np

    with np.load(clone / "artifacts/distill/digits/0/samples.npz", allow_pickle=False) as file:
        rows = [tuple(code) for name in file.files for code in file[name].reshape(-1, file[name].shape[2]).tolist()]
    assert len(set(rows)) == len(rows)


def test_the_main_numbers_are_inside_bounds(clone):
    metrics = json.loads((clone / "results/digits/metrics.json").read_text(encoding="utf-8"))
    # Wide enough for another processor; a small and weak classifier, a hurried VAE, three oracles.
    bounds = {
        "identify.reconstruction_accuracy_of_correct": (0.6, 1.0),
        "identify.mistakes": (100, 900),
        "distill.regions": (1, 6),
        "annotate.accepted_regions": (1, 6),
        "outcome.region_test_before": (0.0, 0.5),
        "outcome.region_test_after_correction": (0.05, 1.0),
    }
    assert not {name: metrics[name] for name, (low, high) in bounds.items() if not low <= metrics[name] <= high}
    assert metrics["outcome.region_test_after_correction"] >= metrics["outcome.region_test_before"]
    assert pd.read_csv(clone / "results/digits/tables/digits_oracles.csv", encoding="utf-8").test_accuracy.min() > 0.85


def test_nothing_runs_twice(clone):
    output = run(clone, "dvc", "repro", *DIGITS)
    assert "Running stage" not in output


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({("correct", "digits", "lambdas"): [0.0, 0.2]}, {"correct@digits-0"}),
        (
            {("identify", "digits", "noise", "normal"): 0.4},
            {
                f"{stage}@digits-0"
                for stage in ("identify", "ablate_noise", "ablate_vae", "compare_readings", "plant_bugs")
            },
        ),
        ({("train_vae", "digits", "beta"): 2.0}, {"train_vae@digits-0", "ablate_vae@digits-0"}),
        ({("train_features", "digits", "epochs"): 3}, {"train_features@digits"}),
        ({("calibrate_oracle", "digits", "originals_recognised"): 0.9}, {"calibrate_oracle@digits"}),
        ({("plant_bugs", "digits", "minimum_members"): 3}, {"plant_bugs@digits-0"}),
        (
            {("distill", "digits", "tau"): 0.5},
            {"distill@digits-0", "ablate_regions@digits-0", "compare_readings@digits-0"},
        ),
        ({("summarize", "digits", "shown_regions"): 3}, {"summarize@digits"}),
        ({("correct", "mnist", "steps"): 3}, set()),
        ({("claims", "agreement"): 0.7}, set()),
    ],
)
def test_an_edit_touches_just_the_stages_that_use_it(clone, change, stages):
    original = (clone / "params.yaml").read_bytes()
    try:
        edit(clone, change)
        assert changed_params(clone) == stages
    finally:
        (clone / "params.yaml").write_bytes(original)


def test_another_seed_adds_just_its_cell_and_another_data_set_just_its_own(clone):
    """Before and after an edit of seeds or `datasets`: the stages there are, and those that have to run."""
    original = (clone / "params.yaml").read_bytes()
    gathering = {f"{stage}@digits" for stage in ("summarize", "compare_by_eye", "figures", "atlas")}

    def of_cells(stages: Iterable[str]) -> set[str]:
        """Without the stages that run once."""
        return {stage for stage in stages if "@" in stage}

    before = of_cells(stage_graph(clone))
    studies = {stage for stage in before if stage.partition("@")[0] in STUDIES}
    chain = {stage for stage in before if stage.endswith("-0")} - studies
    assert len(chain) == 11 and len(studies) == len(STUDIES)
    try:
        for study_seeds, added in (([0], chain), ([0, 4], chain | studies)):
            edit(clone, {("seeds",): [0, 4], ("study_seeds",): study_seeds})
            graph = stage_graph(clone)
            new = {f"{stage[:-2]}-4" for stage in added}
            assert of_cells(graph) - before == new
            assert of_cells(waiting_stages(clone, graph)) == new | gathering
        edit(clone, {("seeds",): [0], ("study_seeds",): [0], ("datasets",): ["digits", "gtsrb"]})
        graph = stage_graph(clone)
        assert of_cells(graph) - before == {stage.replace("digits", "gtsrb") for stage in before}
        assert not [stage for stage in waiting_stages(clone, graph) if "digits" in stage]
    finally:
        (clone / "params.yaml").write_bytes(original)
    assert not [stage for stage in waiting_stages(clone, stage_graph(clone)) if "digits" in stage]


def test_the_digits_alone_leave_the_claims_table_empty(clone, monkeypatch, caplog):
    monkeypatch.chdir(clone)
    with caplog.at_level("INFO"):
        run_stage("claims", claims.check_claims)
        run_stage("front_page", front_page.make_page)
    assert "claims: 0 rows" in caplog.text and "front_page: 1 data sets" in caplog.text
    assert pd.read_csv(clone / "results" / "claims.csv", encoding="utf-8").columns.tolist()[:2] == [
        "claim",
        "statement",
    ]


def test_metrics_dag_and_params_diff_serve_dvc_users(clone):
    assert "annotate.accepted_regions" in run(clone, "dvc", "metrics", "show", "results/digits/metrics.json")
    assert "identify@digits-0" in run(clone, "dvc", "dag", "figures@digits")
    assert "train_vae.digits.epochs" in run(clone, "dvc", "params", "diff")


def test_a_clone_with_the_bundles_networks_trains_nothing(clone, tmp_path):
    (archive,), left_out = make_bundles(clone, ["digits"])
    folder = tmp_path / "defuse"
    local = shutil.ignore_patterns("artifacts", "cache", "tmp", "__pycache__")
    shutil.copytree(clone, folder, symlinks=True, ignore=local)  # its dvc.lock and results are in no commit
    run(folder, "python", "-m", "experiments.unbundle", str(archive))
    ran = re.findall(r"Running stage '(\S+)'", run(folder, "dvc", "repro", *DIGITS))
    assert ran == ["prepare@digits"] and left_out == []
    assert not [stage for stage in waiting_stages(folder, stage_graph(folder)) if "digits" in stage]
    cards = folder / "artifacts/cards/digits"
    trained = {"train_classifier", "train_features", "train_vae", "train_released_vae", "train_oracle", "train_checker"}
    assert {path.stem for path in cards.iterdir()} == {"README", *trained}
    table = pd.read_csv(folder / "results/digits/tables/digits_measures.csv", encoding="utf-8")
    accuracy = table.query("stage == 'train_classifier' and measure == 'test_accuracy'").value.item()
    card = (cards / "train_classifier.md").read_text(encoding="utf-8")
    assert f"| {accuracy:.4g} |" in card and "architecture small_cnn" in card


def test_a_fresh_clone_draws_the_committed_figures_from_results_alone(tmp_path):
    folder = tmp_path / "defuse"
    run(ROOT, "git", "clone", "--quiet", "--no-hardlinks", ".", str(folder))

    def results() -> dict[str, bytes]:
        parts = [folder / "results" / "mnist" / "figures", folder / "results" / "report"]
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for part in parts
            for path in part.glob("**/*")
            if path.suffix in (".png", ".pdf") or path.name == "mnist.html"
        }

    committed = results()
    shutil.rmtree(folder / "results" / "mnist" / "figures")
    shutil.rmtree(folder / "results" / "report" / "mnist")
    run(folder, "dvc", "repro", "--single-item", "--force", "figures@mnist", "atlas@mnist")
    assert committed and results() == committed
    assert not (folder / "artifacts").exists()
