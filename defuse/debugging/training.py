"""The run's own networks: the features, the checker and the autoencoder, each trained once and kept."""

from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

from torch import nn

from defuse.core.errors import DivergedError
from defuse.core.params_debugging import Debugging
from defuse.core.params_training import Network, TrainChecker, TrainFeatures, TrainVAE
from defuse.core.random_streams import Streams
from defuse.data.prepared import Labelled
from defuse.debugging.run_folder import RunFolder
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.classifiers import build_classifier
from defuse.models.features import FeatureLayers
from defuse.models.machine import Machine, to_machine
from defuse.models.saved_networks import load_network, save_network
from defuse.models.training import train_classifier

FEATURES, CHECKER, VAE_NAME = "features", "checker", "autoencoder"
OwnTraining = TrainFeatures | TrainChecker | TrainVAE


@dataclass(frozen=True)
class Trainings:
    """What the networks of a run are trained on, and how.

    Attributes:
        folder: of the run.
        training: images float32 (N, C, side, side) in [0, 1] and labels.
        validation: likewise.
        classes: how many there are.
        settings: of the run.
        machine: device and precision.
        streams: of all draws.
    """

    folder: RunFolder
    training: Labelled
    validation: Labelled
    classes: int
    settings: Debugging
    machine: Machine
    streams: Streams

    def settings_of(self, name: str) -> OwnTraining:
        """How a network is trained: for so many epochs that there are `minimum_steps` steps."""
        trees: dict[str, OwnTraining] = {
            FEATURES: self.settings.train_features,
            CHECKER: self.settings.train_checker,
            VAE_NAME: self.settings.train_vae,
        }
        chosen = trees[name]
        per_epoch = max(1, len(self.training[1]) // chosen.batch_size)
        return chosen.model_copy(update={"epochs": max(chosen.epochs, ceil(self.settings.minimum_steps / per_epoch))})

    def untrained(self, name: str) -> tuple[nn.Module, dict[str, Any]]:
        """A network with random weights, and the arguments that built it."""
        channels, side = self.training[0].shape[1:3]
        with self.streams.seeding_torch("weights", name):
            if name == VAE_NAME:
                chosen = self.settings.train_vae
                built = chosen.model_dump(include={"latent_dim", "width", "batch_norm"})
                built |= {"channels": channels, "side": side}
                return VAE(**built), built
            vgg = Network(architecture="vgg", width=self.settings.train_features.width, stem=None)
            network = self.settings.train_checker.network if name == CHECKER else vgg
            built = {**network.model_dump(), "channels": channels, "classes": self.classes}
            return build_classifier(**built), built

    def train(
        self, name: str, settings: OwnTraining, features: nn.Module | None, checkpoint: Checkpoint | None
    ) -> tuple[nn.Module, dict[str, Any]]:
        """A trained network, and the arguments that built it; the features are for the autoencoder alone.

        Raises:
            DivergedError: naming the network.
        """
        network, built = self.untrained(name)
        try:
            self.fit(network, name, settings, features, checkpoint)
        except DivergedError as error:
            raise DivergedError(f"training of the {name}: {error}") from error
        return network, built

    def fit(
        self,
        network: nn.Module,
        name: str,
        settings: OwnTraining,
        features: nn.Module | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train a network, in place."""
        generator = self.streams.torch(name)
        if isinstance(settings, TrainVAE):
            assert isinstance(network, VAE)
            images, validation, seed = self.training[0], self.validation[0], self.streams.integer("validation")
            train_vae(network, images, validation, settings, self.machine, generator, seed, name, checkpoint, features)
            return
        assert isinstance(network, nn.Sequential)
        train_classifier(
            network,
            self.training,
            self.validation,
            settings,
            self.machine,
            generator,
            name,
            blend_fraction=settings.blend_fraction if isinstance(settings, TrainChecker) else 0.0,
            checkpoint=checkpoint,
        )

    def checkpoint(self, name: str) -> Path:
        """Where an interrupted training goes on."""
        return self.folder.checkpoints / f"{name}.safetensors"

    def kept(self, name: str, features: nn.Module | None = None) -> nn.Module:
        """The trained network on the machine; trained unless it lies in the folder."""
        path = self.folder.network(name)
        if not path.exists():
            # The folder holds one run alone: its images and settings are those of every checkpoint in it.
            belongs_to = fingerprint(f"defuse {version('defuse')}", {"labels": self.folder.labels})
            checkpoint = Checkpoint(self.checkpoint(name), belongs_to)
            network, built = self.train(name, self.settings_of(name), features, checkpoint)
            save_network(path, network, self.machine, **built)
        return to_machine(load_network(path, VAE if name == VAE_NAME else build_classifier), self.machine)

    def autoencoder(self, features: nn.Module | None) -> VAE:
        """The trained autoencoder on the machine."""
        vae = self.kept(VAE_NAME, features)
        assert isinstance(vae, VAE)
        return vae

    def features(self) -> nn.Module:
        """The frozen layers of the autoencoder's feature term."""
        return self.frozen(self.kept(FEATURES))

    def untrained_features(self) -> nn.Module:
        """The same with random weights, which take as long."""
        return self.frozen(self.untrained(FEATURES)[0])

    def frozen(self, network: nn.Module) -> nn.Module:
        """The layers of a network for the feature term, on the machine."""
        assert isinstance(network, nn.Sequential)
        return to_machine(FeatureLayers(network), self.machine)
