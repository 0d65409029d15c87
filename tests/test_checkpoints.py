"""Checkpoints: a training that was cut off goes on to the same bytes; what belongs to another training is refused."""

import logging
import pickle

import numpy as np
import pytest
import torch
from conftest import Trap

from defuse.core import params
from defuse.core.errors import StorageError
from defuse.core.storage import save_arrays
from defuse.models import training
from defuse.models.autoencoder_training import train_vae
from defuse.models.checkpoints import Checkpoint, fingerprint, restore_checkpoint, save_checkpoint
from defuse.models.machine import Machine
from defuse.models.training import make_optimizer, make_schedule, train_classifier
from defuse.models.weights import load_weights

OPTIMISERS = {
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-3},
    "adam": {"optimizer": "adam", "momentum": None, "learning_rate": 0.01},
}
AUGMENTATION = {
    "rotation": 5,
    "translation": 0.1,
    "scaling": 0.1,
    "elastic": 1,
    "blur": 0.5,
    "contrast": 0.1,
    "brightness": 0.1,
}
NETWORK = {"architecture": "vgg", "width": 2, "stem": None}


class CutError(Exception):
    """Stands for the kill."""


def common(optimizer, schedule):
    return {**OPTIMISERS[optimizer], "schedule": schedule, "weight_decay": 1e-3, "batch_size": 5, "epochs": 4}


def classifier_settings(optimizer="sgd", schedule="one_cycle"):
    return params.TrainClassifier(
        network=NETWORK,
        initial_weights=None,
        label_smoothing=0.1,
        augmentation=AUGMENTATION,
        **common(optimizer, schedule),
    )


def vae_settings(optimizer="adam", schedule="one_cycle"):
    return params.TrainVAE(
        latent_dim=2,
        width=4,
        batch_norm=True,
        likelihood="gaussian",
        beta=1.0,
        warmup_share=0.5,
        feature_weight=0.0,
        **common(optimizer, schedule),
    )


@pytest.fixture
def train(images, make_classifier, make_vae):
    """Function that trains a fresh network of a kind; its weights' bytes, its curve and the generator's state."""
    labels = torch.arange(len(images)) % 3

    def run(kind, machine, checkpoint=None, **changes):
        generator = torch.Generator().manual_seed(1)
        if kind == "vae":
            network = make_vae(batch_norm=True)
            curve = train_vae(
                network, images, images[:6], vae_settings(**changes), machine, generator, 2, "toy", checkpoint
            )
        else:
            network = make_classifier(architecture="vgg")
            curve = train_classifier(
                network,
                (images, labels),
                (images[:6], labels[:6]),
                classifier_settings(**changes),
                machine,
                generator,
                "toy",
                0.1,
                0.4,
                checkpoint,
            )
        weights = {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}
        # With the order of the columns, which is that of the stage's table.
        return weights, [list(row.items()) for row in curve], generator.get_state().tolist()

    return run


def cut_after(monkeypatch, epochs):
    """Make the training end with CutError right after its checkpoint of so many epochs is written."""

    def save(checkpoint, network, optimizer, schedule, generator, curve):
        save_checkpoint(checkpoint, network, optimizer, schedule, generator, curve)
        if len(curve) == epochs:
            raise CutError

    monkeypatch.setattr(training, "save_checkpoint", save)


@pytest.mark.parametrize("kind", ["classifier", "vae"])
@pytest.mark.parametrize("optimizer", OPTIMISERS)
@pytest.mark.parametrize(
    ("schedule", "layout", "precision"),
    [
        ("one_cycle", torch.channels_last, torch.bfloat16),
        ("constant", torch.contiguous_format, torch.float32),
    ],
)
def test_a_training_cut_after_any_epoch_ends_with_the_same_bytes(
    tmp_path, monkeypatch, caplog, train, kind, optimizer, schedule, layout, precision
):
    machine = Machine(torch.device("cpu"), precision, layout, compiled=False)
    changes = {"optimizer": optimizer, "schedule": schedule}
    undisturbed = train(kind, machine, **changes)
    for epochs in (1, 2, 3, 4):
        checkpoint = Checkpoint(tmp_path / f"{epochs}.safetensors", {"code": "same"})
        with monkeypatch.context() as patch:
            cut_after(patch, epochs)
            with pytest.raises(CutError):
                train(kind, machine, checkpoint, **changes)
        with caplog.at_level(logging.INFO):
            assert train(kind, machine, checkpoint, **changes) == undisturbed
        assert f"continues after epoch {epochs}," in caplog.text
        caplog.clear()


