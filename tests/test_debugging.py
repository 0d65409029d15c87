"""A classifier of one's own through the library: find, votes, correct, export, report; stopped and going on."""

import copy
import logging
import re
import shutil

import made_run
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from defuse.core.errors import ClassifierError, DataError, DivergedError, RunError, VotesError
from defuse.core.storage import load_arrays, read_json, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.data.own_images import images_from_arrays
from defuse.data.pixels import channels_first
from defuse.debugging import finding, searching, training
from defuse.debugging.annotating import annotate_run, write_label_page
from defuse.debugging.correcting import correct_bugs, export_regions
from defuse.debugging.finding import find_bugs, load_findings
from defuse.debugging.measuring import load_measured
from defuse.debugging.reporting import report_bugs
from defuse.debugging.run_folder import RunFolder
from defuse.method.annotation import ABSTAIN, SEVERAL
from defuse.method.shown import load_shown
from defuse.models.evaluation import accuracy
from defuse.models.own_classifier import OwnClassifier

FILES = {
    *("run.json", "images.npy", "labels.npz", "mistakes.npz", "region_images.npz", "regions.csv", "shown.npz"),
    *(f"networks/{name}.safetensors" for name in ("autoencoder", "checker", "features")),
    "measured/before.json",
}


def function():
    """The classifier as a function of another framework."""
    with torch.random.fork_rng():
        module = made_run.network()
    weight, bias = (value.detach().numpy() for value in module[1].parameters())
    return OwnClassifier(lambda images: images.reshape(len(images), -1) @ weight.T + bias, made_run.SIZE, channels=1)


# What find leaves


def test_a_run_holds_what_its_files_say(finished_run):
    assert made_run.files_of(finished_run).keys() == FILES
    found, folder = load_findings(finished_run), RunFolder(finished_run)
    assert len(found.regions) == len(found.shown.images) >= 1
    assert set(found.regions.seed_class) == {"left"} and set(found.regions.taken_for) == {"right"}
    assert found.regions.mistakes.is_monotonic_decreasing
    facts = read_json(finished_run / "run.json")
    assert facts["size"] == [24, 32] and facts["side"] == 32 and facts["channels"] == 1
    assert facts["class_names"] == ["left", "right"] and facts["classifier"] == "mine:classifier"
    assert facts["images"] == "320 images, 32x24 pixels" and facts["test_images"] == "15% of the images, set aside"
    counts, mistakes = facts["found"], load_arrays(finished_run / "mistakes.npz")
    assert counts["identified"] == counts["autoencoder"] + counts["other_label"] + counts["kept"]
    assert counts["kept"] == len(mistakes["label"]) == len(mistakes["region"])
    for purpose in ("shown", "correction", "validation", "test"):
        parts = folder.load_region_images(purpose)
        assert len(parts) == len(found.regions) and all(part.shape[1:] == (32, 32, 1) and len(part) for part in parts)
    assert all(part.shape[1:] == (24, 32, 1) for part in found.shown.images)
    before = load_measured(folder)["before"]
    assert all(said == [1] * len(said) for said in before.shown)


def test_images_are_divided_by_class_and_none_is_lost(finished_run):
    folder, own = RunFolder(finished_run), made_run.own_images()
    parts = {split: folder.load_split(split) for split in ("train", "validation", "test")}
    assert {split: len(labels) for split, (_, labels) in parts.items()} == {"train": 231, "validation": 41, "test": 48}
    assert all(abs(labels.mean() - 0.5) < 0.02 for _, labels in parts.values())
    joined = np.concatenate([images for images, _ in parts.values()])
    assert sorted(image.tobytes() for image in joined) == sorted(image.tobytes() for image in own.images)


def test_test_images_of_ones_own_are_measured_on(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "say_how_long", stop)
    with pytest.raises(KeyboardInterrupt):
        find_bugs(made_run.classifier(), made_run.own_images(), tmp_path, made_run.own_images(40, seed=1))
    images, labels = RunFolder(tmp_path).load_split("test")
    assert np.array_equal(images, made_run.own_images(40, seed=1).images) and len(labels) == 40
    assert len(RunFolder(tmp_path).load_split("train")[1]) == 272
    assert read_json(tmp_path / "run.json")["test_images"] == "40 images, 32x24 pixels"


