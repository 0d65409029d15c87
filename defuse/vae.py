"""Training the variational autoencoder (paper section on the VAE; Kingma and Welling 2014)."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from defuse import params
from defuse.checkpoints import Checkpoint
from defuse.networks import VAE
from defuse.training import EVALUATION_BATCH, Machine, run_epochs, to_machine

MINIMUM_LOG_SCALE = math.log(1 / 255)
SCALE_RATE = 0.02  # of the running mean that is the Gaussian's log-scale


def kl_per_dimension(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1) in closed form, nats, same shape as `mean`."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def reconstruction_loss(logits: Tensor, images: Tensor, likelihood: str, log_scale: Tensor) -> Tensor:
    """Loss of each image's reconstruction, float32 (N,).

    Args:
        logits: the decoder's output before the sigmoid, (N, C, H, W).
        images: targets in [0, 1], same shape.
        likelihood: `bernoulli` and `gaussian` (standard deviation exp(log_scale), learnt): negative
            log-likelihood in nats, summed over pixels; `ssim`: 1 - SSIM of the image, as in the released
            code, which is no likelihood, so that beta weighs the KL against a number of at most 2.
        log_scale: scalar.
    """
    if likelihood == "bernoulli":
        return functional.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))
    reconstructed = torch.sigmoid(logits)
    if likelihood == "gaussian":
        log_scale = log_scale.clamp_min(MINIMUM_LOG_SCALE)
        squared = (reconstructed - images).square() * torch.exp(-2 * log_scale)
        return (0.5 * squared + log_scale + 0.5 * math.log(2 * math.pi)).sum((1, 2, 3))
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity = structural_similarity_index_measure(reconstructed, images, reduction="none", data_range=1.0)
    assert isinstance(similarity, Tensor)  # a tuple only where the full image is asked for
    return 1 - similarity


@torch.no_grad()
def learn_scale(vae: VAE, logits: Tensor, images: Tensor) -> None:
    """Move the Gaussian's log-scale towards the most likely one of a batch, the root of its mean squared error.

    In closed form (Rybkin, Daniilidis and Levine 2021, arXiv 2006.13202): a scale that is stepped like a weight stays
    far behind in a short training, and images are blurred for as long.
    """
    error = (torch.sigmoid(logits) - images).square().mean()
    vae.scale.lerp_((0.5 * error.log()).clamp_min(MINIMUM_LOG_SCALE), SCALE_RATE)


@torch.inference_mode()
def encode(vae: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean and standard deviation of each image, float32 (N, latent_dim) each, on the CPU."""
    device = next(vae.parameters()).device
    parts = [vae.encode(batch.to(device)) for batch in images.split(EVALUATION_BATCH[device.type])]
    mean = torch.cat([part[0].cpu() for part in parts])
    log_variance = torch.cat([part[1].cpu() for part in parts])
    return mean, torch.exp(0.5 * log_variance)


@torch.inference_mode()
def decode(vae: VAE, codes: Tensor) -> Tensor:
    """Images float32 (N, C, 32, 32) in [0, 1] of codes float32 (N, latent_dim), on the CPU."""
    device = next(vae.parameters()).device
    return torch.cat([vae.decode(batch.to(device)).cpu() for batch in codes.split(EVALUATION_BATCH[device.type])])


@torch.inference_mode()
def measure(vae: VAE, images: Tensor, likelihood: str, generator: torch.Generator) -> dict[str, object]:
    """ELBO (nats per image, one posterior sample), its two terms, and the error of plain reconstructions.

    Returns:
        elbo, reconstruction_loss, kl: means per image; kl_per_dimension: list of latent_dim means;
        squared_error: mean over pixels of the squared difference to the image decoded from the mean.
        With the ssim loss `elbo` is minus the sum of its terms and no bound on a likelihood.
    """
    device = next(vae.parameters()).device
    losses, kl, errors = [], [], []
    for batch in images.split(EVALUATION_BATCH[device.type]):
        batch = batch.to(device)
        mean, log_variance = vae.encode(batch)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        logits = vae.decode_logits(mean + noise * torch.exp(0.5 * log_variance))
        losses.append(reconstruction_loss(logits, batch, likelihood, vae.scale).cpu())
        kl.append(kl_per_dimension(mean, log_variance).cpu())
        errors.append((vae.decode(mean) - batch).square().mean((1, 2, 3)).cpu())
    reconstruction, divergence = float(torch.cat(losses).mean()), torch.cat(kl).mean(0)
    return {
        "elbo": -reconstruction - float(divergence.sum()),
        "reconstruction_loss": reconstruction,
        "kl": float(divergence.sum()),
        "kl_per_dimension": divergence.tolist(),
        "squared_error": float(torch.cat(errors).mean()),
    }


def train_vae(
    vae: VAE,
    images: Tensor,
    validation: Tensor,
    settings: params.TrainVAE,
    machine: Machine,
    generator: torch.Generator,
    description: str,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, Any]]:
    """Minimise reconstruction loss + beta * KL, in place; beta rises linearly over `warmup_steps` steps.

    Args:
        vae: untrained.
        images: float32 (N, C, 32, 32) in [0, 1].
        validation: images whose ELBO is recorded after each epoch.
        settings: likelihood, beta and optimisation.
        machine: device and precision.
        generator: of batch order and posterior samples.
        description: shown by the progress bar.
        checkpoint: of this training; None to keep none.

    Returns:
        One row per epoch: epoch, training_loss, and what `measure` gives on the validation images.

    Raises:
        DivergedError: the loss is no finite number.
    """
    to_machine(vae, machine)
    images = images.to(machine.device)

    def loss_of(batch: Tensor, step: int) -> Tensor:
        beta = settings.beta * min(1.0, (step + 1) / max(settings.warmup_steps, 1))
        targets = images[batch.to(machine.device)]
        with machine.autocast():
            mean, log_variance = vae.encode(targets)
            noise = torch.randn(mean.shape, generator=generator).to(machine.device)
            logits = vae.decode_logits(mean + noise * torch.exp(0.5 * log_variance))
        if settings.likelihood == "gaussian":
            learn_scale(vae, logits, targets)
        losses = reconstruction_loss(logits, targets, settings.likelihood, vae.scale)
        return (losses + beta * kl_per_dimension(mean, log_variance).sum(1)).mean()

    def measure_validation() -> dict[str, Any]:
        return measure(vae, validation, settings.likelihood, generator)

    return run_epochs(vae, len(images), loss_of, measure_validation, settings, generator, description, checkpoint)
