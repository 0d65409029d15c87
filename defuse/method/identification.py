"""Identification: search the latent codes around seed images for mistakes (paper, identification step)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt64
from torch import Tensor, nn
from tqdm import tqdm

from defuse.core import params
from defuse.core.errors import SearchError
from defuse.core.random_streams import item_generator
from defuse.models.evaluation import decode, encode, predict
from defuse.models.machine import device_of
from defuse.models.subject import Subject

COMPARED_DRAWS = 1024  # in both precisions, before a search
CANDIDATES = 2  # times what is kept, so that the next nearest replaces what float32 gets right
BATCHES_AT_ONCE = 16  # whose noise is drawn and whose mistakes are picked together
# Codes in one pass where the params say `auto`: the fastest of 64 to 1,024 on the CPU; large enough to fill a GPU.
SEARCH_BATCH = {"cpu": 256, "cuda": 8192}


@dataclass(frozen=True)
class Seeds:
    """Seed images in latent space, and what the classifier says before any noise.

    Attributes:
        index: number of the image in its split.
        label: its true label.
        mean: posterior mean.
        deviation: posterior standard deviation.
        raw_prediction: the classifier on the image itself.
        reconstruction_prediction: the classifier on the image decoded from `mean`: the control.
    """

    index: Int64[np.ndarray, "seeds"]
    label: Int64[np.ndarray, "seeds"]
    mean: Float32[np.ndarray, "seeds latent"]
    deviation: Float32[np.ndarray, "seeds latent"]
    raw_prediction: Int64[np.ndarray, "seeds"]
    reconstruction_prediction: Int64[np.ndarray, "seeds"]

    @property
    def correct(self) -> Bool[np.ndarray, "seeds"]:
        """Which seed images are right both raw and reconstructed."""
        return (self.raw_prediction == self.label) & (self.reconstruction_prediction == self.label)

    @property
    def reconstruction_failure(self) -> Bool[np.ndarray, "seeds"]:
        """Which seed images are right raw and wrong reconstructed: the VAE's doing (design decision 8)."""
        return (self.raw_prediction == self.label) & (self.reconstruction_prediction != self.label)

    def take(self, chosen: Int64[np.ndarray, "chosen"] | Bool[np.ndarray, "seeds"] | slice) -> "Seeds":
        """The seeds at positions `chosen`."""
        return Seeds(**{name: array[chosen] for name, array in vars(self).items()})


