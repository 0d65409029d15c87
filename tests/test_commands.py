"""The command `defuse`: the whole way by commands, help on one screen, and each bad input answered before any work."""

import json
import shutil
import subprocess
import sys

import made_run
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from defuse.core.storage import read_json
from defuse.debugging import training
from defuse.debugging.commands import app
from defuse.debugging.run_folder import RunFolder

COMMANDS = ("find", "label", "correct", "export", "report")


def defuse(*words):
    """Exit status and output of a command; what it draws leaves no trace."""
    with torch.random.fork_rng():
        done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "80"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An image folder, train/CLASS/IMAGE and test/CLASS/IMAGE."""
    folder = tmp_path_factory.mktemp("pictures")
    made_run.write_folder(folder / "train", *made_run.draw())
    made_run.write_folder(folder / "test", *made_run.draw(60, seed=1))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A user's folder: a module `mine` with functions, and settings; the current one."""
    (tmp_path / "mine.py").write_text(made_run.SOURCE, encoding="utf-8")
    (tmp_path / "settings.yaml").write_text(json.dumps(made_run.SETTINGS), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("mine", "wrong", "package", "package.inner"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(finished_run, here):
    """A finished run in the user's folder."""
    return shutil.copytree(finished_run, here / "bugs")


@pytest.fixture
def no_training(monkeypatch):
    """A training is a failure."""

    def begun(*_):
        raise AssertionError("a training began")

    monkeypatch.setattr(training.Trainings, "train", begun)


def find(pictures, *words, classifier="mine:classifier", images="train"):
    """`defuse find` with the tests' settings; later words count."""
    chosen = ["--classifier", classifier, "--images", pictures / images, "--out", "bugs"]
    return defuse("find", *chosen, "--settings", "settings.yaml", *words)


# Help


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_on_one_screen(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = [command, "--help"] if command else ["--help"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": str(columns)})
    lines = done.output.splitlines()
    assert done.exit_code == 0 and len(lines) <= 22 and max(map(len, lines)) <= columns
    assert not any(line.endswith("...") for line in lines[1:])  # cut short


def test_help_loads_nothing_that_takes_time():
    code = (
        "import sys; from defuse.debugging.commands import app; sys.argv = ['defuse', '--help']\n"
        "try: app()\n"
        "except SystemExit: print([name for name in ('torch', 'numpy', 'pandas', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# The whole way


def test_the_whole_way_by_commands(here, pictures):
    code, said = find(pictures, "--test", pictures / "test")
    assert code == 0, said
    assert "320 images, 32x24 pixels" in said and "this will take about" in said and "now: defuse label bugs" in said
    assert "around images of" in said and "left" in said
    assert (here / "bugs" / "report.html").exists() and (here / "bugs" / "label.html").exists()
    assert read_json(here / "bugs" / "run.json")["test_images"] == "60 images, 32x24 pixels"
    code, said = find(pictures, "--test", pictures / "test")
    assert code == 0 and "already holds this run" in said and "this will take" not in said

    code, said = defuse("label", "bugs")
    assert code == 0 and "open bugs/label.html" in said
    made_run.vote_right(here / "bugs")
    code, said = defuse("correct", "bugs")
    assert code == 0 and "before" in said and "lambda 1" in said and "* chosen on validation images" in said
    assert "weights: bugs/corrected/classifier.safetensors" in said and "report: bugs/report.html" in said

    code, said = defuse("export", "bugs", "more")
    count = len(list((here / "more").rglob("*.png")))
    assert code == 0 and said.startswith(f"{count} images in more;") and count > 0
    code, said = defuse("report", "bugs", "--retrained", "mine:repaired")
    page = (here / "bugs" / "report.html").read_text(encoding="utf-8")
    assert code == 0 and said == "report: bugs/report.html\n" and "retrained" in page and "corrected" in page


def test_the_order_of_the_classes_is_the_classifiers(here, pictures, monkeypatch):
    source = made_run.SOURCE + "\nswap = lambda: OwnClassifier(lambda x: function().network(x)[:, ::-1], SIZE, 1)\n"
    (here / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(training.Trainings, "kept", interrupt)
    assert find(pictures, "--classes", "right, left", classifier="mine:swap")[0] == 1
    assert read_json(here / "bugs" / "run.json")["class_names"] == ["right", "left"]
    images, labels = RunFolder(here / "bugs").load_split("train")
    brighter = images[..., :16, 0].mean((1, 2)) > images[..., 16:, 0].mean((1, 2))
    assert np.array_equal(brighter, labels == 1)


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_stopped_command_says_how_it_goes_on(here, pictures, monkeypatch):
    monkeypatch.setattr(training.Trainings, "kept", interrupt)
    code, said = find(pictures)
    assert code == 1 and said.endswith("defuse: stopped; run the same command to continue\n")
    for words in (["label"], ["correct"], ["export"], ["report"], ["report", "--retrained", "mine:repaired"]):
        more = ["more"] if words == ["export"] else []
        code, said = defuse(words[0], "bugs", *more, *words[1:])
        ending = "defuse: bugs: the search has not finished; run the same `defuse find` again to continue\n"
        assert (code, said) == (1, ending), words


def test_a_run_made_in_python_needs_the_classifier_named(run):
    facts = read_json(run / "run.json")
    (run / "run.json").write_text(json.dumps({**facts, "classifier": None}), encoding="utf-8")
    made_run.vote_right(run)
    code, said = defuse("correct", "bugs")
    assert code == 1 and said == "defuse: bugs: the run was made from Python; allowed: --classifier MODULE:FUNCTION\n"
    assert defuse("correct", "bugs", "--classifier", "mine:classifier")[0] == 0


def test_a_plain_module_takes_its_size_from_the_command_or_the_run(here, pictures, monkeypatch):
    lines = "def plain():\n    from torch import nn\n    from made_run import SIZE, network\n"
    lines += "    return nn.Sequential(nn.AdaptiveAvgPool2d(SIZE), network())\n"
    (here / "mine.py").write_text(lines, encoding="utf-8")
    assert "whose image size is not known; allowed: --size PIXELS" in find(pictures, classifier="mine:plain")[1]
    monkeypatch.setattr(training.Trainings, "kept", interrupt)
    assert "stopped" in find(pictures, "--size", 32, "--channels", 1, classifier="mine:plain")[1]
    facts = read_json(here / "bugs" / "run.json")
    assert facts["size"] == [32, 32] and facts["channels"] == 1
    from defuse.debugging.commands import loaded

    RunFolder(here / "bugs").regions.touch()
    found = loaded("mine:plain", None, None, here / "bugs")
    assert found.size == (32, 32) and found.channels == 1


def test_a_shell_may_write_out_the_files_of_votes(run):
    files = [made_run.vote_right(run, name) for name in ("ann", "bob")]
    code, said = defuse("report", "bugs", "--votes", *files)
    assert code == 0, said
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "ann, bob" in page
    assert defuse("export", "bugs", "more", "--votes", *files)[0] == 0
    assert defuse("correct", "bugs", "--votes", files[0], "--votes", files[1])[0] == 0
    for command in ("report", "correct"):
        code, said = defuse(command, "bugs", "a.csv", "b.csv")
        assert code == 2 and "a.csv b.csv: too many folders or files; name files of votes after --votes" in said


def test_odd_names_of_classes_are_printed_as_they_are(here, capsys):
    import pandas as pd

    from defuse.debugging.commands import print_regions

    row = (0, "[red]", "[/x] :smile:", 3, 2, 0.5)
    columns = ["region", "seed_class", "taken_for", "mistakes", "seed_images", "wrong_before"]
    print_regions(pd.DataFrame([row], columns=columns))
    assert "[red]" in (said := capsys.readouterr().out) and "[/x] :smile:" in said


# Bad input to find


def refused(pictures, *words, **named):
    """What `find` says; nothing is left behind."""
    code, said = find(pictures, *words, **named)
    assert code in (1, 2) and "Traceback" not in said
    return said


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mine", "'mine' names no classifier; allowed: package.module:function, such as mynet.model:load"),
        ("mine:", "'mine:' names no classifier"),
        (":classifier", "':classifier' names no classifier"),
        ("mine.py:classifier:x", "names no classifier"),
        ("./mine.py:classifier", "names no classifier"),
        ("mine:classifier()", "names no classifier"),
        ("nowhere:classifier", "module nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine.py:classifier", "module mine.py cannot be imported: ModuleNotFoundError"),
        ("mine:clasifier", "module mine has no function clasifier; it has classifier, repaired, function"),
        ("mine:SIZE", "mine:SIZE is a tuple; allowed: a function that takes no argument"),
        ("wrong:module", "wrong:module is a Sequential; allowed: a function that takes no argument"),
        ("wrong:argument", "the function fails: TypeError: argument() missing 1 required positional argument: 'path'"),
        ("wrong:missing", "the function fails: FileNotFoundError: [Errno 2] No such file or directory: 'weights'"),
        ("wrong:leaves", "the function fails: SystemExit: 2"),
        ("wrong:nothing", "the function returns nothing; allowed: a torch.nn.Module, or a defuse.OwnClassifier"),
        ("wrong:array", "the function returns a ndarray; allowed: a torch.nn.Module"),
        ("wrong:bad_size", "the function fails: ClassifierError: size is (0, 4); allowed: a side"),
        ("wrong:plain", "returns a plain module, whose image size is not known; allowed: --size PIXELS"),
        ("wrong:nan", "logits of 320 of 320 images hold NaN or infinity"),
        ("wrong:three", "gives 3 logits, and there are 2 classes (left, right); allowed: a logit for each class"),
        ("wrong:one", "gives 1 logits, and there are 2 classes"),
        ("wrong:probabilities", "gives probabilities: no number is below 0, and each row sums to 1; allowed: logits"),
        ("wrong:fails", "fails on a float32 tensor (8, 1, 24, 32): RuntimeError: mat1 and mat2 shapes"),
        ("wrong:swapped", "in another order of the classes it would be"),
        ("wrong:words", "the classifier returns a list"),
        ("broken:classifier", "module broken cannot be imported: SyntaxError"),
        ("raising:classifier", "module raising cannot be imported: ValueError: of the user's own"),
    ],
)
def test_a_classifier_that_cannot_be_debugged_is_refused(here, pictures, source, message):
    (here / "wrong.py").write_text(WRONG, encoding="utf-8")
    (here / "broken.py").write_text("def classifier(:\n", encoding="utf-8")
    (here / "raising.py").write_text('raise ValueError("of the user\'s own")\n', encoding="utf-8")
    assert message in refused(pictures, classifier=source)
    assert not (here / "bugs").exists()


WRONG = """
import sys
import numpy as np
from made_run import SIZE, network
from torch import nn
from defuse.models.own_classifier import OwnClassifier

module = network()
def argument(path): pass
def missing(): open("weights")
def leaves(): sys.exit(2)
def nothing(): pass
def array(): return np.zeros(3)
def bad_size(): return OwnClassifier(network(), (0, 4))
def plain(): return network()
def own(change): return OwnClassifier(change, SIZE, 1)
def nan(): return own(lambda images: np.full((len(images), 2), np.nan, np.float32))
def three(): return own(lambda images: np.zeros((len(images), 3), np.float32))
def one(): return own(lambda images: np.zeros((len(images), 1), np.float32))
def probabilities(): return own(nn.Sequential(network(), nn.Softmax(1)))
def fails(): return own(nn.Sequential(nn.MaxPool2d(2), network()))
def words(): return own(lambda images: ["left"] * len(images))

class Swap(nn.Module):
    def forward(self, logits): return logits.flip(1)

def swapped(): return own(nn.Sequential(network(), Swap()))
"""


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "40"], "takes 24x32 pixels and 1 channels; allowed: no other --size and --channels"),
        (["--channels", "3"], "takes 24x32 pixels and 1 channels; allowed: no other --size and --channels"),
        (["--channels", "2"], "'2' is not one of '1', '3'"),
        (["--side", "40"], "'40' is not one of 'auto', '32', '48', '64', '96'"),
        (["--regions", "0"], "Invalid value for '--regions': "),
        (["--seed", "-1"], "Invalid value for '--seed': "),
        (["--classes", "left,middle"], "folders of no class: right; classes without a folder: middle"),
        (["--classes", "left,"], "class_names: ''; allowed: names with letters or digits"),
        (["--classes", "left,left,right"], "class_names: left more than once; allowed: each class once"),
        (["--images", "nowhere"], "nowhere: no such folder; allowed: a folder with a folder of images for each class"),
        (["--test", "nowhere"], "nowhere: no such folder"),
        (["--images", "."], "no such folder"),
        (["--settings", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (
            ["--out", "mine.py"],
            "mine.py is neither empty nor the folder of a run; allowed: an empty folder or a new one",
        ),
        (["--out", "other"], "other is neither empty nor the folder of a run; allowed: an empty folder or a new one"),
    ],
)
def test_what_the_command_line_gets_wrong_is_said(here, pictures, words, message):
    (here / "other").mkdir()
    (here / "other" / "letter.txt").write_text("mine", encoding="utf-8")
    said = refused(pictures, *words)
    if words != ["--images", "."]:
        assert message in said
    assert not (here / "bugs").exists() and [path.name for path in (here / "other").iterdir()] == ["letter.txt"]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3", "mine.yaml: epochs: unknown key (allowed: seed, side, regions,"),
        ("train_vae: {epoch: 3}", "mine.yaml: train_vae.epoch: unknown key; did you mean epochs? (allowed: "),
        ("train_vae: {epochs: 0}", "mine.yaml: train_vae.epochs: 0 is not allowed: Input should be greater than"),
        ("train_vae: {epochs: many}", "mine.yaml: train_vae.epochs: 'many' is not allowed: Input should be a valid"),
        ("train_vae: 3", "mine.yaml: train_vae: 3 is not allowed: Input should be a mapping of keys to values"),
        ("side: 40", "mine.yaml: side: 40 is not allowed: Input should be 'auto', 32, 48, 64 or 96"),
        ("search: {noises: []}", "mine.yaml: search.noises: [] is not allowed: Input should hold at least 1 item(s)"),
        ("search: {keep: 30}", "mine.yaml: search.keep: 30 is not allowed: Input should be at most draws (10)"),
        ("minimum_members: 1", "mine.yaml: minimum_members: 1 is not allowed: Input should be greater than or equal"),
        ("validation_share: 1", "mine.yaml: validation_share: 1 is not allowed"),
        ("validation_share: 0.001", "validation_share: 0.001 of 272 images is less than one of each class; allowed"),
        ("test_share: 0.001", "test_share: 0.001 of 320 images is less than one of each class; allowed: at least 0.00"),
        ("train_checker: {network: {architecture: small_cnn}}\nside: 48", "'small_cnn' takes only images of 32x32"),
        ("", "mine.yaml: it holds nothing; allowed: keys of defuse/debugging/defaults.yaml"),
        ("- seed", "mine.yaml: it holds ['seed']; allowed: keys of defuse/debugging/defaults.yaml"),
        ("seed: [", "mine.yaml: not readable as YAML: line 2: while parsing"),
    ],
)
def test_settings_that_are_not_allowed_are_said(here, pictures, text, message):
    (here / "mine.yaml").write_text(text, encoding="utf-8")
    assert message in refused(pictures, "--settings", "mine.yaml")
    assert not (here / "bugs").exists()


def short_of(folder, keep):
    """An image folder with so many images of each class."""
    images, labels = made_run.draw()
    chosen = np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate(keep)])
    return made_run.write_folder(folder, images[chosen], labels[chosen])


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ((160, 5), "images of right (5); allowed: at least 10 of each class"),
        ((80, 80), "160 images, of which 115 are left to train on; allowed: at least 200 of these"),
        ((160, 0), "1 class (left); allowed: two or more"),
    ],
)
def test_too_few_images_are_refused(here, pictures, keep, message):
    assert message in refused(pictures, "--images", short_of(here / "few", keep))
    assert not (here / "bugs").exists()


