"""The precision that `auto` chose is kept: with the networks, with the cells, and in what figures say of their data."""

from pathlib import Path

import pytest
import torch
from tiny_cell import CLASSIFIER, run_stage, small_params, write_project

from defuse.core.params import Compute
from defuse.core.storage import read_json, write_json
from defuse.evidence.machines import machines_of_cells, precision_sentence, with_machines
from defuse.evidence.tables import check_cells
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, set_up_machine
from defuse.models.saved_networks import load_network, save_network
from defuse.models.weights import load_weights, save_weights, weights_machine
from experiments.shared.cell import Cell
from experiments.shared.kept_tables import keep_tables

SMALL = {"architecture": "small_cnn", "channels": 1, "classes": 3, "width": 2, "stem": None}
FLOAT32 = {"device": "cpu", "processor": "x86_64 AVX2", "precision": "float32"}
BFLOAT16 = {"device": "cpu", "processor": "x86_64 AVX512", "precision": "bfloat16"}
DATA = {"slug": "digits", "title": "Digits", "line": "all of the digits"}


def test_a_network_tells_what_trained_it_and_loads_as_before(tmp_path, make_classifier, machine):
    network, path, old = make_classifier(), tmp_path / "c.safetensors", tmp_path / "old.safetensors"
    save_network(path, network, machine, **SMALL)
    save_network(old, network, **SMALL)
    assert weights_machine(path) == machine.description and weights_machine(old) is None
    assert machine.description["device"] == "cpu" and machine.description["precision"] == "float32"
    assert load_weights(path)[1] == load_weights(old)[1] == SMALL
    for file in (path, old):
        loaded = load_network(file, build_classifier, channels=1)
        assert all(torch.equal(loaded.state_dict()[name], value) for name, value in network.state_dict().items())


def test_header_has_the_same_bytes_each_time(tmp_path):
    # safetensors keeps entries in a table of random order: with two of them half of these files would differ.
    files = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for file in files:
        save_weights(file, {"a": torch.zeros(1)}, {"width": 1}, FLOAT32)
    assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_trained_cell_records_its_precision(tmp_path, monkeypatch, shipped_tree, precision):
    tree = small_params(shipped_tree)
    tree["compute"] = {**tree["compute"], "precision": precision, "device": "cpu"}
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, tree)
    run_stage("train_classifier")
    recorded = read_json(CLASSIFIER.with_name("metrics.json"))["machine"]
    assert recorded["precision"] == precision and recorded == weights_machine(CLASSIFIER)


def test_what_auto_chose_is_part_of_a_checkpoints_fingerprint():
    asked = {"threads": 1, "deterministic": True, "memory_format": "contiguous", "compile": "never"}
    chosen = Compute.model_validate({**asked, "device": "auto", "precision": "auto"})
    made = Machine(torch.device("cpu"), torch.bfloat16, torch.contiguous_format, compiled=False)
    assert made.resolved(chosen) == Compute.model_validate({**asked, "device": "cpu", "precision": "bfloat16"})
    assert set_up_machine(chosen).resolved(chosen).precision in ("float32", "bfloat16")


def keep(folder, seed, machines):
    """A summarized cell in `folder`, by the function that the stages use; the seed's provenance."""
    cell = Cell(None, "summarize_cell", "digits", seed, folder / "artifacts", folder / "results")
    write_json(cell.data_file.with_name("provenance.json"), DATA)
    for stage in ("train_vae", "identify"):
        recorded = {"machine": machines[stage]} if stage in machines else {}
        write_json(cell.folder(stage) / "metrics.json", {"mistakes": 3, **recorded})
    kept = cell.results / "digits" / "cells" / str(seed)
    keep_tables(cell, kept, {}, ("train_vae", "identify"))
    assert read_json(kept / "digits_measures.json") == {"train_vae": {"mistakes": 3}, "identify": {"mistakes": 3}}
    return read_json(kept / "provenance.json")


def test_cells_of_two_precisions_are_told_apart_but_are_of_the_same_data(tmp_path):
    cells = tmp_path / "results/digits/cells"
    both = {"train_vae": FLOAT32, "identify": FLOAT32}
    assert keep(tmp_path, 0, both) == {**DATA, "machines": both}
    keep(tmp_path, 1, {"train_vae": BFLOAT16, "identify": FLOAT32})
    assert check_cells(cells, [0, 1]) == DATA
    machines = machines_of_cells([cells, Path("no studies")], [0, 1])
    assert machines == [
        {**FLOAT32, "stages": {"0": ["identify", "train_vae"], "1": ["identify"]}},
        {**BFLOAT16, "stages": {"1": ["train_vae"]}},
    ]
    sentence = "float32: seed 0, seed 1 (identify); bfloat16: seed 1 (train_vae)"
    assert precision_sentence(machines) == sentence
    assert with_machines(DATA, machines)["line"] == f"all of the digits; computed in {sentence}"


def test_one_precision_changes_no_line_and_old_cells_no_byte(tmp_path):
    cells = tmp_path / "results/digits/cells"
    for seed in (0, 1):
        keep(tmp_path, seed, {"train_vae": BFLOAT16, "identify": BFLOAT16})
    machines = machines_of_cells([cells], [0, 1])
    assert precision_sentence(machines) == "bfloat16"
    assert with_machines(DATA, machines) == {**DATA, "machines": machines}
    assert keep(tmp_path, 2, {}) == DATA  # artifacts of before
    assert with_machines(DATA, machines_of_cells([cells], [2])) == DATA and precision_sentence([]) == ""
