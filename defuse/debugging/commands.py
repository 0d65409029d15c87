"""The command `defuse`: find, label, correct, export and report the bugs of one's own classifier."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defuse.core.errors import DefuseError

if TYPE_CHECKING:
    import pandas as pd

    from defuse.models.own_classifier import OwnClassifier

app = typer.Typer(
    help="Find the bugs of an image classifier, let people name them, and correct it: find, label, correct, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Side(StrEnum):
    """What `--side` may be."""

    AUTO, PIXELS_32, PIXELS_48, PIXELS_64, PIXELS_96 = "auto", "32", "48", "64", "96"


class ChannelCount(StrEnum):
    """What `--channels` may be."""

    GREY, COLOUR = "1", "3"


Run = Annotated[Path, typer.Argument(metavar="RUN", help="folder of the run, the --out of defuse find")]
Settings = Annotated[Path | None, typer.Option(metavar="FILE", help="YAML that changes some of the settings")]
Source = Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help="your function that returns the classifier")]
Size = Annotated[
    int | None, typer.Option(min=1, metavar="PIXELS", help="side of its images, if it returns a plain module")
]
Channels = Annotated[ChannelCount | None, typer.Option(help="of these images [default: 3]")]
RunSize = Annotated[int | None, typer.Option(min=1, metavar="PIXELS", help="as in defuse find [default: the run's]")]
RunChannels = Annotated[ChannelCount | None, typer.Option(help="as in defuse find [default: the run's]")]
VoteFiles = Annotated[
    list[Path], typer.Option("--votes", metavar="FILE...", help="of labellers [default: RUN/votes-*.csv]")
]
MORE_VOTES = {"allow_extra_args": True}  # a shell writes several files for the votes-*.csv that follows --votes


@contextmanager
def told() -> Iterator[None]:
    """Log lines to the terminal; a known error or Ctrl-C ends the command with one line."""
    logger, handler = logging.getLogger("defuse"), logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except DefuseError as error:
        raise SystemExit(f"defuse: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\ndefuse: stopped; run the same command to continue") from None
    finally:
        logger.removeHandler(handler)


def loaded(
    source: str | None, size: int | None, channels: ChannelCount | None, run: Path | None = None
) -> "OwnClassifier":
    """The classifier that a command names, or that the run was made with; of the run's size where none is given."""
    from defuse.core.errors import ClassifierError, RunError
    from defuse.debugging.classifier_source import load_classifier
    from defuse.debugging.run_folder import RunFolder

    facts: dict[str, Any] = {"classifier": None, "size": (None, None), "channels": 3}
    if run is not None:
        folder = RunFolder(run)
        folder.need_finished()
        facts = folder.read_facts()
    source = source or facts["classifier"]
    if source is None:
        raise RunError(f"{run}: the run was made from Python; allowed: --classifier MODULE:FUNCTION")
    colours = int(channels or facts["channels"])
    found = load_classifier(source, size or facts["size"][0], 1 if colours == 1 else 3)
    if size not in (None, *found.size) or str(channels or found.channels) != str(found.channels):
        height, width = found.size
        raise ClassifierError(
            f"{source}: the OwnClassifier that it returns takes {height}x{width} pixels and {found.channels} "
            "channels; allowed: no other --size and --channels"
        )
    return found


@app.command(short_help="Find regions of mistakes, for people to name.")
def find(
    classifier: Source,
    images: Annotated[Path, typer.Option(metavar="FOLDER", help="its training images, CLASS/IMAGE")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="folder of the run: a new one, or one to continue")],
    test: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="unseen images [default: some are set aside]")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="in the order of its logits [default: sorted]")
    ] = None,
    size: Size = None,
    channels: Channels = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="seed of every random draw [default: 0]")] = None,
    side: Annotated[Side | None, typer.Option(help="of the autoencoder's images [default: auto]")] = None,
    regions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="regions to show, at most [default: 20]")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="of the processor [default: 1]")] = None,
    settings: Settings = None,
) -> None:
    """Search for mistakes around the training images, and lay out regions for people to label."""
    with told():
        from defuse.core.errors import RunError
        from defuse.data.own_images import read_image_folder
        from defuse.debugging.annotating import write_label_page
        from defuse.debugging.finding import find_bugs
        from defuse.debugging.reporting import report_bugs
        from defuse.debugging.run_folder import RunFolder, need_own_or_empty
        from defuse.debugging.settings import load_settings

        chosen = load_settings(
            settings,
            seed=seed,
            side=None if side is None else "auto" if side == Side.AUTO else int(side),
            regions=regions,
            compute=None if threads is None else {"threads": threads},
        )
        need_own_or_empty(RunFolder(out))
        for folder in (images, *([test] if test else [])):
            if folder.resolve() in (out.resolve(), *out.resolve().parents):
                raise RunError(f"--out {out} lies in {folder}, and would be taken for a class; allowed: another place")
        network = loaded(classifier, size, channels)
        names = None if classes is None else [name.strip() for name in classes.split(",")]
        own = read_image_folder(images, network.size, network.channels, names)
        seen = None if test is None else read_image_folder(test, network.size, network.channels, own.class_names)
        findings = find_bugs(network, own, out, seen, chosen, classifier)
        report_bugs(out)
        print_regions(findings.regions)
        if len(findings.regions):
            write_label_page(out)
            typer.echo(f"now: defuse label {quote(str(out))}")


