"""Let the oracles name the regions and find the cause of a sample of the mistakes."""

import numpy as np
import pandas as pd

from defuse.annotators.oracles import cast_votes
from defuse.core.storage import load_arrays, save_arrays, write_json, write_table
from defuse.core.verdicts import Cause, RegionVerdict
from defuse.data.prepared import CLASSES, load_split
from defuse.method.annotation import (
    ABSTAIN,
    agreement_kappa,
    cause_shares,
    causes_of_mistakes,
    judge_region,
    majority,
    region_row,
)
from defuse.models.evaluation import decode, encode
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_codes

COLUMNS = [
    "region",
    "weight",
    "label",
    "agreement",
    "abstention",
    "failures",
    "verdict",
    "prediction",
    "mistakes",
    "share_of_mistakes",
    "failure_rate",
    "failure_low",
    "failure_high",
    "oracle_failure_rate",
    "seed_label_agreement",
    "purity",
]


def annotate(cell: Cell) -> str:
    chosen, classes = cell.params(), CLASSES[cell.dataset]
    annotators = load_annotators(cell)
    vae, oracles, thresholds = annotators.subject.vae, annotators.oracles, annotators.thresholds

    def look(codes: np.ndarray, purpose: str) -> tuple[np.ndarray, np.ndarray]:
        return annotators.look(codes, chosen.slip_rate, cell.streams.numpy("slips", purpose))

    mistakes = load_codes(
        cell.folder("identify") / "mistakes.npz",
        vae,
        "codes",
        "label",
        "prediction",
        "reconstruction_failure",
    )
    total = len(mistakes["label"])
    generator = cell.streams.numpy("mistakes")
    drawn = np.sort(generator.choice(total, min(chosen.annotated_mistakes, total), replace=False))
    mistake_votes, _ = look(mistakes["codes"][drawn], "mistakes")
    named = majority(mistake_votes)
    facts = (mistakes[name][drawn] for name in ("label", "prediction", "reconstruction_failure"))
    causes = causes_of_mistakes(named, *facts)

    distilled = cell.folder("distill")
    regions = load_arrays(distilled / "regions.npz", "weight", "mistake", "assignment")
    samples = load_codes(distilled / "samples.npz", vae, "shown", "test")
    seed_labels = mistakes["label"][regions["mistake"]]
    rows, acceptance, shown = [], [], []
    for region, weight in enumerate(regions["weight"]):
        votes, predictions = look(samples["shown"][region], f"shown {region}")
        members = seed_labels[regions["assignment"] == region]
        row = region_row(votes, predictions, *look(samples["test"][region], f"test {region}"), members, total, chosen)
        rows.append({"region": region, "weight": weight, **row})
        acceptance += [
            {
                "minimum_agreement": strictness,
                "region": region,
                "verdict": judge_region(votes, predictions, strictness, chosen).verdict,
            }
            for strictness in chosen.strictness
        ]
        shown.append((votes, predictions))
    table = pd.DataFrame(rows, columns=COLUMNS)
    images, labels = load_split(cell.data_file, "test")
    reconstructed = majority(cast_votes(oracles, thresholds, decode(vae, encode(vae, images)[0])))
    recognised, count = reconstructed != ABSTAIN, samples["shown"].shape[1]
    shown_votes = np.array([votes for votes, _ in shown], np.int64).reshape(-1, count, len(oracles))
    verdicts = table.verdict.value_counts()

    folder = cell.folder()
    write_table(folder / "regions.csv", table)
    write_table(folder / "acceptance.csv", pd.DataFrame(acceptance, columns=["minimum_agreement", "region", "verdict"]))
    write_table(folder / "causes.csv", pd.DataFrame(cause_shares(causes)))
    save_arrays(
        folder / "votes.npz",
        shown=shown_votes,
        mistakes=mistake_votes,
        drawn=drawn,
        majority=named,
        shown_predictions=np.array([part for _, part in shown], np.int64).reshape(-1, count),
        cause=causes.astype(np.str_),
    )
    write_json(
        folder / "metrics.json",
        {
            "regions": len(table),
            "accepted_regions": int(verdicts.get(RegionVerdict.ACCEPTED, 0)),
            "rejected": {
                reason: int(number) for reason, number in verdicts.items() if reason != RegionVerdict.ACCEPTED
            },
            "region_kappa": agreement_kappa(shown_votes.reshape(-1, len(oracles)), classes),
            "mean_agreement": table.agreement.mean(),
            "mean_purity": table.purity.mean(),
            "mistake_kappa": agreement_kappa(mistake_votes, classes),
            "seed_label_agreement": table.seed_label_agreement.mean(),
            "oracle_reconstruction_recognised": recognised.mean(),
            "oracle_reconstruction_agreement": (
                (reconstructed == labels.numpy())[recognised].mean() if recognised.any() else np.nan
            ),
        },
    )
    return (
        f"{int(verdicts.get(RegionVerdict.ACCEPTED, 0))} of {len(table)} regions accepted; of {len(causes):,} mistakes "
        f"{(causes == Cause.CLASSIFIER_MISTAKE).sum():,} are the classifier's, "
        f"in {(causes == Cause.LABEL_CHANGED).sum():,} the label changed"
    )


if __name__ == "__main__":
    cell_command("annotate", annotate, __doc__)
