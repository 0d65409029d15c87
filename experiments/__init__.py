"""The stages of the pipeline, and the commands around them."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def check_folder() -> None:
    """Refuse to run one clone's code on the files of another: with PYTHONSAFEPATH the installed clone comes first.

    Raises:
        SystemExit: the current folder is another clone.
    """
    other = Path("experiments", "__init__.py")
    if other.is_file() and not other.samefile(__file__):
        raise SystemExit(
            f"experiments: the code of {HERE} would run on the files of {Path.cwd()}: PYTHONSAFEPATH or the like "
            "hides the code there; set PYTHONPATH to that folder, or install it: pip install --no-deps --editable ."
        )


def print_anything() -> None:
    """Show what the output's encoding lacks as backslash escapes, where Python would end with an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has no such method
            stream.reconfigure(errors="backslashreplace")


check_folder()
print_anything()
