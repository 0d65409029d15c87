"""Running a notebook for its figure, so that the executed copy has the same bytes each time."""

import logging
import os
from pathlib import Path

import nbformat
import papermill

from defuse.core.errors import NotebookError
from defuse.core.storage import atomic_path


def run_notebook(source: Path, executed: Path, parameters: dict[str, str]) -> None:
    """Execute `source` with `parameters` and write the executed copy, free of time stamps.

    Raises:
        NotebookError: an unknown parameter (papermill would only warn), or an error in a cell.
    """
    logging.getLogger("papermill").setLevel(logging.WARNING)
    known = papermill.inspect_notebook(str(source))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise NotebookError(f"{source}: unknown parameter {', '.join(unknown)}; it takes {', '.join(known)}")
    # The kernel must not depend on a debugger, nor on a plotting backend of the user's.
    os.environ.update(PYDEVD_DISABLE_FILE_VALIDATION="1", MPLBACKEND="module://matplotlib_inline.backend_inline")
    try:
        notebook = papermill.execute_notebook(
            str(source), None, parameters, progress_bar=False, extra_arguments=["--IPKernelApp.log_level=50"]
        )
    except papermill.PapermillExecutionError as error:
        raise NotebookError(f"{source}: {error.ename}: {error.evalue}") from None
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {"tags": cell.metadata.get("tags", [])}
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    with atomic_path(executed) as temporary:
        nbformat.write(notebook, temporary)