def print_regions(regions: "pd.DataFrame") -> None:
    """The table of regions."""
    from rich.console import Console
    from rich.table import Table

    table = Table("region", "around images of", "taken for", "mistakes", "images", "image itself wrong", box=None)
    for row in regions.itertuples():
        facts = (row.region, row.seed_class, row.taken_for, row.mistakes, row.seed_images, f"{row.wrong_before:.0%}")
        table.add_row(*map(str, facts))
    Console(highlight=False, markup=False, emoji=False).print(table if len(regions) else "no region was found")


@app.command(short_help="Write the page on which people name the regions.")
def label(
    run: Run,
    show: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
) -> None:
    """Write the page on which people name the regions; it needs no network, and works on a phone."""
    with told():
        from defuse.debugging.annotating import write_label_page

        page = write_label_page(run)
        typer.echo(f"open {page} in a browser, name the regions, and put votes-NAME.csv into {run}")
        typer.echo(f"now: defuse correct {quote(str(run))}")
        if show:
            typer.launch(str(page.resolve()))


def all_votes(votes: list[Path], context: typer.Context) -> list[Path]:
    """The files that follow `--votes`, however many."""
    if context.args and not votes:
        raise typer.BadParameter(
            f"{' '.join(context.args)}: too many folders or files; name files of votes after --votes"
        )
    return [*votes, *map(Path, context.args)]


@app.command(context_settings=MORE_VOTES, short_help="Fine-tune the classifier on the named regions.")
def correct(
    context: typer.Context,
    run: Run,
    votes: VoteFiles = [],  # noqa: B006 (typer's way)
    classifier: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="your function [default: that of find]")
    ] = None,
    size: RunSize = None,
    channels: RunChannels = None,
    settings: Settings = None,
) -> None:
    """Fine-tune the classifier on its training images and the labelled regions; keep the best weights."""
    with told():
        from defuse.debugging.correcting import correct_bugs
        from defuse.debugging.reporting import report_bugs
        from defuse.debugging.run_folder import RunFolder
        from defuse.debugging.settings import settings_of_run

        chosen = settings_of_run(RunFolder(run), settings)
        found = correct_bugs(loaded(classifier, size, channels, run), run, all_votes(votes, context), chosen)
        typer.echo(found.table())
        page = report_bugs(run, all_votes(votes, context), None, chosen)
        typer.echo(f"weights: {found.weights}" if found.weights else "no lambda could be chosen")
        typer.echo(f"report: {page}")


@app.command(context_settings=MORE_VOTES, short_help="Write the named regions as an image folder.")
def export(
    context: typer.Context,
    run: Run,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="new folder for the images")],
    votes: VoteFiles = [],  # noqa: B006 (typer's way)
    settings: Settings = None,
) -> None:
    """Write the labelled regions as an image folder, to train a classifier elsewhere."""
    with told():
        from defuse.debugging.correcting import export_regions
        from defuse.debugging.run_folder import RunFolder
        from defuse.debugging.settings import settings_of_run

        count = export_regions(run, out, all_votes(votes, context), settings_of_run(RunFolder(run), settings))
        typer.echo(f"{count} images in {out}; train on them together with the training images, then:")
        typer.echo(f"defuse report {quote(str(run))} --retrained MODULE:FUNCTION")


@app.command(context_settings=MORE_VOTES, short_help="Write the page of all findings.")
def report(
    context: typer.Context,
    run: Run,
    votes: VoteFiles = [],  # noqa: B006 (typer's way)
    retrained: Annotated[
        str | None, typer.Option(metavar="MODULE:FUNCTION", help="your function that returns the new classifier")
    ] = None,
    size: RunSize = None,
    channels: RunChannels = None,
    settings: Settings = None,
) -> None:
    """Write the page of what was found, named and corrected."""
    with told():
        from defuse.debugging.reporting import report_bugs
        from defuse.debugging.run_folder import RunFolder
        from defuse.debugging.settings import settings_of_run

        chosen = settings_of_run(RunFolder(run), settings)
        network = None if retrained is None else loaded(retrained, size, channels, run)
        typer.echo(f"report: {report_bugs(run, all_votes(votes, context), network, chosen)}")
