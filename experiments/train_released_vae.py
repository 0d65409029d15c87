"""Train an autoencoder by the settings of the authors' released code, beside the main chain's."""

from defuse.models.machine import set_up_machine
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.vae_training import train_single_vae


def train(cell: Cell) -> str:
    """Train the autoencoder, which has no feature term, and write its weights and its curve."""
    return train_single_vae(cell, set_up_machine(cell.settings.compute), {}, features=None)


if __name__ == "__main__":
    cell_command("train_released_vae", train, __doc__)
