"""Running notebooks: parameters are checked first, failures are named, and no machine's habits reach the copies."""

import ast
import base64
import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from IPython.display import Image, Markdown
from made_readings import write_readings
from matplotlib import pyplot

from defuse.core.errors import NotebookError
from defuse.core.storage import read_table, write_table
from defuse.evidence.results import result_path
from defuse.evidence.tables import table_measures
from defuse.showing import cells
from defuse.showing.notebooks import SOURCES, STUDIES, draw_figures, run_notebook
from defuse.showing.report import FEWEST_FOR_INTERVAL

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
STUDY_TABLES = ("noise", "searches", "vaes", "taus", "mixtures", "rivals", "readings", "reading_regions", "planted")


def code_of(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def evaluated(name: str, tables: Path) -> list[object]:
    """What the cells of a notebook show, run in this process."""
    space, shown = {}, []
    for number, code in enumerate(code_of(SOURCES / f"{name}.ipynb")):
        *statements, last = ast.parse(code).body
        exec(compile(ast.Module(statements, []), name, "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), name, "eval"), space))
        else:
            exec(compile(ast.Module([last], []), name, "exec"), space)
        if number == 0:
            assert {"tables", "figures"} < set(space)
            space["tables"] = str(tables)
    return shown


@pytest.fixture
def tables(tmp_path):
    """A copy of SVHN's tables with made-up readings, to be changed."""
    folder = write_readings(Path(shutil.copytree(ROOT / "results/svhn/tables", tmp_path / "tables")))
    path = folder / "svhn_greyscale_subset_measures.csv"
    rows = table_measures(read_table(folder / "svhn_greyscale_subset_readings.csv"), "reading", "reading")
    measures = read_table(path)
    write_table(path, pd.concat([measures[~measures.stage.isin(rows.stage)], rows]))
    return folder


@pytest.fixture
def words_alone(monkeypatch):
    """Figures are made but not rendered, which takes long; the words on them are kept here."""
    words = []

    def keep(figure, _):
        words.extend(text.get_text() for text in figure.texts)
        pyplot.close(figure)
        return b"\x89PNG\r\n\x1a\n"

    monkeypatch.setattr(cells, "save", keep)
    return words


def test_a_few_notebooks_tell_the_story_and_some_need_studies():
    assert len(NAMES) <= 6 and set(STUDIES) < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_main_chain_s_notebooks_need_no_study_and_the_others_say_what_is_missing(name, tables, words_alone):
    for table in STUDY_TABLES:
        assert list(tables.glob(f"*_{table}.*"))
        for path in tables.glob(f"*_{table}.*"):
            path.unlink()
    shown = evaluated(name, tables)
    text = "\n".join([*words_alone, *(output.data for output in shown if isinstance(output, Markdown))])
    missing = "nosuchfile" in "".join(text.split())
    assert missing == (name in STUDIES)
    assert any(isinstance(output, Image) for output in shown)


def test_the_numbers_stand_beside_the_figures(tables, monkeypatch):
    monkeypatch.setattr(cells, "show_figure", lambda *_: None)
    text = {name: "\n".join(o.data for o in evaluated(name, tables) if isinstance(o, Markdown)) for name in NAMES}
    measures = read_table(result_path(tables, "measures.csv"))
    accepted = measures[measures.measure == "accepted_regions"]
    heads = " | ".join(f"seed {seed}" for seed in sorted(accepted.seed))
    assert f"|  | {heads} |" in text["search_and_causes"]
    assert "| classifier mistake | " in text["search_and_causes"] and "no such" not in "".join(text.values())
    seeds = re.findall(r"^\| (\d) \| (\d+) \|", text["regions"], re.MULTILINE)
    assert seeds == [(str(seed), f"{count:.0f}") for seed, count in zip(accepted.seed, accepted.value)]
    assert re.search(r"^\| \d+ \| accepted \| \d \| \d \| \d+% \|", text["regions"], re.MULTILINE)
    few = len(accepted) < FEWEST_FOR_INTERVAL
    each = " / ".join([r"[\d.]+%"] * len(accepted)) if few else r"[\d.]+% \([\d.]+% to [\d.]+%\)"
    row = rf"^\| correction \| 0\.01 \| {each} \| {each} \| 0 of {len(accepted)} \| \d of {len(accepted)} \|$"
    assert re.search(row, text["correction"], re.MULTILINE)
    assert "| before | – |" in text["correction"]
    assert "| repaired | 300 / 300 / 300 | 75.0% / 77.0% / 79.0% | 6 / 6 / 6 | 5 / 6 / 5 |" in text["studies"]
    assert "| rival | labels asked |" in text["studies"] and "| k-means | 0 |" in text["planted_bugs"]


def test_an_unknown_parameter_is_refused_before_execution(tmp_path):
    with pytest.raises(NotebookError, match="unknown parameter table; it takes tables, figures"):
        run_notebook(SOURCES / "novelty.ipynb", tmp_path / "executed.ipynb", {"table": "results/mnist/tables"})
    assert not list(tmp_path.iterdir())


def test_a_failing_cell_is_named_and_leaves_no_copy(tmp_path):
    with pytest.raises(NotebookError, match=r"MissingFileError.*provenance\.json"):
        run_notebook(SOURCES / "novelty.ipynb", tmp_path / "executed.ipynb", {"tables": "absent"})
    assert not list(tmp_path.iterdir())


def hostile(folder: Path, monkeypatch) -> None:
    """Every habit of a machine that once changed a figure or an executed copy, or broke the run."""
    settings = "image.origin: lower\nfont.family: cursive\ntext.usetex: True\nsavefig.bbox: tight\n"
    for place in ("notebooks/matplotlibrc", "rc", "config/matplotlibrc", "config/matplotlib/matplotlibrc"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(settings, encoding="utf-8")
    kernel = folder / "jupyter/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    argv = ["/usr/bin/env", "false", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}), encoding="utf-8")
    startup = folder / "ipython/profile_default/startup/start.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("raise SystemExit('a startup file of the user')", encoding="utf-8")
    (folder / "ipython/profile_default/ipython_kernel_config.py").write_text(
        "c.InteractiveShellApp.exec_lines = ['print(1)']\nc.InteractiveShell.ast_node_interactivity = 'all'\n",
        encoding="utf-8",
    )
    (folder / "modules").mkdir()
    (folder / "modules/seaborn.py").write_text("raise ImportError('a module of the user')", encoding="utf-8")
    (folder / "home").write_text("no folder, so nothing can be written", encoding="utf-8")
    for name, value in {
        "HOME": "home",
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "home",
        "MPLCONFIGDIR": "config",
        "MATPLOTLIBRC": "rc",
        "IPYTHONDIR": "ipython",
        "JUPYTER_PATH": "jupyter",
        "JUPYTER_CONFIG_DIR": "home",
        "JUPYTER_RUNTIME_DIR": "home",
        "PYTHONPATH": "modules",
        "PYTHONSTARTUP": "ipython/profile_default/startup/start.py",
    }.items():
        monkeypatch.setenv(name, str(folder / value))
    for name, value in {
        "JUPYTER_PREFER_ENV_PATH": "0",
        "MPLBACKEND": "no such backend",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
        "LANG": "de_DE.ISO-8859-1",
    }.items():
        monkeypatch.setenv(name, value)


def test_the_committed_copy_comes_out_again_on_a_machine_with_habits(tmp_path, monkeypatch):
    monkeypatch.setattr("defuse.showing.notebooks.STUDIES", set(NAMES) - {"novelty"})  # a single kernel
    committed = ROOT / "results/mnist"
    shutil.copytree(committed / "tables", tmp_path / "tables")
    hostile(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert draw_figures(Path("tables"), Path(), with_studies=False) == [Path("notebooks/mnist_novelty.ipynb")]
    for file in ("notebooks/mnist_novelty.ipynb", "figures/mnist_novelty.png", "figures/mnist_novelty.pdf"):
        assert (tmp_path / file).read_bytes() == (committed / file).read_bytes(), file


@pytest.mark.parametrize("dataset", ["mnist", "svhn", "gtsrb"])
def test_the_committed_copies_are_small_name_no_machine_and_show_the_committed_figures(dataset):
    folder = ROOT / "results" / dataset
    slug = json.loads((folder / "tables/provenance.json").read_text(encoding="utf-8"))["slug"]
    assert {path.name for path in (folder / "notebooks").iterdir()} == {f"{slug}_{name}.ipynb" for name in NAMES}
    shown = set()
    for path in (folder / "notebooks").iterdir():
        assert path.stat().st_size < 1e6
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        pictures = [output.data.pop("image/png") for output in outputs if "image/png" in output.get("data", {})]
        shown |= {base64.b64decode(picture) for picture in pictures}
        assert not re.search(r"/(home|root|tmp|work|usr)/|0x[0-9a-f]{6}|Warning|nosuchfile", json.dumps(outputs))
    assert shown == {path.read_bytes() for path in (folder / "figures").glob("*.png")}
