"""Whether the bytes of every output, and of DVC's cache, are those that `dvc.lock` records."""

from dataclasses import dataclass
from pathlib import Path

from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.build import IgnoreInCollectedDirError, build
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.tree import Tree

from defuse.core.errors import PipelineError, VerificationError
from experiments.running.surroundings import prepare_for_dvc

CHANGED, MISSING, IN_CACHE = "changed", "missing", "in cache"


@dataclass(frozen=True)
class Output:
    """What `dvc.lock` records of one output; the md5 of a directory ends in `.dir`."""

    stage: str
    path: str
    md5: str


@dataclass(frozen=True)
class Finding:
    """One file, or one output, that is not as recorded.

    Attributes:
        kind: CHANGED, MISSING (the whole output) or IN_CACHE (an object of DVC's cache is not what its name says).
        output: what it belongs to.
        path: the output's own path, or that of a file in it.
        recorded: md5 by `dvc.lock`, or None for a file that should not be there.
        found: md5 of the bytes, or None for what is not there.
    """

    kind: str
    output: Output
    path: str
    recorded: str | None
    found: str | None


@dataclass(frozen=True)
class Report:
    """All outputs that `dvc.lock` records, the number of objects hashed in DVC's cache, and all that differs."""

    outputs: list[Output]
    objects: int
    findings: list[Finding]


def recorded_outputs(repo: Repo) -> list[Output]:
    """The outputs in `dvc.lock`, in its order, of the stages that there are: others are of seeds or data sets dropped.

    Raises:
        VerificationError: `dvc.lock` is missing, damaged or records no output.
    """
    try:
        known = {stage.name for stage in repo.index.stages}
        with repo.lock:  # a stage that ends just now writes dvc.lock
            stages = Lockfile(repo, str(Path(repo.root_dir) / "dvc.lock")).load().get("stages", {})
        outputs = [
            Output(stage, entry["path"], entry["md5"])
            for stage, content in stages.items()
            if stage in known
            for entry in content.get("outs", [])
        ]
    except DvcException as error:
        raise VerificationError(f"dvc.lock is not readable: {error}") from error
    except KeyError as error:
        raise VerificationError(f"dvc.lock is not readable: an output without {error}") from error
    if not outputs:
        raise VerificationError("dvc.lock is missing or records no output")
    return outputs


def files_of(tree: Tree) -> dict[str, str]:
    """The md5 of each file of a directory, by its path inside."""
    return {"/".join(key): info.value for key, _, info in tree}


def object_md5(cache: HashFileDB, md5: str) -> str | None:
    """What an object of DVC's cache is by its bytes, in the form of its name; None if the cache lacks it."""
    try:
        return file_md5(cache.oid_to_path(md5), cache.fs) + (".dir" if md5.endswith(".dir") else "")
    except FileNotFoundError:
        return None


def hashed_output(repo: Repo, cache: HashFileDB, output: Output) -> HashFile | None:
    """DVC's hash of a file, or of a directory with all its files, from the bytes; None if it is missing."""
    path = Path(repo.root_dir) / output.path
    if not path.exists():
        return None
    return build(cache, str(path), cache.fs, "md5", dry_run=True, ignore=repo.dvcignore)[2]


def recorded_files(cache: HashFileDB, output: Output, found: HashFile | None) -> dict[str, str]:
    """The md5 of each file of a directory, as recorded; empty for a file, or where no intact list tells them."""
    if not output.md5.endswith(".dir"):
        return {}
    if isinstance(found, Tree) and found.hash_info.value == output.md5:
        return files_of(found)
    if object_md5(cache, output.md5) == output.md5:
        return files_of(Tree.load(cache, HashInfo("md5", output.md5)))
    return {}


def output_findings(output: Output, recorded: dict[str, str], found: HashFile | None) -> list[Finding]:
    """What differs in an output: files of a directory where `recorded` tells them, else the output as a whole."""
    if found is None:
        return [Finding(MISSING, output, output.path, output.md5, None)]
    if found.hash_info.value == output.md5:
        return []
    if not recorded or not isinstance(found, Tree):
        return [Finding(CHANGED, output, output.path, output.md5, found.hash_info.value)]
    files = files_of(found)
    return [
        Finding(CHANGED, output, f"{output.path}/{name}", recorded.get(name), files.get(name))
        for name in sorted(recorded.keys() | files.keys())
        if recorded.get(name) != files.get(name)
    ]


def verify(root: Path) -> Report:
    """Hash all outputs in `dvc.lock`, and the objects of DVC's cache that they name.

    Outputs without cache, and objects that the cache does not hold, give no finding there.

    Raises:
        VerificationError: the repository, `dvc.lock` or an output cannot be read.
    """
    findings: list[Finding] = []
    hashed: dict[str, str | None] = {}
    try:
        prepare_for_dvc(root)
        with Repo(str(root), _wait_for_lock=True) as repo:
            outputs = recorded_outputs(repo)
            # The cache without DVC's state database: that takes a file for unchanged by its size and times.
            cache = HashFileDB(repo.cache.local.fs, repo.cache.local.path)
            for output in outputs:
                found = hashed_output(repo, cache, output)
                files = recorded_files(cache, output, found)
                findings += output_findings(output, files, found)
                objects = {md5: f"{output.path}/{name}" for name, md5 in files.items()}
                for md5, path in {output.md5: output.path, **objects}.items():
                    if md5 not in hashed:
                        hashed[md5] = object_md5(cache, md5)
                        if hashed[md5] not in (md5, None):
                            findings.append(Finding(IN_CACHE, output, path, md5, hashed[md5]))
    except (DvcException, IgnoreInCollectedDirError, PipelineError, OSError, UnicodeError) as error:
        raise VerificationError(str(error)) from error
    return Report(outputs, sum(md5 is not None for md5 in hashed.values()), findings)