@pytest.mark.usefixtures("no_training")
def test_a_run_does_not_lie_among_its_images(here, pictures):
    images = shutil.copytree(pictures / "train", here / "train")
    said = refused(pictures, "--images", "train", "--out", "train/bugs")
    assert "--out train/bugs lies in train, and would be taken for a class; allowed: another place" in said
    assert "lies in train" in refused(pictures, "--test", "train", "--out", images / "left" / "bugs")
    assert not (images / "bugs").exists()


@pytest.mark.usefixtures("no_training")
def test_a_folder_without_images_and_a_file_that_is_none_are_refused(here, pictures):
    (here / "empty" / "left").mkdir(parents=True)
    (here / "empty" / "right").mkdir()
    assert "Found no valid file for the classes left, right" in refused(pictures, "--images", here / "empty")
    bad = short_of(here / "bad", (100, 100)) / "left" / "zzz.png"
    bad.write_bytes(b"no image")
    assert "left/zzz.png: no image that can be read" in refused(pictures, "--images", here / "bad")
    shutil.rmtree(here / "bad" / "left")
    assert "1 class (right); allowed: two or more" in refused(pictures, "--images", here / "bad")
    assert not (here / "bugs").exists()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", ["not recognisable", " left"])
def test_a_class_that_nobody_could_answer_is_refused_before_the_work(here, pictures, name):
    folder = made_run.write_folder(here / "odd", *made_run.draw(), (name, "right"))
    assert f"class name {name!r}; allowed: " in refused(pictures, "--images", folder)
    assert not (here / "bugs").exists()


