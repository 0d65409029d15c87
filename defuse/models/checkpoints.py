"""Checkpoints: where a training goes on after a kill, with the same result as if it had never stopped."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from defuse.core.errors import StorageError
from defuse.models.weights import load_weights, save_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A training's checkpoint file, and what the training belongs to.

    Attributes:
        path: a `.safetensors` file outside the stage's outputs, which DVC removes before the stage runs.
        fingerprint: from `fingerprint`; a checkpoint of another one is refused.
    """

    path: Path
    fingerprint: dict[str, Any]


def fingerprint(code: str, files: dict[str, Path], **trees: BaseModel) -> dict[str, Any]:
    """What a training's result depends on: code, torch, the bytes of files, and each key of params sub-trees.

    Args:
        code: digest of the code that trains.
        files: by name, the prepared data and what else is read.
        trees: sub-trees of `params.yaml` by name.
    """
    digests = {}
    for name, path in files.items():
        with open(path, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    values = {
        f"{name}.{key}": value for name, tree in trees.items() for key, value in tree.model_dump(mode="json").items()
    }
    return {"code": code, "torch": torch.__version__, **digests, **values}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers of each weight, by `optimizer.<number>.<name>`."""
    return {
        f"optimizer.{number}.{name}": value
        for number, memory in optimizer.state_dict()["state"].items()
        for name, value in memory.items()
        if isinstance(value, Tensor)
    }


def save_checkpoint(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None,
    generator: torch.Generator,
    curve: list[dict[str, Any]],
) -> None:
    """Write the state after the last row of `curve`: weights, optimiser, schedule, generator, curve.

    Raises:
        StorageError: the file cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= optimizer_tensors(optimizer) | {"generator": generator.get_state()}
    save_weights(
        checkpoint.path,
        tensors,
        {
            "fingerprint": checkpoint.fingerprint,
            "curve": json.dumps(
                curve
            ),  # as a text: the header sorts keys, and their order is that of the table's columns
            "groups": optimizer.state_dict()["param_groups"],
            "schedule": None if schedule is None else schedule.state_dict(),
        },
    )


def restore_checkpoint(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None,
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Put all back into the state that `save_checkpoint` wrote; the curve so far, empty where nothing was restored.

    A checkpoint that is damaged or of another fingerprint is refused, with a line in the log that says why.
    """
    if not checkpoint.path.exists():
        return []
    try:
        tensors, state = load_weights(checkpoint.path)
    except StorageError as error:
        log.warning("checkpoint refused, the training starts anew: %s", error)
        return []
    found, expected = state.get("fingerprint", {}), checkpoint.fingerprint
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        log.warning(
            "checkpoint %s refused, the training starts anew: it was made with other %s",
            checkpoint.path,
            ", ".join(differing),
        )
        return []
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    memory: dict[int, dict[str, Tensor]] = {}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, key = rest.partition(".")
            weight = weights[int(number)]
            # In the weight's own layout: another one may round differently in the last bit.
            like = value.shape == weight.shape
            memory.setdefault(int(number), {})[key] = torch.empty_like(weight).copy_(value) if like else value
    optimizer.load_state_dict({"state": memory, "param_groups": state["groups"]})
    if schedule is not None:
        schedule.load_state_dict(state["schedule"])
    generator.set_state(tensors["generator"])
    curve = json.loads(state["curve"])
    log.info("continues after epoch %d, from %s", len(curve), checkpoint.path)
    return curve
