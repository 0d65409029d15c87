"""Images as bytes, as files and pages hold them, and as numbers in [0, 1], as networks take them."""

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

Pixels = Float32[Tensor, "images channels height width"] | UInt8[Tensor, "images channels height width"]


def to_bytes(
    images: Float32[Tensor, "images channels height width"],
) -> UInt8[np.ndarray, "images height width channels"]:
    """Images in [0, 1] as bytes, channels last."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def from_bytes(
    images: UInt8[np.ndarray, "images height width channels"],
) -> Float32[Tensor, "images channels height width"]:
    """Images in [0, 1] of bytes."""
    return in_unit_range(channels_first(images).contiguous())


def channels_first(
    images: UInt8[np.ndarray, "images height width channels"],
) -> UInt8[Tensor, "images channels height width"]:
    """The same bytes as a tensor, channels first."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def in_unit_range(images: Float32[Tensor, "*shape"] | UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Images in [0, 1], of bytes or of numbers that are so already."""
    return images.float().div(255) if images.dtype == torch.uint8 else images
