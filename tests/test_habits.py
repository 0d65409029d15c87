"""A machine's habits: locale, line ends, safe path, no git, no home, no writable folder. None changes a file."""

import ast
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

import experiments
from defuse.core.errors import PipelineError, ReplicationError, StorageError, VerificationError
from defuse.core.storage import read_json, read_table
from experiments.running import worker
from experiments.running.pipeline import stage_graph
from experiments.running.replication import only_replication
from experiments.running.surroundings import missing_variables, prepare_for_dvc
from experiments.running.verification import verify

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = """
stages:
  prepare:
    cmd: mkdir -p artifacts && printf digits > artifacts/data
    outs: [artifacts/data]
  fail:
    cmd: printf '\\316\\273\\n' && false
    deps: [artifacts/data]
    outs: [artifacts/never]
"""
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="session")
def windows_locale(tmp_path_factory):
    """Environment of a locale whose encoding is code page 1252."""
    folder = tmp_path_factory.mktemp("locale")
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    subprocess.run(["localedef", "-i", "de_DE", "-f", "CP1252", folder / "de_DE"], capture_output=True)
    if not (folder / "de_DE").exists():
        pytest.skip("localedef lacks the sources of de_DE")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE", "PYTHONUTF8": "0"}


@pytest.fixture
def archive(tmp_path):
    """A repository as an archive brings it: files that git keeps, and no `.git`."""
    folder = tmp_path / "archive"
    (folder / ".dvc").mkdir(parents=True)
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc" / name)
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / ".gitignore").write_text("/artifacts/\n", encoding="utf-8")
    return folder


def python(folder, *arguments, **changes):
    """Run Python in a folder, with this repository's code first on its path unless `changes` says otherwise."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", **changes}
    environment = {name: value for name, value in variables.items() if value is not None}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


# Locale


def without_encoding(call):
    """Whether a call reads or writes text in the encoding of the locale, as far as its words tell."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    names = {keyword.arg for keyword in call.keywords}
    modes = [part.value for part in call.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    opens = name == "open" and not any("b" in mode for mode in modes) and ast.unparse(call.func) != "Image.open"
    of_path = name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute)
    reads = of_path or name in ("fdopen", "FileHandler", "to_csv", "read_csv") or opens
    runs = name in ("run", "Popen", "check_output") and names & {"text", "universal_newlines"}
    return (reads or runs) and "encoding" not in names


def test_every_text_file_has_an_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for folder in ("defuse", "experiments", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and without_encoding(node)
    ]
    assert found == []
    for line in ("open('x')", "open(p, 'a+')", "p.read_text()", "subprocess.run(c, text=True)", "t.to_csv(p)"):
        assert without_encoding(ast.parse(line, mode="eval").body)
    for line in ("open(p, 'rb')", "Image.open(p)", "p.open('rb')", "p.read_text(encoding='utf-8')", "run(c)"):
        assert not without_encoding(ast.parse(line, mode="eval").body)


WRITE = r"""
from pathlib import Path
import pandas
from defuse.core.storage import read_json, read_table, write_json, write_table
from experiments.readme import write_blocks
write_blocks(Path("page.md"), {"results": "\u03a3 \u03bb \u2192 \u00fc"})
table = pandas.DataFrame({"name": ["Z\u00fcrich \u2192 \u03bb"]})
write_table(Path("table.csv"), table)
assert read_table(Path("table.csv")).equals(table)
assert read_json(Path("hand.json")) == {"name": "\u03bb"}
print("printed: \u03bb \u2192 \u00fc")
"""


@pytest.mark.parametrize("locale", ["C", "code page 1252"])
def test_files_are_utf_8_and_all_can_be_printed_under_any_locale(tmp_path, locale, request):
    environment = C_LOCALE if locale == "C" else request.getfixturevalue("windows_locale")
    from defuse.showing.report import marks

    page = "# Größe → λ\n{}\nüber\n"
    (tmp_path / "page.md").write_bytes(page.format("\nold\n".join(marks("results"))).encode())
    (tmp_path / "hand.json").write_bytes('{"name": "λ"}'.encode())
    code, printed, errors = python(tmp_path, "-c", WRITE, **environment)
    assert code == 0, errors
    expected = "printed: \\u03bb \\u2192 " + ("\\xfc" if locale == "C" else "�")  # ü is in code page 1252
    assert printed == f"{expected}\n"
    text = (tmp_path / "page.md").read_bytes().decode("utf-8")
    assert text.startswith("# Größe → λ\n") and "Σ λ → ü" in text and text.endswith("\nüber\n")
    assert (tmp_path / "table.csv").read_bytes() == "name\nZürich → λ\n".encode()


def test_a_failed_stage_shows_its_log_under_the_c_locale(archive):
    code, printed, errors = python(archive, "-m", "experiments.replicate", **C_LOCALE)
    assert (code, "Traceback" in printed + errors) == (1, False)
    assert "    \\u03bb\n" in printed
    assert "λ\n" in (archive / "artifacts/logs/fail.log").read_text(encoding="utf-8")


