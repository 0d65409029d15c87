"""Units of work of the pipeline: the cells, and what the cells of one data set share; read from DVC's stage graph."""

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

STAGE_NAME = re.compile(r"(?P<stage>[^@]+)(?:@(?P<dataset>.+?)(?:-(?P<seed>\d+))?)?")

Graph = dict[str, tuple[str, ...]]


class ClusterError(RuntimeError):
    """A replication on several machines that cannot start, or could not gather its results."""


@dataclass(frozen=True)
class Unit:
    """What one worker does: some stages, once the units named in `after` are done."""

    name: str
    stages: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """`first` runs on the head before the units (it reads the raw data), `gathering` after them."""

    first: tuple[str, ...]
    units: tuple[Unit, ...]
    gathering: tuple[str, ...]


@contextlib.contextmanager
def opened(root: Path, remote: str | None = None) -> Iterator[Repo]:
    """The DVC repository at `root`, with `remote` as its default; targets are looked up from there.

    Raises:
        ClusterError: whatever DVC finds wrong inside of the block.
    """
    try:
        with contextlib.chdir(root), Repo(str(root), remote=remote) as repo:
            yield repo
    except DvcException as error:
        raise ClusterError(f"dvc: {error}") from error


def stage_graph(root: Path, targets: Sequence[str] = ()) -> Graph:
    """Every stage that `targets` need (all stages if there are none), with those it reads from, upstream first.

    Raises:
        ClusterError: a target that is no stage.
    """
    with opened(root) as repo:
        stages = []
        names = sorted(stage.addressing for stage in repo.index.stages)
        for target in targets:
            try:
                stages += repo.stage.collect(target)
            except (DvcException, KeyError):
                group = target.partition("@")[0]
                allowed = [name for name in names if name.partition("@")[0] == group]
                allowed = allowed or sorted({name.partition("@")[0] for name in names})
                raise ClusterError(f"target {target!r}: no such stage; allowed: {', '.join(allowed)}") from None
        graph = repo.index.graph
        order = plan_repro(graph, stages or list(repo.index.stages))
        return {
            stage.addressing: tuple(sorted(other.addressing for other in graph.successors(stage))) for stage in order
        }


def upstream(graph: Graph, stages: Collection[str]) -> set[str]:
    """The stages and all that they need."""
    found, waiting = set(), list(stages)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def plan(graph: Graph) -> Plan:
    """Split the stages by name: `stage@dataset-seed` is part of a cell; what cells need is shared; the rest gathers.

    Raises:
        ClusterError: two units that need each other.
    """
    parts = {name: STAGE_NAME.fullmatch(name).groupdict() for name in graph}
    needed = upstream(graph, [name for name, part in parts.items() if part["seed"]])
    first = tuple(
        name for name in graph
        if name in needed and not parts[name]["seed"] and not (graph[name] and parts[name]["dataset"])
    )  # fmt: skip
    members: dict[str, list[str]] = {}
    for name in graph:
        if name in needed and name not in first:
            part = parts[name]
            unit = part["dataset"] if part["seed"] is None else f"{part['dataset']}-{part['seed']}"
            members.setdefault(unit, []).append(name)
    owner = {stage: unit for unit, stages in members.items() for stage in stages}
    after = {
        unit: sorted({owner[name] for name in upstream(graph, stages) if name in owner} - {unit})
        for unit, stages in members.items()
    }
    try:
        order = list(TopologicalSorter(after).static_order())
    except CycleError as error:
        raise ClusterError(f"units that need each other: {', '.join(error.args[1])}") from None
    units = tuple(Unit(unit, tuple(members[unit]), tuple(after[unit])) for unit in order)
    return Plan(first, units, tuple(name for name in graph if name not in needed))
