"""The networks of classifiers and oracles. Images are in [0, 1]."""

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from defuse.core.errors import StorageError


class Normalise(nn.Module):
    """Shift and scale each channel, so that decoded and real images take the same way in."""

    def __init__(self, channels: int) -> None:
        """Leave images of `channels` channels as they are, until `fit`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, images: Float32[Tensor, "images channels height width"]) -> None:
        """Take mean and standard deviation per channel of `images`."""
        self.mean = images.mean(dim=(0, 2, 3))
        self.std = images.std(dim=(0, 2, 3)).clamp_min(1e-3)

    def forward(
        self, images: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images channels height width"]:
        """The images, shifted and scaled."""
        return (images - self.mean[:, None, None]) / self.std[:, None, None]


def small_cnn(channels: int, classes: int, width: int) -> nn.Module:
    """Two convolutions with pooling and two linear layers, as in the paper's MNIST classifier."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 64, 8 * width),
        nn.ReLU(),
        nn.Linear(8 * width, classes),
    )


def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def vgg(channels: int, classes: int, width: int) -> nn.Module:
    """Three scales of two 3x3 convolutions with batch norm, then global average pooling."""
    return nn.Sequential(
        *convolution(channels, width),
        *convolution(width, width),
        nn.MaxPool2d(2),
        *convolution(width, 2 * width),
        *convolution(2 * width, 2 * width),
        nn.MaxPool2d(2),
        *convolution(2 * width, 4 * width),
        *convolution(4 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a 1x1 shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Build a block from `inputs` to `outputs` channels, at a resolution lower by `stride`."""
        super().__init__()
        self.body = nn.Sequential(*convolution(inputs, outputs, stride), *convolution(outputs, outputs)[:2])
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(
        self, features: Float[Tensor, "images inputs height width"]
    ) -> Float[Tensor, "images outputs lower narrower"]:
        """Features at the lower resolution."""
        return torch.relu(self.body(features) + self.shortcut(features))


def small_residual(channels: int, classes: int, width: int) -> nn.Module:
    """A 3x3 stem at full resolution and three residual blocks, each at half the resolution before."""
    return nn.Sequential(
        *convolution(channels, width),
        ResidualBlock(width, 2 * width, 2),
        ResidualBlock(2 * width, 4 * width, 2),
        ResidualBlock(4 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def resnet(channels: int, classes: int, stem: str) -> nn.Module:
    """ResNet-18 of torchvision with a stem by name.

    `imagenet`: 7x7 stride 2 and pooling (32x32 -> 8x8); `pooled_3x3`: 3x3 stride 1 and pooling (-> 16x16);
    `cifar`: 3x3 stride 1 without pooling (-> 32x32).
    """
    from torchvision.models import resnet18

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
    from torchvision.models import ResNet18_Weights

    try:
        given = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"torchvision's ImageNet weights of ResNet-18 cannot be had ({error}); allowed without "
            "them: initial_weights: null"
        ) from error
    own = classifier[1].state_dict()
    if own["conv1.weight"].shape[1] == 1:
        given = {**given, "conv1.weight": given["conv1.weight"].sum(1, keepdim=True)}
    classifier[1].load_state_dict(
        {**own, **{name: value for name, value in given.items() if value.shape == own[name].shape}}
    )


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
