"""The feature term of the autoencoder's loss: how far a reconstruction is from its image in a classifier's layers."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

SILENT = 1e-12  # in place of a smaller mean square: a layer that is 0 on every image tells nothing


class FeatureLayers(nn.Module):
    """What the three convolution blocks of a vgg give out, before pooling, by the vgg's own modules.

    The vgg is frozen: in evaluation mode, and no gradient reaches its weights.
    """

    def __init__(self, classifier: nn.Sequential) -> None:
        """Freeze `classifier`, a vgg of `build_classifier`."""
        super().__init__()
        self.normalise, body = classifier.requires_grad_(False)
        assert isinstance(body, nn.Sequential)
        self.blocks = body[:-3]  # without the pooling to one place, its flattening and the linear layer
        self.eval()

    def forward(
        self, images: Float[Tensor, "images channels height width"]
    ) -> tuple[
        Float[Tensor, "images first height width"],
        Float[Tensor, "images second half half_width"],
        Float[Tensor, "images third quarter quarter_width"],
    ]:
        """Activations of each block, of images in [0, 1]."""
        activations, layers = self.normalise(images), []
        for module in self.blocks:
            if isinstance(module, nn.MaxPool2d):
                layers.append(activations)
            activations = module(activations)
        return layers[0], layers[1], activations


def feature_squares(
    features: nn.Module,
    reconstructed: Float32[Tensor, "images channels height width"],
    images: Float32[Tensor, "images channels height width"],
) -> tuple[Float32[Tensor, "images layers"], Float32[Tensor, "images layers"]]:
    """Mean over each layer of |f(reconstruction) - f(image)|^2, and of |f(image)|^2, for each image.

    The gradient flows only into the reconstructions.

    Args:
        features: f, `FeatureLayers`.
        reconstructed: in [0, 1].
        images: in [0, 1].
    """

    def mean_squares(layers: Iterable[Tensor]) -> Tensor:
        return torch.stack([layer.square().mean((1, 2, 3)) for layer in layers], 1)

    with torch.no_grad():
        aims = [layer.float() for layer in features(images)]
    differences = [layer.float() - aim for layer, aim in zip(features(reconstructed), aims)]
    return mean_squares(differences), mean_squares(aims)


def feature_distance(
    differences: Float32[Tensor, "images layers"], squares: Float32[Tensor, "images layers"]
) -> Float32[Tensor, "images"]:
    """Sum over layers of |f(reconstruction) - f(image)|^2 / |f(image)|^2, the denominator a mean over all images.

    Args:
        differences: numerators, of `feature_squares`.
        squares: denominators of each image.
    """
    return (differences / squares.mean(0).clamp_min(SILENT)).sum(1)
