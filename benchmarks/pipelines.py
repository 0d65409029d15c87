"""A pipeline of this project's own stages with as many seeds as a benchmark wants, all of them up to date."""

import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dumps_yaml
from ruamel.yaml import YAML

PROBE = "probe"  # a stage whose command costs nothing


def seeds_for(stages: int, pipeline: dict[str, Any], settings: dict[str, Any]) -> int:
    """The smallest number of seeds, 1 or more, that gives at least `stages` stages."""
    matrices = [stage.get("matrix", {}) for stage in pipeline["stages"].values()]
    per_seed = sum(len(settings["datasets"]) for matrix in matrices if "seed" in matrix)
    others = sum(len(settings["datasets"]) if matrix else 1 for matrix in matrices if "seed" not in matrix)
    return max(1, -(-(stages - others) // per_seed))


def write_pipeline(folder: Path, shipped: Path, stages: int) -> int:
    """Write a repository of DVC with at least `stages` stages and `PROBE`, all up to date; how many stages it has.

    Args:
        folder: an empty one.
        shipped: holds `dvc.yaml` and `params.yaml`, which get more seeds; outputs become small files.
        stages: at least so many.
    """
    pipeline, settings = (YAML(typ="safe").load(shipped / name) for name in ("dvc.yaml", "params.yaml"))
    settings["seeds"] = settings["study_seeds"] = list(range(seeds_for(stages, pipeline, settings)))
    for stage in pipeline["stages"].values():
        stage["cmd"] = "true"
    # The stage `code` reads the sources, which are not copied.
    pipeline["stages"]["code"]["deps"] = ["params.yaml"]
    pipeline["stages"][PROBE] = {
        "cmd": f"echo {PROBE}.txt > {PROBE}.txt",  # as it is already
        "deps": ["results/code/identify.txt"],
        "params": ["compute"],
        "outs": [f"{PROBE}.txt"],
    }
    for name, content in (("dvc.yaml", pipeline), ("params.yaml", settings)):
        YAML(typ="safe").dump(content, folder / name)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)
    shutil.copyfile(shipped / ".dvc" / "config", folder / ".dvc" / "config")
    with chdir(folder), Repo() as repo:
        files = {Path(file.fs_path) for stage in repo.index.stages for file in [*stage.outs, *stage.deps]}
        for path in sorted(files - {folder / "params.yaml"}, reverse=True):  # folders after what lies in them
            if not path.is_dir():
                content = path / "part.txt" if not path.suffix else path
                content.parent.mkdir(parents=True, exist_ok=True)
                content.write_text(f"{path.relative_to(folder)}\n", encoding="utf-8")
        locked = {}
        for stage in repo.index.stages:
            with repo.lock:
                stage.save(run_cache=False)
                stage.commit()
            locked[stage.name] = to_single_stage_lockfile(stage)
        (folder / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": locked}), encoding="utf-8")
        return len(locked)
