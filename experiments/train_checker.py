"""Train the checker: a network like an annotator's that is never asked as one, to look at the mistakes found."""

from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command
from experiments.shared.network_training import train_single_network


def train(cell: Cell) -> str:
    """Train the checker on only the training images; write its weights and its curve."""
    chosen = cell.params()
    return train_single_network(cell, "checker", chosen.network.model_dump(), chosen.blend_fraction)


if __name__ == "__main__":
    dataset_command("train_checker", train, __doc__)
