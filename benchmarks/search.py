"""The search: against one image at a time, against its ceiling, and its memory."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.subjects import SIZES, loaded, trained
from benchmarks.timing import in_turns, ratio, seconds
from defuse.core.params import Noise, Search, Settings
from defuse.core.random_streams import item_generator
from defuse.method.identification import Mistakes, Seeds, draw_noise, find_mistakes
from defuse.models.machine import Machine, to_machine
from defuse.models.subject import Subject
from defuse.showing.report import markdown

NOISE = Noise({"normal": 0.3})
DRAWS, KEEP, ROUNDS = 30, 3, 2
SEEDS, SEEDS_ONE_AT_A_TIME = {"mnist": 4000, "gtsrb": 2000}, 20
BATCHES = (64, 128, 256, 512, 1024)
MEMORY_SEEDS = (1_000, 10_000, 60_000)
KEY = np.array([1, 2], np.uint64)


@torch.inference_mode()
def one_at_a_time(subject: Subject, seeds: Seeds, draws: int, keep: int) -> list[tuple]:
    """The same search, plainly: each draw decoded and classified alone, in float32.

    Returns:
        Of each mistake: seed index, prediction, noise norm, code.
    """
    device, found = subject.machine.device, []
    for index, label, mean, deviation in zip(seeds.index, seeds.label, seeds.mean, seeds.deviation):
        wrong = []
        for noise in draw_noise(NOISE, draws, deviation, item_generator(KEY, int(index))):
            code = torch.from_numpy(mean + noise)[None].to(device)
            prediction = int(subject.classifier(subject.vae.decode(code)).argmax(1))
            if prediction != label:
                wrong.append((int(index), prediction, float(np.linalg.norm(noise)), tuple((mean + noise).tolist())))
        found += sorted(wrong, key=lambda mistake: mistake[2])[:keep]
    return found


def search(subject: Subject, seeds: Seeds, draws: int = DRAWS) -> Mistakes:
    """The search with the benchmark's noise."""
    chosen = Search(seed_source="train", noise=NOISE, draws=draws, keep=KEEP)
    return find_mistakes(subject, seeds, chosen, KEY, "search")


@torch.inference_mode()
def bare_passes(network: nn.Module, codes: torch.Tensor, batch_size: int) -> None:
    """Decoder and classifier on all codes, and nothing else."""
    for part in codes.split(batch_size):
        network(part).argmax(1)


def ceiling(subject: Subject, codes: torch.Tensor) -> tuple[nn.Module, torch.Tensor, int, str]:
    """Fastest of batch sizes, layouts and number formats for the bare passes: network, codes, batch size, in words."""
    best, result = float("inf"), None
    for dtype, layout in itertools.product(
        (torch.float32, torch.bfloat16), (torch.channels_last, torch.contiguous_format)
    ):
        variant = Machine(subject.machine.device, dtype, layout, compiled=False)
        network, given = replace(subject, machine=variant).search_network, codes.to(variant.device, dtype)
        for batch_size in BATCHES:
            part = given[: 4 * batch_size]
            taken = np.median(in_turns(3, partial(bare_passes, network, part, batch_size))) / len(part)
            if taken < best:
                words = f"{batch_size} codes, {str(dtype)[6:]}, {str(layout)[6:]}"
                best, result = taken, (network, given, batch_size, words)
    return result


def same_mistakes(found: Mistakes, reference: list[tuple]) -> tuple[int, int]:
    """Mistakes of a search that the reference found too, with the same prediction; and all of the reference."""
    mine = {
        (int(index), int(prediction), tuple(code.tolist()))
        for index, prediction, code in zip(found.seed_index, found.prediction, found.codes)
    }
    theirs = {(index, prediction, code) for index, prediction, _, code in reference}
    return len(mine & theirs), len(theirs)


