"""Where and how networks run."""

import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from defuse.core import params
from defuse.core.errors import ParamsError
from defuse.models.autoencoder import VAE


@dataclass(frozen=True)
class Machine:
    """Where and how networks run.

    Attributes:
        device: CPU or CUDA.
        precision: number format of training's forward passes and of the search; all else is float32.
        memory_format: layout of the networks' weights, and thereby of what passes through them.
        compiled: whether torch.compile translates the networks.
    """

    device: torch.device
    precision: torch.dtype
    memory_format: torch.memory_format
    compiled: bool

    @property
    def description(self) -> dict[str, str]:
        """What files record: device, processor (a GPU's name, or what torch uses of a CPU) and precision."""
        if self.device.type == "cuda":
            processor = torch.cuda.get_device_name(self.device)
        else:
            processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        return {"device": self.device.type, "processor": processor, "precision": str(self.precision)[6:]}

    def resolved(self, settings: params.Compute) -> params.Compute:
        """The settings with what `auto` stands for here: what is computed otherwise is another result."""
        return settings.model_copy(update={name: self.description[name] for name in ("device", "precision")})

    def autocast(self) -> AbstractContextManager:
        """bfloat16 for the layers that gain from it; a no-op with float32."""
        enabled = self.precision == torch.bfloat16
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Releases of torch before this function are taken not to know: float32 is right everywhere.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def set_up_machine(settings: params.Compute) -> Machine:
    """Choose the device and what it is good at, pin the threads; ask for deterministic algorithms where wanted.

    Raises:
        ParamsError: `device: cuda` where torch sees no CUDA device.
    """
    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise ParamsError("compute.device: 'cuda' is not available here; allowed: auto, cpu")
    torch.set_num_threads(settings.threads)
    threadpool_limits(settings.threads)
    # An operation without a deterministic form warns, and runs (docs/operation.md says what then may differ).
    torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not settings.deterministic
    torch.backends.cudnn.allow_tf32 = False  # or a GPU's float32 convolutions keep ten bits
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
    device = torch.device("cuda" if available and settings.device != "cpu" else "cpu")
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(device) else "float32"
    contiguous = settings.memory_format == "contiguous"
    layout = torch.contiguous_format if contiguous else torch.channels_last
    return Machine(device, getattr(torch, precision), layout, settings.compile == "always")


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are; its buffers, where it has no weights; the CPU, where it has neither."""
    first = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def to_machine(network: nn.Module, machine: Machine) -> nn.Module:
    """Move a network to the machine's device and layout; where asked, compile it.

    Of a VAE, which has no way through, encoder and decoder are compiled.
    """
    network.to(machine.device).to(memory_format=machine.memory_format)
    if machine.compiled:
        for part in [network.encoder, network.decoder] if isinstance(network, VAE) else [network]:
            part.compile()
    return network
