"""What a bundle of a data set must hold, told by `dvc.lock`: the outputs of its stages and DVC's run cache entries.

All that DVC's cache keeps of a data set belongs to it, not the networks alone: several later stages train too
(`correct`, `plant_bugs`), and on another processor earlier ones would hand them other bytes. The prepared images do
not: each user's own download gives them again, to the byte.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.dvcfile import Lockfile
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.utils import dict_sha256
from dvc.utils.serialize import dumps_yaml
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from defuse.core.errors import BundleError
from experiments.running.pipeline import stage_and_cell
from experiments.running.verification import Output, object_md5, recorded_files

PREPARE = "prepare"  # the one stage whose outputs are the data set
NO_PART_OF_THE_KEY = ("size", "nfiles")  # of DVC's run cache
Entry = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """A data set as recorded.

    Attributes:
        dataset: its name.
        stages: those whose outputs a bundle holds, in `dvc.yaml`'s order.
        entries: what `dvc.lock` says of each, by its name.
        prepared: the arrays that all of them were made from.
    """

    dataset: str
    stages: list[Stage]
    entries: dict[str, Entry]
    prepared: Output

    @property
    def outputs(self) -> list[Output]:
        """The outputs of all stages."""
        return [Output(name, out["path"], out["md5"]) for name, entry in self.entries.items() for out in entry["outs"]]


def datasets_of(repo: Repo) -> list[str]:
    """The data sets that have stages, in `dvc.yaml`'s order."""
    found = (stage_and_cell(stage.name)[1] for stage in repo.index.stages)
    return list(dict.fromkeys(name for name in found if name))


def check_dataset(repo: Repo, dataset: str) -> None:
    """Refuse a data set that has no stages here.

    Raises:
        BundleError: `params.yaml` does not name it.
    """
    known = datasets_of(repo)
    if dataset not in known:
        raise BundleError(f"data set {dataset!r}; allowed: those of params.yaml, {', '.join(known)}")


def recorded_content(repo: Repo, dataset: str) -> Content:
    """What `dvc.lock` records of a data set that has stages.

    Raises:
        BundleError: a stage is not recorded, or was recorded with other inputs.
    """
    with repo.lock:  # a stage that ends just now writes dvc.lock
        entries = Lockfile(repo, str(Path(repo.root_dir) / "dvc.lock")).load().get("stages", {})
    own = [
        stage
        for stage in repo.index.stages
        if stage_and_cell(stage.name)[1] == dataset and any(out.use_cache for out in stage.outs)
    ]
    made = {out["path"]: out["md5"] for entry in entries.values() for out in entry.get("outs", [])}
    for stage in own:
        check_recorded(stage, entries.get(stage.name), made)
    prepare = f"{PREPARE}@{dataset}"
    data = next(out["path"] for out in entries[prepare]["outs"] if out["path"].endswith(".npz"))
    stages = [stage for stage in own if stage.name != prepare]
    entries = {stage.name: plain(entries[stage.name]) for stage in stages}
    return Content(dataset, stages, entries, Output(prepare, data, made[data]))


def check_recorded(stage: Stage, entry: Entry | None, made: dict[str, str]) -> None:
    """Refuse a stage that `dvc repro` would run again whatever the cache holds.

    Args:
        stage: as `dvc.yaml` has it.
        entry: what `dvc.lock` says of it.
        made: md5 of every output in `dvc.lock`.

    Raises:
        BundleError: there is no entry, or params, code or an input are no longer those of the entry.
    """
    again = "dvc repro would run it again"
    if entry is None or {out["path"] for out in entry.get("outs", [])} != {out.def_path for out in stage.outs}:
        raise BundleError(f"{stage.name} has no recorded output in dvc.lock: {again}")
    if entry["cmd"] != stage.cmd:
        raise BundleError(f"{stage.name} was recorded with another command: {again}")
    held = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    for dep in stage.deps:
        # An output of another stage need not be here; all else is in git.
        changed = held.get(dep.def_path) != made[dep.def_path] if dep.def_path in made else dep.workspace_status()
        if changed:
            raise BundleError(f"{stage.name} was recorded with another {dep.def_path}: {again}")


def plain(entry: Entry) -> Entry:
    """A stage's entry as JSON holds it."""
    return json.loads(json.dumps(entry))


def cached_files(cache: HashFileDB, output: Output) -> dict[str, str]:
    """The md5 of each file of an output by its path, as DVC's cache has it; the bytes are not looked at.

    Raises:
        BundleError: the cache lacks a file or a directory's list.
    """
    lacking = f"{output.stage} has no recorded output in DVC's cache: it lacks {{}} of {output.path}"
    files = {output.path: output.md5}
    if output.md5.endswith(".dir"):
        if object_md5(cache, output.md5) != output.md5:
            raise BundleError(lacking.format("the list"))
        inside = recorded_files(cache, output, None)
        files = {f"{output.path}/{name}": md5 for name, md5 in inside.items()}
    for path, md5 in files.items():
        if not cache.exists(md5):
            raise BundleError(lacking.format(path))
    return files


def directory_md5(files: dict[str, str]) -> str:
    """What DVC calls a directory, by the md5 of each file and its path inside."""
    tree = Tree()
    for name, md5 in files.items():
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    return str(tree.hash_info.value)


def run_cache_file(entry: Entry) -> tuple[str, bytes]:
    """Where DVC's run cache keeps a stage's entry, below `.dvc/cache/runs`, and what stands there.

    DVC looks there for a stage whose outputs are missing, by a key made of its command, params and inputs.
    """
    outs = [out["path"] for out in entry["outs"]]
    key = dict_sha256({**entry, "outs": outs}, exclude=NO_PART_OF_THE_KEY)
    return f"{key[:2]}/{key}/{dict_sha256(entry, exclude=NO_PART_OF_THE_KEY)}", dumps_yaml(entry).encode()