@pytest.mark.usefixtures("no_training")
def test_a_folder_of_another_run_is_refused_and_says_what_differs(run, pictures, here):
    before = made_run.files_of(run)
    same = ["--settings", "settings.yaml"]
    assert find(pictures, *same)[0] == 0
    (here / "more.yaml").write_text(json.dumps({**made_run.SETTINGS, "minimum_steps": 9}), encoding="utf-8")
    fewer = short_of(here / "fewer", (160, 159))
    for words, message in (
        (
            ["--seed", 1],
            "bugs holds another run: seed is 0 there and 1 now; allowed: the same run, which continues, or",
        ),
        (["--settings", "more.yaml"], "bugs holds another run: minimum_steps is 110 there and 9 now; allowed"),
        (["--images", fewer], "bugs holds another run: other images; allowed"),
        (["--test", pictures / "test"], "bugs holds another run: other test images; allowed"),
        (["--classifier", "mine:repaired"], "bugs holds another run: another classifier; allowed"),
        (["--classifier", "mine:repaired", "--seed", 2], "another classifier; seed is 0 there and 2 now; allowed"),
    ):
        assert message in refused(pictures, *words)
    after = made_run.files_of(run)
    assert {name: after[name] for name in before} == before


def test_how_people_label_and_correct_may_change_in_a_run(run, pictures, here):
    changed = {**made_run.SETTINGS, "correct": {"lambdas": [0.0, 0.5]}, "acceptance": {"minimum_agreement": 0.9}}
    (here / "more.yaml").write_text(json.dumps(changed), encoding="utf-8")
    code, said = find(pictures, "--settings", "more.yaml", "--threads", 1)
    assert code == 0, said
    held = read_json(run / "run.json")["settings"]
    assert held["correct"]["lambdas"] == [0.0, 0.5] and held["acceptance"]["minimum_agreement"] == 0.9