def test_the_same_seed_makes_the_same_bytes(finished_run, tmp_path):
    assert made_run.files_of(made_run.find(tmp_path / "bugs")) == made_run.files_of(finished_run)


# Stopped, and going on


def stop(*_, **__):
    raise KeyboardInterrupt


def stop_at(patch, home, name, count):
    """Let a function be called `count` times, then stop as Ctrl-C does."""
    original, calls = getattr(home, name), []

    def counted(*arguments, **named):
        calls.append(arguments)
        if len(calls) > count:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    patch.setattr(home, name, counted)


def test_an_interrupted_run_goes_on_to_the_same_bytes_and_does_nothing_twice(finished_run, tmp_path, monkeypatch):
    from defuse.models import training as models_training

    def interrupted(home, name, count):
        with monkeypatch.context() as patch:
            stop_at(patch, home, name, count)
            with pytest.raises(KeyboardInterrupt):
                made_run.find(tmp_path / "bugs")

    # The estimate has its say in the tests of its own; here every step that is counted is of the run itself.
    monkeypatch.setattr(finding, "say_how_long", lambda *_: None)
    monkeypatch.setattr(searching, "SEEDS_AT_ONCE", 100)
    epochs, searches = [], []
    for home, name, log in (
        (models_training, "check_finite", epochs),
        (searching, "find_mistakes", searches),
    ):
        original = getattr(home, name)
        monkeypatch.setattr(home, name, lambda *given, log=log, original=original: log.append(1) or original(*given))
    names = tmp_path / "bugs" / "networks"
    interrupted(models_training, "save_checkpoint", 2)  # in the third epoch of the features
    assert not names.exists() and len(epochs) == 3
    interrupted(training, "train_vae", 0)  # between two trainings
    assert [path.stem for path in names.iterdir()] == ["features"]
    interrupted(models_training, "save_checkpoint", 3)  # in the autoencoder's
    interrupted(searching, "find_mistakes", 4)  # of six parts
    assert len(searches) == 4 and {path.stem for path in names.iterdir()} == {"autoencoder", "checker", "features"}
    interrupted(finding, "lay_out", 0)  # after the search
    made_run.find(tmp_path / "bugs")
    # 110 steps, fourteen in each epoch: eight epochs each; two were stopped before they were written down.
    assert len(epochs) == 3 * 8 + 2 and len(searches) == 6
    monkeypatch.undo()
    assert made_run.files_of(tmp_path / "bugs") == made_run.files_of(finished_run)


def test_a_finished_run_is_not_computed_again(finished_run, monkeypatch, caplog):
    before = made_run.files_of(finished_run)
    for home, name in ((finding, "Trainings"), (finding, "search"), (finding, "measure_reconstructions")):
        monkeypatch.setattr(home, name, stop)
    with caplog.at_level(logging.INFO):
        made_run.find(finished_run)
    assert "already holds this run; nothing is computed again" in caplog.text
    assert made_run.files_of(finished_run) == before


