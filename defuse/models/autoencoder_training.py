"""Training the variational autoencoder (paper section on the VAE; Kingma and Welling 2014)."""

from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from defuse.core import params
from defuse.models.autoencoder import VAE, kl_per_dimension, learn_scale, reconstruction_loss
from defuse.models.checkpoints import Checkpoint
from defuse.models.evaluation import batches_on
from defuse.models.features import feature_distance, feature_squares
from defuse.models.machine import Machine, device_of, to_machine
from defuse.models.training import run_epochs, training_steps


@torch.inference_mode()
def measure(
    vae: VAE,
    images: Float32[Tensor, "images channels side side"],
    likelihood: str,
    generator: torch.Generator,
    features: nn.Module | None = None,
) -> dict[str, object]:
    """ELBO (nats per image, one posterior sample), its two terms, and the error of plain reconstructions.

    Returns:
        elbo, reconstruction_loss, kl: means per image; kl_per_dimension: list of latent_dim means;
        squared_error: mean over pixels of the squared difference to the image decoded from the mean.
        With the ssim loss `elbo` is minus the sum of its terms and no bound on a likelihood. The feature term is no
        part of the likelihood, and so of neither `elbo` nor `reconstruction_loss`; with `features` there is
        feature_distance of the plain reconstructions, its denominators means over all images.
    """
    device = device_of(vae)
    losses, kl, errors, squares = [], [], [], []
    for batch in batches_on(device, images):
        mean, log_variance = vae.encode(batch)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        logits = vae.decode_logits(mean + noise * torch.exp(0.5 * log_variance))
        losses.append(reconstruction_loss(logits, batch, likelihood, vae.scale).cpu())
        kl.append(kl_per_dimension(mean, log_variance).cpu())
        reconstructed = vae.decode(mean)
        errors.append((reconstructed - batch).square().mean((1, 2, 3)).cpu())
        if features is not None:
            squares.append([part.cpu() for part in feature_squares(features, reconstructed, batch)])
    reconstruction, divergence = float(torch.cat(losses).mean()), torch.cat(kl).mean(0)
    distance = feature_distance(*map(torch.cat, zip(*squares))).mean() if squares else None
    return {
        "elbo": -reconstruction - float(divergence.sum()),
        "reconstruction_loss": reconstruction,
        "kl": float(divergence.sum()),
        "kl_per_dimension": divergence.tolist(),
        "squared_error": float(torch.cat(errors).mean()),
        **({} if distance is None else {"feature_distance": float(distance)}),
    }


def train_vae(
    vae: VAE,
    images: Float32[Tensor, "images channels side side"],
    validation: Float32[Tensor, "validation channels side side"],
    settings: params.TrainVAE,
    machine: Machine,
    generator: torch.Generator,
    validation_seed: int,
    description: str,
    checkpoint: Checkpoint | None = None,
    features: nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Minimise reconstruction loss + feature_weight * feature distance + beta * KL, in place.

    beta rises linearly over a share of the steps. The feature distance (`feature_distance`) of an image's sampled
    reconstruction has denominators over the batch.

    Args:
        vae: untrained.
        images: in [0, 1].
        validation: images whose ELBO is recorded after each epoch.
        settings: likelihood, beta, feature_weight (nats per image) and optimisation.
        machine: device and precision.
        generator: of batch order and posterior samples.
        validation_seed: of the posterior samples in the validation ELBO, the same at each epoch.
        description: shown by the progress bar.
        checkpoint: of this training; None to keep none.
        features: `FeatureLayers` on the machine; with feature_weight 0 they are measured alone, and None will do.

    Returns:
        One row per epoch: epoch, training_loss, and what `measure` gives on the validation images.

    Raises:
        DivergedError: the loss is no finite number.
        ValueError: a feature_weight without features.
    """
    if settings.feature_weight and features is None:
        raise ValueError(f"feature_weight is {settings.feature_weight}, and there are no features to weigh")
    to_machine(vae, machine)
    images = images.to(machine.device)
    warmup = max(1.0, settings.warmup_share * training_steps(settings, len(images)))

    def loss_of(batch: Tensor, step: int) -> Tensor:
        beta = settings.beta * min(1.0, (step + 1) / warmup)
        targets = images[batch.to(machine.device)]
        with machine.autocast():
            mean, log_variance = vae.encode(targets)
            noise = torch.randn(mean.shape, generator=generator).to(machine.device)
            logits = vae.decode_logits(mean + noise * torch.exp(0.5 * log_variance))
        if settings.likelihood == "gaussian":
            learn_scale(vae, logits, targets)
        losses = reconstruction_loss(logits, targets, settings.likelihood, vae.scale)
        if settings.feature_weight and features is not None:
            with machine.autocast():
                squares = feature_squares(features, torch.sigmoid(logits), targets)
            losses = losses + settings.feature_weight * feature_distance(*squares)
        return (losses + beta * kl_per_dimension(mean, log_variance).sum(1)).mean()

    def measure_validation() -> dict[str, Any]:
        # A generator of its own: what is measured cannot change what is trained.
        noise = torch.Generator().manual_seed(validation_seed)
        return measure(vae, validation, settings.likelihood, noise, features)

    return run_epochs(vae, len(images), loss_of, measure_validation, settings, generator, description, checkpoint)