@dataclass(frozen=True)
class Mistakes:
    """Perturbed codes whose decoded image the classifier gets wrong.

    Attributes:
        seed_index: `index` of the seed image.
        label: the seed image's.
        prediction: the classifier's.
        noise_norm: L2 norm of the noise added to the code.
        codes: what was decoded.
        raw_failure: the seed image itself is wrong: a known error of the classifier.
        reconstruction_failure: the seed image is right, its plain reconstruction wrong: the VAE's doing.
        draws: codes that were decoded and classified in all.
        wrong_draws: those that were wrong at the search's precision, kept or not.
        doubtful: candidates that were classified again in float32.
        dropped: those of the doubtful that float32 gets right.
    """

    seed_index: Int64[np.ndarray, "mistakes"]
    label: Int64[np.ndarray, "mistakes"]
    prediction: Int64[np.ndarray, "mistakes"]
    noise_norm: Float32[np.ndarray, "mistakes"]
    codes: Float32[np.ndarray, "mistakes latent"]
    raw_failure: Bool[np.ndarray, "mistakes"]
    reconstruction_failure: Bool[np.ndarray, "mistakes"]
    draws: int
    wrong_draws: int
    doubtful: int
    dropped: int

    def take(self, chosen: Int64[np.ndarray, "chosen"] | Bool[np.ndarray, "mistakes"]) -> "Mistakes":
        """The mistakes at positions `chosen`, of the same search: its counts stay."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in PER_MISTAKE})


PER_MISTAKE = ("seed_index", "label", "prediction", "noise_norm", "codes", "raw_failure", "reconstruction_failure")
COUNTS = ("draws", "wrong_draws", "doubtful", "dropped")


def join_mistakes(searches: Sequence[Mistakes]) -> Mistakes:
    """The mistakes of several searches, at least one, after each other; their counts added up."""
    joined: dict[str, Any] = {name: sum(getattr(found, name) for found in searches) for name in COUNTS}
    joined |= {name: np.concatenate([getattr(found, name) for found in searches]) for name in PER_MISTAKE}
    return Mistakes(**joined)


def decoded_predictions(subject: Subject, codes: Float32[Tensor, "codes latent"]) -> Int64[np.ndarray, "codes"]:
    """Classes of the images decoded from codes, in float32."""
    # In parts, so that no second copy of a data set is held.
    parts = [predict(subject.classifier, decode(subject.vae, part)).argmax(1) for part in codes.split(4096)]
    return torch.cat(parts).numpy()


def reconstructed_accuracy(
    subject: Subject, images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"]
) -> float:
    """Share of plain reconstructions that the classifier gets right, among images that it gets right; NaN without any.

    Args:
        subject: classifier and VAE.
        images: in [0, 1].
        labels: the true ones.
    """
    right = predict(subject.classifier, images).argmax(1) == labels
    if not right.any():
        return float("nan")
    reconstructed = decoded_predictions(subject, encode(subject.vae, images[right])[0])
    return float((reconstructed == labels[right].numpy()).mean())


def prepare_seeds(
    subject: Subject, images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"]
) -> Seeds:
    """Encode each image once and classify it raw and reconstructed.

    Args:
        subject: classifier and VAE.
        images: in [0, 1].
        labels: the true ones.
    """
    mean, deviation = encode(subject.vae, images)
    return Seeds(
        np.arange(len(labels)),
        labels.numpy(),
        mean.numpy(),
        deviation.numpy(),
        predict(subject.classifier, images).argmax(1).numpy(),
        decoded_predictions(subject, mean),
    )


def draw_noise(
    noise: params.Noise, draws: int, deviation: Float[np.ndarray, "latent"], generator: np.random.Generator
) -> Float32[np.ndarray, "{draws} latent"]:
    """Noise for one seed image.

    Args:
        noise: with its parameter p, `beta` draws each coordinate from Beta(p, p), whose mean of 0.5 the released code
            keeps; `beta_centred` from the same minus 0.5; `normal` from N(0, p^2); `posterior` from
            N(0, (p * deviation)^2).
        draws: number of perturbations.
        deviation: the seed's posterior standard deviation.
        generator: the seed image's own.
    """
    shape = (draws, len(deviation))
    if noise.distribution in ("beta", "beta_centred"):
        drawn = generator.beta(noise.parameter, noise.parameter, shape)
        drawn -= 0.5 if noise.distribution == "beta_centred" else 0.0
    else:
        drawn = noise.parameter * generator.standard_normal(shape)
        if noise.distribution == "posterior":
            drawn *= deviation
    return drawn.astype(np.float32)


def perturb(
    seeds: Seeds, noise: params.Noise, draws: int, key: UInt64[np.ndarray, "2"]
) -> tuple[Float32[np.ndarray, "seeds {draws} latent"], Float32[np.ndarray, "seeds {draws}"]]:
    """Perturbed codes and noise norms.

    Each seed image draws from its own counter-based stream, so the batch it falls into changes nothing.

    Raises:
        SearchError: the noise is beyond float32.
    """
    drawn = np.empty((len(seeds.index), draws, seeds.mean.shape[1]), np.float32)
    with np.errstate(over="ignore"):  # said below
        for position, (index, deviation) in enumerate(zip(seeds.index, seeds.deviation)):
            drawn[position] = draw_noise(noise, draws, deviation, item_generator(key, int(index)))
        norms = np.linalg.norm(drawn, axis=2)
    if not np.isfinite(norms).all():
        raise SearchError(f"the noise {noise} leads beyond float32; allowed: a smaller one")
    return seeds.mean[:, None] + drawn, norms


@torch.inference_mode()
def search_logits(
    network: nn.Module, codes: Float32[np.ndarray, "codes latent"], batch_size: int
) -> Float32[Tensor, "codes classes"]:
    """Logits, on its device, that a subject's `search_network` gives codes."""
    weights = next(network.parameters())
    parts = torch.from_numpy(codes).split(batch_size)
    return torch.cat([network(part.to(weights.device, weights.dtype)) for part in parts]).float()


def classes_and_gaps(
    logits: Float32[Tensor, "codes classes"],
) -> tuple[Int64[np.ndarray, "codes"], Float32[np.ndarray, "codes"]]:
    """Highest class, and its lead over the next one as a share of the logits' range."""
    highest = logits.topk(min(2, logits.shape[1]), dim=1)
    gap = (highest.values[:, 0] - highest.values[:, -1]) / (logits.max(1).values - logits.min(1).values)
    return highest.indices[:, 0].cpu().numpy(), gap.cpu().numpy()


def doubtful_gap(logits: Float32[Tensor, "codes classes"], exact: Float32[Tensor, "codes classes"]) -> float:
    """Lead below which a class may be another one in float32: twice the largest error, as a share of the range.

    Args:
        logits: at the search's precision.
        exact: of the same codes, in float32.
    """
    spread = exact.max(1).values - exact.min(1).values
    return float(2 * ((logits - exact).abs().max(1).values / spread).max()) if len(exact) else 0.0