def test_how_long_it_takes_is_said_beforehand(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(training.Trainings, "kept", stop)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        made_run.find(tmp_path)
    number = r"[\d.]+ (s|min|h)"
    parts = ", ".join(f"{name} {number}" for name in ("features", "autoencoder", "checker", "search"))
    assert re.search(rf"this will take about {number} \({parts}\)", caplog.text)


def test_what_is_done_already_takes_no_time(tmp_path, monkeypatch, caplog):
    from defuse.debugging import timing
    from defuse.models import training as models_training

    monkeypatch.setattr(timing, "timed", lambda work: (work(), 1.0)[1])  # each piece of work takes a second
    monkeypatch.setattr(searching, "SEEDS_AT_ONCE", 100)
    said = []
    for home, name, count in (
        (models_training, "save_checkpoint", 6),  # six of eight epochs of the features
        (searching, "save_arrays", 3),  # three of six parts of the search, and the network are written
        (finding, "lay_out", 0),
    ):
        with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
            stop_at(patch, home, name, count)
            with pytest.raises(KeyboardInterrupt):
                made_run.find(tmp_path)
        said.append(re.search(r"about .* \((.*)\)", caplog.text).group(1))
        caplog.clear()
    assert said == [
        "features 28 s, autoencoder 28 s, checker 28 s, search 14 s",
        "features 7 s, autoencoder 28 s, checker 28 s, search 14 s",
        "search 7 s",
    ]


def test_a_training_that_diverges_is_named(tmp_path):
    changes = {**made_run.SETTINGS["train_vae"], "learning_rate": 1e30}
    with pytest.raises(DivergedError, match=r"training of the autoencoder: .*lower learning_rate"):
        made_run.find(tmp_path, train_vae=changes)


# What find takes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.arange(320) % 3}, r"label 2 of image 2 \(from 0\) is no class; allowed: 0 to 1 for 2 class"),
        ({"labels": np.zeros(320, np.int64)}, "no image of right; allowed: classes with images"),
        ({"labels": np.zeros(3, np.int64)}, "3 labels of 320 images; allowed: one for each"),
        (
            {"images": np.zeros((320, 24, 24, 1), np.uint8)},
            r"images are uint8 \(320, 24, 24, 1\); allowed: uint8 \(N, 24,",
        ),
        ({"images": np.zeros((320, 24, 32, 3), np.uint8)}, r"\(320, 24, 32, 3\); allowed: uint8 \(N, 24, 32, 1\)"),
        ({"images": np.zeros((320, 24, 32, 1), np.float32)}, r"images are float32 .* as read_image_folder"),
        (
            {"class_names": ("left", "several classes")},
            "class name 'several classes'; allowed: all but the two answers",
        ),
        ({"class_names": ("left", "left ")}, "class name 'left '; allowed: names without blanks around them"),
    ],
)
def test_images_made_by_hand_are_checked(tmp_path, changes, message):
    own = made_run.own_images()
    with pytest.raises(DataError, match=message):
        find_bugs(made_run.classifier(), replaced(own, **changes), tmp_path / "bugs")
    assert not (tmp_path / "bugs").exists()


def replaced(own, **changes):
    """Images with other fields, which may not belong together."""
    made = copy.copy(own)
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (lambda: made_run.own_images(), "the test images are the training images; allowed: images that the classifier"),
        (lambda: replaced(made_run.own_images(40), class_names=("right", "left")), "classes are right, left; allowed:"),
        (lambda: replaced(made_run.own_images(2), images=np.zeros((2, 9, 9, 1), np.uint8)), "test images are uint8"),
    ],
)
def test_test_images_that_do_not_go_with_the_others_are_refused(tmp_path, test, message):
    with pytest.raises(DataError, match=message):
        find_bugs(made_run.classifier(), made_run.own_images(), tmp_path / "bugs", test())
    assert not (tmp_path / "bugs").exists()


def test_a_module_has_to_be_wrapped(run_folder, tmp_path):
    message = r"the classifier is a Sequential; allowed: defuse\.OwnClassifier\(module, size\)"
    made_run.vote_right(run_folder)
    with pytest.raises(ClassifierError, match=message):
        find_bugs(made_run.network(), made_run.own_images(), tmp_path / "new")
    with pytest.raises(ClassifierError, match=message):
        correct_bugs(made_run.network(), run_folder)
    with pytest.raises(ClassifierError, match=message):
        report_bugs(run_folder, retrained=made_run.network())


def test_an_image_larger_than_the_autoencoder_is_shown_at_its_size(tmp_path):
    images, labels = made_run.draw()
    own = images_from_arrays(images, labels, made_run.NAMES, (120, 100), 1)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(made_run.SIZE), made_run.network())
    few = {"minimum_steps": 1, "search": {"draws": 1, "keep": 1, "noises": [{"normal": 0.5}]}, "max_seed_images": 50}
    found = find_bugs(OwnClassifier(module, (120, 100), 1), own, tmp_path, None, made_run.settings(**few))
    assert found.facts["side"] == 96
    assert load_arrays(tmp_path / "region_images.npz", "test")["test"].shape[1:] == (96, 96, 1)
    assert np.load(tmp_path / "images.npy").shape == (320, 120, 100, 1)


