"""Decoder and classifier as one fast network, for the search."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from defuse.models.autoencoder import VAE


class SubpixelConvolution(nn.Module):
    """A transposed convolution of kernel 4, stride 2 and padding 1 as one 3x3 convolution and a rearrangement.

    Each of the 2x2 outputs of a pixel sees 2x2 of the 16 weights (Shi et al. 2016, arXiv 1609.07009), so the numbers
    are the same up to rounding, while kernels for plain convolutions are the faster ones.

    Args:
        transposed: the layer to stand for; its weights are copied.
    """

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        """Rearrange the weights of `transposed`."""
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

    def forward(
        self, features: Float[Tensor, "images inputs height width"]
    ) -> Float[Tensor, "images outputs 2*height 2*width"]:
        """Features at twice the resolution."""
        count, _, height, width = features.shape
        parts = self.convolution(features).permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, self.outputs)
        return parts.transpose(2, 3).reshape(count, 2 * height, 2 * width, self.outputs).permute(0, 3, 1, 2)


class AsItIs(nn.Module):
    """A classifier that is called in the search, in float32, and is no part of it: no copy, cast or move reaches it.

    Args:
        classifier: in evaluation mode, and moves images to its own device.
    """

    def __init__(self, classifier: nn.Module) -> None:
        """Keep the classifier where torch does not look for modules."""
        super().__init__()
        self.held = (classifier,)

    def forward(self, images: Float[Tensor, "images channels height width"]) -> Float[Tensor, "images classes"]:
        """Its logits."""
        return self.held[0](images.float())


def decode_and_classify(vae: VAE, classifier: nn.Module) -> nn.Sequential:
    """One network from latent codes (N, latent_dim) to logits (N, classes), for the search: copies, made to be fast.

    A classifier with a true attribute `stays_as_it_is` (a user's own) is called and not copied.
    """
    with torch.random.fork_rng():  # the initial weights are replaced, their draws must leave no trace
        decoder = [
            SubpixelConvolution(layer) if isinstance(layer, nn.ConvTranspose2d) else copy.deepcopy(layer)
            for layer in vae.decoder
        ]
    classify = AsItIs(classifier) if getattr(classifier, "stays_as_it_is", False) else copy.deepcopy(classifier)
    return nn.Sequential(nn.Sequential(*decoder), nn.Sigmoid(), classify).eval()
