"""Votes on the regions of a cell: from the files that people write, and from the file that the stage vote writes."""

from pathlib import Path

from torch import nn

from defuse.annotators.people import Votes, read_rows, read_votes
from defuse.core.errors import MissingFileError, StorageError, VotesError
from defuse.data.pixels import from_bytes
from defuse.method.annotation import Annotations
from defuse.method.shown import Shown, load_shown
from defuse.models.evaluation import predict
from experiments.shared.cell import Cell


def votes_of_people(cell: Cell, shown: Shown, page: Path) -> Votes:
    """The votes on this cell's regions; files of other cells may stand beside them.

    Raises:
        StorageError: a file that is missing or cannot be read.
        VotesError: as `read_votes`; no file of this cell, or a region that nobody has voted on.
    """
    files = [Path(name) for name in cell.params().files]
    for file in files:
        if not file.is_file():
            raise MissingFileError(f"{file}: no such file, and vote.{cell.dataset}.files names it")
    own = [file for file in files if shown.run in {row.run for row in read_rows(file)}]
    if not own:
        raise VotesError(f"{', '.join(map(str, files))}: no votes of run {shown.run}; label the regions on {page}")
    votes = read_votes(own, shown)
    if votes.missing:
        regions = ", ".join(map(str, votes.missing))
        raise VotesError(f"{', '.join(map(str, own))}: nobody has voted on region {regions}; label it on {page}")
    return votes


def votes_on_regions(cell: Cell, classifier: nn.Module, regions: int) -> Annotations:
    """What annotators and classifier say of the images shown.

    Raises:
        StorageError: files that are missing or damaged, or of another number of regions.
        VotesError: as `read_votes`.
    """
    file = cell.folder("show_regions") / "shown.npz"
    shown = load_shown(file)
    if len(shown.images) != regions:
        raise StorageError(f"{file}: {len(shown.images)} regions; regions.npz of the stage distill holds {regions}")
    votes = read_votes([cell.folder("vote") / "votes.csv"], shown)
    predictions = [predict(classifier, from_bytes(images)).argmax(1).numpy() for images in shown.images]
    samples = len(shown.images[0]) if shown.images else 0
    return Annotations.together(list(zip(votes.votes, predictions)), samples, len(votes.annotators))