@pytest.fixture(scope="module")
def empty_run(tmp_path_factory):
    """A run that found no region; its classes are named by numbers."""
    path = tmp_path_factory.mktemp("empty") / "bugs"
    images, labels = made_run.draw()
    own = images_from_arrays(images, labels, ("01", "02"), made_run.SIZE, 1)
    few = made_run.settings(minimum_steps=1, search={"checker": False, "draws": 1, "keep": 1}, minimum_members=100)
    find_bugs(made_run.classifier(), own, path, settings=few)
    return path


def test_where_nothing_is_found_every_step_says_so(empty_run, tmp_path):
    found = load_findings(empty_run)
    assert len(found.regions) == len(found.shown.images) == 0
    assert load_measured(RunFolder(empty_run))["before"].held_out == []
    message = "the search found no region; there is nothing to label"
    with pytest.raises(RunError, match=message):
        write_label_page(empty_run)
    with pytest.raises(RunError, match=message):
        correct_bugs(made_run.classifier(), empty_run)
    with pytest.raises(RunError, match=message):
        export_regions(empty_run, tmp_path / "export")
    assert not (tmp_path / "export").exists()
    page = report_bugs(empty_run, retrained=made_run.classifier(0.0)).read_text(encoding="utf-8")
    assert "0 regions of mistakes found" in page and "No region was found" in page


def test_class_names_that_look_like_numbers_stay_words(tmp_path, run_folder):
    table = (run_folder / "regions.csv").read_text(encoding="utf-8")
    (run_folder / "regions.csv").write_text(table.replace("left", "01").replace("right", "NA"), encoding="utf-8")
    found = load_findings(run_folder).regions
    assert set(found.seed_class) == {"01"} and set(found.taken_for) == {"NA"}


# Votes


def test_the_label_page_is_of_the_run_and_tells_no_prediction(run_folder):
    page = write_label_page(run_folder).read_text(encoding="utf-8")
    assert load_shown(run_folder / "shown.npz").run in page and "<title>Regions of bugs" in page


def test_several_labellers_are_joined_and_the_verdicts_are_written(run_folder):
    files = [made_run.vote(run_folder, "ann"), made_run.vote(run_folder, "bob", 0)]
    found = annotate_run(run_folder, (), made_run.settings().acceptance)
    assert found.votes.annotators == ("ann", "bob") and set(found.accepted.values()) == {0}
    table = read_table(run_folder / "annotation.csv")
    assert set(table.verdict) == {"accepted"} and set(table.label) == {"left"} and set(table.agreement) == {1.0}
    shutil.move(files[1], run_folder.parent / "elsewhere.csv")
    again = annotate_run(run_folder, [run_folder.parent / "elsewhere.csv"], made_run.settings().acceptance)
    assert again.votes.annotators == ("bob",)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (1, RegionVerdict.FALSE_ALARM),
        (ABSTAIN, RegionVerdict.NOT_RECOGNISABLE),
        (SEVERAL, RegionVerdict.NO_AGREEMENT),
    ],
)
def test_where_labellers_reject_everything_nothing_is_corrected_or_exported(run_folder, tmp_path, answer, verdict):
    made_run.vote(run_folder, label=answer)
    with pytest.raises(RunError, match=r"annotation\.csv: the labellers call no region a bug, .* nothing to correct"):
        correct_bugs(made_run.classifier(), run_folder)
    with pytest.raises(RunError, match=r"annotation\.csv: the labellers call no region a bug, .* nothing to export"):
        export_regions(run_folder, tmp_path / "export")
    assert set(read_table(run_folder / "annotation.csv").verdict) == {verdict}
    assert not (tmp_path / "export").exists() and not (run_folder / "corrected").exists()
    assert "call no region a bug" in report_bugs(run_folder).read_text(encoding="utf-8")


