"""The pipeline as DVC reads it: which stage needs which, and which are up to date."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from defuse.core.errors import PipelineError
from experiments.running.surroundings import prepare_for_dvc

Graph = dict[str, set[str]]  # stage -> stages that it needs, in dvc.yaml's order


TARGETS = (
    "data sets (mnist), cells (mnist-0), stages (identify) or stages of a cell (identify@mnist-0), with all "
    "that they need; default: everything"
)


@contextmanager
def opened(root: Path, remote: str | None = None) -> Iterator[Repo]:
    """DVC's repository at `root`, with `remote` as its default; it waits while another DVC process holds the lock.

    Raises:
        PipelineError: whatever DVC or the system finds wrong inside of the block.
    """
    try:
        prepare_for_dvc(root)
        # DVC looks up the names of stages from the working folder.
        with chdir(root), Repo(remote=remote, _wait_for_lock=True) as repo:
            yield repo
    except (DvcException, OSError, UnicodeError) as error:
        raise PipelineError(f"DVC: {error}") from error


def stage_and_cell(stage: str) -> tuple[str, str | None, int | None]:
    """Stage, data set and seed: ("identify", "mnist", 0) of "identify@mnist-0"; None for what a name lacks."""
    name, _, item = stage.partition("@")
    dataset, _, seed = item.rpartition("-")
    return (name, dataset, int(seed)) if dataset and seed.isdigit() else (name, item or None, None)


def selectors(stage: str) -> set[str]:
    """What selects a stage: its own name, its name without the cell, its data set, its cell."""
    name, _, item = stage.partition("@")
    return {stage, name, item, stage_and_cell(stage)[1] or ""} - {""}


def stage_graph(root: Path) -> Graph:
    """All stages, as DVC reads them from `dvc.yaml`.

    Raises:
        PipelineError: DVC cannot read the repository.
    """
    with opened(root) as repo:
        return graph_of(repo)


def graph_of(repo: Repo) -> Graph:
    """All stages of an opened repository."""
    graph = repo.index.graph
    return {stage.name: {need.name for need in graph.successors(stage)} for stage in repo.index.stages}


def upstream(graph: Graph, stages: set[str]) -> set[str]:
    """The stages, and every stage that one of them needs, directly or not."""
    found = set(stages)
    for stage in reversed(list(TopologicalSorter(graph).static_order())):
        if stage in found:
            found |= graph[stage]
    return found


def with_needs(graph: Graph, targets: list[str]) -> Graph:
    """The part of `graph` that the targets select, and all that it needs; all of it without a target.

    Raises:
        PipelineError: a target that selects no stage.
    """
    for target in targets:
        if not any(target in selectors(stage) for stage in graph):
            allowed = sorted({name for stage in graph for name in selectors(stage) if "@" not in name})
            example = next((stage for stage in reversed(graph) if "@" in stage), None)
            raise PipelineError(
                f"target {target!r} selects no stage; allowed: {', '.join(allowed)}"
                + (f", or one stage of one of them, such as {example}" if example else "")
            )
    wanted = upstream(graph, {stage for stage in graph if not targets or selectors(stage) & set(targets)})
    return {stage: needs for stage, needs in graph.items() if stage in wanted}


def with_dependents(graph: Graph, stages: set[str]) -> set[str]:
    """The stages, and every stage that needs one of them, directly or not."""
    found: set[str] = set()
    for stage in TopologicalSorter(graph).static_order():
        if stage in stages or graph[stage] & found:
            found.add(stage)
    return found


def not_up_to_date(repo: Repo, graph: Graph) -> Graph:
    """The part of `graph` that DVC has to look at: stages that its status names, and all that depend on one of them.

    Args:
        repo: from `opened`, which turns DVC's errors into ours: another DVC process works on a stage, or `dvc.lock` is
            not readable.
        graph: stages.
    """
    with repo.lock:
        changed = {stage.name for stage in repo.index.stages if stage.name in graph and stage.status()}
    stages = with_dependents(graph, changed)
    return {stage: graph[stage] & stages for stage in graph if stage in stages}


def starting_order(graph: Graph) -> list[str]:
    """Stages with the longest chain of dependents first; ties in `dvc.yaml`'s order."""
    chain = dict.fromkeys(graph, 1)
    for stage in reversed(list(TopologicalSorter(graph).static_order())):
        for need in graph[stage]:
            chain[need] = max(chain[need], chain[stage] + 1)
    return sorted(graph, key=lambda stage: -chain[stage])