def against_reference_and_ceiling(settings: Settings, machine: Machine) -> Iterator[str]:
    """(a) and (b): the search against one image at a time and against its ceiling, with the check of its mistakes."""
    speeds, checks = [], []
    exact = Machine(machine.device, torch.float32, machine.memory_format, compiled=False)
    for size in SIZES:
        ours, digits = trained(settings, size, machine)
        plain = replace(ours, machine=exact)
        # The digits over and over; by its own number each copy has its own noise.
        seeds = replace(digits.take(np.arange(SEEDS[size]) % len(digits.label)), index=np.arange(SEEDS[size]))
        few = digits.take(np.flatnonzero(digits.correct)[:SEEDS_ONE_AT_A_TIME])
        count, fewer = len(seeds.label) * DRAWS, len(seeds.label) // 8
        codes = torch.randn((count, ours.vae.latent_dim), generator=torch.Generator().manual_seed(0))
        network, given, batch_size, words = ceiling(ours, codes)
        times = in_turns(
            ROUNDS,
            partial(one_at_a_time, ours, few, DRAWS, KEEP),
            partial(search, plain, seeds.take(slice(fewer))),
            partial(search, ours, seeds),
            partial(bare_passes, network, given, batch_size),
        ) / np.array([len(few.label) * DRAWS, fewer * DRAWS, count, count])
        first = seeds.take(slice(200))
        reference = one_at_a_time(ours, first, 10, KEEP)
        rates = [f"{1 / np.median(column):,.0f}" for column in times.T]
        speeds.append(
            [f"{size}-sized", *rates, ratio(times[:, 0], times[:, 2]), ratio(times[:, 3], times[:, 2]), words]
        )
        for name, subject in (("float32", plain), (str(machine.precision)[6:], ours)):
            mistakes = search(subject, first, 10)
            both, all_of_them = same_mistakes(mistakes, reference)
            checks.append(
                [
                    f"{size}-sized, {name}",
                    f"{all_of_them:,}",
                    f"{both:,}",
                    f"{len(mistakes.label):,}",
                    f"{mistakes.doubtful:,}",
                    f"{mistakes.dropped:,}",
                ]
            )
    yield markdown(
        [
            "networks",
            "one at a time, draws/s",
            "ours in float32",
            "ours",
            "ceiling",
            "(a) ours / one at a time",
            "(b) ours / ceiling",
            "the ceiling's batch",
        ],
        speeds,
    )
    yield "The same mistakes? One at a time against ours, 200 seed images, 10 draws, at most 3 kept:"
    yield markdown(
        [
            "networks",
            "found one at a time",
            "found by both",
            "found by ours",
            "classified again in float32",
            "dropped then",
        ],
        checks,
    )


def decoders(settings: Settings, machine: Machine) -> Iterator[str]:
    """What the ceiling is made of: transposed against sub-pixel convolutions, and compilation."""
    rows = []
    for size in SIZES:
        subject, _ = loaded(settings, size, machine, 1)
        vae = subject.vae
        subpixel, compiled = (replace(subject).search_network for _ in range(2))
        compiled.compile()
        transposed = nn.Sequential(vae.decoder, nn.Sigmoid(), subject.classifier).to(machine.precision)
        variants = [to_machine(transposed, machine), subpixel]
        codes = torch.randn((256, vae.latent_dim)).to(machine.device, machine.precision)
        translation = seconds(partial(bare_passes, compiled, codes, 256))
        times = in_turns(15, *(partial(bare_passes, network, codes, 256) for network in (*variants, compiled)))
        rates = [f"{256 / np.median(column):,.0f}" for column in times.T]
        rows.append(
            [
                f"{size}-sized",
                *rates,
                ratio(times[:, 0], times[:, 1]),
                ratio(times[:, 1], times[:, 2]),
                f"{translation:.0f} s",
            ]
        )
    yield markdown(
        [
            "networks",
            "transposed, draws/s",
            "sub-pixel",
            "sub-pixel, compiled",
            "sub-pixel / transposed",
            "compiled / not",
            "compilation takes",
        ],
        rows,
    )


def memory(settings: Settings, threads: int) -> Iterator[str]:
    """(c) Peak memory of a process that holds 60,000 images and searches around some of them."""
    rows = []
    for count in MEMORY_SEEDS:
        command = [sys.executable, "-m", "benchmarks.memory", str(count), str(threads)]
        printed = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.split()
        rows.append([f"{count:,}", f"{int(printed[0]) / 1024:,.0f} MiB", f"{int(printed[1]):,}"])
    yield markdown(["seed images", "peak memory of the process", "mistakes kept"], rows)
