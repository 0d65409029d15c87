"""What is being debugged: a classifier, with the VAE that makes images for it."""

from dataclasses import dataclass
from functools import cached_property

from torch import nn

from defuse.models.autoencoder import VAE
from defuse.models.machine import Machine, to_machine
from defuse.models.search_network import decode_and_classify


@dataclass(frozen=True)
class Subject:
    """The classifier to debug and the VAE of its images, on one machine.

    Attributes:
        classifier: images float32 (N, C, 32, 32) in [0, 1] -> logits float32 (N, classes).
        vae: trained on the same kind of images.
        machine: where both are.
    """

    classifier: nn.Module
    vae: VAE
    machine: Machine

    @cached_property
    def search_network(self) -> nn.Module:
        """Copies of decoder and classifier as one network from codes to logits, in the machine's precision."""
        network = decode_and_classify(self.vae, self.classifier).to(self.machine.precision)
        return to_machine(network, self.machine)
