"""`make verify` on a toy DVC repository: what it names, and that DVC itself does not notice."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from defuse.core.errors import VerificationError
from experiments.running.verification import CHANGED, IN_CACHE, MISSING, verify
from experiments.verify import command

PIPELINE = """
stages:
  prepare:
    cmd: mkdir -p artifacts && printf digits > artifacts/data
    outs: [artifacts/data]
  train:
    cmd: mkdir -p artifacts/net/deep && cd artifacts/net && printf weights > weights && printf curve > deep/curve
    deps: [artifacts/data]
    outs: [artifacts/net]
  summarize:
    cmd: mkdir -p results/tables && printf '1,2\\r\\n' > results/tables/means.csv && printf '{}' > results/metrics.json
    deps: [artifacts/net]
    outs:
      - results/tables: {cache: false}
      - results/metrics.json: {cache: false}
"""
OUTPUTS = ["artifacts/data", "artifacts/net", "results/metrics.json", "results/tables"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A toy repository after `dvc repro`; DVC's state database lies beside it."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        (folder / "repo").mkdir()
        patch.chdir(folder / "repo")
        Path("dvc.yaml").write_text(PIPELINE, encoding="utf-8")
        with Repo.init(no_scm=True) as repo:
            repo.reproduce()
    return folder


@pytest.fixture
def toy(made, tmp_path, monkeypatch):
    """A copy of the toy repository, looked at by DVC, as working directory."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path / "repo")
    assert seen_by_dvc() == {}  # and now its state database knows every file
    return tmp_path / "repo"


def seen_by_dvc():
    with Repo() as repo:
        return repo.status()


def change_a_byte(path):
    """Another first byte, with the times and the mode of before."""
    status, content = os.stat(path), Path(path).read_bytes()
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(bytes([content[0] ^ 1]))
    os.chmod(path, status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cache_object(md5):
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def recorded(path):
    return next(output.md5 for output in verify(Path()).outputs if output.path == path)


def findings():
    return [(finding.kind, finding.output.stage, finding.path) for finding in verify(Path()).findings]


def exit_status(everything=False):
    with pytest.raises(SystemExit) as caught:
        command(everything)
    return caught.value.code


def test_an_untouched_repository_passes(toy, capsys):
    report = verify(Path())
    assert sorted(output.path for output in report.outputs) == OUTPUTS
    assert report.findings == [] and report.objects == 4  # data, the list of net, its two files
    assert exit_status(everything=True) == 0
    assert "passed. Outputs in dvc.lock: 4, of them 4 as recorded, 0 changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "stage", "named"),
    [
        ("artifacts/data", "prepare", "artifacts/data"),
        ("artifacts/net/weights", "train", "artifacts/net/weights"),
        ("artifacts/net/deep/curve", "train", "artifacts/net/deep/curve"),
        ("results/metrics.json", "summarize", "results/metrics.json"),
        ("results/tables/means.csv", "summarize", "results/tables"),  # no cache tells its files
    ],
)
def test_one_changed_byte_is_named_though_dvc_trusts_the_times(toy, capsys, path, stage, named):
    change_a_byte(path)
    assert seen_by_dvc() == {}
    (finding,) = verify(Path()).findings
    assert (finding.kind, finding.output.stage, finding.path) == (CHANGED, stage, named)
    assert finding.recorded != finding.found
    assert exit_status() == 1
    output = capsys.readouterr().out
    assert f"changed: {named} of {stage}: recorded {finding.recorded}, found {finding.found}" in output
    assert "FAILED" in output and "3 as recorded, 1 changed" in output


def test_line_ends_are_bytes_too(toy):
    Path("results/tables/means.csv").write_bytes(b"1,2\n")
    assert findings() == [(CHANGED, "summarize", "results/tables")]


def test_a_lost_and_an_added_file_of_a_directory_are_named(toy, capsys):
    Path("artifacts/net/weights").unlink()
    Path("artifacts/net/new").write_text("new", encoding="utf-8")
    assert findings() == [(CHANGED, "train", "artifacts/net/new"), (CHANGED, "train", "artifacts/net/weights")]
    assert exit_status() == 1
    output = capsys.readouterr().out
    assert "artifacts/net/new of train: recorded nothing" in output and "found nothing" in output
    assert "3 as recorded, 1 changed" in output


