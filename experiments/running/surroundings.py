"""What DVC takes from the machine and from git, set here where either lacks it."""

import os
import pwd
from pathlib import Path

from dvc.config import Config
from dvc.dirs import site_cache_dir

from defuse.core.errors import PipelineError


def prepare_for_dvc(root: Path) -> None:
    """Set what DVC needs and lacks here: environment variables, and `core.no_scm` in `.dvc/config.local`.

    Processes that this one starts afterwards have the variables too.

    Raises:
        PipelineError: no `.dvc` in `root`, as after a copy without hidden files.
    """
    root = root.resolve()
    if not (root / ".dvc").is_dir():
        raise PipelineError(f"no folder .dvc in {root}: clone or unpack the repository whole, hidden files included")
    os.environ.update(missing_variables(root / ".dvc" / "tmp"))
    fit_to_git(root)


def missing_variables(instead: Path) -> dict[str, str]:
    """Environment variables for a home that is no folder, a user without a name, and a cache that cannot be written.

    Args:
        instead: folder of the home and the cache in their stead; they need not exist.
    """
    missing = {}
    if not os.path.isdir(os.path.expanduser("~")):  # Path.home fails where there is none
        missing["HOME"] = str(instead / "home")
    if not (named_user() or any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))):
        missing["LOGNAME"] = str(os.getuid())
    if not writable(Path(site_cache_dir(), "repo")):
        missing["DVC_SITE_CACHE_DIR"] = str(instead / "site")
    return missing


def named_user() -> bool:
    """Whether the system knows a name of this process's user: in containers often not."""
    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it is missing."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def fit_to_git(root: Path) -> None:
    """Tell DVC to do without git where there is none, as in a downloaded archive, and no longer once there is one."""
    inside = any((folder / ".git").exists() for folder in (root, *root.parents))
    local = Config(str(root / ".dvc"), validate=False)
    if inside == (str(local.load_one("local").get("core", {}).get("no_scm")).lower() == "true"):
        with local.edit("local") as content:
            if inside:
                del content["core"]["no_scm"]
            else:
                content.setdefault("core", {})["no_scm"] = True


if __name__ == "__main__":
    try:
        prepare_for_dvc(Path())
    except PipelineError as error:
        raise SystemExit(f"make: {error}") from None
