"""The benchmarks' reference finds what the search finds, and their arithmetic is right."""

import numpy as np
import pandas as pd
import torch
from conftest import ROOT, waiting_stages

from benchmarks import subjects
from benchmarks.__main__ import with_sections
from benchmarks.pipelines import PROBE, write_pipeline
from benchmarks.search import bare_passes, one_at_a_time, same_mistakes, search
from benchmarks.stages import estimate, longest_chain, shares
from benchmarks.timing import exponent, in_turns, ratio
from defuse.core.params_file import load_params
from defuse.core.storage import write_json, write_table
from defuse.method.identification import prepare_seeds
from defuse.models.evaluation import predict
from defuse.models.subject import Subject
from defuse.showing.gpu_page import READINGS, gpu_blocks
from defuse.showing.report import marks
from experiments.running.pipeline import stage_graph


def test_one_at_a_time_finds_the_same_mistakes(make_vae, make_classifier, images, machine):
    subject = Subject(make_classifier().eval(), make_vae(latent_dim=4).eval(), machine)
    labels = predict(subject.classifier, images).argmax(1)
    labels[::3] = (labels[::3] + 1) % 3
    seeds = prepare_seeds(subject, images, labels)
    reference = one_at_a_time(subject, seeds, draws=5, keep=3)
    mistakes = search(subject, seeds, draws=5)
    assert same_mistakes(mistakes, reference) == (len(reference), len(reference))
    assert len(mistakes.label) == len(reference) >= 24
    np.testing.assert_allclose(mistakes.noise_norm, [norm for _, _, norm, _ in reference], rtol=1e-5)


def test_mistakes_of_other_codes_are_not_the_same(make_vae, make_classifier, images, machine):
    subject = Subject(make_classifier().eval(), make_vae(latent_dim=4).eval(), machine)
    seeds = prepare_seeds(subject, images, (predict(subject.classifier, images).argmax(1) + 1) % 3)
    mistakes = search(subject, seeds, draws=5)
    reference = one_at_a_time(subject, seeds.take(slice(12)), draws=5, keep=3)
    moved = [(index, prediction, norm, (9.0, *code[1:])) for index, prediction, norm, code in reference]
    assert same_mistakes(mistakes, moved) == (0, len(moved))


def test_ratios_are_of_pairs_and_exponents_of_powers():
    assert ratio(np.array([2.0, 8.0, 3.0]), np.array([1.0, 2.0, 2.0])) == "2.00 (1.50 to 4.00)"
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == "2.00 (r² 1.000)"
    assert exponent([1, 2, 4, 8], [5.0, 10.0, 20.0, 40.0]).startswith("1.00")


def test_work_is_done_in_turns_after_one_round_that_is_not_counted():
    done = []
    times = in_turns(2, lambda: done.append("first"), lambda: done.append("second"))
    assert done == ["first", "second"] * 3 and times.shape == (2, 2) and (times >= 0).all()


def test_the_ceiling_passes_every_code_once():
    class Counting(torch.nn.Module):
        count = 0

        def forward(self, codes):
            self.count += len(codes)
            return codes

    network = Counting()
    bare_passes(network, torch.zeros((10, 3)), 4)
    assert network.count == 10


def test_a_page_keeps_the_sections_that_were_not_measured_again_and_says_on_what_they_were():
    empty = "above\n{}\n{}\nbelow".format(*marks("results"))
    page = with_sections(empty, "Measured on: this.", {"First": "1", "Second": "old\n\n| a |", "Third": "3"})
    assert page.count("Measured on") == 1
    again = with_sections(page, "Measured on: that.", {"Second": "new"})
    assert again.startswith("above\n") and again.endswith("below") and again.count("###") == 3
    assert again.index("Measured on: that.") < again.index("### First\n\nMeasured on: this.\n\n1")
    assert "### Second\n\nnew" in again and "old" not in again
    more = with_sections(again, "Measured on: that.", {"Third": "4"})
    assert more == again.replace("### Third\n\nMeasured on: this.\n\n3", "### Third\n\n4")
    back = with_sections(more, "Measured on: this.", {})
    assert "### First\n\n1" in back and "### Third\n\nMeasured on: that.\n\n4" in back


def test_the_networks_of_the_recorded_params_train_on_the_digits(monkeypatch, machine):
    monkeypatch.setattr(subjects, "EPOCHS", {"classifier": 1, "vae": 1})
    all_digits = subjects.digits
    monkeypatch.setattr(subjects, "digits", lambda channels: [part[:32] for part in all_digits(channels)])
    settings = load_params(ROOT / "params.yaml")
    for size in subjects.SIZES:
        subject, seeds = subjects.trained(settings, size, machine)
        assert len(seeds.label) == 32 and subject.vae.latent_dim == seeds.mean.shape[1]


