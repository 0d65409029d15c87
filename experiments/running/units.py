"""Units of work of the pipeline: the cells, and what the cells of one data set share; read from the stage graph."""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from defuse.core.errors import PipelineError
from experiments.running.pipeline import Graph, stage_and_cell, upstream


@dataclass(frozen=True)
class Unit:
    """What one worker does: some stages, once the units named in `after` are done."""

    name: str
    stages: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """`first` runs on the head before the units (it reads the code and the raw data), `gathering` after them."""

    first: tuple[str, ...]
    units: tuple[Unit, ...]
    gathering: tuple[str, ...]


def plan(graph: Graph) -> Plan:
    """Split the stages by name: `stage@dataset-seed` is part of a cell; what cells need is shared; the rest gathers.

    Raises:
        PipelineError: two units that need each other.
    """
    cells = {stage: stage_and_cell(stage)[1:] for stage in graph}
    needed = upstream(graph, {stage for stage, (_, seed) in cells.items() if seed is not None})
    first = tuple(
        stage
        for stage, (dataset, seed) in cells.items()
        if stage in needed and seed is None and (dataset is None or not any(cells[need][0] for need in graph[stage]))
    )
    members: dict[str, list[str]] = {}
    for stage in graph:
        if stage in needed and stage not in first:
            members.setdefault(stage.partition("@")[2], []).append(stage)
    owner = {stage: unit for unit, stages in members.items() for stage in stages}
    after = {
        unit: sorted({owner[stage] for stage in upstream(graph, set(stages)) if stage in owner} - {unit})
        for unit, stages in members.items()
    }
    try:
        order = list(TopologicalSorter(after).static_order())
    except CycleError as error:
        raise PipelineError(f"units that need each other: {', '.join(error.args[1])}") from None
    units = tuple(Unit(unit, tuple(members[unit]), tuple(after[unit])) for unit in order)
    return Plan(first, units, tuple(stage for stage in graph if stage not in needed))
