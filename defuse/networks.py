"""The classifiers, the oracles' networks and the VAE. Images are float32 (N, C, 32, 32) in [0, 1]."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import ResNet18_Weights, resnet18

from defuse.storage import StorageError, load_weights, save_weights


class Normalise(nn.Module):
    """Shift and scale each channel, so that decoded and real images take the same way in."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, images: Tensor) -> None:
        """Take mean and standard deviation per channel of `images`, float32 (N, C, H, W)."""
        self.mean = images.mean(dim=(0, 2, 3))
        self.std = images.std(dim=(0, 2, 3)).clamp_min(1e-3)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean[:, None, None]) / self.std[:, None, None]


def small_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Two convolutions with pooling and two linear layers, as in the paper's MNIST classifier."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * 64, 8 * width), nn.ReLU(), nn.Linear(8 * width, classes),
    )  # fmt: skip


def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def vgg(channels: int, classes: int, width: int) -> nn.Module:
    """Three scales of two 3x3 convolutions with batch norm, then global average pooling."""
    return nn.Sequential(
        *convolution(channels, width), *convolution(width, width), nn.MaxPool2d(2),
        *convolution(width, 2 * width), *convolution(2 * width, 2 * width), nn.MaxPool2d(2),
        *convolution(2 * width, 4 * width), *convolution(4 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes),
    )  # fmt: skip


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a 1x1 shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(*convolution(inputs, outputs, stride), *convolution(outputs, outputs)[:2])
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.body(features) + self.shortcut(features))


def small_residual(channels: int, classes: int, width: int) -> nn.Module:
    """A 3x3 stem at full resolution and three residual blocks, each at half the resolution before."""
    return nn.Sequential(
        *convolution(channels, width),
        ResidualBlock(width, 2 * width, 2), ResidualBlock(2 * width, 4 * width, 2),
        ResidualBlock(4 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes),
    )  # fmt: skip


def resnet(channels: int, classes: int, stem: str) -> nn.Module:
    """torchvision's ResNet-18 with a stem by name.

    `imagenet`: 7x7 stride 2 and pooling (32x32 -> 8x8); `pooled_3x3`: 3x3 stride 1 and pooling (-> 16x16);
    `cifar`: 3x3 stride 1 without pooling (-> 32x32).
    """
    network = resnet18(num_classes=classes)
    if stem == "imagenet":
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    else:
        network.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
    if stem == "cifar":
        network.maxpool = nn.Identity()
    return network


def load_imagenet_weights(classifier: nn.Sequential) -> None:
    """Start a ResNet-18 of `build_classifier` from torchvision's ImageNet weights, a download checked by its hash.

    The last layer stays as it was, as does the first one with a stem of 3x3; the 7x7 stem's weights are summed over
    colours for grey images.

    Raises:
        StorageError: the weights cannot be downloaded.
    """
    try:
        given = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise StorageError(f"torchvision's ImageNet weights of ResNet-18 cannot be had ({error}); allowed without "
                           "them: initial_weights: null") from error  # fmt: skip
    own = classifier[1].state_dict()
    if own["conv1.weight"].shape[1] == 1:
        given = {**given, "conv1.weight": given["conv1.weight"].sum(1, keepdim=True)}
    classifier[1].load_state_dict({**own, **{name: value for name, value in given.items()
                                             if value.shape == own[name].shape}})  # fmt: skip


def build_classifier(
    architecture: str, channels: int, classes: int, width: int | None = None, stem: str | None = None
) -> nn.Sequential:
    """Untrained classifier: images float32 (N, C, 32, 32) in [0, 1] -> logits float32 (N, classes).

    Args:
        architecture: `small_cnn`, `vgg`, `small_residual` (all with `width`) or `resnet18` (with `stem`).
        channels: image channels, 1 or 3.
        classes: number of classes.
        width: channels of the first convolution.
        stem: `imagenet`, `pooled_3x3` or `cifar`.

    Raises:
        ValueError: the architecture is unknown.
    """
    if architecture == "resnet18":
        body = resnet(channels, classes, stem or "imagenet")
    else:
        builders = {"small_cnn": small_cnn, "vgg": vgg, "small_residual": small_residual}
        if architecture not in builders or width is None:
            raise ValueError(f"no classifier {architecture!r} of width {width}")
        body = builders[architecture](channels, classes, width)
    return nn.Sequential(Normalise(channels), body)


