"""`defuse report`: the page of what was found, labelled and corrected."""

import shlex
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from defuse.core.errors import ClassifierError
from defuse.core.params_debugging import Debugging
from defuse.core.storage import read_table, write_text
from defuse.core.verdicts import RegionVerdict
from defuse.data.pixels import from_bytes
from defuse.debugging.annotating import Annotation, annotate_run
from defuse.debugging.checking import CHECKED_IMAGES, need_wrapped
from defuse.debugging.finding import Findings, load_findings
from defuse.debugging.measuring import (
    BEFORE,
    CORRECTED,
    RETRAINED,
    Measured,
    load_measured,
    measure_classifier,
    right_test_images,
)
from defuse.debugging.run_folder import RunFolder
from defuse.debugging.settings import settings_of_run
from defuse.method.annotation import NO_VOTE
from defuse.models.own_classifier import OwnClassifier, check_classifier

if TYPE_CHECKING:
    from defuse.showing.findings_page import RegionCard


def report_bugs(
    path: Path,
    votes: Sequence[Path] = (),
    retrained: OwnClassifier | None = None,
    settings: Debugging | None = None,
) -> Path:
    """Write the page of a run's findings: with names where there are votes, with repairs where there is one.

    Args:
        path: folder of the run.
        votes: files of votes; none for all `votes-*.csv` in the folder, of which there may be none.
        retrained: a classifier trained elsewhere on the exported regions, to measure; it may be of another kind.
        settings: `acceptance` of them is used; None for those of the run.

    Returns:
        Where the page lies.

    Raises:
        RunError: no finished run lies in the folder.
        VotesError: as `read_votes`.
        ClassifierError: the retrained classifier has other classes or channels, or as `check_classifier`.
    """
    from defuse.showing.findings_page import findings_page

    folder, findings = RunFolder(Path(path)), load_findings(path)
    settings = settings or settings_of_run(folder)
    annotation = None
    if len(findings.regions) and (votes or folder.vote_files()):
        annotation = annotate_run(folder.path, votes, settings.acceptance)
    if retrained is not None:
        check_retrained(retrained, folder)
        measure_classifier(folder, retrained, RETRAINED, right_test_images(folder, retrained))
    measured = load_measured(folder)
    page = findings_page(
        f"Bugs of {findings.facts['classifier'] or 'the classifier'}",
        lead(len(findings.regions), annotation),
        measures(measured, annotation),
        facts_of(folder, findings, annotation),
        cards(findings, measured, annotation),
        next_steps(folder, findings, measured, annotation),
    )
    write_text(folder.report, page)
    return folder.report


def check_retrained(classifier: OwnClassifier, folder: RunFolder) -> None:
    """Check that a retrained classifier can be measured on a run's images; its size may be another.

    Raises:
        ClassifierError: it takes other channels, or as `check_classifier`.
    """
    need_wrapped(classifier)
    facts = folder.read_facts()
    if classifier.channels != facts["channels"]:
        raise ClassifierError(
            f"the retrained classifier takes {classifier.channels} channels; allowed: the run's {facts['channels']}"
        )
    images, labels = folder.load_split("test")
    some = slice(None, None, ceil(len(labels) / CHECKED_IMAGES))
    check_classifier(classifier, from_bytes(images[some]), torch.from_numpy(labels[some]), facts["class_names"])


def lead(regions: int, annotation: Annotation | None) -> str:
    """What was found, in a sentence or two."""
    found = f"{regions} region{'' if regions == 1 else 's'} of mistakes found."
    if annotation is None:
        return f"{found} Nobody has labelled them yet, so none of them is known to be a bug."
    people = len(annotation.votes.annotators)
    judged = sum(region.verdict != RegionVerdict.NOT_JUDGED for region in annotation.judgements)
    return (
        f"{found} {people} labeller{'' if people == 1 else 's'} judged {judged}, and {len(annotation.accepted)} "
        f"of them {'is a bug' if len(annotation.accepted) == 1 else 'are bugs'} of the classifier."
    )


def measures(measured: dict[str, Measured], annotation: Annotation | None) -> list[tuple[str, float, float]]:
    """Of each classifier the share of right test images and of right held-out images of the bugs; none unlabelled."""
    if annotation is None:
        return []
    return [(name, found.test_accuracy, found.right(annotation.accepted)) for name, found in measured.items()]


