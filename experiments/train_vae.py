"""Train the variational autoencoder on the classifier's training images."""

from defuse.models.machine import set_up_machine
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import features_file, load_features
from experiments.shared.vae_training import train_single_vae


def train(cell: Cell) -> str:
    """Train the autoencoder and write its weights and its curve."""
    machine = set_up_machine(cell.settings.compute)
    return train_single_vae(cell, machine, {"features": features_file(cell)}, load_features(cell, machine))


if __name__ == "__main__":
    cell_command("train_vae", train, __doc__)
