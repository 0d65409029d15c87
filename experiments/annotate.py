"""Judge the regions by the votes; let the oracles measure them, and find the cause of a sample of the mistakes."""

import numpy as np

from defuse.annotators.oracles import cast_votes
from defuse.core.storage import load_arrays, save_arrays, write_json, write_table
from defuse.core.verdicts import Cause
from defuse.data.prepared import CLASSES, load_split
from defuse.method.annotation import (
    ABSTAIN,
    Annotations,
    acceptance_table,
    agreement_kappa,
    cause_shares,
    causes_of_mistakes,
    consensus,
    region_measures,
    region_table,
)
from defuse.models.evaluation import decode, encode
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_codes
from experiments.shared.votes import votes_on_regions


def annotate(cell: Cell) -> str:
    """Write each region's annotation, the causes of a sample of the mistakes, and all votes."""
    import pandas as pd

    chosen, classes, folder = cell.params(), CLASSES[cell.dataset], cell.folder()
    annotators = load_annotators(cell)
    vae, oracles, thresholds = annotators.subject.vae, annotators.oracles, annotators.thresholds

    def annotate_codes(codes: np.ndarray, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        return annotators.annotate(codes, chosen.slip_rate, cell.streams.numpy("slips", purpose))

    mistakes = load_codes(
        cell.folder("identify") / "mistakes.npz",
        vae,
        "codes",
        "label",
        "prediction",
        "raw_failure",
        "reconstruction_failure",
    )
    total = len(mistakes["label"])
    generator = cell.streams.numpy("mistakes")
    drawn = np.sort(generator.choice(total, min(chosen.annotated_mistakes, total), replace=False))
    mistake_votes, _ = annotate_codes(mistakes["codes"][drawn], "mistakes")
    consensus_label = consensus(mistake_votes, chosen.consensus)
    facts = (mistakes[name][drawn] for name in ("label", "prediction", "raw_failure", "reconstruction_failure"))
    causes = causes_of_mistakes(consensus_label, *facts)

    regions = load_arrays(cell.folder("distill") / "regions.npz", "weight", "mistake", "assignment")
    shown = votes_on_regions(cell, annotators.subject.classifier, len(regions["weight"]))
    draws = load_codes(cell.folder("distill") / "samples.npz", vae, "test")["test"]
    tested = [annotate_codes(codes, f"test {region}") for region, codes in enumerate(draws)]
    test = Annotations.together(tested, draws.shape[1], len(oracles))
    seed_labels = mistakes["label"][regions["mistake"]]
    members = [seed_labels[regions["assignment"] == region] for region in range(len(regions["weight"]))]
    table = region_table(shown, test, regions["weight"], members, total, chosen)

    images, labels = load_split(cell.data_file, "test")
    reconstructed = consensus(cast_votes(oracles, thresholds, decode(vae, encode(vae, images)[0])), chosen.consensus)
    recognised = reconstructed != ABSTAIN
    measures = {
        **region_measures(table, shown, classes),
        "mistake_kappa": agreement_kappa(mistake_votes, classes),
        "oracle_reconstruction_recognised": recognised.mean(),
        "oracle_reconstruction_agreement": (
            (reconstructed == labels.numpy())[recognised].mean() if recognised.any() else np.nan
        ),
    }
    write_table(folder / "regions.csv", table)
    write_table(folder / "acceptance.csv", acceptance_table(shown, chosen))
    write_table(folder / "causes.csv", pd.DataFrame(cause_shares(causes)))
    save_arrays(
        folder / "votes.npz",
        shown=shown.votes,
        mistakes=mistake_votes,
        drawn=drawn,
        consensus=consensus_label,
        shown_predictions=shown.predictions,
        cause=causes.astype(np.str_),
    )
    write_json(folder / "metrics.json", measures)
    return (
        f"{measures['accepted_regions']} of {len(table)} regions accepted; of {len(causes):,} mistakes "
        f"{(causes == Cause.CLASSIFIER_MISTAKE).sum():,} are the classifier's, "
        f"in {(causes == Cause.LABEL_CHANGED).sum():,} the label changed"
    )


if __name__ == "__main__":
    cell_command("annotate", annotate, __doc__)