def test_a_half_finished_page_can_be_used(run_folder):
    path = made_run.vote(run_folder)
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first = [row for row in rows[1:] if row.split(",")[2] == "0"]
    path.write_text("".join([rows[0], *first]), encoding="utf-8")
    found = annotate_run(run_folder, (), made_run.settings().acceptance)
    assert list(found.accepted) == [0] and len(found.judgements) > 1
    assert {judged.verdict for judged in found.judgements[1:]} == {RegionVerdict.NOT_JUDGED}
    assert "1 labeller judged 1, and 1 of them is a bug" in report_bugs(run_folder).read_text(encoding="utf-8")


# Correction


def test_a_correction_repairs_the_bug_and_its_weights_fit_the_users_module(run_folder):
    made_run.vote_right(run_folder)
    own = made_run.classifier()
    before = copy.deepcopy(own.network.state_dict())
    found = correct_bugs(own, run_folder)
    assert all(torch.equal(value, before[name]) for name, value in own.network.state_dict().items())
    assert list(found.sweep["arm"]) == ["before", "correction", "correction"] and found.sweep["chosen"].sum() == 1
    start, chosen = found.sweep.iloc[0], found.sweep[found.sweep["chosen"]].iloc[0]
    assert start.region_test_accuracy < 0.1 and chosen.region_test_accuracy > 0.6
    module = made_run.network()
    module.load_state_dict(load_file(found.weights))
    images, labels = RunFolder(run_folder).load_split("test")
    measured = load_measured(RunFolder(run_folder))["corrected"]
    again = accuracy(OwnClassifier(module, made_run.SIZE, 1), channels_first(images), torch.from_numpy(labels))
    assert again == measured.test_accuracy == pytest.approx(chosen.test_accuracy)
    table = found.table().splitlines()
    assert table[1].split()[0] == "before" and sum("*" in line for line in table[:-1]) == 1
    page = report_bugs(run_folder).read_text(encoding="utf-8")
    assert "corrected" in page and "classifier.safetensors" in page and "left taken for right" in page


def test_a_correction_takes_the_settings_of_its_run(run_folder):
    made_run.vote_right(run_folder)
    assert list(correct_bugs(made_run.classifier(), run_folder).sweep["lambda"])[1:] == [0.0, 1.0]


def test_a_second_correction_that_chooses_nothing_leaves_no_weights_of_the_first(run_folder, monkeypatch):
    from defuse.debugging import correcting

    made_run.vote_right(run_folder)
    assert correct_bugs(made_run.classifier(), run_folder).weights.exists()
    monkeypatch.setattr(correcting, "choose_arm", lambda *_: None)
    found = correct_bugs(made_run.classifier(), run_folder)
    assert found.weights is None and list(found.sweep["chosen"]) == [True, False, False]
    assert [path.name for path in (run_folder / "corrected").iterdir()] == ["sweep.csv"]
    assert list(load_measured(RunFolder(run_folder))) == ["before"]


def test_another_classifier_is_not_corrected(run_folder):
    made_run.vote_right(run_folder)
    with pytest.raises(RunError, match="searched a classifier with other weights; allowed: the same one"):
        correct_bugs(made_run.classifier(0.0), run_folder)


def test_a_module_that_cannot_be_copied_is_not_corrected(run_folder):
    class Stuck(nn.Sequential):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle")

    made_run.vote_right(run_folder)
    own = OwnClassifier(Stuck(*made_run.network()), made_run.SIZE, 1)
    with pytest.raises(
        ClassifierError, match=r"cannot copy the classifier \(TypeError: cannot pickle\).*defuse export"
    ):
        correct_bugs(own, run_folder)


# Elsewhere: export and report


