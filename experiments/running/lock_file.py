"""`dvc.lock`: short while a replication runs, written out in `dvc.yaml`'s order when it ends.

For each stage that runs, DVC reads the whole file twice and writes it once, in seconds that grow with its lines. Most
of these say again what another stage's say: the params of a stage are those of its other seeds, an input is an output.
"""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from ruamel.yaml.comments import CommentedMap

from defuse.core.storage import write_text
from experiments.running.pipeline import opened

SHARED = re.compile(r"^(    - |      \S+: )[&*]id", re.MULTILINE)  # a file, or all params, of several stages


def order_lock(root: Path, stages: list[str]) -> None:
    """Put the stages of `dvc.lock` into the given order, others after them, each written out as DVC writes it.

    Args:
        root: the repository; DVC writes a stage's entry when the stage ends, behind those that are there.
        stages: names.
    """
    if is_in_order(root, stages):
        return
    places = {stage: place for place, stage in enumerate(stages)}

    def order(entries: CommentedMap) -> None:
        for stage in sorted(entries, key=lambda stage: places.get(stage, len(places))):
            entries.move_to_end(stage)
            entries[stage] = deepcopy(entries[stage])  # nothing is shared any more

    rewrite(root, order)


def is_in_order(root: Path, stages: list[str]) -> bool:
    """Whether `dvc.lock` is as `order_lock` leaves it; read as text, which takes no time."""
    path = root / "dvc.lock"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = [name.strip("'\"") for name in re.findall(r"^  (\S.*):$", text, re.MULTILINE)]
    known = [name for name in found if name in stages]
    return known == [name for name in stages if name in found] == found[: len(known)] and not SHARED.search(text)


def shorten_lock(root: Path) -> None:
    """Write what several entries of `dvc.lock` share once, by YAML's anchors, which DVC reads, keeps and numbers."""
    rewrite(root, share)


def share(entries: CommentedMap) -> None:
    """Make equal dependencies, outputs and params of the entries of all stages one object each."""
    known: dict[tuple[str, str], CommentedMap] = {}

    def shared(name: str, entry: CommentedMap) -> CommentedMap:
        return known.setdefault((name, json.dumps(entry, default=str)), entry)

    for entry in entries.values():
        for part in ("deps", "outs"):
            files = entry.get(part, [])
            files[:] = [shared(file["path"], file) for file in files]
        for file, values in entry.get("params", {}).items():
            entry["params"][file] = shared(file, values)  # whole: DVC too writes anchors, between the keys of a stage


def rewrite(root: Path, change: Callable[[CommentedMap], None]) -> None:
    """Change the entries of `dvc.lock`, where there is one, while no DVC process reads or writes it."""
    path = root.resolve() / "dvc.lock"
    with opened(root) as repo, repo.lock:
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        content = parse_yaml_for_update(text, path)
        change(content["stages"])
        changed = dumps_yaml(content)
        if changed != text:
            write_text(path, changed)
