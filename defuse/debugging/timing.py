"""How long a run will take, from the first batches of everything."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from defuse.core.errors import StorageError
from defuse.debugging.searching import find_all, search_parts
from defuse.debugging.training import CHECKER, FEATURES, VAE_NAME, Trainings
from defuse.models.autoencoder import VAE
from defuse.models.own_classifier import OwnClassifier
from defuse.models.subject import Subject
from defuse.models.training import training_steps
from defuse.models.weights import load_weights

log = logging.getLogger(__name__)

TIMED_BATCHES = 4  # of a training
TIMED_SEEDS = 16  # searched around


def say_how_long(trainings: Trainings, classifier: OwnClassifier) -> None:
    """Say how long the run will still take, from the first batches of everything; what is there takes no time."""
    settings = trainings.settings
    features = trainings.untrained_features() if settings.train_vae.feature_weight else None
    seconds = {
        FEATURES: seconds_of(trainings, FEATURES) if features else 0.0,
        VAE_NAME: seconds_of(trainings, VAE_NAME, features),
        CHECKER: seconds_of(trainings, CHECKER) if settings.search.checker else 0.0,
        "search": search_seconds(trainings, classifier),
    }
    parts = ", ".join(f"{name} {spoken(number)}" for name, number in seconds.items() if number)
    log.info("this will take about %s (%s)", spoken(sum(seconds.values())), parts)


def spoken(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def search_seconds(trainings: Trainings, classifier: OwnClassifier) -> float:
    """How long the search will take, by that around a few images with an untrained autoencoder."""
    vae = trainings.untrained(VAE_NAME)[0].to(trainings.machine.device).eval()
    assert isinstance(vae, VAE)
    subject, settings = Subject(classifier, vae, trainings.machine), trainings.settings
    images, labels = (part[:TIMED_SEEDS] for part in trainings.training)
    seeds = min(settings.max_seed_images or len(trainings.training[1]), len(trainings.training[1]))
    parts, done = len(search_parts(settings, seeds)), len(list(trainings.folder.checkpoints.glob("search-*.npz")))
    seconds = timed(lambda: find_all(subject, images, labels, settings, trainings.streams))
    return seconds * seeds / len(labels) * (1 - done / parts)


def seconds_of(trainings: Trainings, name: str, features: nn.Module | None = None) -> float:
    """How long a training will still take, by its first batches; 0 where the network lies in the folder."""
    if trainings.folder.network(name).exists():
        return 0.0
    settings = trainings.settings_of(name)
    images, once = TIMED_BATCHES * settings.batch_size, settings.model_copy(update={"epochs": 1})
    few = replace(
        trainings,
        training=(trainings.training[0][:images], trainings.training[1][:images]),
        validation=(trainings.validation[0][:1], trainings.validation[1][:1]),
    )
    left = training_steps(settings, len(trainings.training[1])) * (1 - epochs_done(trainings, name) / settings.epochs)
    return left * timed(lambda: few.train(name, once, features, None)) / training_steps(once, len(few.training[1]))


def epochs_done(trainings: Trainings, name: str) -> int:
    """Epochs of an interrupted training that its checkpoint has."""
    try:
        return len(json.loads(load_weights(trainings.checkpoint(name))[1]["curve"]))
    except (StorageError, KeyError):
        return 0


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
