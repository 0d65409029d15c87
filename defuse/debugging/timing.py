"""How long a run will take, from the first batches of everything."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from defuse.debugging.searching import find_all
from defuse.debugging.training import CHECKER, FEATURES, VAE_NAME, Trainings
from defuse.models.autoencoder import VAE
from defuse.models.own_classifier import OwnClassifier
from defuse.models.subject import Subject
from defuse.models.training import training_steps

log = logging.getLogger(__name__)

TIMED_BATCHES = 4  # of a training
TIMED_SEEDS = 16  # searched around


def say_how_long(trainings: Trainings, classifier: OwnClassifier) -> None:
    """Say how long the run will take, from the first batches of everything; nothing is computed again that is there."""
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
    around = (len(labels), min(settings.max_seed_images or len(trainings.training[1]), len(trainings.training[1])))
    return timed(lambda: find_all(subject, images, labels, settings, trainings.streams)) * around[1] / around[0]


def seconds_of(trainings: Trainings, name: str, features: nn.Module | None = None) -> float:
    """How long a training will take, by its first batches; 0 where the network lies in the folder."""
    if trainings.folder.network(name).exists():
        return 0.0
    settings = trainings.settings_of(name)
    images = TIMED_BATCHES * settings.batch_size
    few = replace(
        trainings,
        training=(trainings.training[0][:images], trainings.training[1][:images]),
        validation=(trainings.validation[0][:1], trainings.validation[1][:1]),
    )
    steps, once = training_steps(settings, len(trainings.training[1])), settings.model_copy(update={"epochs": 1})
    return steps * timed(lambda: few.train(name, once, features, None)) / training_steps(once, len(few.training[1]))


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
