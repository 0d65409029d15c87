"""Training: number formats, layouts and compilation; the sweep over lambda; trainings side by side."""

import copy
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import joblib
import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from benchmarks.subjects import SIZES, digits, loaded, untrained
from benchmarks.timing import in_turns, ratio, seconds
from defuse.core.params import Correct, Settings, TrainClassifier
from defuse.core.random_streams import Streams
from defuse.method.correction import (
    Batches,
    classified_right,
    correct,
    cross_entropy,
    draw_batches,
    logits_of,
    one_rate,
)
from defuse.models.augmentation import augment
from defuse.models.autoencoder import kl_per_dimension, reconstruction_loss
from defuse.models.autoencoder_training import train_vae
from defuse.models.classifiers import build_classifier
from defuse.models.evaluation import accuracy
from defuse.models.machine import Machine, to_machine
from defuse.models.training import make_optimizer, train_classifier
from defuse.showing.report import markdown

BATCH, STEPS, ROUNDS = 128, 5, 7
# A fifth of a real arm: of its steps, and of some 16,000 images that it is evaluated on.
SWEEP_LAMBDAS, SWEEP_SHARE, EVALUATION_IMAGES = (0.0, 0.01, 1.0), 5, 3_200
QUALITY_SEEDS, QUALITY_EPOCHS = 5, 30
SIDE_BY_SIDE_SECONDS = 10
SIDE_BY_SIDE_LIMIT = 90  # of an arrangement; two processes that each take all cores may need far longer

Data = tuple[torch.Tensor, torch.Tensor]  # images float32 (N, C, 32, 32) and labels int64 (N,)


def classifier_steps(network: nn.Module, images: torch.Tensor, machine: Machine) -> Callable[[], None]:
    """A few training steps of a classifier on the machine."""
    to_machine(network, machine).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images, labels = images.to(machine.device), torch.zeros(len(images), dtype=torch.int64, device=machine.device)

    def steps() -> None:
        for _ in range(STEPS):
            with machine.autocast():
                logits = network(images).float()
            optimizer.zero_grad()
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()

    return steps


def vae_steps(vae: nn.Module, images: torch.Tensor, machine: Machine) -> Callable[[], None]:
    """A few training steps of a VAE on the machine."""
    to_machine(vae, machine).train()
    optimizer = torch.optim.Adam(vae.parameters())
    images, noise = images.to(machine.device), torch.zeros((len(images), vae.latent_dim), device=machine.device)

    def steps() -> None:
        for _ in range(STEPS):
            with machine.autocast():
                mean, log_variance = vae.encode(images)
                logits = vae.decode_logits(mean + noise * torch.exp(0.5 * log_variance))
            losses = reconstruction_loss(logits, images, "bernoulli", vae.scale)
            optimizer.zero_grad()
            (losses + kl_per_dimension(mean, log_variance).sum(1)).mean().backward()
            optimizer.step()

    return steps


def formats(settings: Settings, machine: Machine) -> Iterator[str]:
    """What each setting of `compute` changes, training images per second of each network."""
    machines = [
        Machine(machine.device, dtype, layout, compiled)
        for dtype, layout, compiled in (
            (torch.float32, torch.contiguous_format, False),
            (torch.float32, torch.channels_last, False),
            (torch.bfloat16, torch.contiguous_format, False),
            (torch.bfloat16, torch.channels_last, False),
            (torch.bfloat16, torch.channels_last, True),
        )
    ]
    oracle = settings.train_oracle["mnist"].networks[0]
    makers = {
        "MNIST's classifier": lambda: untrained(settings, "mnist")[0],
        "MNIST's first oracle": lambda: build_classifier(**oracle.model_dump(), channels=1, classes=10),
        "GTSRB's classifier": lambda: untrained(settings, "gtsrb")[0],
        "MNIST's VAE": lambda: untrained(settings, "mnist")[1],
        "GTSRB's VAE": lambda: untrained(settings, "gtsrb")[1],
    }
    rows = []
    for name, make in makers.items():
        images = torch.rand((BATCH, 3 if "GTSRB" in name else 1, 32, 32))
        steps = vae_steps if "VAE" in name else classifier_steps
        torch.compiler.reset()  # it stops compiling after a few networks
        works = [steps(make(), images, variant) for variant in machines]
        translation = seconds(works[-1])
        times = in_turns(ROUNDS, *works)
        rates = [f"{BATCH * STEPS / np.median(column):,.0f}" for column in times.T]
        rows.append(
            [name, *rates, ratio(times[:, 0], times[:, 3]), ratio(times[:, 3], times[:, 4]), f"{translation:.0f} s"]
        )
    yield markdown(
        [
            "training, images/s",
            "float32, contiguous",
            "float32, channels last",
            "bfloat16, contiguous",
            "bfloat16, channels last",
            "and compiled",
            "bfloat16 and channels last / plain",
            "compiled / not",
            "compilation takes",
        ],
        rows,
    )