def test_a_cell_from_elsewhere_stands_beside_the_recorded_seeds_also_where_the_studies_have_fewer(tmp_path):
    def stages(accuracy):
        return {
            "train_classifier": {"test_accuracy": accuracy},
            "train_vae": {"validation_elbo": -3.0},
            "identify": {"mistakes": 1234},
        }

    def readings(accepted):
        return {"classifier_mistake": 0.5, "accepted": accepted, "regions": 9}

    lent, tables = tmp_path / "gpu/a", tmp_path / "results/a/tables"
    for folder in (lent, tables):
        write_json(folder / "provenance.json", {"slug": "a", "title": "A"})
    write_json(lent / "a_measures.json", stages(0.9))
    write_table(lent / "a_readings.csv", pd.DataFrame({"reading": READINGS, **readings(1)}))
    cells = [(seed, stages(accuracy)) for seed, accuracy in enumerate((0.8, 0.95, 0.7))]
    cells += [(seed, {f"reading {name}": readings(seed) for name in READINGS}) for seed in (0, 1)]
    rows = [
        (seed, stage, measure, value)
        for seed, by_stage in cells
        for stage, values in by_stage.items()
        for measure, value in values.items()
    ]
    write_table(tables / "a_measures.csv", pd.DataFrame(rows, columns=["seed", "stage", "measure", "value"]))
    write_json(tmp_path / "gpu/state.json", {"cells": {"seconds": 120}})
    write_json(tmp_path / "gpu/machine.json", {"gpu": "a GPU"})
    seconds = pd.DataFrame({"stage": ["x", "y"], "dataset": "a", "seed": [0, None], "seconds": [36.0, 72.0]})
    write_table(tmp_path / "gpu/stage-seconds.csv", seconds)
    write_table(tmp_path / "here.csv", seconds.assign(seconds=3600.0, seed=[4, None]))
    block = gpu_blocks(tmp_path / "results", ["a"], tmp_path / "gpu", tmp_path / "here.csv")["cells"]
    said, table = block.split("\n\n")
    assert said.startswith("2 stages, with those that seeds share, took 2 minutes from start to end")
    assert "2 of them were also timed" in said and "add up to 2.0 hours, against 0.0 there" in said
    assert "| A | a GPU | here, seed 0 | lowest here | highest here | seeds here |" in table
    assert "| classifier: test accuracy | 90.00% | 80.00% | 70.00% | 95.00% | 3 |" in table
    assert "| repaired: regions accepted | 1 | 0 | 0 | 1 | 2 |" in table
    assert ") each, of another seed:" in said
    write_table(tables / "a_measures.csv", pd.DataFrame(rows[:9], columns=["seed", "stage", "measure", "value"]))
    alone = gpu_blocks(tmp_path / "results", ["a"], tmp_path / "gpu", tmp_path / "gpu/stage-seconds.csv")["cells"]
    assert alone.startswith("2 stages") and "another seed" not in alone and "| A |" not in alone  # without studies


def test_costs_of_more_seeds_and_jobs_by_hand():
    graph = {"oracle@a": set(), "train@a-0": set(), "vote@a-0": {"oracle@a", "train@a-0"}, "claims": {"vote@a-0"}}
    graph["train@a-1"] = set()
    rows = [("oracle", "a", None, 7200.0), ("train", "a", 0, 1800.0), ("vote", "a", 0, 1800.0)]
    table = pd.DataFrame(rows, columns=["stage", "dataset", "seed", "seconds"])
    assert longest_chain(graph, {"oracle@a": 7200, "train@a-0": 1800, "vote@a-0": 1800}) == 9000
    lines = estimate(table, graph).splitlines()
    assert lines[2].startswith("| 1 | 3.0 h | 3.0 h | 2.5 h |")  # two jobs wait for the oracle and the vote
    assert lines[4].startswith("| 5 | 7.0 h | 7.0 h | 3.5 h | 2.5 h |")
    assert lines[5].startswith("| as in `params.yaml` | 3.5 h | 3.5 h | 2.5 h |")  # two trainings, one vote
    assert "| oracle | 7200 s (67%) |" in shares(table) and shares(table).endswith("| sum | 180.0 min |")


SHIPPED = """
stages:
  code: {cmd: python -m code, deps: [defuse], outs: [{results/code: {cache: false}}]}
  identify:
    matrix: {dataset: "${datasets}", seed: "${seeds}"}
    cmd: python -m identify
    deps: [results/code/identify.txt]
    params: [compute]
    outs: ["artifacts/identify/${item.dataset}/${item.seed}"]
"""


def test_a_generated_pipeline_has_so_many_stages_all_of_them_up_to_date(tmp_path):
    shipped, folder = tmp_path / "shipped", tmp_path / "generated"
    (shipped / ".dvc").mkdir(parents=True)
    folder.mkdir()
    (shipped / ".dvc" / "config").touch()
    (shipped / "dvc.yaml").write_text(SHIPPED, encoding="utf-8")
    (shipped / "params.yaml").write_text(
        "{datasets: [a, b], seeds: [0], study_seeds: [0], compute: {threads: 1}}", encoding="utf-8"
    )
    assert write_pipeline(folder, shipped, 6) == 8
    graph = stage_graph(folder)
    assert set(graph) == {"code", PROBE, *(f"identify@{cell}" for cell in ("a-0", "a-1", "a-2", "b-0", "b-1", "b-2"))}
    assert waiting_stages(folder, graph) == {}
    (folder / "artifacts/identify/b/1/part.txt").write_text("changed", encoding="utf-8")
    assert set(waiting_stages(folder, graph)) == {"identify@b-1"}