# Git


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_no_setting_of_git_converts_a_file(tmp_path):
    contents = {"lf.csv": b"a,b\n1,2\n", "crlf.csv": b"a,b\r\n1,2\r\n", "id.py": b"$Id$\n", "x.npz": b"\0\r\n\n"}
    origin, attributes = tmp_path / "origin", tmp_path / "attributes"
    origin.mkdir()
    git(origin, "init", "--quiet")
    shutil.copy(ROOT / ".gitattributes", origin)
    attributes.write_text("* text eol=crlf ident filter=strip working-tree-encoding=UTF-16\n", encoding="utf-8")
    own = [
        *("-c", "core.autocrlf=true", "-c", "core.eol=crlf", "-c", f"core.attributesFile={attributes}"),
        *("-c", "filter.strip.smudge=cat /dev/null", "-c", "filter.strip.clean=cat /dev/null"),
    ]
    for name, content in contents.items():
        (origin / name).write_bytes(content)
    git(origin, *own, "add", "--all")
    git(origin, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--message", "x")
    git(tmp_path, *own, "clone", "--quiet", "origin", "clone")
    assert {name: (tmp_path / "clone" / name).read_bytes() for name in contents} == contents


def test_an_archive_without_git_runs_and_becomes_a_repository(archive):
    assert list(stage_graph(archive)) == ["prepare", "fail"]
    with pytest.raises(VerificationError, match=r"^dvc\.lock is missing or records no output$"):
        verify(archive)
    assert Config(str(archive / ".dvc")).load_one("local")["core"]["no_scm"] == "True"
    code, _, errors = python(archive, "-m", "dvc", "repro", "prepare")
    assert code == 0, errors
    assert [output.path for output in verify(archive).outputs] == ["artifacts/data"]
    git(archive, "init", "--quiet")
    assert list(stage_graph(archive)) == ["prepare", "fail"]
    assert "no_scm" not in Config(str(archive / ".dvc")).load_one("local").get("core", {})


def test_a_copy_without_hidden_files_is_told_so(tmp_path):
    message = f"no folder .dvc in {tmp_path}: clone or unpack the repository whole, hidden files included"
    with pytest.raises(PipelineError) as caught:
        prepare_for_dvc(tmp_path)
    assert str(caught.value) == message
    with pytest.raises(VerificationError) as refused:
        verify(tmp_path)
    assert str(refused.value) == message


# Where the code comes from


def test_safe_path_finds_the_installed_packages(tmp_path):
    imports = "import benchmarks, defuse, experiments.readme"
    code, _, errors = python(tmp_path, "-P", "-c", imports, PYTHONPATH=None)
    assert code == 0, errors


def test_code_of_one_clone_refuses_the_files_of_another(tmp_path):
    other = tmp_path / "clone"
    shutil.copytree(ROOT / "experiments", other / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for command in ("experiments.verify", "benchmarks"):
        code, printed, errors = python(other, "-P", "-m", command)
        expected = f"experiments: the code of {ROOT} would run on the files of {other}: PYTHONSAFEPATH"
        assert code == 1 and errors.startswith(expected) and errors.count("\n") == 1
    code, printed, _ = python(other, "-c", "import experiments; print(experiments.__file__)")
    assert (code, printed) == (0, f"{other / 'experiments' / '__init__.py'}\n")
    (tmp_path / "link").symlink_to(ROOT)
    assert python(tmp_path / "link", "-P", "-c", "import experiments")[0] == 0
    assert experiments.HERE == ROOT


def test_a_worker_runs_its_clones_code_with_a_safe_path_too(monkeypatch):
    seen = []
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr(worker, "logged", lambda command, *rest: seen.append((command, rest[1])) or "no")
    assert worker.run_unit("unit", [], worker.Source("url", "commit", "remote", {}, b""), 1).error == "no"
    ((*_, clone), environment) = seen[0]
    assert environment["PYTHONPATH"] == f"{clone}{os.pathsep}/elsewhere"


# Home, user, folders that cannot be written


def test_what_the_machine_lacks_is_set_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "someone")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "new" / "site"))
    assert missing_variables(Path("/instead")) == {}
    monkeypatch.setenv("HOME", "/dev/null")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "file" / "site"))
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def no_name(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", no_name)
    expected = {"HOME": "/instead/home", "LOGNAME": str(os.getuid()), "DVC_SITE_CACHE_DIR": "/instead/site"}
    assert missing_variables(Path("/instead")) == expected


@pytest.mark.parametrize("name", ["with space", "-dash", "ü→λ"])
def test_verification_needs_no_home_and_no_cache_in_any_folder(archive, name):
    folder = archive.rename(archive.with_name(name))
    lacking = {"HOME": "/dev/null", "DVC_SITE_CACHE_DIR": "/dev/null/site", "TMPDIR": "/dev/null"}
    code, _, errors = python(folder, "-m", "experiments.verify", **lacking)
    assert (code, errors) == (1, "verify: dvc.lock is missing or records no output\n")


def test_a_folder_that_cannot_be_written_or_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "artifacts").write_text("a file in its place", encoding="utf-8")
    with pytest.raises(ReplicationError, match=r"replicate\.lock: cannot be written: "), only_replication(tmp_path):
        pass
    for read in (read_json, read_table):
        with pytest.raises(StorageError, match=f"^{tmp_path}: cannot be read: Is a directory$"):
            read(tmp_path)
