"""Train the network in whose layers the autoencoder's feature term compares images."""

from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command
from experiments.shared.network_training import train_single_network


def train(cell: Cell) -> str:
    """Train a vgg on only the training images; write its weights and its curve."""
    return train_single_network(cell, "features", {"architecture": "vgg", "width": cell.params().width})


if __name__ == "__main__":
    dataset_command("train_features", train, __doc__)
