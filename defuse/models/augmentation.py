"""Label-keeping augmentation, drawn per image and applied to a whole batch at once.

torchvision's transforms draw one set of values per call, that is per batch; calling them per image costs more
than the networks that they feed.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from defuse.core.params import Augmentation

ELASTIC_GRID = 4
BLUR_SIGMA = 0.8  # pixels


def warp(
    images: Float32[Tensor, "images channels height width"],
    settings: Augmentation,
    uniform: Callable[..., Tensor],
    generator: torch.Generator,
) -> Float32[Tensor, "images channels height width"]:
    """Rotated, scaled, shifted and elastically bent images; `uniform` draws from [-1, 1]."""
    count, _, height, _ = images.shape
    angle = uniform(count) * math.radians(settings.rotation)
    factor = 1 + uniform(count) * settings.scaling
    affine = torch.stack(
        [
            torch.stack([angle.cos() * factor, -angle.sin() * factor], 1),
            torch.stack([angle.sin() * factor, angle.cos() * factor], 1),
        ],
        1,
    )
    shift = uniform(count, 2, 1) * 2 * settings.translation
    grid = functional.affine_grid(torch.cat([affine, shift], 2), list(images.shape), align_corners=False)
    if settings.elastic > 0:
        coarse = torch.randn((count, 2, ELASTIC_GRID, ELASTIC_GRID), generator=generator).to(images.device)
        displacement = functional.interpolate(
            coarse * settings.elastic * 2 / height, size=images.shape[2:], mode="bicubic", align_corners=True
        )
        grid = grid + displacement.permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blur(
    images: Float[Tensor, "images channels height width"],
) -> Float[Tensor, "images channels height width"]:
    """Images under a Gaussian of 3x3 pixels, borders reflected: torchvision's `gaussian_blur`."""
    channels = images.shape[1]
    # In torchvision's order of operations, so that the bytes are the same.
    offsets = torch.linspace(-1 / math.sqrt(2), 1 / math.sqrt(2), 3, dtype=images.dtype, device=images.device)
    weights = torch.softmax(-((offsets / BLUR_SIGMA) ** 2), 0)
    kernel = (weights[:, None] * weights).expand(channels, 1, 3, 3)
    return functional.conv2d(functional.pad(images, [1, 1, 1, 1], mode="reflect"), kernel, groups=channels)


def augment(
    images: Float32[Tensor, "images channels height width"], settings: Augmentation, generator: torch.Generator
) -> Float32[Tensor, "images channels height width"]:
    """Distort each image on its own; settings at zero leave it as it is. Mirroring is never drawn.

    Args:
        images: in [0, 1].
        settings: rotation (degrees, uniform up to +-), translation (share of the side), scaling (relative),
            elastic (displacement in pixels, standard deviation on a coarse grid), blur (share of images
            blurred), contrast (relative) and brightness (absolute).
        generator: CPU generator of all draws.

    Returns:
        The images, in [0, 1].
    """
    count = len(images)

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1).to(images.device)

    if settings.rotation > 0 or settings.translation > 0 or settings.scaling > 0 or settings.elastic > 0:
        images = warp(images, settings, uniform, generator)
    if settings.blur > 0:
        chosen = (uniform(count, 1, 1, 1) + 1) / 2 < settings.blur
        images = torch.where(chosen, blur(images), images)
    if settings.contrast > 0 or settings.brightness > 0:
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        contrast = 1 + uniform(count, 1, 1, 1) * settings.contrast
        images = (images - middle) * contrast + middle + uniform(count, 1, 1, 1) * settings.brightness
    return images.clamp(0, 1)
