"""Identification: search the latent codes around seed images for mistakes (paper, identification step)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from defuse import params
from defuse.networks import VAE
from defuse.randomness import item_generator
from defuse.training import predict
from defuse.vae import decode, encode


@dataclass(frozen=True)
class Seeds:
    """Seed images in latent space, and what the classifier says before any noise.

    Attributes:
        index: int64 (N,), number of the image in its split.
        label: int64 (N,), its true label.
        mean: float32 (N, latent_dim), posterior mean.
        deviation: float32 (N, latent_dim), posterior standard deviation.
        raw_prediction: int64 (N,), the classifier on the image itself.
        reconstruction_prediction: int64 (N,), the classifier on the image decoded from `mean`: the control.
    """

    index: np.ndarray
    label: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    raw_prediction: np.ndarray
    reconstruction_prediction: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Boolean (N,): right both raw and reconstructed."""
        return (self.raw_prediction == self.label) & (self.reconstruction_prediction == self.label)

    def take(self, chosen: np.ndarray) -> "Seeds":
        """The seeds at positions `chosen` (int64 or boolean)."""
        return Seeds(**{name: array[chosen] for name, array in vars(self).items()})


@dataclass(frozen=True)
class Mistakes:
    """Perturbed codes whose decoded image the classifier gets wrong.

    Attributes:
        seed_index, label, prediction: int64 (M,); the label is the seed image's.
        noise_norm: float32 (M,), L2 norm of the noise added to the code.
        codes: float32 (M, latent_dim), what was decoded.
        reconstruction_failure: bool (M,), the seed's plain reconstruction was already wrong.
        draws: int, codes that were decoded and classified in all.
        wrong_draws: int, those that were wrong, kept or not.
    """

    seed_index: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    noise_norm: np.ndarray
    codes: np.ndarray
    reconstruction_failure: np.ndarray
    draws: int
    wrong_draws: int


def prepare_seeds(vae: VAE, classifier: nn.Module, images: Tensor, labels: Tensor) -> Seeds:
    """Encode each image once and classify it raw and reconstructed.

    Args:
        images: float32 (N, C, 32, 32) in [0, 1].
        labels: int64 (N,).
    """
    mean, deviation = encode(vae, images)
    # In parts, so that no second copy of the data set is held.
    reconstructed = [predict(classifier, decode(vae, part)).argmax(1) for part in mean.split(4096)]
    return Seeds(
        np.arange(len(labels)), labels.numpy(), mean.numpy(), deviation.numpy(),
        predict(classifier, images).argmax(1).numpy(), torch.cat(reconstructed).numpy(),
    )  # fmt: skip


def draw_noise(
    noise: params.Noise, draws: int, deviation: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Noise for one seed image, float32 (draws, latent_dim).

    Args:
        noise: `beta` draws each coordinate from Beta(concentration, concentration), minus 0.5 if centred (the
            released code does not centre it); `normal` from N(0, scale^2); `posterior` from
            N(0, (scale * deviation)^2).
        draws: number of perturbations.
        deviation: float32 (latent_dim,), the seed's posterior standard deviation.
        generator: the seed image's own.
    """
    shape = (draws, len(deviation))
    if noise.distribution == "beta":
        drawn = generator.beta(noise.concentration, noise.concentration, shape)
        drawn -= 0.5 if noise.centred else 0.0
    else:
        drawn = noise.scale * generator.standard_normal(shape)
        if noise.distribution == "posterior":
            drawn *= deviation
    return drawn.astype(np.float32)


def perturb(seeds: Seeds, noise: params.Noise, draws: int, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Perturbed codes float32 (N, draws, latent_dim) and noise norms float32 (N, draws).

    Each seed image draws from its own counter-based stream, so the batch it falls into changes nothing.
    """
    drawn = np.stack([
        draw_noise(noise, draws, deviation, item_generator(key, int(index)))
        for index, deviation in zip(seeds.index, seeds.deviation)
    ])  # fmt: skip
    return seeds.mean[:, None] + drawn, np.linalg.norm(drawn, axis=2)


def find_mistakes(
    vae: VAE,
    classifier: nn.Module,
    seeds: Seeds,
    noise: params.Noise,
    draws: int,
    keep: int,
    batch_size: int,
    key: np.ndarray,
    description: str,
) -> Mistakes:
    """Perturb, decode and classify; keep at most `keep` mistakes per seed, those of smallest noise norm.

    Args:
        seeds: from `prepare_seeds`; without any there is no mistake.
        noise: distribution of the perturbations.
        draws: perturbations per seed image (Q in the paper).
        keep: most mistakes kept per seed image.
        batch_size: decoded images held at once. It bounds the memory and not the result, up to ties of
            logits in the last bit.
        key: uint64 (2,) of the noise streams.
        description: shown by the progress bar.
    """
    per_batch = max(1, batch_size // draws)
    nothing, no_code = np.zeros(0, np.int64), np.zeros((0, seeds.mean.shape[1]), np.float32)
    parts = [(nothing, nothing, nothing, np.zeros(0, np.float32), no_code, np.zeros(0, bool))]
    wrong_draws = 0
    with tqdm(total=len(seeds.label), desc=description, unit="seed", disable=None, leave=False) as progress:
        for start in range(0, len(seeds.label), per_batch):
            batch = seeds.take(np.arange(start, min(start + per_batch, len(seeds.label))))
            codes, norms = perturb(batch, noise, draws, key)
            flat = torch.from_numpy(codes.reshape(-1, codes.shape[2]))
            predictions = predict(classifier, decode(vae, flat)).argmax(1).numpy().reshape(norms.shape)
            wrong = predictions != batch.label[:, None]
            wrong_draws += int(wrong.sum())
            order = np.argsort(np.where(wrong, norms, np.inf), axis=1, kind="stable")[:, :keep]
            row = np.arange(len(order))[:, None]
            kept = wrong[row, order]
            seed_row = np.broadcast_to(row, order.shape)[kept]
            parts.append((batch.index[seed_row], batch.label[seed_row], predictions[row, order][kept],
                          norms[row, order][kept], codes[row, order][kept],
                          batch.reconstruction_prediction[seed_row] != batch.label[seed_row]))
            progress.update(len(order))
    columns = [np.concatenate(column) for column in zip(*parts)]
    return Mistakes(*columns, draws=len(seeds.label) * draws, wrong_draws=wrong_draws)
