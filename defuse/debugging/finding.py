"""`defuse find`: from a classifier and its images to regions that people can label."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.core.storage import read_table, write_table
from defuse.data.own_images import OwnImages
from defuse.debugging.checking import check_input, side_of
from defuse.debugging.measuring import BEFORE, measure_classifier, measure_reconstructions, right_test_images
from defuse.debugging.run_folder import SPLITS, RunFolder, identity_of, need_own_or_empty, save_images, start_run
from defuse.debugging.searching import lay_out, search
from defuse.debugging.settings import load_settings
from defuse.debugging.splitting import split_images, working_split
from defuse.debugging.timing import say_how_long
from defuse.debugging.training import CHECKER, Trainings
from defuse.method.shown import Shown, load_shown
from defuse.models.machine import set_up_machine
from defuse.models.own_classifier import OwnClassifier
from defuse.models.subject import Subject
from defuse.studies.checker import calibrate_checker

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Findings:
    """What a run found.

    Attributes:
        folder: of the run; everything lies there.
        regions: one row per region, the heaviest first: region, seed_class (of the images searched around), taken_for
            (by the classifier), mistakes, seed_images, wrong_before (share of its mistakes whose seed image itself is
            misclassified), share_of_mistakes.
        shown: images of each region, without the predictions.
        facts: what was run on what, and what it measured.
    """

    folder: Path
    regions: "pd.DataFrame"
    shown: Shown
    facts: dict[str, Any]


def load_findings(path: Path) -> Findings:
    """What `find_bugs` found in a folder.

    Raises:
        RunError: no finished run lies there.
    """
    folder = RunFolder(Path(path))
    folder.need_finished()
    return Findings(folder.path, read_table(folder.regions), load_shown(folder.shown), folder.read_facts())


def find_bugs(
    classifier: OwnClassifier,
    images: OwnImages,
    out: Path,
    test: OwnImages | None = None,
    settings: Debugging | None = None,
    source: str | None = None,
) -> Findings:
    """Search for a classifier's bugs around its training images, and lay out regions for people to label.

    A second call with the same classifier, images and settings goes on where the first was interrupted; what is
    finished is not computed again.

    Args:
        classifier: the user's.
        images: what it was trained on, with the right labels.
        out: folder of the run; new, empty, or of the same run.
        test: images that it has not seen, to measure on; without them a share of `images` is set aside.
        settings: from `load_settings`; None for the defaults.
        source: where commands find the classifier again, `package.module:function`.

    Raises:
        DataError: images that are too few, of another size than the classifier's, or of other classes.
        ParamsError: settings that do not go with these images.
        ClassifierError: a classifier that cannot be debugged.
        RunError: a folder of another run, or with other files.
    """
    settings, folder = settings or load_settings(), RunFolder(Path(out))
    need_own_or_empty(folder)
    streams, machine = Streams(settings.seed, ("debugging",)), set_up_machine(settings.compute)
    classifier_digest = check_input(classifier, images, test, settings, streams)
    side, names = side_of(classifier, settings), images.class_names
    facts = {
        "classifier": source,
        "class_names": names,
        "size": classifier.size,
        "channels": classifier.channels,
        "side": side,
        "images": images.note,
        "test_images": test.note if test else f"{settings.test_share:.0%} of the images, set aside",
        "settings": settings.model_dump(mode="json"),
    }
    start_run(folder, identity_of(classifier_digest, images, test, settings), facts)
    if folder.finished:
        log.info("%s already holds this run; nothing is computed again", folder.path)
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # of a run that was stopped at its very end
        return load_findings(folder.path)
    if not folder.labels.exists():
        save_images(folder, split_images(images, test, settings, streams))
    data = {split: working_split(folder, split, side, names) for split in SPLITS}
    log.info("%s; the autoencoder works on %dx%d", images.note, side, side)

    trainings = Trainings(folder, data["train"], data["validation"], len(names), settings, machine, streams)
    say_how_long(trainings, classifier)
    features = trainings.features() if settings.train_vae.feature_weight else None
    vae = trainings.autoencoder(features)
    checker = None
    if settings.search.checker:
        network, generator = trainings.kept(CHECKER), streams.torch("blends")
        checker = calibrate_checker(network, data["validation"], settings.checking, generator)
    subject = Subject(classifier, vae, machine)
    own_size = right_test_images(folder, classifier)
    folder.add_facts(accuracy=measure_reconstructions(own_size, subject, data, checker))
    mistakes, pictures, counts = search(folder, subject, data["train"], settings, checker, streams)
    folder.add_facts(found=counts)
    table = lay_out(folder, mistakes, pictures, names, classifier.size, settings, streams)
    measure_classifier(folder, classifier, BEFORE, own_size)
    write_table(folder.regions, table)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return load_findings(folder.path)
