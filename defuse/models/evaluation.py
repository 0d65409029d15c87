"""Networks applied to many images: in batches, in evaluation mode, in float32, back on the CPU."""

from collections.abc import Iterator

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from defuse.data.pixels import Pixels, in_unit_range
from defuse.models.autoencoder import VAE
from defuse.models.machine import device_of

# Images in one pass without gradients: the fastest of 64 to 1,024 on the CPU; large enough to fill a GPU.
EVALUATION_BATCH = {"cpu": 256, "cuda": 4096}


def batches_on(device: torch.device, inputs: Tensor) -> Iterator[Tensor]:
    """Inputs of a network, in batches on its device."""
    batch = EVALUATION_BATCH.get(device.type, EVALUATION_BATCH["cpu"])  # a user's network may be anywhere
    return (part.to(device) for part in inputs.split(batch))


@torch.inference_mode()
def predict(classifier: nn.Module, images: Pixels) -> Float32[Tensor, "images classes"]:
    """Logits of images, in evaluation mode and float32, on the CPU.

    Batches keep the memory flat; the classifier's device is where it computes. Images may be in [0, 1], or bytes.
    """
    training = classifier.training
    classifier.eval()
    logits = [classifier(in_unit_range(batch)).float().cpu() for batch in batches_on(device_of(classifier), images)]
    classifier.train(training)
    return torch.cat(logits)


def accuracy(classifier: nn.Module, images: Pixels, labels: Int64[Tensor, "images"]) -> float:
    """Share of images, in [0, 1] or bytes, whose highest logit is their label; NaN for no images."""
    if len(images) == 0:
        return float("nan")
    return float((predict(classifier, images).argmax(1) == labels).float().mean())


@torch.inference_mode()
def encode(
    vae: VAE, images: Float32[Tensor, "images channels height width"]
) -> tuple[Float32[Tensor, "images latent"], Float32[Tensor, "images latent"]]:
    """Posterior mean and standard deviation of each image, on the CPU."""
    parts = [vae.encode(batch) for batch in batches_on(device_of(vae), images)]
    mean = torch.cat([part[0].cpu() for part in parts])
    log_variance = torch.cat([part[1].cpu() for part in parts])
    return mean, torch.exp(0.5 * log_variance)


@torch.inference_mode()
def decode(vae: VAE, codes: Float32[Tensor, "images latent"]) -> Float32[Tensor, "images channels height width"]:
    """Images in [0, 1] of latent codes, on the CPU."""
    return torch.cat([vae.decode(batch).cpu() for batch in batches_on(device_of(vae), codes)])
