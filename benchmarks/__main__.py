"""Measure what the package costs on this machine, as ratios. Sections run one after the other, about twenty minutes."""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import joblib
import psutil
import torch
import typer

from benchmarks import growth, overhead, search, stages, training
from defuse.core.params_file import load_params
from defuse.core.storage import write_text
from defuse.models.machine import Machine, set_up_machine
from defuse.showing.report import marks, with_results

MEASURED_ON = "Measured on:"


def machine_line(machine: Machine) -> str:
    """What was measured: device, cores, memory, number format, torch."""
    name = torch.cuda.get_device_name() if machine.device.type == "cuda" else "CPU"
    names = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "bf16")
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    able = ", ".join(key for key in names if capabilities.get(key))
    memory, cores = psutil.virtual_memory().total / 2**30, joblib.cpu_count()
    return (
        f"{MEASURED_ON} {name}, {cores} cores of {platform.machine()} ({able}), {memory:.0f} GiB; threads used: "
        f"{torch.get_num_threads()}; {str(machine.precision)[6:]}; torch {torch.__version__.split('+')[0]}."
    )


def with_sections(page: str, machine: str, measured: dict[str, str]) -> str:
    """The page with what was measured between its markers; sections that were not run this time stay.

    A section that another machine had measured begins with that machine's line.

    Args:
        page: text with the two markers.
        machine: the line above the sections.
        measured: text of each section by its title.
    """
    begin, end = marks("results")
    above, *earlier = page.partition(begin)[2].partition(end)[0].split("\n### ")
    texts = {}
    for title, _, text in (section.partition("\n") for section in earlier):
        measured_on, _, rest = text.strip().partition("\n")
        if not measured_on.startswith(MEASURED_ON):
            measured_on, rest = above.strip(), text
        texts[title] = rest.strip() if measured_on == machine else f"{measured_on}\n\n{rest.strip()}"
    texts |= measured
    return with_results(page, "\n\n".join([machine, *(f"### {title}\n\n{text}" for title, text in texts.items())]))


def command(
    sections: Annotated[list[str] | None, typer.Argument(help="sections to run; default: all")] = None,
    threads: Annotated[int | None, typer.Option(help="default: compute.threads")] = None,
    seconds: Annotated[Path, typer.Option(help="what the section stages reads")] = stages.STAGE_SECONDS,
    write: Annotated[Path | None, typer.Option(help="page that gets the sections between its markers")] = None,
) -> None:
    """Run the sections and print them, or write them into a page."""
    settings = load_params(Path("params.yaml"))
    threads = threads or settings.compute.threads
    machine = set_up_machine(settings.compute.model_copy(update={"threads": threads}))
    known: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
        "search": (
            "The search against one image at a time and against its ceiling",
            lambda: search.against_reference_and_ceiling(settings, machine),
        ),
        "decoders": ("What the ceiling is made of", lambda: search.decoders(settings, machine)),
        "memory": ("Peak memory of the search", lambda: search.memory(settings, threads)),
        "growth": ("How the search grows", lambda: growth.search_growth(settings, machine)),
        "mixture": ("How the mixture's fit grows", lambda: growth.mixture_growth(settings, machine)),
        "formats": ("Training: number formats, layouts, compilation", lambda: training.formats(settings, machine)),
        "augmentation": ("Augmentation", lambda: training.augmentation_share(settings, machine)),
        "quality": ("Does the number format cost quality?", lambda: training.quality(settings, machine)),
        "sweep": ("The sweep over lambda", lambda: training.sweep(settings, machine)),
        "side-by-side": ("Trainings side by side", lambda: training.side_by_side(settings)),
        "overhead": ("What a stage costs beside its work", overhead.overhead),
        "stages": ("Seconds of each stage", lambda: stages.stage_seconds(seconds)),
    }
    if unknown := [name for name in sections or [] if name not in known]:
        raise SystemExit(f"benchmarks: section {unknown[0]!r}; allowed: {', '.join(known)}")
    print(machine_line(machine))
    measured = {}
    for name in sections or known:
        title, work = known[name]
        print(f"\n### {title}\n", flush=True)
        parts = []
        for part in work():
            print(part, end="\n\n", flush=True)
            parts.append(part)
        measured[title] = "\n\n".join(parts)
    if write is not None:
        page = with_sections(write.read_text(encoding="utf-8"), machine_line(machine), measured)
        write_text(write, page)


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
