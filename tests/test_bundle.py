"""`make bundle` and `make unbundle` on a small DVC repository with the names of our stages."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import waiting_stages
from dvc.repo import Repo

from defuse.core.errors import BundleError
from experiments import bundle as bundle_command
from experiments import unbundle as unbundle_command
from experiments.running.bundle import make_bundles
from experiments.running.pipeline import stage_graph
from experiments.running.unbundle import unbundle

PIPELINE = """
stages:
  prepare:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py artifacts/prepare/${item.dataset}/data.npz
    deps: [work.py]
    outs: ["artifacts/prepare/${item.dataset}/data.npz"]
  train_classifier:
    matrix: {dataset: "${datasets}", seed: "${seeds}"}
    cmd: python work.py artifacts/train_classifier/${item.dataset}/${item.seed}/classifier.safetensors
    deps: [work.py, "artifacts/prepare/${item.dataset}/data.npz"]
    params: ["train_classifier.${item.dataset}"]
    outs: ["artifacts/train_classifier/${item.dataset}/${item.seed}"]
  train_oracle:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py artifacts/train_oracle/${item.dataset}/oracle_0.safetensors
    deps: [work.py, "artifacts/prepare/${item.dataset}/data.npz"]
    params: ["train_oracle.${item.dataset}"]
    outs: ["artifacts/train_oracle/${item.dataset}"]
  calibrate_oracle:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py artifacts/calibrate_oracle/${item.dataset}/oracles.csv
    deps: [work.py, "artifacts/train_oracle/${item.dataset}"]
    outs: ["artifacts/calibrate_oracle/${item.dataset}"]
  correct:
    matrix: {dataset: "${datasets}", seed: "${seeds}"}
    cmd: python work.py artifacts/correct/${item.dataset}/${item.seed}.csv
    deps: [work.py, "artifacts/train_classifier/${item.dataset}/${item.seed}"]
    outs: ["artifacts/correct/${item.dataset}/${item.seed}.csv"]
  summarize:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py results/${item.dataset}/tables/means.csv
    deps: [work.py, "artifacts/correct/${item.dataset}"]
    outs: ["results/${item.dataset}/tables": {cache: false}]
"""
# A stage writes its output, and its name into the file `ran`.
WORK = """
import json, os, struct, sys
from pathlib import Path

output, stage = Path(sys.argv[1]), os.environ["DVC_STAGE"]
with open("ran", "a") as file:
    file.write(stage + "\\n")
output.parent.mkdir(parents=True, exist_ok=True)
if output.suffix == ".safetensors":
    about = [{"architecture": "small_cnn", "width": 2}, {"device": "cpu", "processor": "x", "precision": "float32"}]
    named = {"network and machine": json.dumps(about)}
    tensor = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    header = json.dumps({"__metadata__": named, "weight": tensor}).encode()
    output.write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    (output.parent / "metrics.json").write_text(json.dumps({"test_accuracy": 0.98125, "machine": about[1]}))
    (output.parent / "deep").mkdir()
    (output.parent / "deep" / "curve.csv").write_text(stage)
elif output.name == "oracles.csv":
    output.write_text("oracle,architecture,test_accuracy\\n0,vgg,0.99461\\n")
else:
    output.write_text(f"{stage} {os.environ.get('OTHER_BYTES', '')}")
    if output.name == "means.csv":
        about = {"title": "Digits", "slug": "digits_subset", "line": "Digits: 3 images"}
        (output.parent / "provenance.json").write_text(json.dumps(about))
