"""What is imported is declared, and docs/dependencies.md has a true row for each dependency."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {module: names[0].lower() for module, names in packages_distributions().items()}
OURS = {"defuse", "experiments", "benchmarks", "tests"}


def rows(text: str) -> dict[str, list[str]]:
    """Cells of each row by the package in the first one."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    return {cells[0].strip("`"): cells for cells in lines}


def imported(file: Path) -> set[str]:
    """Packages, as installed, that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    tops = {module.partition(".")[0] for module in modules} - OURS - sys.stdlib_module_names
    # ruamel is a namespace that several packages share.
    return {PACKAGES.get(top, top) for top in tops - {"ruamel"}} | ({"ruamel.yaml"} if "ruamel" in tops else set())


ROWS = rows((ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"))
DECLARED = {
    re.match(r"[\w.-]+", entry)[0]
    for entries in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for entry in entries
}
FILES = [file for folder in sorted(OURS) for file in sorted((ROOT / folder).rglob("*.py"))]


def test_each_dependency_has_a_row_and_each_row_is_a_dependency():
    assert set(ROWS) == DECLARED
    assert all(all(cells) for cells in ROWS.values())


@pytest.mark.parametrize("package", sorted(ROWS))
def test_the_files_that_a_row_names_use_the_package(package):
    _, reason, files, *_ = ROWS[package]
    for name in re.findall(r"`([^`]+)`", files):
        file = ROOT / name
        if reason.startswith("tool"):
            assert file.is_file()
        else:
            assert package in imported(file)


def test_whatever_is_imported_is_declared():
    ours = {path.stem for folder in ("tests", "docs/example") for path in (ROOT / folder).glob("*.py")}
    used = set().union(*(imported(file) for file in FILES)) - ours
    assert used <= DECLARED
    assert {package for package, cells in ROWS.items() if cells[1].startswith("tool")} == DECLARED - used
