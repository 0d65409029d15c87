"""Train the annotators' networks."""

from defuse.models.machine import set_up_machine
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command
from experiments.shared.network_training import load_training, train_network


def train(cell: Cell) -> str:
    """Train each oracle and write its weights."""
    chosen, data, machine = cell.params(), load_training(cell), set_up_machine(cell.settings.compute)
    reached = []
    for index, network in enumerate(chosen.networks):
        name, built = f"oracle_{index}", network.model_dump()
        curve = train_network(cell, data, machine, name, built, str(index), blend_fraction=chosen.blend_fraction)
        reached.append(curve[-1]["validation_accuracy"])
    return f"validation accuracy {min(reached):.2%} to {max(reached):.2%}"


if __name__ == "__main__":
    dataset_command("train_oracle", train, __doc__)