class VAE(nn.Module):
    """Convolutional variational autoencoder of 32x32 images.

    The paper's encoder is four convolutions of kernel 4, stride 2, padding 1 and a linear layer to mean and
    log-variance; the decoder is its mirror [code]. There each has 64 channels; here they have `width`, twice, four
    and four times as many. `scale` is the logarithm of the Gaussian likelihood's standard deviation, learnt in
    `train_vae`; other likelihoods leave it alone.
    """

    def __init__(self, channels: int, latent_dim: int, width: int, batch_norm: bool):
        super().__init__()

        def activation(outputs: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]

        widths = [width, 2 * width, 4 * width, 4 * width]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths], widths):
            down += [nn.Conv2d(inputs, outputs, 4, 2, 1), *activation(outputs)]
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1]):
            up += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *activation(outputs)]
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(4 * widths[-1], 2 * latent_dim))
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, 4 * widths[-1]), nn.Unflatten(1, (widths[-1], 2, 2)),
            *up, nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )  # fmt: skip
        self.scale: Tensor
        self.register_buffer("scale", torch.zeros(()))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior of images (N, C, 32, 32): mean and log-variance, each (N, latent_dim)."""
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def decode_logits(self, codes: Tensor) -> Tensor:
        """Decoder output before the sigmoid, (N, C, 32, 32)."""
        return self.decoder(codes).float()

    def decode(self, codes: Tensor) -> Tensor:
        """Images in [0, 1] of latent codes (N, latent_dim)."""
        return torch.sigmoid(self.decode_logits(codes))


class SubpixelConvolution(nn.Module):
    """A transposed convolution of kernel 4, stride 2 and padding 1 as one 3x3 convolution and a rearrangement.

    Each of the 2x2 outputs of a pixel sees 2x2 of the 16 weights (Shi et al. 2016, arXiv 1609.07009), so the numbers
    are the same up to rounding, while kernels for plain convolutions are the faster ones.

    Args:
        transposed: the layer to stand for; its weights are copied.
    """

    def __init__(self, transposed: nn.ConvTranspose2d):
        super().__init__()
        assert transposed.bias is not None
        inputs, self.outputs = transposed.weight.shape[:2]
        # Row of the kernel that output row 0 and 1 of a pixel see in the rows above, at and below it; 4: none.
        row = torch.tensor([[3, 1, 4], [4, 2, 0]])
        padded = functional.pad(transposed.weight.detach(), (0, 1, 0, 1))
        weight = padded[:, :, row][..., row].permute(2, 4, 1, 0, 3, 5)
        self.convolution = nn.Conv2d(inputs, 4 * self.outputs, 3, padding=1)
        self.convolution.weight = nn.Parameter(weight.reshape(4 * self.outputs, inputs, 3, 3))
        self.convolution.bias = nn.Parameter(transposed.bias.detach().repeat(4))

    def forward(self, features: Tensor) -> Tensor:
        count, _, height, width = features.shape
        parts = self.convolution(features).permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, self.outputs)
        return parts.transpose(2, 3).reshape(count, 2 * height, 2 * width, self.outputs).permute(0, 3, 1, 2)


def decode_and_classify(vae: VAE, classifier: nn.Module) -> nn.Sequential:
    """One network from latent codes (N, latent_dim) to logits (N, classes), for the search: copies, made to be fast."""
    with torch.random.fork_rng():  # the initial weights are replaced, their draws must leave no trace
        decoder = [SubpixelConvolution(layer) if isinstance(layer, nn.ConvTranspose2d) else copy.deepcopy(layer)
                   for layer in vae.decoder]  # fmt: skip
    return nn.Sequential(nn.Sequential(*decoder), nn.Sigmoid(), copy.deepcopy(classifier)).eval()


def save_network(path: Path, network: nn.Module, **description: Any) -> None:
    """Write a network with the arguments that built it: `build_classifier`'s or `VAE`'s."""
    save_weights(path, network.state_dict(), description)


def misfit(network: nn.Module, weights: dict[str, Tensor]) -> str | None:
    """The first thing by which `weights` are not this network's, or no numbers; None where they are."""
    expected = network.state_dict()
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            return f"{name} is {'missing' if name in expected else 'unknown'}"
        held, needed = weights[name], expected[name]
        if (held.shape, held.dtype) != (needed.shape, needed.dtype):
            return f"{name} is {held.dtype} {tuple(held.shape)}; allowed: {needed.dtype} {tuple(needed.shape)}"
        if not held.isfinite().all():
            return f"{name} holds NaN or infinity; allowed: finite numbers"
    return None


def load_network(path: Path, build: Any, **expected: Any) -> Any:
    """Rebuild a network with `build` (`build_classifier` or `VAE`), on the CPU, in evaluation mode.

    Args:
        expected: arguments of `build` that the file's network must have, for example `channels=1`.

    Raises:
        StorageError: missing or damaged file, weights that do not fit the network or are not finite, or another
            network than expected.
    """
    weights, description = load_weights(path)
    try:
        with torch.random.fork_rng():  # the initial weights are replaced, their draws must leave no trace
            network = build(**description)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path}: weights of another network ({error})") from error
    for name, value in expected.items():
        if description[name] != value:
            raise StorageError(f"{path}: weights of another network ({name} is {description[name]}; allowed: {value})")
    problem = misfit(network, weights)
    if problem:
        raise StorageError(f"{path}: weights of another network ({problem})")
    network.load_state_dict(weights)
    return network.eval()
