"""The variational autoencoder and the terms of its loss (paper section on the VAE; Kingma and Welling 2014)."""

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_SIDE = 32


class VAE(nn.Module):
    """Convolutional variational autoencoder of square images.

    The paper's encoder of 32x32 images is four convolutions of kernel 4, stride 2, padding 1 and a linear layer to
    mean and log-variance; the decoder is its mirror [code]. There each has 64 channels; here they have `width`, twice,
    four and four times as many. Larger images have a convolution more, of four times `width`, for each further
    halving, until 2x2 or 3x3 is left. `scale` is the logarithm of the Gaussian likelihood's standard deviation, learnt
    in `train_vae`; other likelihoods leave it alone.
    """

    def __init__(self, channels: int, latent_dim: int, width: int, batch_norm: bool, side: int = SMALLEST_SIDE) -> None:
        """Build the networks with random weights for images of `channels` channels and `side`x`side` pixels.

        Raises:
            ValueError: a side that is below 32, or does not halve down to 2 or 3.
        """
        super().__init__()
        smallest = side
        while smallest > 3 and smallest % 2 == 0:
            smallest //= 2
        if side < SMALLEST_SIDE or smallest > 3:
            raise ValueError(f"no VAE of side {side}; allowed: 32, 48, 64, 96, 128, and so on")
        halvings = (side // smallest).bit_length() - 1

        def activation(outputs: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]

        widths = [width, 2 * width] + (halvings - 2) * [4 * width]
        innermost = widths[-1] * smallest**2
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths], widths):
            down += [nn.Conv2d(inputs, outputs, 4, 2, 1), *activation(outputs)]
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1]):
            up += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *activation(outputs)]
        self.latent_dim = latent_dim
        self.side = side
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(innermost, 2 * latent_dim))
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, innermost),
            nn.Unflatten(1, (widths[-1], smallest, smallest)),
            *up,
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )
        self.scale: Tensor
        self.register_buffer("scale", torch.zeros(()))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def encode(
        self, images: Float32[Tensor, "images channels side side"]
    ) -> tuple[Float32[Tensor, "images latent"], Float32[Tensor, "images latent"]]:
        """Posterior of images: mean and log-variance."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def decode_logits(self, codes: Float32[Tensor, "images latent"]) -> Float32[Tensor, "images channels side side"]:
        """Decoder output before the sigmoid."""
        return self.decoder(codes).float()

    def decode(self, codes: Float32[Tensor, "images latent"]) -> Float32[Tensor, "images channels side side"]:
        """Images in [0, 1] of latent codes."""
        return torch.sigmoid(self.decode_logits(codes))


MINIMUM_LOG_SCALE = math.log(1 / 255)
SCALE_RATE = 0.02  # of the running mean that is the Gaussian's log-scale


def kl_per_dimension(mean: Float[Tensor, "*shape"], log_variance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1) in closed form, nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def reconstruction_loss(
    logits: Float[Tensor, "images channels height width"],
    images: Float[Tensor, "images channels height width"],
    likelihood: str,
    log_scale: Float[Tensor, ""],
) -> Float[Tensor, "images"]:
    """Loss of each image's reconstruction.

    Args:
        logits: the decoder's output before the sigmoid.
        images: targets in [0, 1].
        likelihood: `bernoulli` and `gaussian` (standard deviation exp(log_scale), learnt): negative
            log-likelihood in nats, summed over pixels; `ssim`: 1 - SSIM of the image, as in the released
            code, which is no likelihood, so that beta weighs the KL against a number of at most 2.
        log_scale: logarithm of the Gaussian's standard deviation.
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
def learn_scale(
    vae: VAE,
    logits: Float[Tensor, "images channels height width"],
    images: Float[Tensor, "images channels height width"],
) -> None:
    """Move the Gaussian's log-scale towards the most likely one of a batch, the root of its mean squared error.

    In closed form (Rybkin, Daniilidis and Levine 2021, arXiv 2006.13202): a scale that is stepped like a weight stays
    far behind in a short training, and images are blurred for as long.
    """
    error = (torch.sigmoid(logits) - images).square().mean()
    vae.scale.lerp_((0.5 * error.log()).clamp_min(MINIMUM_LOG_SCALE), SCALE_RATE)