def augmentation_share(settings: Settings, machine: Machine) -> Iterator[str]:
    """Augmentation of a batch against a training step of the network that it feeds."""
    rows = []
    for size in SIZES:
        chosen = settings.train_oracle[size].augmentation
        images = torch.rand((BATCH, 1 if size == "mnist" else 3, 32, 32)).to(machine.device)
        network = build_classifier(
            **settings.train_oracle[size].networks[0].model_dump(), channels=images.shape[1], classes=10
        )
        times = in_turns(
            ROUNDS,
            partial(augment, images, chosen, torch.Generator().manual_seed(0)),
            classifier_steps(network, images, machine),
        )
        times[:, 1] /= STEPS
        rows.append([f"{size}'s oracle", ratio(times[:, 0], times[:, 1])])
    yield markdown(["network", "augmentation / training step"], rows)


def quality(settings: Settings, machine: Machine) -> Iterator[str]:
    """Accuracy and ELBO in float32 against the machine's precision, on the digits, over seeds."""
    images, labels, *test = digits(1)
    scores: dict[str, list[list[float]]] = {"classifier, test accuracy in %": [], "VAE, ELBO in nats per image": []}
    for dtype in (torch.float32, machine.precision):
        variant = Machine(machine.device, dtype, machine.memory_format, compiled=False)
        columns: list[list[float]] = [[], []]
        for seed in range(QUALITY_SEEDS):
            classifier, vae = untrained(settings, "mnist", seed)
            chosen = settings.train_classifier["mnist"].model_copy(update={"epochs": QUALITY_EPOCHS})
            train_classifier(
                classifier,
                (images, labels),
                tuple(test),
                chosen,
                variant,
                Streams(seed).torch("benchmarks"),
                f"classifier {seed}",
            )
            chosen = settings.train_vae["mnist"].model_copy(update={"epochs": QUALITY_EPOCHS, "warmup_share": 0.0})
            streams = Streams(seed).within("benchmarks")
            curve = train_vae(
                vae,
                images,
                test[0],
                chosen,
                variant,
                streams.torch(),
                streams.integer("validation"),
                f"VAE {seed}",
            )
            columns[0].append(100 * accuracy(classifier, *test))
            columns[1].append(curve[-1]["elbo"])
        for name, column in zip(scores, columns):
            scores[name].append(column)
    rows = []
    for name, (exact, ours) in scores.items():
        shown = []
        for column in (exact, ours):
            half = stats.sem(column) * stats.t.ppf(0.975, len(column) - 1)
            shown.append(f"{np.mean(column):.2f} ± {half:.2f}")
        difference = np.array(ours) - np.array(exact)
        rows.append([name, *shown, f"{difference.mean():+.2f}"])
    yield markdown(
        [
            f"means of {QUALITY_SEEDS} seeds with 95 % intervals",
            "float32",
            str(machine.precision)[6:],
            "mean difference, seed by seed",
        ],
        rows,
    )


def arms(
    classifier: nn.Module,
    batches: Batches,
    evaluation: Data,
    chosen: Correct,
    recipe: TrainClassifier,
    machine: Machine,
) -> None:
    """Some arms of the sweep as the stage runs them, each evaluated."""
    for lambda_ in SWEEP_LAMBDAS:
        tuned = correct(classifier, batches, batches, lambda_, chosen, recipe, machine, "arm")
        classified_right(tuned, {"all": evaluation})


