"""One search of MNIST's size in a process of its own: prints its peak memory in KiB and the mistakes it kept."""

import resource
import sys
from pathlib import Path

import torch

from benchmarks.search import search
from benchmarks.subjects import loaded
from defuse.core.params_file import load_params
from defuse.models.machine import set_up_machine

if __name__ == "__main__":
    seed_images, threads = map(int, sys.argv[1:])
    settings = load_params(Path("params.yaml"))
    machine = set_up_machine(settings.compute.model_copy(update={"threads": threads}))
    images = torch.ones((60_000, 1, 32, 32))  # what the stage holds, however many of them are seed images
    subject, seeds = loaded(settings, "mnist", machine, seed_images)
    mistakes = search(subject, seeds, draws=10)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(mistakes.label))