def test_a_checkpoint_changes_nothing_in_a_training_that_is_not_cut(tmp_path, machine, train):
    checkpoint = Checkpoint(tmp_path / "new" / "toy.safetensors", {})
    assert train("vae", machine, checkpoint) == train("vae", machine)
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["toy.safetensors"]


def test_a_finished_training_is_not_trained_on(tmp_path, monkeypatch, machine, train):
    checkpoint = Checkpoint(tmp_path / "toy.safetensors", {})
    finished = train("classifier", machine, checkpoint)
    monkeypatch.setattr(training, "run_steps", lambda *_: pytest.fail("a step was made"))
    assert train("classifier", machine, checkpoint) == finished


def test_a_checkpoint_of_other_params_is_refused_and_said_so(tmp_path, caplog, machine, train):
    path = tmp_path / "toy.safetensors"
    before = {"code": "a", "train_vae.epochs": 4, "train_vae.beta": 1.0}
    train("vae", machine, Checkpoint(path, before))
    after = {"code": "a", "train_vae.epochs": 5, "train_vae.beta": 1.0}
    train("vae", machine, Checkpoint(path, after))
    assert f"{path} refused, the training starts anew: it was made with other train_vae.epochs" in caplog.text
    assert load_weights(path)[1]["fingerprint"] == after


@pytest.mark.parametrize("damage", ["truncated", "pickle"])
def test_a_damaged_checkpoint_is_refused_and_never_unpickled(tmp_path, caplog, machine, train, damage):
    checkpoint, trap = Checkpoint(tmp_path / "toy.safetensors", {}), tmp_path / "executed"
    whole = train("classifier", machine, checkpoint)
    if damage == "truncated":
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-100])
    else:
        checkpoint.path.write_bytes(pickle.dumps(Trap(trap)))
    assert train("classifier", machine, checkpoint) == whole
    assert "checkpoint refused, the training starts anew" in caplog.text and not trap.exists()


def test_momentum_comes_back_in_the_layout_of_its_weight(tmp_path, images, make_classifier):
    def prepared():
        network = make_classifier(architecture="vgg").to(memory_format=torch.channels_last)
        optimizer = make_optimizer(network, classifier_settings())
        return network, optimizer, make_schedule(optimizer, classifier_settings(), 10), torch.Generator()

    first, second = prepared(), prepared()
    first[0](images).sum().backward()
    first[1].step()
    checkpoint = Checkpoint(tmp_path / "toy.safetensors", {})
    save_checkpoint(checkpoint, *first, [{"epoch": 1}])
    assert restore_checkpoint(checkpoint, *second) == [{"epoch": 1}]
    for network, optimizer, *_ in (first, second):
        weight = next(
            part.weight for part in network.modules() if isinstance(part, torch.nn.Conv2d) and part.in_channels > 1
        )
        assert optimizer.state[weight]["momentum_buffer"].stride() == weight.stride() != weight.contiguous().stride()


def test_fingerprint_tells_params_files_and_code_apart(tmp_path, still):
    files = {name: tmp_path / f"{name}.npz" for name in ("data", "features")}

    def made(code="first", **changes):
        settings = classifier_settings().model_copy(update=changes)
        return fingerprint(code, files, train_classifier=settings)

    for file in files.values():
        save_arrays(file, x=np.zeros(3))
    first = made()
    assert made() == first

    def differing(other):
        return {name for name in first if first[name] != other[name]}

    assert differing(made(epochs=9)) == {"train_classifier.epochs"}
    assert differing(made(augmentation=still)) == {"train_classifier.augmentation"}
    for name, file in files.items():
        save_arrays(file, x=np.ones(3))
        assert differing(made()) == {name}
        save_arrays(file, x=np.zeros(3))
    assert differing(made("second")) == {"code"}


def test_a_checkpoint_that_cannot_be_written_stops_the_training(tmp_path, machine, train):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(StorageError, match=r"toy\.safetensors: cannot be written: (File exists|Not a directory)"):
        train("vae", machine, Checkpoint(tmp_path / "file" / "toy.safetensors", {}))
