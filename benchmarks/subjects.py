"""The networks that are measured: those of MNIST and GTSRB in params.yaml, trained for seconds on embedded digits."""

import numpy as np
import torch
from torch import Tensor, nn

from defuse.core.params import Settings
from defuse.core.random_streams import Streams
from defuse.data.prepared import CLASSES
from defuse.data.sources import read_digits
from defuse.data.splits import prepare_arrays, split_validation
from defuse.method.identification import Seeds, prepare_seeds
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, to_machine
from defuse.models.subject import Subject
from defuse.models.training import train_classifier

SIZES = ("mnist", "gtsrb")
EPOCHS = {"classifier": 8, "vae": 20}


def digits(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test images float32 (N, channels, 32, 32) with labels int64 (N,), of scikit-learn's digits."""
    source = read_digits(0.25, 0)
    arrays = prepare_arrays(source, split_validation(source, 0.1, 0))
    parts = []
    for split in ("train", "test"):
        images = torch.from_numpy(arrays[f"x_{split}"]).permute(0, 3, 1, 2).float().div_(255)
        parts += [images.expand(-1, channels, -1, -1).contiguous(), torch.from_numpy(arrays[f"y_{split}"])]
    return tuple(parts)


def untrained(settings: Settings, size: str, seed: int = 0) -> tuple[nn.Module, VAE]:
    """The classifier and the VAE that params.yaml gives for a data set, with `seed`'s first weights."""
    channels = 1 if size == "mnist" else 3
    vae = settings.train_vae[size]
    with Streams(seed).seeding_torch("benchmarks", size):
        classifier = build_classifier(
            **settings.train_classifier[size].network.model_dump(), channels=channels, classes=CLASSES[size]
        )
        return classifier, VAE(channels, vae.latent_dim, vae.width, vae.batch_norm)


def trained(settings: Settings, size: str, machine: Machine) -> tuple[Subject, Seeds]:
    """Both networks of one size, trained, and the digits as seed images.

    About ten seconds on a core for MNIST's, a minute for GTSRB's.
    """
    classifier, vae = untrained(settings, size)
    images, labels, *test = digits(vae.decoder[-1].out_channels)
    chosen = settings.train_classifier[size].model_copy(update={"epochs": EPOCHS["classifier"]})
    train_classifier(
        classifier,
        (images, labels),
        tuple(test),
        chosen,
        machine,
        Streams(0).torch("benchmarks", size),
        f"classifier of {size}'s size",
    )
    without = {"epochs": EPOCHS["vae"], "warmup_share": 0.0, "feature_weight": 0.0}  # there are no features of digits
    chosen = settings.train_vae[size].model_copy(update=without)
    streams = Streams(0).within("benchmarks", size)
    train_vae(
        vae,
        images,
        test[0],
        chosen,
        machine,
        streams.torch(),
        streams.integer("validation"),
        f"VAE of {size}'s size",
    )
    subject = Subject(classifier, vae, machine)
    return subject, prepare_seeds(subject, images, labels)


def loaded(settings: Settings, size: str, machine: Machine, seeds: int) -> tuple[Subject, Seeds]:
    """Untrained networks and `seeds` random codes of class 0: for time and memory alone."""
    classifier, vae = (to_machine(network.eval(), machine) for network in untrained(settings, size))
    generator = np.random.default_rng(0)
    mean = generator.standard_normal((seeds, vae.latent_dim)).astype(np.float32)
    label = np.zeros(seeds, np.int64)
    codes = Seeds(np.arange(seeds), label, mean, np.full_like(mean, 0.1), label, label)
    return Subject(classifier, vae, machine), codes
