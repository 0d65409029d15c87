"""`defuse label`: the page for labellers; and what their votes come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defuse.annotators.people import Votes, read_votes
from defuse.core.errors import VotesError
from defuse.core.params import Acceptance
from defuse.core.storage import write_table, write_text
from defuse.core.verdicts import RegionVerdict
from defuse.debugging.measuring import BEFORE, load_measured
from defuse.debugging.run_folder import RunFolder
from defuse.method.annotation import ABSTAIN, Judgement, agreement_kappa, judge_region
from defuse.method.shown import load_shown

COLUMNS = ("region", "label", "verdict", "agreement", "abstention", "failures")


@dataclass(frozen=True)
class Annotation:
    """What labellers say of a run's regions.

    Attributes:
        judgements: of each region, in their order.
        votes: what they rest on.
        kappa: Fleiss' kappa of the votes on images that all labellers voted on; NaN for one labeller.
    """

    judgements: list[Judgement]
    votes: Votes
    kappa: float

    @property
    def accepted(self) -> dict[int, int]:
        """Label of each region that is a bug, by its number."""
        return {
            number: judged.label
            for number, judged in enumerate(self.judgements)
            if judged.verdict == RegionVerdict.ACCEPTED
        }


def write_label_page(path: Path) -> Path:
    """Write the page on which people label a run's regions.

    Returns:
        Where the page lies.

    Raises:
        RunError: no finished run lies in the folder, or it found no region.
    """
    from defuse.showing.annotation_page import annotation_page

    folder = RunFolder(Path(path))
    folder.need_regions()
    page = annotation_page(load_shown(folder.shown), f"Regions of {folder.path.resolve().name}")
    write_text(folder.label_page, page)
    return folder.label_page


def annotate_run(path: Path, votes: Sequence[Path], settings: Acceptance) -> Annotation:
    """What labellers say of each region, by the library's rule; writes `annotation.csv`.

    Args:
        path: folder of a finished run.
        votes: files of votes; none for all `votes-*.csv` in the folder.
        settings: when votes make a region a bug.

    Raises:
        RunError: the run is not finished, or found no region.
        VotesError: as `read_votes`; there is no file.
    """
    import pandas as pd

    folder = RunFolder(path)
    folder.need_regions()
    files = [Path(file) for file in votes] or folder.vote_files()
    if not files:
        raise VotesError(
            f"{path} holds no votes-NAME.csv; {folder.label_page} makes one, or name other files with --votes"
        )
    shown = load_shown(folder.shown)
    cast, before = read_votes(files, shown), load_measured(folder)[BEFORE]
    judgements = [
        judge_region(own, np.array(predictions), settings.minimum_agreement, settings)
        for own, predictions in zip(cast.votes, before.shown)
    ]
    rows = [
        {
            "region": number,
            **vars(judged),
            "label": None if judged.label == ABSTAIN else shown.class_names[judged.label],
        }
        for number, judged in enumerate(judgements)
    ]
    write_table(folder.annotation, pd.DataFrame(rows)[list(COLUMNS)])
    return Annotation(judgements, cast, agreement_kappa(np.concatenate(cast.votes), len(shown.class_names)))
