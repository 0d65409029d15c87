"""`default` in `params.yaml`: what data sets take over, what an edit of it touches, and what DVC makes of it."""

import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from defuse.core.errors import ParamsError
from defuse.core.params_file import load_params

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
NAMES = ("digits", "mnist", "svhn", "gtsrb")
SAFE = YAML(typ="safe")
TREE = SAFE.load(TEXT)
STAGES = [stage for stage, part in TREE.items() if isinstance(part, dict) and "default" in part]


def expanded(text):
    """Values of each stage and data set, once merged: what DVC compares and `dvc.lock` stores."""
    tree = SAFE.load(text)
    return {(stage, name): tree[stage][name] for stage in STAGES for name in NAMES}


BEFORE = expanded(TEXT)


def changed(text):
    """The stages and data sets whose values differ from the shipped file's."""
    after = expanded(text)
    return {place for place in BEFORE if BEFORE[place] != after[place]}


def edited(stage, line, new):
    """The file's text with one line of a stage's default changed."""
    start = TEXT.index(f"\n{stage}:\n  default: ")
    place = TEXT.index(f"    {line}", start)
    assert place < TEXT.index("\n  digits: ", start) or place < TEXT.index("\n  digits:\n", start)
    return TEXT[:place] + f"    {new}" + TEXT[place + 4 + len(line) :]


@pytest.mark.parametrize(
    ("stage", "line", "new", "names"),
    [
        ("train_vae", "warmup_share: 0.15", "warmup_share: 0.2", "mnist svhn gtsrb"),
        ("train_vae", "latent_dim: 64", "latent_dim: 65", "svhn"),
        ("train_vae", "beta: 1.0", "beta: 2.0", "digits mnist svhn gtsrb"),
        ("train_classifier", "  width: 8", "  width: 9", "mnist"),
        ("train_classifier", "  blur: 0.2", "  blur: 0.3", "svhn gtsrb"),
        ("train_classifier", "epochs: 4", "epochs: 5", "mnist gtsrb"),
        ("calibrate_oracle", "originals_recognised: 0.95", "originals_recognised: 0.9", "svhn"),
        ("identify", "draws: 10", "draws: 20", "mnist svhn gtsrb"),
        ("distill", "max_iterations: 300", "max_iterations: 400", "svhn gtsrb"),
        ("plant_bugs", "seed_images: 3000", "seed_images: 4000", "svhn"),
        ("summarize", "tsne_codes: 1500", "tsne_codes: 1000", "mnist svhn gtsrb"),
    ],
)
def test_an_edit_of_a_default_touches_the_data_sets_that_take_it_over(tmp_path, stage, line, new, names):
    path = tmp_path / "params.yaml"
    path.write_text(edited(stage, line, new), encoding="utf-8")
    touched = {(stage, name) for name in names.split()}
    assert changed(path.read_text(encoding="utf-8")) == touched
    load_params(path)


def test_every_stage_has_a_default_and_every_data_set_takes_it_over():
    assert len(STAGES) == 22
    for stage in STAGES:
        part = TREE[stage]
        assert list(part) == ["default", *NAMES]
        for name in NAMES:
            assert part["default"].keys() <= part[name].keys()


def test_each_value_of_a_default_holds_for_some_data_set():
    idle = [
        f"{stage}.{key}"
        for stage in STAGES
        for key, value in TREE[stage]["default"].items()
        if not isinstance(value, dict) and all(TREE[stage][name][key] != value for name in NAMES)
    ]
    assert idle == []


def mappings(tree):
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from mappings(value)


def test_no_data_set_shares_a_mapping_with_another():
    """DVC's `-S` edits a mapping in place: it must reach one data set alone."""
    tree = YAML().load(TEXT)
    owners = {}
    for stage in STAGES:
        for name in tree[stage]:
            for mapping in mappings(tree[stage][name]):
                owners.setdefault(id(mapping), set()).add((stage, name))
    assert [places for places in owners.values() if len(places) > 1] == []