def test_a_function_goes_through_find_label_export_and_report(tmp_path):
    path, few = tmp_path / "bugs", made_run.settings(search={"checker": False, "draws": 6})
    found = find_bugs(function(), made_run.own_images(), path, settings=few)
    assert len(found.regions) and write_label_page(path).exists()
    made_run.vote_right(path)
    with pytest.raises(ClassifierError, match=r"no weights that gradients reach.*`defuse export`"):
        correct_bugs(function(), path)
    assert export_regions(path, tmp_path / "export") > 0
    page = report_bugs(path, retrained=made_run.classifier(0.0)).read_text(encoding="utf-8")
    assert "retrained" in page and load_measured(RunFolder(path))["retrained"].test_accuracy > 0.9
    other = OwnClassifier(lambda images: -function().network(images), made_run.SIZE, channels=1)
    with pytest.raises(ClassifierError):  # better than chance it is not
        find_bugs(other, made_run.own_images(), path, settings=few)
    shifted = OwnClassifier(lambda images: function().network(images) + np.float32([2, 0]), made_run.SIZE, channels=1)
    with pytest.raises(RunError, match="holds another run: another classifier"):
        find_bugs(shifted, made_run.own_images(), path, settings=few)


def test_an_export_is_an_image_folder_without_the_images_to_measure_on(run_folder, tmp_path):
    made_run.vote_right(run_folder)
    count = export_regions(run_folder, tmp_path / "export")
    files = sorted((tmp_path / "export").rglob("*.png"))
    assert len(files) == count == sum(len(part) for part in RunFolder(run_folder).load_region_images("correction"))
    assert {path.parent.name for path in files} == {"left"}
    with Image.open(files[0]) as image:
        assert image.size == (32, 24) and image.mode == "L"
    with pytest.raises(RunError, match="not an empty folder"):
        export_regions(run_folder, tmp_path / "export")


def test_a_class_name_leads_to_no_other_folder(run_folder, tmp_path):
    from defuse.debugging.correcting import folder_names

    assert folder_names(["../x", "t-shirt/top", "..", "v1.", "a\\b"]) == [".._x", "t-shirt_top", "_", "v1.", "a_b"]
    with pytest.raises(RunError, match="class 'a/b' would share the folder 'a_b' with another"):
        folder_names(["a/b", "a_b"])


def test_a_retrained_classifier_of_another_size_is_measured(run_folder):
    made_run.vote_right(run_folder)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(made_run.SIZE), made_run.network(0.0))
    report_bugs(run_folder, retrained=OwnClassifier(module, (48, 64), 1))
    assert load_measured(RunFolder(run_folder))["retrained"].test_accuracy > 0.9


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: OwnClassifier(made_run.network(), made_run.SIZE, 3), "takes 3 channels; allowed: the run's 1"),
        (lambda: wrong(nn.Flatten(), nn.LazyLinear(3)), "gives 3 logits, and there are 2 classes"),
        (lambda: wrong(made_run.network(), nn.Softmax(1)), "gives probabilities"),
        (lambda: wrong(made_run.network(), Spoilt()), "hold NaN or infinity"),
        (lambda: OwnClassifier(made_run.network(), (10, 10), 1), r"fails on a float32 tensor \(8, 1, 10, 10\)"),
    ],
)
def test_a_retrained_classifier_that_cannot_be_measured_is_refused(run_folder, made, message):
    with torch.random.fork_rng(), pytest.raises(ClassifierError, match=message):
        report_bugs(run_folder, retrained=made())
    assert list(load_measured(RunFolder(run_folder))) == ["before"] and not (run_folder / "report.html").exists()


class Spoilt(nn.Module):
    """Logits that are no numbers."""

    def forward(self, logits):
        return logits * torch.nan


def wrong(*parts):
    return OwnClassifier(nn.Sequential(*parts), made_run.SIZE, 1)


def test_without_votes_there_is_a_report_and_no_correction(run_folder):
    page = report_bugs(run_folder).read_text(encoding="utf-8")
    assert "Nobody has labelled them yet" in page and "defuse label" in page
    with pytest.raises(VotesError, match=r"bugs holds no votes-NAME\.csv; .*label\.html makes one"):
        correct_bugs(made_run.classifier(), run_folder)
