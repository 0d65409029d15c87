"""Running the notebooks of a data set: its figures, and executed copies whose bytes are the same on each machine."""

import asyncio
import inspect
import json
import logging
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec

from defuse.core.errors import NotebookError
from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance
from defuse.showing import kernel

SOURCES = Path(__file__).resolve().parents[2] / "notebooks"
STUDIES = ("studies", "planted_bugs")  # the notebooks that need the tables of studies; the others need the main chain's
SIDE_BY_SIDE = 2
# All that a kernel learns of its machine: where programs and their libraries lie, and where to write temporary files.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")


class StageKernel(AsyncKernelManager):
    """Starts the interpreter that runs this process as a kernel, with a home and an environment of its own.

    Neither kernelspecs, nor the user's settings of Python, IPython, Jupyter or matplotlib, nor installed fonts have a
    say. papermill takes a class, so the home is set in a subclass.
    """

    home: str

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel's command, in place of what is installed under the notebook's kernel name."""
        command = [
            sys.executable,
            "-I",
            inspect.getfile(inspect.unwrap(kernel.start)),
            json.dumps(sys.path),
            "-f",
            "{connection_file}",
        ]
        return KernelSpec(argv=command, display_name="Python 3", language="python")

    def start_kernel(self, **options: Any) -> Any:  # noqa: ANN401 (a coroutine, awaited by nbclient)
        """Start it, in the folder that `options` say."""
        own = {
            **dict.fromkeys(("HOME", "USERPROFILE", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), self.home),
            **dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), self.home),
            "LC_ALL": "C.UTF-8",
            "MPLBACKEND": "agg",
            "MPL_IGNORE_SYSTEM_FONTS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a debugger's warning
        }
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return super().start_kernel(env={**passed, **own}, **options)


def run_notebook(source: Path, executed: Path, parameters: dict[str, str]) -> None:
    """Execute `source` with `parameters`, in the folder of `executed`, and write the executed copy there.

    The copy holds no time stamp and no path of the machine; what the notebook writes to stderr goes into the log.

    Raises:
        NotebookError: an unknown parameter (papermill would only warn), or an error in a cell.
    """
    logging.getLogger("papermill").setLevel(logging.WARNING)
    known = papermill.inspect_notebook(str(source))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise NotebookError(f"{source}: unknown parameter {', '.join(unknown)}; it takes {', '.join(known)}")
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            notebook = papermill.execute_notebook(
                str(source),
                None,
                parameters,
                progress_bar=False,
                kernel_manager_class=type("Kernel", (StageKernel,), {"home": home}),
                resources={"metadata": {"path": str(executed.parent)}},
                extra_arguments=["--IPKernelApp.log_level=50"],
                shutdown_kernel="immediate",
            )
    except papermill.PapermillExecutionError as error:
        raise NotebookError(f"{source}: {error.ename}: {error.evalue}") from None
    except RuntimeError as error:  # it dies before it answers, or later
        raise NotebookError(f"{source}: {sys.executable} cannot run it as a kernel: {error}") from None
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {"tags": cell.metadata.get("tags", [])}
        if cell.cell_type == "code":
            warnings = [output.text for output in cell.outputs if output.get("name") == "stderr"]
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for text in warnings:
                logging.warning("%s: %s", source.name, text.strip())
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    with atomic_path(executed) as temporary:
        nbformat.write(notebook, temporary)


def run_in_thread(source: Path, executed: Path, parameters: dict[str, str]) -> None:
    """`run_notebook` in a thread of its own, whose event loop jupyter_client leaves open."""
    try:
        run_notebook(source, executed, parameters)
    finally:
        with suppress(RuntimeError):  # an early error, and no loop yet
            asyncio.get_event_loop().close()


def draw_figures(tables: Path, folder: Path, with_studies: bool) -> list[Path]:
    """Run the notebooks of a data set, which draw its figures.

    Writes `folder/figures/SLUG_FIGURE.png` and `.pdf`, and the executed copies `folder/notebooks/SLUG_SOURCE.ipynb`.

    Args:
        tables: the data set's tables; nothing else is read.
        folder: where the two folders are made.
        with_studies: whether to run the notebooks that need the tables of studies as well.

    Returns:
        The executed copies.

    Raises:
        NotebookError: a notebook fails.
        StorageError: `tables` hold no provenance.
    """
    slug, copies = provenance(tables)["slug"], folder / "notebooks"
    # As seen from the executed copies, which so are the same wherever the project lies, and can be run where they lie.
    parameters = {"tables": os.path.relpath(tables, copies), "figures": os.path.relpath(folder / "figures", copies)}
    parameters = {name: Path(path).as_posix() for name, path in parameters.items()}
    sources = [path for path in sorted(SOURCES.glob("*.ipynb")) if with_studies or path.stem not in STUDIES]
    executed = [copies / f"{slug}_{source.name}" for source in sources]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for run in [pool.submit(run_in_thread, *pair, parameters) for pair in zip(sources, executed)]:
            run.result()
    return executed