# Bad input to the other commands


@pytest.mark.parametrize("command", ["label", "correct", "export", "report"])
def test_a_folder_without_a_run_is_refused(here, command):
    (here / "other").mkdir()
    more = ["more"] if command == "export" else []
    for folder in ("other", "nowhere"):
        code, said = defuse(command, folder, *more)
        ending = "no run of defuse is here (run.json is missing); `defuse find` makes one"
        assert (code, said) == (1, f"defuse: {folder}: {ending}\n")
    assert not list((here / "other").iterdir()) and not (here / "nowhere").exists() and not (here / "more").exists()


def spoilt(run, change):
    """The path of a file of votes whose text is changed."""
    path = made_run.vote_right(run)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["correct", "export", "report"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(text.split("\n")[1][:12], "0123456789ab"), "line 2: votes of run 0123456789ab; all"),
        (lambda text: text.replace(",ann,0,", ",ann,99,"), "line 2: region 99; allowed: 0, 1"),
        (lambda text: text.replace("left", "Left", 1), "line 2: label 'Left' (nearest: 'left'); allowed: left, right"),
        (lambda text: text.replace(",label", "", 1), "line 1: it has run, annotator, region, image; allowed"),
        (lambda text: text.replace(",", ";"), "separated by commas, not by semicolons"),
        (lambda text: text.replace(",left", ",", 1), "line 2: label is blank"),
        (lambda text: text + text.split("\n")[1] + "\n", "'ann' has voted on image 0 of region 0 in line 2"),
        (lambda text: text.split("\n")[0] + "\n", "no vote; allowed: at least one"),
        (lambda text: "", "line 1: it has nothing; allowed: run, annotator, region, image, label, each once"),
    ],
)
def test_votes_that_do_not_fit_are_refused_by_file_and_line(run, command, change, message):
    spoilt(run, change)
    code, said = defuse(command, "bugs", *(["more"] if command == "export" else []))
    assert code == 1 and said.startswith("defuse: bugs/votes-ann.csv") and message in said
    assert not (run / "annotation.csv").exists() and not (run / "corrected").exists()