@pytest.mark.parametrize("path", ["artifacts/data", "artifacts/net/weights", "artifacts/net"])
def test_a_changed_object_in_the_cache_is_named(toy, capsys, path):
    md5 = hashlib.md5(b"weights").hexdigest() if path == "artifacts/net/weights" else recorded(path)
    change_a_byte(cache_object(md5))
    (finding,) = verify(Path()).findings
    assert (finding.kind, finding.path, finding.recorded) == (IN_CACHE, path, md5)
    assert exit_status() == 1
    output = capsys.readouterr().out
    assert f"DVC's cache: {path} of " in output
    assert "4 as recorded" in output and "Objects in DVC's cache: 4, of them 1 changed" in output


def test_dvc_restores_a_changed_object_silently_and_removing_it_is_the_cure(toy):
    data = cache_object(recorded("artifacts/data"))
    change_a_byte(data)
    Path("artifacts/data").unlink()
    with Repo() as repo:
        repo.checkout()
        assert Path("artifacts/data").read_text(encoding="utf-8") == "eigits" and repo.status() == {}
    assert findings() == [(CHANGED, "prepare", "artifacts/data"), (IN_CACHE, "prepare", "artifacts/data")]
    data.unlink()
    with Repo() as repo:
        repo.reproduce()
    assert findings() == [] and Path("artifacts/data").read_text(encoding="utf-8") == "digits"


def test_a_clone_without_artifacts_and_cache_passes_unless_all_is_asked_for(toy, capsys):
    shutil.rmtree("artifacts")
    shutil.rmtree(".dvc/cache")
    assert findings() == [(MISSING, "prepare", "artifacts/data"), (MISSING, "train", "artifacts/net")]
    assert exit_status() == 0
    assert "2 as recorded, 0 changed, 0 missing, 2 not made here" in capsys.readouterr().out
    assert exit_status(everything=True) == 1
    output = capsys.readouterr().out
    assert "missing: artifacts/net of train" in output and "2 missing, 0 not made here" in output


@pytest.mark.parametrize("path", ["results/tables", "results/metrics.json"])
def test_results_must_be_there(toy, path):
    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()
    assert findings() == [(MISSING, "summarize", path)]
    assert exit_status() == 1


def test_what_the_pipeline_no_longer_has_is_not_asked_for(toy):
    shutil.rmtree("results")
    Path("dvc.yaml").write_text(PIPELINE[: PIPELINE.index("  summarize:")], encoding="utf-8")
    assert findings() == [] and [output.stage for output in verify(Path()).outputs] == ["prepare", "train"]


def test_a_file_in_place_of_a_directory_is_a_change(toy):
    shutil.rmtree("artifacts/net")
    Path("artifacts/net").write_text("weights", encoding="utf-8")
    assert findings() == [(CHANGED, "train", "artifacts/net")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable"),
        (b"schema: '2.0'\nstages: {}\n", "missing or records no output"),
        (b"stages: [", "not readable"),
        (b"schema: '2.0'\nstages:\n  prepare: 3\n", "not readable"),
        (b"\xff\xfe", "not readable"),
        (b"<<<<<<< a\nschema: '2.0'\n=======\n>>>>>>> b\n", "not readable"),
        (b"schema: '2.0'\nstages:\n  prepare:\n    cmd: a\n    outs:\n    - path: artifacts/data\n", "without 'md5'"),
        (None, "missing or records no output"),
    ],
)
def test_a_damaged_lock_is_an_error_and_no_traceback(toy, content, message):
    Path("dvc.lock").unlink()
    if content is not None:
        Path("dvc.lock").write_bytes(content)
    with pytest.raises(VerificationError, match=message):
        verify(Path())
    assert str(exit_status()).startswith("verify: ")


def test_what_cannot_be_read_is_an_error_and_no_traceback(toy, tmp_path):
    Path("artifacts/net/.dvcignore").write_text("weights", encoding="utf-8")  # DVC refuses it inside an output
    with pytest.raises(VerificationError, match="dvcignore"):
        verify(Path())
    with pytest.raises(VerificationError, match=r"no folder \.dvc in"):
        verify(tmp_path)
