"""Write every annotator's vote on what is shown: the oracles', or people's from files that `params.yaml` names."""

from defuse.annotators.oracles import cast_votes, slip
from defuse.annotators.people import Votes, write_votes
from defuse.data.pixels import from_bytes
from defuse.method.shown import Shown, load_shown
from defuse.models.machine import set_up_machine
from experiments.shared.annotators import load_oracles
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.votes import votes_of_people


def votes_of_oracles(cell: Cell, shown: Shown) -> Votes:
    """The oracles' votes, with human slips."""
    oracles, thresholds = load_oracles(cell, set_up_machine(cell.settings.compute))
    rate, votes = cell.params("annotate").slip_rate, []
    for number, images in zip(shown.numbers, shown.images):
        slips = cell.streams.numpy("slips", f"shown {number}")
        votes.append(slip(cast_votes(oracles, thresholds, from_bytes(images)), rate, len(shown.class_names), slips))
    return Votes(tuple(f"oracle {index}" for index in range(len(oracles))), votes, ())


def vote(cell: Cell) -> str:
    """Write the votes, one row for each annotator and image."""
    folder = cell.folder("show_regions")
    shown = load_shown(folder / "shown.npz")
    people = bool(cell.params().files)
    votes = votes_of_people(cell, shown, folder / "label.html") if people else votes_of_oracles(cell, shown)
    write_votes(cell.folder() / "votes.csv", shown, votes.votes, votes.annotators)
    said = f"votes of {', '.join(votes.annotators)} on {len(votes.votes)} regions"
    return f"{said}; mistakes, fresh draws and studies are judged by the oracles" if people else said


if __name__ == "__main__":
    cell_command("vote", vote, __doc__)