def test_two_files_of_one_person_and_a_missing_file_are_refused(run):
    shutil.copy(made_run.vote_right(run), run / "votes-ann (1).csv")
    code, said = defuse("correct", "bugs")
    assert code == 1 and "annotator 'ann' is also in bugs/votes-ann (1).csv; allowed: one file for each" in said
    code, said = defuse("report", "bugs", "--votes", "nowhere.csv")
    assert (code, said) == (1, "defuse: nowhere.csv: no such file\n")
    assert defuse("report", "bugs", "--votes", run / "votes-ann.csv")[0] == 0


def test_settings_of_later_commands_are_checked_too(run, here):
    made_run.vote_right(run)
    (here / "mine.yaml").write_text("correct: {lambda: [1]}", encoding="utf-8")
    for words in (["correct", "bugs"], ["export", "bugs", "more"], ["report", "bugs"]):
        code, said = defuse(*words, "--settings", "mine.yaml")
        assert code == 1 and "mine.yaml: correct.lambda: unknown key; did you mean lambdas?" in said
    (here / "mine.yaml").write_text("acceptance: {minimum_failures: 1.0}", encoding="utf-8")
    code, said = defuse("correct", "bugs", "--settings", "mine.yaml")
    assert code == 1 and "the labellers call no region a bug" in said


def test_another_classifier_is_not_corrected(run):
    made_run.vote_right(run)
    code, said = defuse("correct", "bugs", "--classifier", "mine:repaired")
    assert code == 1 and "the run searched a classifier with other weights; allowed: the same one" in said
    code, said = defuse("correct", "bugs", "--classifier", "mine:function")
    assert code == 1 and "cannot be fine-tuned here; allowed: `defuse export`" in said
    assert not (run / "corrected").exists()


def test_a_damaged_run_says_which_file(run):
    (run / "run.json").write_text("{", encoding="utf-8")
    code, said = defuse("report", "bugs")
    assert code == 1 and said.startswith("defuse: bugs/run.json: no readable JSON")
    (run / "shown.npz").write_bytes(b"PK")
    shutil.copy(run / "measured" / "before.json", run / "run.json")
    code, said = defuse("label", "bugs")
    assert code == 1 and said.startswith("defuse: bugs/shown.npz: not a readable .npz")
