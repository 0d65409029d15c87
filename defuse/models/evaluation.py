"""Networks applied to many images: in batches, in evaluation mode, in float32, back on the CPU."""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from defuse.models.autoencoder import VAE

# Images in one pass without gradients: the fastest of 64 to 1,024 on the CPU; large enough to fill a GPU.
EVALUATION_BATCH = {"cpu": 256, "cuda": 4096}


@torch.inference_mode()
def predict(
    classifier: nn.Module, images: Float32[Tensor, "images channels height width"]
) -> Float32[Tensor, "images classes"]:
    """Logits of images, in evaluation mode and float32, on the CPU.

    Batches keep the memory flat; the classifier's device is where it computes.
    """
    device = next(classifier.parameters()).device
    training = classifier.training
    classifier.eval()
    batches = images.split(EVALUATION_BATCH[device.type])
    logits = [classifier(batch.to(device)).float().cpu() for batch in batches]
    classifier.train(training)
    return torch.cat(logits)


def accuracy(
    classifier: nn.Module, images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"]
) -> float:
    """Share of images whose highest logit is their label; NaN for no images."""
    if len(images) == 0:
        return float("nan")
    return float((predict(classifier, images).argmax(1) == labels).float().mean())


@torch.inference_mode()
def encode(
    vae: VAE, images: Float32[Tensor, "images channels height width"]
) -> tuple[Float32[Tensor, "images latent"], Float32[Tensor, "images latent"]]:
    """Posterior mean and standard deviation of each image, on the CPU."""
    device = next(vae.parameters()).device
    parts = [vae.encode(batch.to(device)) for batch in images.split(EVALUATION_BATCH[device.type])]
    mean = torch.cat([part[0].cpu() for part in parts])
    log_variance = torch.cat([part[1].cpu() for part in parts])
    return mean, torch.exp(0.5 * log_variance)


@torch.inference_mode()
def decode(vae: VAE, codes: Float32[Tensor, "images latent"]) -> Float32[Tensor, "images channels height width"]:
    """Images in [0, 1] of latent codes, on the CPU."""
    device = next(vae.parameters()).device
    return torch.cat([vae.decode(batch.to(device)).cpu() for batch in codes.split(EVALUATION_BATCH[device.type])])
