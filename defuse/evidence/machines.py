"""What cells were computed on: seeds, and the stages of one seed, may come from machines of different precision."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from defuse.evidence.results import provenance

MachineOf = dict[str, dict[str, str]]  # stage -> `Machine.description`


def machines_of_cells(folders: Iterable[Path], seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Each machine once, with the stages that ran there by seed; empty where the cells recorded none.

    Args:
        folders: folders of summarized cells (`cells`, `studies`), each with one sub-folder per seed.
        seeds: those to look for; a folder may lack some.
    """
    found: dict[tuple[tuple[str, str], ...], dict[str, list[str]]] = {}
    for cell in [folder / str(seed) for seed in seeds for folder in folders]:
        if not (cell / "provenance.json").is_file():
            continue
        machines: Any = provenance(cell).get("machines", {})
        for stage, machine in machines.items():
            found.setdefault(tuple(sorted(machine.items())), {}).setdefault(cell.name, []).append(stage)
    return [{**dict(machine), "stages": stages} for machine, stages in found.items()]


def precision_sentence(machines: Iterable[Mapping[str, Any]]) -> str:
    """For example "bfloat16", or "float32: seed 1, seed 2 (identify); bfloat16: seed 0, ..." where there are two.

    Args:
        machines: as from `machines_of_cells`; the sentence is empty if there are none.
    """
    everything: dict[str, set[str]] = {}
    by_precision: dict[str, dict[str, list[str]]] = {}
    for machine in machines:
        for seed, stages in machine["stages"].items():
            everything.setdefault(seed, set()).update(stages)
            by_precision.setdefault(machine["precision"], {}).setdefault(seed, []).extend(stages)
    if len(by_precision) < 2:
        return "".join(by_precision)
    return "; ".join(
        f"{precision}: "
        + ", ".join(
            f"seed {seed}" + ("" if set(stages) == everything[seed] else f" ({', '.join(stages)})")
            for seed, stages in seeds.items()
        )
        for precision, seeds in by_precision.items()
    )


def with_machines(about: Mapping[str, Any], machines: list[dict[str, Any]]) -> dict[str, Any]:
    """Provenance of the tables; its line, which every figure shows, says so where the precision is not one for all."""
    if not machines:  # recorded before machines were
        return dict(about)
    mixed = len({machine["precision"] for machine in machines}) > 1
    line = f"{about['line']}; computed in {precision_sentence(machines)}" if mixed else about["line"]
    return {**about, "line": line, "machines": machines}