def facts_of(folder: RunFolder, findings: Findings, annotation: Annotation | None) -> list[tuple[str, str]]:
    """What was done and measured, as pairs of words."""
    facts = findings.facts
    reached, found = facts["accuracy"], facts["found"]
    passed = reached["checker_passes"]
    pairs = [
        ("images", facts["images"]),
        ("test images", facts["test_images"]),
        ("right test images", f"{reached['own_size']:.1%}"),
        (f"at the autoencoder's {facts['side']}x{facts['side']}", f"{reached['working_size']:.1%}"),
        ("reconstructed by it", f"{reached['reconstructed']:.1%}"),
        ("validation images whose label the checker sees", "no checker" if passed is None else f"{passed:.1%}"),
        ("images made", f"{found['draws']:,} around {found['seed_images']:,}"),
        ("mistakes among them, at most a few per image", f"{found['identified']:,}"),
        ("left out: the autoencoder's mistakes", f"{found['autoencoder']:,}"),
        ("left out: the checker does not see the label", f"{found['other_label']:,}"),
        ("kept", f"{found['kept']:,}, of which {found['wrong_before']:,} around an image that is misclassified itself"),
    ]
    if annotation is not None:
        labels = sum(int((own != NO_VOTE).any(0).sum()) for own in annotation.votes.votes)
        pairs.append(("labellers", ", ".join(annotation.votes.annotators)))
        pairs.append(("answers", f"{labels:,}"))
        if not np.isnan(annotation.kappa):
            pairs.append(("agreement (Fleiss' kappa)", f"{annotation.kappa:.2f}"))
    if folder.sweep.exists():
        sweep = read_table(folder.sweep)
        chosen = sweep[sweep.chosen & (sweep.arm != BEFORE)]
        pairs += [("lambda", f"{value:g}") for value in chosen["lambda"]]
    return pairs


def cards(findings: Findings, measured: dict[str, Measured], annotation: Annotation | None) -> list["RegionCard"]:
    """The regions as the page shows them, bugs first."""
    from defuse.showing.findings_page import RegionCard

    names, made = findings.facts["class_names"], []
    accepted = {} if annotation is None else annotation.accepted
    for row, images in zip(findings.regions.itertuples(), findings.shown.images):
        judged = None if annotation is None else annotation.judgements[row.region]
        label = None if judged is None or judged.label < 0 else names[judged.label]
        own = {number: value for number, value in accepted.items() if number == row.region}
        made.append(
            RegionCard(
                number=row.region,
                label=label,
                verdict=None if judged is None or judged.verdict == RegionVerdict.NOT_JUDGED else judged.verdict,
                seed_class=row.seed_class,
                mistakes=row.mistakes,
                seed_images=row.seed_images,
                wrong_before=row.wrong_before,
                images=images,
                predictions={
                    name: [names[said] for said in found.shown[row.region]] for name, found in measured.items()
                },
                right={name: found.right(own) for name, found in measured.items()} if own else {},
            )
        )
    return sorted(made, key=lambda card: card.verdict != RegionVerdict.ACCEPTED)


def next_steps(
    folder: RunFolder, findings: Findings, measured: dict[str, Measured], annotation: Annotation | None
) -> list[tuple[str, str]]:
    """What to do now, with the command of each step."""
    path = shlex.quote(str(folder.path))
    if not len(findings.regions):
        return [("Search with more images, or with other settings; docs/own_classifier.md says which may help.", "")]
    if annotation is None:
        return [
            (f"Open {folder.label_page.name} and name the regions; several people can do so.", f"defuse label {path}"),
            (
                "Put their files votes-NAME.csv next to this page, then correct the classifier.",
                f"defuse correct {path}",
            ),
        ]
    if not annotation.accepted:
        return [("The labellers call no region a bug; more labellers, or another search, may find more.", "")]
    if CORRECTED in measured:
        load = "your_module.load_state_dict(safetensors.torch.load_file(...))"
        return [(f"The corrected weights are in {folder.corrected_weights}: {load}.", "")]
    if RETRAINED in measured:
        return []
    return [
        (
            "Correct the classifier",
            f"defuse correct {path}" if findings.facts["classifier"] else "correct_bugs(classifier, ...)",
        ),
        ("or train it yourself on the labelled regions", f"defuse export {path} FOLDER"),
        ("and measure it.", f"defuse report {path} --retrained package.module:function"),
    ]