@pytest.mark.parametrize(
    ("overrides", "touched"),
    [
        (["train_vae.mnist.epochs=3"], {("train_vae", "mnist")}),
        (["train_classifier.svhn.augmentation.blur=0.5"], {("train_classifier", "svhn")}),
        (["train_classifier.mnist.network.width=9"], {("train_classifier", "mnist")}),
        (["identify.mnist.noise.beta=60.0"], {("identify", "mnist")}),
        (["~identify.mnist.noise.beta", "+identify.mnist.noise.normal=0.3"], {("identify", "mnist")}),
        (["correct.gtsrb.lambdas=[0,1]", "annotate.svhn.slip_rate=0.1"], {("correct", "gtsrb"), ("annotate", "svhn")}),
        (["seeds=[0,1]", "study_seeds=[0]"], set()),
    ],
)
def test_an_experiment_of_dvc_changes_the_data_set_it_names(tmp_path, overrides, touched):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    apply_overrides(path, overrides)
    text = path.read_text(encoding="utf-8")
    assert changed(text) == touched
    assert [f"default: &{stage}\n" in text for stage in STAGES] == [True] * len(STAGES)  # anchors are kept
    load_params(path)


@pytest.mark.parametrize(
    ("stage", "line", "new", "said"),
    [
        ("train_vae", "beta: 1.0", "bta: 1.0", "train_vae.default.bta: unknown key; did you mean beta? (allowed: "),
        (
            "train_vae",
            "beta: 1.0",
            "beta: -1.0",
            "train_vae.default.beta: -1.0 is not allowed: Input should be greater",
        ),
        (
            "train_vae",
            "momentum: null",
            "momentum: 0.5",
            "train_vae.default.momentum: 0.5 is not allowed: Input should be",
        ),
        (
            "identify",
            "keep: 3",
            "keep: 99",
            "identify.default.keep: 99 is not allowed: Input should be at most draws (10)",
        ),
        ("plant_bugs", "strengths: [0.25,", "strengths: [2,", "plant_bugs.default.strengths.0: 2 is not allowed"),
        (
            "train_classifier",
            "  blur: 0.2",
            "  blur: 2.0",
            "train_classifier.default.augmentation.blur: 2.0 is not allowed: Input should be less than or equal to 1",
        ),
    ],
)
def test_a_bad_default_is_said_once_and_where_it_stands(tmp_path, stage, line, new, said):
    path = tmp_path / "params.yaml"
    path.write_text(edited(stage, line, new), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    lines = str(caught.value).splitlines()
    # What follows from it in single data sets (a key missing, a draw fewer) may be said beside it.
    assert sum(said in text for text in lines) == 1 and lines[0].startswith(f"{path}: {said}")
    assert not [text for text in lines[1:] if said.partition(": ")[2] in text]


def test_what_no_default_holds_is_missing_in_each_data_set(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(edited("train_vae", "beta: 1.0", "# beta: 1.0"), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert str(caught.value).splitlines() == [f"{path}: train_vae.{name}.beta: this key is missing" for name in NAMES]


@pytest.mark.parametrize("value", ["null", "5", "[1]"])
def test_a_default_that_is_no_mapping_is_said(tmp_path, write_params, tree, value):
    tree["train_vae"]["default"] = SAFE.load(value)
    with pytest.raises(ParamsError) as caught:
        load_params(write_params(tree))
    assert f"train_vae.default: {value} is not allowed: Input should be a mapping of keys to values" in str(
        caught.value
    )


def test_the_file_is_short_and_explains_each_tag():
    assert len(TEXT.splitlines()) <= 540
    header = TEXT[: TEXT.index("\ndatasets:")]
    assert [tag for tag in ("blog", "code", "abstract", "recalled", "ours") if f"[{tag}]" not in header] == []