"""
PARAMS = (
    "{datasets: [digits], seeds: [0, 1], train_classifier: {digits: {rate: 1.0e-05}}, train_oracle: {digits: {x: 1}}}"
)
TRAINED = ["train_classifier@digits-0", "train_classifier@digits-1", "train_oracle@digits"]
ARCHIVE = Path("artifacts/bundles/defuse_digits_subset.tar")


def git(folder, *arguments):
    settings = ("-c", "user.name=x", "-c", "user.email=x")
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


def reproduce(folder):
    """The stages that `dvc repro` runs, in their order."""
    (folder / "ran").unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo() as repo:
            repo.reproduce()
    return (folder / "ran").read_text(encoding="utf-8").split() if (folder / "ran").exists() else []


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, environment):
    """The repository after `dvc repro`, all committed, with its archive."""
    folder = tmp_path_factory.mktemp("recorded") / "toy"
    folder.mkdir()
    for name, text in (("dvc.yaml", PIPELINE), ("work.py", WORK), ("params.yaml", PARAMS)):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / ".gitignore").write_text("/artifacts/\n/ran\n", encoding="utf-8")
    git(folder, "init", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Repo.init().close()
    (folder / ".dvc/config").write_text("[core]\n    check_update = false\n", encoding="utf-8")
    assert len(reproduce(folder)) == 8
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "toy")
    assert make_bundles(folder, []) == ([folder / ARCHIVE], [])
    return folder


@pytest.fixture
def copy(recorded, tmp_path):
    """A copy of it, to change freely."""
    return Path(shutil.copytree(recorded, tmp_path / "copy", symlinks=True))


@pytest.fixture
def clone(recorded, tmp_path):
    """A fresh clone: no artifacts, no cache."""
    git(tmp_path, "clone", "--quiet", str(recorded), "clone")
    return tmp_path / "clone"


def written(folder):
    """Every file that a put-back could leave, by its bytes."""
    parts = (folder / "artifacts", folder / ".dvc" / "cache")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for part in parts for path in part.rglob("*.*")}


def members(archive):
    with tarfile.TarFile(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def rewritten(archive, contents, **kinds):
    """An archive of these members; `kinds` gives a member another type."""
    with tarfile.TarFile(archive, "w") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), kinds.get(name, tarfile.REGTYPE)
            tar.addfile(member, io.BytesIO(data))
    return archive


def summed(contents):
    """The members with a list of checksums that fits them."""
    top = next(iter(contents)).partition("/")[0]
    lines = [
        f"{hashlib.sha256(data).hexdigest()}  {name.partition('/')[2]}\n"
        for name, data in contents.items()
        if not name.endswith("/SHA256SUMS")
    ]
    return {**contents, f"{top}/SHA256SUMS": "".join(lines).encode()}


# Making


def test_an_archive_holds_all_but_the_data_with_checksums_cards_and_run_cache(recorded):
    names = {name.removeprefix("defuse_digits_subset/"): data for name, data in members(recorded / ARCHIVE).items()}
    assert "artifacts/train_classifier/digits/1/classifier.safetensors" in names
    assert "artifacts/correct/digits/0.csv" in names and "artifacts/calibrate_oracle/digits/oracles.csv" in names
    assert not [name for name in names if "prepare" in name or name.endswith(".npz") or name.startswith("results")]
    lines = [line.split("  ") for line in names["SHA256SUMS"].decode().splitlines()]
    assert {name: digest for digest, name in lines} == {
        name: hashlib.sha256(data).hexdigest() for name, data in names.items() if name != "SHA256SUMS"
    }
    with open(recorded / ARCHIVE, "rb") as file, tarfile.TarFile(fileobj=file) as tar:
        facts = {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in tar.getmembers()}
    assert facts == {(0, 0, 0, "", 0o644)}
    # As DVC itself named and wrote them.
    runs = {
        f"runs/{path.relative_to(recorded / '.dvc/cache/runs')}": path.read_bytes()
        for path in (recorded / ".dvc/cache/runs").rglob("*")
        if path.is_file()
    }
    own = {name: data for name, data in names.items() if name.startswith("runs/")}
    assert len(own) == 6 and own.items() <= runs.items()


def test_cards_say_what_the_stages_recorded(recorded):
    names = members(recorded / ARCHIVE)
    cards = {name.rpartition("/")[2]: data.decode() for name, data in names.items() if "/cards/" in name}
    assert set(cards) == {"README.md", "train_classifier.md", "train_oracle.md"}
    card = cards["train_classifier.md"]
    assert "# Model card: the classifier to debug, Digits" in card and "Digits: 3 images" in card
    assert (
        "| `artifacts/train_classifier/digits/1/classifier.safetensors` | architecture small_cnn, width 2 | 6 |" in card
    )
    assert (
        "cpu (x), float32" in card and "| 1 | 0.9812 |" in card and "| train_classifier.digits.rate | `1e-05` |" in card
    )
    assert "digits_subset_measures.csv` has the same" in card
    assert "| 0 | vgg | 0.9946 |" in cards["train_oracle.md"]
    assert all(f"]({name})" in cards["README.md"] for name in cards if name != "README.md")


def test_the_same_record_gives_the_same_bytes(copy, recorded):
    shutil.rmtree(copy / "artifacts")  # the cache alone is read
    make_bundles(copy, ["digits"])
    assert (copy / ARCHIVE).read_bytes() == (recorded / ARCHIVE).read_bytes()


def test_what_is_not_recorded_is_named(copy):
    with pytest.raises(BundleError, match=r"^data set 'mnist'; allowed: those of params\.yaml, digits$"):
        make_bundles(copy, ["mnist"])
    before = (copy / ARCHIVE).read_bytes()
    params = PARAMS.replace("[digits]", "[digits, mnist]").replace("{x: 1}}", "{x: 1}, mnist: {x: 1}}")
    (copy / "params.yaml").write_text(params.replace("05}}", "05}, mnist: {rate: 1}}"), encoding="utf-8")
    lacking = r"mnist: prepare@mnist has no recorded output in dvc\.lock: dvc repro would run it again"
    with pytest.raises(BundleError, match=f"^{lacking}$"):
        make_bundles(copy, ["digits", "mnist"])
    archives, left_out = make_bundles(copy, [])
    assert archives == [copy / ARCHIVE] and left_out == [lacking.replace("\\", "")]
    assert (copy / ARCHIVE).read_bytes() == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (PARAMS.replace("1.0e-05", "2.0e-05"), r"train_classifier@digits-0 was recorded with another params\.yaml"),
        (PARAMS.replace("[0, 1]", "[0, 2]"), r"train_classifier@digits-2 has no recorded output in dvc\.lock"),
    ],
)
def test_a_record_of_other_params_is_refused(copy, params, message):
    (copy / "params.yaml").write_text(params, encoding="utf-8")
    with pytest.raises(BundleError, match=message):
        make_bundles(copy, ["digits"])


def test_a_record_made_from_other_data_is_refused(copy):
    (copy / "artifacts/prepare/digits/data.npz").unlink()
    shutil.rmtree(copy / ".dvc/cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        patch.setenv("OTHER_BYTES", "other")
        with Repo() as repo:
            repo.reproduce(["prepare@digits"])
    with pytest.raises(BundleError, match=r"train_classifier@digits-0 was recorded with another artifacts/prepare/dig"):
        make_bundles(copy, [])


def test_a_lost_or_damaged_object_of_the_cache_leaves_no_archive(copy):
    (copy / ARCHIVE).unlink()
    data = (copy / "artifacts/correct/digits/0.csv").read_bytes()
    md5 = hashlib.md5(data).hexdigest()
    held = copy / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    held.chmod(0o644)
    held.write_bytes(b"x" + data[1:])
    with pytest.raises(BundleError, match=r"object of artifacts/correct/digits/0\.csv is damaged"):
        make_bundles(copy, [])
    assert list((copy / ARCHIVE).parent.iterdir()) == []
    held.unlink()
    lacking = (
        r"no data set is recorded whole: digits: correct@digits-0 has no recorded output in DVC's cache: it lacks art"
    )
    with pytest.raises(BundleError, match=lacking):
        make_bundles(copy, [])


# Putting back


def test_an_unbundled_clone_trains_nothing(recorded, clone, monkeypatch, capsys):
    assert len(stage_graph(clone)) == 8 and not (clone / "artifacts").exists()
    monkeypatch.chdir(clone)
    unbundle_command.command(str(recorded / ARCHIVE))
    printed = capsys.readouterr().out
    assert "Next: dvc repro --single-item prepare@digits (recorded from Digits: 3 images)" in printed
    assert reproduce(clone) == ["prepare@digits"]
    assert waiting_stages(clone, stage_graph(clone)) == {}
    files = "train_classifier/digits/0/classifier.safetensors", "correct/digits/1.csv"
    assert all(
        (clone / "artifacts" / name).read_bytes() == (recorded / "artifacts" / name).read_bytes() for name in files
    )
    assert (clone / "artifacts/cards/digits/train_oracle.md").is_file()
    assert not (clone / "artifacts/unbundle").exists()
    # A second call has nothing to do and looks at the data.
    unbundle_command.command(str(recorded / ARCHIVE))
    assert "artifacts/prepare/digits/data.npz is as recorded: dvc repro trains nothing." in capsys.readouterr().out
    make_bundles(clone, [])
    assert (clone / ARCHIVE).read_bytes() == (recorded / ARCHIVE).read_bytes()


def test_the_run_cache_brings_outputs_back_where_dvc_lock_says_nothing(recorded, clone):
    unbundle(clone, recorded / ARCHIVE)
    shutil.rmtree(clone / "artifacts")
    (clone / "dvc.lock").unlink()
    assert reproduce(clone) == ["prepare@digits", "summarize@digits"]


def test_other_prepared_data_are_told(recorded, clone):
    (clone / "artifacts/prepare/digits").mkdir(parents=True)
    (clone / "artifacts/prepare/digits/data.npz").write_bytes(b"another download")
    _, advice = unbundle(clone, recorded / ARCHIVE)
    assert "has other bytes than the recorded from Digits: 3 images: dvc repro would train everything again" in advice


def test_what_a_killed_run_left_is_completed(recorded, clone):
    place = clone / "artifacts/train_oracle/digits"
    place.mkdir(parents=True)
    shutil.copy(recorded / "artifacts/train_oracle/digits/metrics.json", place)
    unbundle(clone, recorded / ARCHIVE)
    assert reproduce(clone) == ["prepare@digits"]


def refusal(clone, archive):
    """The message of a refused archive, which leaves nothing behind."""
    before = written(clone)
    with pytest.raises(BundleError) as caught:
        unbundle(clone, archive)
    assert written(clone) == before
    return str(caught.value)


def test_a_changed_byte_is_refused(recorded, clone, tmp_path):
    data = bytearray((recorded / ARCHIVE).read_bytes())
    place = data.index(b"correct@digits-0")
    data[place] ^= 1
    (tmp_path / "changed.tar").write_bytes(data)
    message = refusal(clone, tmp_path / "changed.tar")
    assert message.startswith(f"{tmp_path / 'changed.tar'}: damaged: ") and "SHA256SUMS has" in message


def test_an_archive_cut_off_or_none_at_all_is_refused(recorded, clone, tmp_path):
    data = (recorded / ARCHIVE).read_bytes()
    for name, content in (("cut.tar", data[: len(data) // 2]), ("empty.tar", b""), ("text.tar", b"no archive" * 99)):
        (tmp_path / name).write_bytes(content)
        assert refusal(clone, tmp_path / name).startswith(f"{tmp_path / name}: ")
    assert "not a readable archive: " in refusal(clone, tmp_path / "absent.tar")


@pytest.mark.parametrize("name", ["../climbs", "defuse_digits_subset/../../climbs", "/climbs", "other/climbs", "a/./b"])
def test_a_path_that_climbs_out_is_refused(recorded, clone, tmp_path, name):
    contents = summed({**members(recorded / ARCHIVE), name: b"x"})
    message = refusal(clone, rewritten(tmp_path / "unsafe.tar", contents))
    assert f"member {name!r} is refused; allowed: " in message
    assert not list(tmp_path.rglob("climbs"))


def test_a_link_a_foreign_file_and_a_file_left_out_are_refused(recorded, clone, tmp_path):
    held = members(recorded / ARCHIVE)
    top, link = "defuse_digits_subset", "defuse_digits_subset/artifacts/link"
    message = refusal(clone, rewritten(tmp_path / "link.tar", {**held, link: b""}, **{link: tarfile.SYMTYPE}))
    assert f"member '{link}' is refused" in message
    for added in ("artifacts/stray/file", "cards/other.md", "runs/aa/bb/cc"):
        message = refusal(clone, rewritten(tmp_path / "more.tar", summed({**held, f"{top}/{added}": b"x"})))
        assert f"{added} is not part of a bundle of digits" in message
    weights = f"{top}/artifacts/correct/digits/0.csv"
    fewer = {name: data for name, data in held.items() if name != weights}
    assert "correct/digits/0.csv is missing" in refusal(clone, rewritten(tmp_path / "fewer.tar", fewer))
    changed = summed({**held, f"{top}/artifacts/train_oracle/digits/deep/curve.csv": b"x"})
    message = refusal(clone, rewritten(tmp_path / "other.tar", changed))
    assert "artifacts/train_oracle/digits of train_oracle@digits is " in message and "dvc.lock records" in message


def test_an_archive_of_another_commit_is_refused(recorded, clone, tmp_path):
    held = members(recorded / ARCHIVE)
    record = json.loads(held["defuse_digits_subset/bundle.json"])
    record["stages"]["correct@digits-1"]["outs"][0]["md5"] = "0" * 32
    changed = {**held, "defuse_digits_subset/bundle.json": json.dumps(record).encode()}
    message = refusal(clone, rewritten(tmp_path / "other.tar", summed(changed)))
    assert "it is of another commit: correct@digits-1 is not as in this dvc.lock; allowed: " in message
    del record["stages"]["correct@digits-1"]
    changed = {**held, "defuse_digits_subset/bundle.json": json.dumps(record).encode()}
    message = refusal(clone, rewritten(tmp_path / "other.tar", summed(changed)))
    assert "it is of other seeds or stages: correct@digits-1 is not" in message
    (clone / "params.yaml").write_text(PARAMS.replace("1.0e-05", "2.0e-05"), encoding="utf-8")
    message = refusal(clone, recorded / ARCHIVE)
    assert "cannot be put back here: train_classifier@digits-0 was recorded with another params.yaml" in message


def test_an_output_of_ones_own_is_not_replaced(recorded, clone):
    place = clone / "artifacts/train_oracle/digits"
    place.mkdir(parents=True)
    (place / "oracle_0.safetensors").write_bytes(b"my own")
    message = refusal(clone, recorded / ARCHIVE)
    assert (
        "artifacts/train_oracle/digits/oracle_0.safetensors is already here with other bytes; move it away" in message
    )


def test_the_commands_end_with_one_line(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    bundle_command.command([])
    digest = hashlib.sha256((copy / ARCHIVE).read_bytes()).hexdigest()
    assert f"defuse_digits_subset.tar, 0.0 MiB, sha256 {digest}\n" in capsys.readouterr().out
    for call, text in (
        (lambda: bundle_command.command(["x"]), "bundle: data set 'x'; allowed: "),
        (lambda: unbundle_command.command(""), "unbundle: no archive is named: make unbundle FILE="),
        (lambda: unbundle_command.command("absent.tar"), "unbundle: absent.tar: not a readable archive: "),
    ):
        with pytest.raises(SystemExit, match=f"^{text}"):
            call()
