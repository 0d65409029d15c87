"""What a stage costs beside its work: the imports of its module, and DVC's share.

In CPU seconds, which a busy machine stretches less than wall time.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np
from dvc.utils.serialize import dumps_yaml, parse_yaml, parse_yaml_for_update
from ruamel.yaml import YAML

from benchmarks.pipelines import PROBE, write_pipeline
from benchmarks.timing import ratio
from defuse.showing.report import markdown
from experiments.running.lock_file import order_lock, shorten_lock
from experiments.running.pipeline import stage_graph

ROOT = Path.cwd()


def children_seconds(command: list[str]) -> float:
    """CPU seconds of a command, the processes that it starts included."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return spent() - before


def own_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds (rounds,) of each work by its name, in turns, after one round that is not counted."""
    table = [[work() for work in works.values()] for _ in range(rounds + 1)]
    return dict(zip(works, np.array(table[1:]).T))


def imports() -> Iterator[str]:
    """The import of each stage's module against the import of torch."""
    stages = list(YAML(typ="safe").load(Path("dvc.yaml"))["stages"])
    modules = ["torch", "torchvision", *(f"experiments.{stage}" for stage in stages)]
    seconds = measured({module: partial(children_seconds, ["-c", f"import {module}"]) for module in modules}, 3)
    yield f"`import torch` takes {np.median(seconds['torch']):.2f} s of CPU."
    rows = [[f"`{module}`", ratio(taken, seconds["torch"])] for module, taken in list(seconds.items())[1:]]
    yield markdown(["import", "against `import torch`"], rows)


def dvc_share(stages: int) -> Iterator[str]:
    """What DVC takes for a stage, and for looking at all of them, with a lock of at least `stages` stages."""
    with tempfile.TemporaryDirectory() as name, chdir(name):
        folder = Path(name).resolve()
        lock, count = folder / "dvc.lock", write_pipeline(folder, ROOT, stages)
        order_lock(folder, list(stage_graph(folder)))
        text = lock.read_text(encoding="utf-8")
        lines = text.splitlines()
        content = parse_yaml_for_update(text, lock)
        shorten_lock(folder)
        short = lock.read_text(encoding="utf-8")

        def with_lock(written: str, work: Callable[[], float]) -> float:
            lock.write_text(written, encoding="utf-8")
            return work()

        look = partial(children_seconds, ["-m", "dvc", "repro", "--single-item", PROBE])
        run = partial(children_seconds, ["-m", "dvc", "repro", "--single-item", "--force", PROBE])
        works: dict[str, Callable[[], float]] = {
            "`import torch`": partial(children_seconds, ["-c", "import torch"]),
            "`dvc --version`": partial(children_seconds, ["-m", "dvc", "--version"]),
            "load of the lock": partial(own_seconds, lambda: parse_yaml(text, lock)),
            "its round-trip load": partial(own_seconds, lambda: parse_yaml_for_update(text, lock)),
            "its dump": partial(own_seconds, lambda: dumps_yaml(content)),
            "`dvc repro -s` of a stage that is up to date": partial(with_lock, text, look),
            "`dvc repro -s` of a stage that runs": partial(with_lock, text, run),
            "the same while `make replicate` runs": partial(with_lock, short, run),
            "shortening of the lock, once for 20 stages": partial(
                with_lock, text, partial(own_seconds, partial(shorten_lock, folder))
            ),
            "`dvc status` of everything": partial(with_lock, text, partial(children_seconds, ["-m", "dvc", "status"])),
            "`make replicate` of one stage that is up to date": partial(
                with_lock, text, partial(children_seconds, ["-m", "experiments.replicate", PROBE])
            ),
        }
        seconds = measured(works, rounds=2)
    yield (
        f"{count} stages, those of `dvc.yaml` with more seeds. `dvc.lock` has {len(lines):,} lines, "
        f"{len(lines) / count:.0f} for each stage; while `make replicate` runs, {len(short.splitlines()):,}."
    )
    rows = [
        [title, f"{np.median(taken):.2f} s", ratio(taken, seconds["`import torch`"])]
        for title, taken in seconds.items()
    ]
    yield markdown(["what", "CPU", "against `import torch`"], rows)


def overhead(stages: int = 400) -> Iterator[str]:
    """Both tables."""
    yield from imports()
    yield from dvc_share(stages)
