"""`params.yaml`: every value is checked before any work, and the messages help."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from defuse.core import params
from defuse.core.errors import ParamsError
from defuse.core.params import Settings
from defuse.core.params_file import load_params

ROOT = Path(__file__).resolve().parent.parent
TAGS = {"beta", "beta_centred", "normal", "posterior"}  # of a noise
CNN = {"architecture": "small_cnn", "width": 8, "stem": None}
RESNET = {"architecture": "resnet18", "width": None, "stem": "cifar"}
BUG = {"label": 4, "property": "thickness", "side": "high", "share": 0.2, "kind": "mislabelled", "target": 9}
CLASSIFIER, DISTILL = "train_classifier.digits", "distill.digits"


def holder_of(tree, path):
    """The mapping that holds the last key of a dotted path, and that key."""
    *parents, key = path.split(".")
    for parent in parents:
        tree = tree[int(parent) if isinstance(tree, list) else parent]
    return tree, key


def change(tree, path, value):
    holder, key = holder_of(tree, path)
    holder[key] = value


def leaves(tree, prefix=""):
    """Paths of all values below `tree`; a list counts as one value, and so does a noise."""
    for key, value in tree.items():
        if isinstance(value, dict) and not value.keys() <= TAGS:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def message_of(path):
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    return str(caught.value)


def models(base=params.Params):
    return [base, *(model for sub in base.__subclasses__() for model in models(sub))]


def without_defaults(tree):
    parts = {stage: part for stage, part in tree.items() if isinstance(part, dict) and "default" in part}
    return tree | {stage: {name: part[name] for name in part if name != "default"} for stage, part in parts.items()}


def test_shipped_file_loads_and_no_value_is_changed_on_the_way(shipped_tree):
    loaded = json.loads(load_params(ROOT / "params.yaml").model_dump_json())
    assert loaded == without_defaults(shipped_tree) != shipped_tree


def test_no_field_has_a_default():
    assert Settings in models() and params.Search in models()
    optional = [
        f"{model.__name__}.{name}"
        for model in [*models(), params.Noise]
        for name, field in model.model_fields.items()
        if not field.is_required()
    ]
    assert optional == []


def test_settings_are_frozen(tree, write_params):
    settings = load_params(write_params(tree))
    with pytest.raises(ValidationError, match="frozen"):
        settings.train_classifier["digits"].epochs = 3


@pytest.mark.parametrize("start", range(4))
def test_every_missing_key_is_named(tree, write_params, start):
    missing = [leaf for leaf in leaves(tree) if ".noises." not in leaf][start::4]  # a noise may be left out there
    for leaf in missing:
        holder, key = holder_of(tree, leaf)
        del holder[key]
    path = write_params(tree)
    assert sorted(message_of(path).splitlines()) == sorted(f"{path}: {leaf}: this key is missing" for leaf in missing)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("seed", "seeds"),
        ("claims.region_acuracy", "region_accuracy"),
        ("train_oracle.digits.networks.0.widht", "width"),
        (f"{CLASSIFIER}.network.architecure", "architecture"),
        ("ablate_noise.digits.noises.small.norml", "normal"),
        ("identify.digits.noise.beta_centered", "beta_centred"),
    ],
)
def test_misspelt_key_at_any_depth(tree, write_params, path, meant):
    change(tree, "ablate_noise.digits.noises", {"small": {"normal": 0.3}})
    change(tree, path, 1)
    file = write_params(tree)
    assert f"{file}: {path}: unknown key; did you mean {meant}? (allowed: " in message_of(file)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{CLASSIFIER}.epochs", "7"),
        (f"{CLASSIFIER}.epochs", 1.5),
        (f"{CLASSIFIER}.epochs", True),
        (f"{CLASSIFIER}.epochs", 2.0),
        (f"{CLASSIFIER}.epochs", None),
        (f"{CLASSIFIER}.learning_rate", "0.1"),
        (f"{CLASSIFIER}.learning_rate", True),
        ("train_vae.digits.batch_norm", 1),
        ("train_vae.digits.batch_norm", "yes"),
        ("identify.digits.noise", None),
        ("identify.digits.noise", 0.3),
        ("identify.digits.noise", ["normal", 0.3]),
        ("identify.digits.noise.normal", None),
        ("identify.digits.noise.normal", "0.3"),
        ("identify.digits.noise.normal", True),
        ("compute.device", "tpu"),
        ("compute.device", 0),
        ("train_vae.digits.likelihood", "laplace"),
    ],
)
def test_wrong_type_or_word(tree, write_params, path, value):
    change(tree, path, value)
    file = write_params(tree)
    shown = "null" if value is None else repr(value)
    assert message_of(file).startswith(f"{file}: {path}: {shown} is not allowed: Input should be")


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        (f"{CLASSIFIER}.epochs", 0, "greater than or equal to 1"),
        (f"{CLASSIFIER}.learning_rate", 0, "greater than 0"),
        (f"{CLASSIFIER}.learning_rate", -0.1, "greater than 0"),
        (f"{CLASSIFIER}.learning_rate", float("nan"), "a finite number"),
        (f"{CLASSIFIER}.momentum", 1.0, "less than 1 or null"),
        (f"{CLASSIFIER}.label_smoothing", -0.1, "greater than or equal to 0"),
        (f"{CLASSIFIER}.augmentation.translation", 0.6, "less than or equal to 0.5"),
        ("identify.digits.noise.normal", 0, "greater than 0"),
        ("identify.digits.noise.normal", -0.3, "greater than 0"),
        ("identify.digits.noise.normal", float("nan"), "a finite number"),
        ("compute.threads", 0, "greater than or equal to 1"),
        ("prepare.digits.validation_fraction", 0.0, "greater than 0"),
        ("prepare.digits.validation_fraction", 0.6, "less than or equal to 0.5"),
        ("calibrate_oracle.digits.originals_recognised", 1.0, "less than 1"),
        (f"{DISTILL}.minimum_weight", 0.0, "greater than 0"),
        ("annotate.digits.slip_rate", 1.5, "less than or equal to 1"),
        ("train_vae.digits.feature_weight", -1.0, "greater than or equal to 0"),
        ("train_vae.digits.feature_weight", float("inf"), "a finite number"),
        ("ablate_vae.digits.arms.feature_term.feature_weight", -1.0, "greater than or equal to 0"),
        ("train_released_vae.digits.feature_weight", 1.0, "0: the released autoencoder has no feature term"),
        ("train_checker.digits.blend_fraction", 1.0, "less than 1"),
        ("train_features.digits.width", 0, "greater than or equal to 1"),
        ("train_features.digits.augmentation.blur", 1.5, "less than or equal to 1"),
        ("claims.planted_advantage", 0.0, "greater than 0"),
    ],
)
def test_out_of_range(tree, write_params, path, value, allowed):
    change(tree, path, value)
    file = write_params(tree)
    assert message_of(file) == f"{file}: {path}: {value!r} is not allowed: Input should be {allowed}"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("datasets", ["digits", "cifar"], "datasets.1: 'cifar' is not allowed"),
        ("datasets", [], "datasets: [] is not allowed: Input should hold at least 1 item(s)"),
        ("seeds", [-1], "seeds.0: -1 is not allowed"),
        ("seeds", [True], "seeds.0: True is not allowed"),
        ("seeds", ["0"], "seeds.0: '0' is not allowed"),
        ("study_seeds", [], "study_seeds: [] is not allowed: Input should hold at least 1 item(s)"),
        ("study_seeds", [True], "study_seeds.0: True is not allowed"),
        ("study_seeds", None, "study_seeds: null is not allowed: Input should be a list"),
        ("correct.digits.lambdas", [0, "1"], "correct.digits.lambdas.1: '1' is not allowed"),
        (
            "correct.digits.lambdas",
            [0],
            "correct.digits.lambdas: [0] is not allowed: Input should hold at least 2 item(s)",
        ),
        (
            "compare_readings.digits.lambdas",
            [1.0],
            "compare_readings.digits.lambdas: [1.0] is not allowed: Input should hold at least 2 item(s)",
        ),
        ("novelty.digits.look_quantile", 0.0, "novelty.digits.look_quantile: 0.0 is not allowed"),
        ("novelty.digits.look_quantile", 1.5, "novelty.digits.look_quantile: 1.5 is not allowed"),
        ("annotate.digits.strictness", [0.5, 1.1], "annotate.digits.strictness.1: 1.1 is not allowed"),
        ("train_oracle.digits.networks", [CNN], "train_oracle.digits.networks: [{"),
        (
            "ablate_noise.digits.noises",
            {},
            "ablate_noise.digits.noises: {} is not allowed: Input should hold at least 1",
        ),
        (
            "ablate_noise.digits.noises",
            {"search": {"normal": 0.3}},
            "ablate_noise.digits.noises: {'search': {'normal': 0.3}} is not allowed: Input should hold no search: under that name stands",
        ),
        (
            "plant_bugs.digits.bugs",
            {},
            "plant_bugs.digits.bugs: {} is not allowed: Input should hold at least 1 item(s)",
        ),
        ("plant_bugs.digits.strengths", [0.0, 1.0], "plant_bugs.digits.strengths.0: 0.0 is not allowed"),
    ],
)
def test_bad_lists(tree, write_params, path, value, named):
    change(tree, path, value)
    file = write_params(tree)
    assert f"{file}: {named}" in message_of(file)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {f"{CLASSIFIER}.optimizer": "adam", f"{CLASSIFIER}.momentum": 0.9},
            f"{CLASSIFIER}.momentum: 0.9 is not allowed: Input should be null with adam",
        ),
        (
            {f"{CLASSIFIER}.optimizer": "sgd", f"{CLASSIFIER}.momentum": None},
            f"{CLASSIFIER}.momentum: null is not allowed: Input should be a number with sgd",
        ),
        (
            {"correct.digits.optimizer": "adam", "correct.digits.momentum": 0.9},
            "correct.digits.momentum: 0.9 is not allowed",
        ),
        (
            {"finetune_baseline.digits.optimizer": "adam", "finetune_baseline.digits.momentum": 0.9},
            "finetune_baseline.digits.momentum: 0.9 is not allowed",
        ),
        (
            {f"{CLASSIFIER}.network": {**CNN, "stem": "cifar"}},
            f"{CLASSIFIER}.network.stem: 'cifar' is not allowed: Input should be null with small_cnn",
        ),
        (
            {f"{CLASSIFIER}.network": {**CNN, "width": None}},
            f"{CLASSIFIER}.network.width: null is not allowed: Input should be a whole number of at least 1 with small_cnn",
        ),
        (
            {f"{CLASSIFIER}.network": {**RESNET, "stem": None}},
            f"{CLASSIFIER}.network.stem: null is not allowed: Input should be 'imagenet', 'pooled_3x3' or 'cifar' with",
        ),
        (
            {f"{CLASSIFIER}.network": {**RESNET, "width": 8}},
            f"{CLASSIFIER}.network.width: 8 is not allowed: Input should be null with resnet18",
        ),
        (
            {"train_oracle.digits.networks": [CNN, {**CNN, "stem": "cifar"}]},
            "train_oracle.digits.networks.1.stem: 'cifar' is not allowed: Input should be null with small_cnn",
        ),
        (
            {"identify.digits.keep": 6, "identify.digits.draws": 5},
            "identify.digits.keep: 6 is not allowed: Input should be at most draws (5)",
        ),
        (
            {f"{DISTILL}.components": 9, f"{DISTILL}.fit_codes": 8},
            f"{DISTILL}.components: 9 is not allowed: Input should be at most fit_codes (8)",
        ),
        *(
            (
                {"correct.digits.lambdas": lambdas},
                f"correct.digits.lambdas: {lambdas} is not allowed: Input should start with 0 (the control without regions) and "
                "increase",
            )
            for lambdas in ([0.1, 1.0], [0, 1.0, 0.1])
        ),
        (
            {"compare_readings.digits.repaired.noises": [{"normal": 0.2}, {"normal": 0.2}]},
            "compare_readings.digits.repaired.noises: [{'normal': 0.2}, {'normal': 0.2}] is not allowed: Input should hold no "
            "noise twice",
        ),
        (
            {"compare_readings.digits.released.keep": 11},
            "compare_readings.digits.released.keep: 11 is not allowed: Input should be at most draws (10)",
        ),
        (
            {"compare_readings.digits.maximum_blends": 0.04},
            "compare_readings.digits.maximum_blends: 0.04 is not allowed: Input should be at least blends_passed (0.05)",
        ),
        (
            {"compare_readings.digits.without": ["checker", "checker"]},
            "compare_readings.digits.without: ['checker', 'checker'] is not allowed: Input should hold no value twice",
        ),
        *(
            (
                {"compare_readings.digits.lambdas": lambdas},
                f"compare_readings.digits.lambdas: {lambdas} is not allowed: Input should increase",
            )
            for lambdas in ([1.0, 0.1],)
        ),
        *(
            (
                {"identify.digits.noise": noise},
                f"identify.digits.noise: {noise} is not allowed: Input should hold exactly one of beta, beta_centred, "
                "normal and posterior",
            )
            for noise in ({}, {"beta": 50.0, "normal": 0.3})
        ),
        (
            {"plant_bugs.digits.bugs": {"a": {**BUG, "target": None}}},
            "plant_bugs.digits.bugs.a.target: null is not allowed: Input should be another class than label (4) with",
        ),
        (
            {"plant_bugs.digits.bugs": {"a": {**BUG, "target": 4}}},
            "plant_bugs.digits.bugs.a.target: 4 is not allowed: Input should be another",
        ),
        (
            {"plant_bugs.digits.bugs": {"a": {**BUG, "kind": "left_out"}}},
            "plant_bugs.digits.bugs.a.target: 9 is not allowed: Input should be null with left_out",
        ),
        *(
            (
                {"plant_bugs.digits.strengths": strengths},
                f"plant_bugs.digits.strengths: {strengths} is not allowed: Input should increase and end with 1 (the whole "
                "subgroup)",
            )
            for strengths in ([0.5], [0.5, 0.2, 1.0])
        ),
        ({"seeds": [0, 1, 0]}, "seeds: [0, 1, 0] is not allowed: Input should hold no value twice"),
        (
            {"datasets": ["digits", "digits"]},
            "datasets: ['digits', 'digits'] is not allowed: Input should hold no value",
        ),
        (
            {"study_seeds": [0, 3]},
            "study_seeds: [0, 3] is not allowed: Input should hold none but seeds (0)",
        ),
        ({"seeds": [4], "study_seeds": [4, 4]}, "study_seeds: [4, 4] is not allowed: Input should hold no value twice"),
        ({"datasets": ["digits", "mnist"]}, "train_vae: mnist is missing, and datasets names it"),
        ({"train_vae": {}}, "train_vae: digits is missing, and datasets names it"),
        (
            {"datasets": ["mnist"], "train_vae": {}},
            "train_vae: mnist is missing, and datasets names it; digits is missing, and",
        ),
        ({"prepare.digits.test_fraction": None}, "prepare: digits.test_fraction is None; allowed: a number for digits"),
        ({"prepare.mnist": {"validation_fraction": 0.1, "test_fraction": 0.2}}, "prepare: mnist.test_fraction is 0.2"),
    ],
)
def test_impossible_combinations(tree, write_params, changes, named):
    for path, value in changes.items():
        change(tree, path, value)
    file = write_params(tree)
    assert f"{file}: {named}" in message_of(file)


TOLD_APART = (
    "correct.digits.lambdas",
    "finetune_baseline.digits.learning_rates",
    "compare_readings.digits.lambdas",
    "annotate.digits.strictness",
    "ablate_regions.digits.taus",
    "ablate_regions.digits.components",
    "ablate_regions.digits.concentration_priors",
    "plant_bugs.digits.strengths",
)


@pytest.mark.parametrize("path", TOLD_APART)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.1, 0.5, 0.1], "0.1 and 0.1 are both shown as 0.1"),
        ([0.5, 0.1, 0.10000001], "0.1 and 0.10000001 are both shown as 0.1"),
        ([0.99999999, 1.0], "0.99999999 and 1.0 are both shown as 1"),
        ([0.5, 0.50], "0.5 and 0.5 are both shown as 0.5"),
    ],
)
def test_values_that_would_have_one_name_are_refused(tree, write_params, path, values, said):
    if path.endswith("components"):
        values, said = [2, 20, 2], "2 and 2 are both shown as 2"
    change(tree, path, values)
    file = write_params(tree)
    assert message_of(file) == f"{file}: {path}: {values} is not allowed: Input should tell its values apart: {said}"


def test_two_priors_of_null_are_refused(tree, write_params):
    change(tree, "ablate_regions.digits.concentration_priors", [None, 1.0, None])
    assert "tell its values apart: null and null are both shown as null" in message_of(write_params(tree))


ARMS = (
    ("ablate_noise.digits.noises", {"normal": 0.3}),
    (
        "ablate_search.digits.searches",
        {"seed_source": "train", "noise": {"normal": 0.3}, "draws": 3, "keep": 3},
    ),
    ("ablate_vae.digits.arms", {"latent_dim": 2, "width": 8, "likelihood": "gaussian", "feature_weight": 0.0}),
    ("plant_bugs.digits.bugs", BUG),
)


@pytest.mark.parametrize(("path", "arm"), ARMS)
def test_names_that_could_be_taken_for_another_are_refused(tree, write_params, path, arm):
    names = [" ", "a b", "_a", "a_", "a__b", "-a", ".1", "a,b", 'a"b', "$a$", "\u00e4", "\u0430"]
    change(tree, path, dict.fromkeys([*names, "other"], arm))
    file = write_params(tree)
    allowed = "letters, digits, '.', '+', '-' with single '_' between, a letter or digit first"
    said = [f"{file}: {path}.{name}: {name!r} is not allowed: Input should be {allowed}" for name in names]
    assert message_of(file).splitlines() == said


@pytest.mark.parametrize(("path", "arm"), ARMS)
def test_names_like_numbers_or_gaps_are_allowed(tree, write_params, path, arm):
    names = ["1", "01", "NA", "None", "0.1", "0.10", "normal_0.1", "k-means+x", "a-_b"]
    change(tree, path, dict.fromkeys(names, arm))
    stage, dataset, key = path.split(".")
    assert list(getattr(getattr(load_params(write_params(tree)), stage)[dataset], key)) == names


@pytest.mark.parametrize(
    "leaf",
    ["identify.digits.noise.normal", f"{CLASSIFIER}.learning_rate", f"{CLASSIFIER}.weight_decay", f"{DISTILL}.tau"],
)
def test_infinity_is_refused(tree, write_params, leaf):
    change(tree, leaf, float("inf"))
    assert f"{leaf}: inf is not allowed" in message_of(write_params(tree))


def test_data_set_without_any_sub_tree_names_each_stage(tree, write_params):
    tree["datasets"] = ["digits", "mnist"]
    message = message_of(write_params(tree))
    stages = [stage for stage, part in tree.items() if isinstance(part, dict) and "digits" in part]
    assert len(stages) >= 12
    assert [stage for stage in stages if f"{stage}: mnist is missing" not in message] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{CLASSIFIER}.learning_rate", 1),
        ("correct.digits.lambdas", [0, 1, 10]),
        (f"{CLASSIFIER}.network", RESNET),
        ("identify.digits.max_seed_images", None),
        *(("identify.digits.noise", {tag: 0.5}) for tag in sorted(TAGS)),
        ("study_seeds", [0]),
    ],
)
def test_allowed_values_are_accepted(tree, write_params, path, value):
    change(tree, path, value)
    loaded = json.loads(load_params(write_params(tree)).model_dump_json())
    for key in path.split("."):
        loaded = loaded[key]
    assert loaded == value


def test_all_errors_are_reported_at_once(tree, write_params):
    change(tree, "compute.threads", True)
    change(tree, f"{CLASSIFIER}.epochs", 1.5)
    change(tree, "train_vae.digits.bta", 1.0)
    change(tree, "identify.digits.keep", "all")
    lines = message_of(write_params(tree)).splitlines()
    assert len(lines) == 4
    for named in ("compute.threads: True", f"{CLASSIFIER}.epochs: 1.5", "did you mean beta?", "keep: 'all'"):
        assert sum(named in line for line in lines) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"seeds: [0]\nseeds: [1]\n",
        b"compute: {threads: 1, threads: 2}\n",
        b"seeds: [0\n",
        b"a:\n\t- b\n",
        b"\xff\xffseeds: [0]\n",
        b"seeds: !!python/object/apply:os.getcwd []\n",
        b"seeds: *nowhere\n",
    ],
)
def test_unreadable_yaml_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    assert message_of(path).startswith(f"{path}: not readable as YAML: ")


@pytest.mark.parametrize("text", ["", "- 1\n", "seeds\n"])
def test_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert message_of(path).startswith(f"{path}: the whole file: ")


def test_missing_file_is_named(tmp_path):
    assert message_of(tmp_path / "params.yaml") == f"{tmp_path / 'params.yaml'}: no such file"
