"""Measure on a GPU that is lent for a short time: parts have limits, and a second call goes on where the first stopped.

Needs nothing but Python 3.11: `python3 -m benchmarks.on_a_gpu OUT --wheels FOLDER` in the repository's folder.
"""

import argparse
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = Path("artifacts/gpu-environment")
PAGE = Path("docs/gpu.md")  # gets the tables
GRACE_SECONDS = 45  # between a part's interrupt and its end by force: replicate ends its stages and writes dvc.lock
SHORTEST = 30  # seconds that a part must be able to have
ABOUT = """
import json, platform, torch
assert torch.cuda.is_available(), "torch sees no CUDA"
gpu = torch.cuda.get_device_properties(0)
about = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
print(json.dumps({**about, "gpu": gpu.name, "gpu_bytes": gpu.total_memory}))
"""


@dataclass(frozen=True)
class Part:
    """A command with a limit in seconds; what it prints goes to `NAME.txt`."""

    name: str
    command: list[str]
    limit: int


def parts(cells: list[str], jobs: int) -> list[Part]:
    """What is measured, the most important first: sections by themselves, and cells with `jobs` stages at once."""

    def section(name: str) -> Part:
        return Part(f"bench-{name}", ["-m", "benchmarks", name, "--write", str(PAGE)], 240)

    replicate = Part("cells", ["-m", "experiments.replicate", "--jobs", str(jobs), *cells], 1500)
    return [section("search"), replicate, *map(section, ("formats", "memory", "stages"))]


def installed(wheels: Path | None) -> str:
    """The Python to run with: this one, or one with the machine's packages and, from the wheels, what these lack."""
    if wheels is None:
        return sys.executable
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():  # with the machine's pip: Debian's Python can make no environment with one of its own
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)], check=True)
        [own] = ENVIRONMENT.glob("lib/*/site-packages")
        # Not --system-site-packages: where this Python is itself an environment's, that leaves its packages out.
        (own / "machine.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    needed = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    pip = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--find-links", str(wheels)]
    subprocess.run([sys.executable, *pip, *needed], check=True)
    return str(python.absolute())


def run_part(part: Part, python: str, out: Path, limit: float) -> str:
    """Run a part for at most `limit` seconds; "done", "failed" or "stopped", which another call takes up again."""
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    with open(out / f"{part.name}.txt", "wb") as log:
        process = subprocess.Popen(
            [python, *part.command], stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        # Not SIGINT, which a process that a shell started in the background ignores.
        for ending, seconds in ((signal.SIGTERM, limit), (signal.SIGKILL, GRACE_SECONDS)):
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, ending)
            else:
                return "stopped" if ending == signal.SIGKILL else "failed" if code else "done"
        process.wait()
    return "stopped"


def copy_small(out: Path, cell: str) -> None:
    """Copy tables and measures of the stages that ran for a cell, and the seconds of all; no network and no data.

    What git has in `results/` for the cell comes from elsewhere, until a stage that ran here has written it anew.
    """
    dataset, _, seed = cell.rpartition("-")
    small = [path for end in ("csv", "json") for path in Path("artifacts").glob(f"*/{dataset}/**/*.{end}")]
    seconds = Path("artifacts/stage-seconds.csv")
    ran = seconds.read_text(encoding="utf-8") if seconds.exists() else ""
    for stage, kind in (("summarize_cell", "cells"), ("summarize_studies", "studies")):
        if f"\n{stage},{dataset},{seed}," in ran:
            small += Path("results", dataset, kind, seed).glob("*")
    for path in [*small, PAGE, *([seconds] if ran else [])]:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / path)


def measure(out: Path, python: str, cells: list[str], jobs: int, deadline: float) -> dict[str, dict[str, float | str]]:
    """Run the parts that are not done, as long as there is time; what became of each, also in `OUT/state.json`."""
    path = out / "state.json"
    state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in parts(cells, jobs):
        left = deadline - time.monotonic() - GRACE_SECONDS
        if state.get(part.name, {}).get("result") == "done" or left < SHORTEST:
            continue
        start = time.monotonic()
        result = run_part(part, python, out, min(part.limit, left))
        before = state.get(part.name, {}).get("seconds", 0)
        state[part.name] = {"result": result, "seconds": round(before + time.monotonic() - start)}
        print(part.name, *state[part.name].values(), flush=True)
        path.write_text(json.dumps(state, indent=1), encoding="utf-8")
    for cell in cells:
        copy_small(out, cell)
    return state


def command(arguments: list[str] | None = None) -> int:
    """Install, check, measure; 0 once all parts are done, else 1: call again."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the small outputs, and of what is done already")
    parser.add_argument("--wheels", type=Path, help="folder of wheels for what the machine's Python lacks")
    parser.add_argument("--seconds", type=float, default=1700, help="time for all; default: %(default)s")
    parser.add_argument("--cells", nargs="*", default=["mnist-0", "svhn-0", "gtsrb-0"], help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=8, help="stages of the cells at once; default: %(default)s")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    try:
        python = installed(chosen.wheels)
        about = subprocess.run([python, "-c", ABOUT], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    except subprocess.CalledProcessError as error:
        asked = " ".join(error.cmd[1:3]).split("\n")[0].strip()
        raise SystemExit(f"on_a_gpu: python {asked} ended with {error.returncode}: see above") from None
    (chosen.out / "machine.json").write_text(about, encoding="utf-8")
    print(about, end="", flush=True)
    state = measure(chosen.out, python, chosen.cells, chosen.jobs, start + chosen.seconds)
    return int(any(state.get(part.name, {}).get("result") != "done" for part in parts(chosen.cells, chosen.jobs)))


if __name__ == "__main__":
    raise SystemExit(command())