def bare_steps(
    classifier: nn.Module, batches: Batches, chosen: Correct, recipe: TrainClassifier, machine: Machine
) -> None:
    """The training steps of the same arms, and nothing else."""
    for lambda_ in SWEEP_LAMBDAS:
        tuned = copy.deepcopy(classifier)
        optimizer = make_optimizer(tuned, one_rate(chosen, chosen.learning_rate, recipe.weight_decay))
        for step in range(len(batches.order)):
            images, labels = batches.at(step)
            with machine.autocast():
                logits = logits_of(tuned, *[images] * (2 if lambda_ else 1))
                losses = [cross_entropy(part, labels, recipe.label_smoothing) for part in logits]
            optimizer.zero_grad()
            sum(losses).backward()
            optimizer.step()


def sweep(settings: Settings, machine: Machine) -> Iterator[str]:
    """All of some lambda arms, evaluation included, against their bare training steps."""
    rows = []
    for size in SIZES:
        subject, _ = loaded(settings, size, machine, 1)
        images, labels, *_ = digits(subject.vae.decoder[-1].out_channels)
        many = torch.arange(EVALUATION_IMAGES) % len(images)
        steps = settings.correct[size].steps // SWEEP_SHARE
        chosen, recipe = settings.correct[size].model_copy(update={"steps": steps}), settings.train_classifier[size]
        batches = draw_batches((images, labels), chosen, torch.Generator().manual_seed(0))
        times = in_turns(
            2,
            partial(arms, subject.classifier, batches, (images[many], labels[many]), chosen, recipe, machine),
            partial(bare_steps, subject.classifier, batches, chosen, recipe, machine),
        )
        rows.append([f"{size}-sized, {len(SWEEP_LAMBDAS)} arms of {steps} steps", ratio(times[:, 0], times[:, 1])])
    yield markdown(
        [f"sweep, {EVALUATION_IMAGES:,} images to evaluate per arm", "arms / their bare training steps"], rows
    )


def wall_seconds(threads: int, steps: int, at_once: bool) -> float:
    """Of two trainings, each a process of its own with so many threads; infinite if they were stopped at the limit."""
    command = [sys.executable, "-m", "benchmarks.load", str(threads), str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    start, started = time.perf_counter(), []
    try:
        for _ in range(2):
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
            if not at_once:
                started[-1].wait(SIDE_BY_SIDE_LIMIT)
        if any([process.wait(SIDE_BY_SIDE_LIMIT) for process in started]):
            raise RuntimeError("a training of the benchmark failed")
    except subprocess.TimeoutExpired:
        for process in started:
            process.kill()
        return float("inf")
    return time.perf_counter() - start


def side_by_side(settings: Settings) -> Iterator[str]:
    """Two trainings one after the other and at once, with one thread each and with all cores each."""
    cores = joblib.cpu_count()
    machine = Machine(torch.device("cpu"), torch.float32, torch.channels_last, compiled=False)
    some_steps = vae_steps(untrained(settings, "mnist")[1], torch.rand((BATCH, 1, 32, 32)), machine)
    some_steps()
    steps = int(SIDE_BY_SIDE_SECONDS * STEPS / seconds(some_steps))
    arrangements = {
        "one after the other, 1 thread": (1, False),
        f"one after the other, {cores} threads": (cores, False),
        "at once, 1 thread each (what `JOBS=auto` does)": (1, True),
        f"at once, {cores} threads each": (cores, True),
    }
    taken = {words: wall_seconds(threads, steps, at_once) for words, (threads, at_once) in arrangements.items()}
    first = next(iter(taken.values()))
    yield markdown(
        ["two trainings of MNIST's VAE", "wall time", "speed against the first line"],
        [
            [
                words,
                *(
                    (f"stopped at {SIDE_BY_SIDE_LIMIT} s", f"below {first / SIDE_BY_SIDE_LIMIT:.2f}")
                    if wall == float("inf")
                    else (f"{wall:.0f} s", f"{first / wall:.2f}")
                ),
            ]
            for words, wall in taken.items()
        ],
    )
