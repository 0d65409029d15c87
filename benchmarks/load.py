"""A training for `side_by_side`, in a process of its own, with so many threads and steps."""

import sys
from pathlib import Path

import torch

from benchmarks.subjects import untrained
from benchmarks.training import STEPS, vae_steps
from defuse.core.params_file import load_params
from defuse.models.machine import set_up_machine

if __name__ == "__main__":
    threads, steps = map(int, sys.argv[1:])
    settings = load_params(Path("params.yaml"))
    machine = set_up_machine(settings.compute.model_copy(update={"threads": threads, "device": "cpu"}))
    some_steps = vae_steps(untrained(settings, "mnist")[1], torch.rand((128, 1, 32, 32)), machine)
    for _ in range(steps // STEPS):
        some_steps()