def nearest_wrong(
    wrong: Bool[np.ndarray, "seeds draws"], norms: Float32[np.ndarray, "seeds draws"], keep: int
) -> tuple[Int64[np.ndarray, "nearest"], Int64[np.ndarray, "nearest"]]:
    """Row and column of the at most `keep` wrong draws of smallest norm in each row."""
    order = np.argsort(np.where(wrong, norms, np.inf), axis=1, kind="stable")[:, :keep]
    rows = np.broadcast_to(np.arange(len(order))[:, None], order.shape)
    kept = wrong[rows, order]
    return rows[kept], order[kept]


def find_mistakes(
    subject: Subject,
    seeds: Seeds,
    search: params.Search,
    key: UInt64[np.ndarray, "2"],
    description: str,
    batch_size: int | Literal["auto"] = "auto",
) -> Mistakes:
    """Perturb, decode and classify; keep at most `search.keep` mistakes per seed, those of smallest noise norm.

    The draws are decoded and classified by the subject's `search_network`, at its precision. Twice as many as are
    kept are candidates. A doubtful candidate is decoded and classified again in float32, and stays only if it is
    wrong there too; `doubtful_gap` is measured on a sample of the draws.

    Args:
        subject: classifier and VAE, in float32.
        seeds: from `prepare_seeds`; without any there is no mistake.
        search: noise, draws per seed image (Q in the paper), and how many mistakes of each to keep; `seed_source` is
            not used.
        key: of the noise streams.
        description: shown by the progress bar.
        batch_size: codes decoded and classified at once; `auto` takes what the device does fastest. It bounds the
            memory; it can change which draws are wrong only where two logits are equal up to rounding.

    Raises:
        SearchError: the noise leads so far away that numbers overflow.
    """
    network, noise, draws = subject.search_network, search.noise, search.draws
    device = device_of(network)
    codes_at_once = SEARCH_BATCH[device.type] if batch_size == "auto" else batch_size
    seeds_at_once = max(1, BATCHES_AT_ONCE * codes_at_once // draws)
    sample = seeds.take(np.linspace(0, len(seeds.label) - 1, min(len(seeds.label), COMPARED_DRAWS)).astype(int))
    codes = perturb(sample, noise, 1, key)[0][:, 0]
    exact = predict(subject.classifier, decode(subject.vae, torch.from_numpy(codes)))
    if not exact.isfinite().all():
        raise SearchError(f"logits of codes with noise hold NaN or infinity ({noise}); allowed: a smaller one")
    largest_doubt = doubtful_gap(search_logits(network, codes, codes_at_once).cpu(), exact)

    nothing, wrong_draws = np.zeros(0, np.int64), 0
    parts = [(nothing, nothing, np.zeros(0, bool), np.zeros(0, np.float32), seeds.mean[:0])]
    with tqdm(total=len(seeds.label), desc=description, unit="seed", disable=None, leave=False) as progress:
        for start in range(0, len(seeds.label), seeds_at_once):
            batch = seeds.take(slice(start, start + seeds_at_once))
            codes, norms = perturb(batch, noise, draws, key)
            logits = search_logits(network, codes.reshape(-1, codes.shape[2]), codes_at_once)
            prediction, gap = (part.reshape(norms.shape) for part in classes_and_gaps(logits))
            wrong = prediction != batch.label[:, None]
            wrong_draws += int(wrong.sum())
            near = nearest_wrong(wrong, norms, CANDIDATES * search.keep)
            # Equal logits have no gap to compare (NaN), and are doubtful too.
            parts.append((start + near[0], prediction[near], ~(gap[near] > largest_doubt), norms[near], codes[near]))
            progress.update(len(batch.label))
    position, prediction, doubtful, norm, code = (np.concatenate(column) for column in zip(*parts))
    prediction[doubtful] = decoded_predictions(subject, torch.from_numpy(code[doubtful]))
    wrong = np.flatnonzero(prediction != seeds.label[position])
    # Candidates of one seed follow each other, the nearest first.
    place = np.arange(len(wrong)) - np.searchsorted(position[wrong], position[wrong])
    kept = wrong[place < search.keep]
    found = seeds.take(position[kept])
    return Mistakes(
        found.index,
        found.label,
        prediction[kept],
        norm[kept],
        code[kept],
        found.raw_prediction != found.label,
        found.reconstruction_failure,
        draws=len(seeds.label) * draws,
        wrong_draws=wrong_draws,
        doubtful=int(doubtful.sum()),
        dropped=len(position) - len(wrong),
    )
