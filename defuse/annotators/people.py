"""Votes as files: what people answer on the annotation page, and what networks say in the same form."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from defuse.core.errors import MissingFileError, StorageError, VotesError
from defuse.core.storage import atomic_path
from defuse.method.annotation import ABSTAIN, NO_VOTE, SEVERAL
from defuse.method.shown import NOT_RECOGNISABLE, SEVERAL_CLASSES, Shown

COLUMNS = ("run", "annotator", "region", "image", "label")
LISTED = 12  # allowed values that a message lists at most


@dataclass(frozen=True)
class Row:
    """One line of a file of votes.

    Attributes:
        line: its number in the file, the first being 1.
        run: what was shown; see `Shown.run`.
        annotator: who answers.
        region: number of the region.
        image: number of the image within its region, or None for all images of the region.
        label: the answer.
    """

    line: int
    run: str
    annotator: str
    region: int
    image: int | None
    label: str


@dataclass(frozen=True)
class Votes:
    """What all annotators say of what was shown.

    Attributes:
        annotators: their names, in the order in which the files name them.
        votes: for each region int64 (shown, annotators): labels, ABSTAIN, SEVERAL, or NO_VOTE where an annotator
            left the image out.
        missing: numbers of the regions that nobody voted on.
    """

    annotators: tuple[str, ...]
    votes: list[np.ndarray]
    missing: tuple[int, ...]


def write_votes(path: Path, shown: Shown, votes_per_region: Sequence[np.ndarray], annotators: Sequence[str]) -> None:
    """Write votes as CSV with COLUMNS, one row for each annotator's vote on each image; NO_VOTE has none.

    Args:
        path: of the file.
        shown: what was voted on.
        votes_per_region: in the order of `shown` int64 (shown, annotators), labels, ABSTAIN, SEVERAL or NO_VOTE.
        annotators: their names.
    """
    answers = {ABSTAIN: NOT_RECOGNISABLE, SEVERAL: SEVERAL_CLASSES, **dict(enumerate(shown.class_names))}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for region, votes in zip(shown.numbers.tolist(), votes_per_region, strict=True):
            for image, own in enumerate(votes.tolist()):
                for annotator, vote in zip(annotators, own, strict=True):
                    if vote != NO_VOTE:
                        writer.writerow((shown.run, annotator, region, image, answers[vote]))


def read_votes(paths: Sequence[Path], shown: Shown) -> Votes:
    """Read and join files of votes; each may hold several annotators, and an annotator may have left regions out.

    Raises:
        StorageError: a file that is missing or cannot be read.
        VotesError: as `read_rows` and `check_rows`; an annotator in two files; no vote at all.
    """
    labels = {name: label for label, name in enumerate(shown.class_names)}
    answers = {**labels, NOT_RECOGNISABLE: ABSTAIN, SEVERAL_CLASSES: SEVERAL}
    counts = {int(number): len(images) for number, images in zip(shown.numbers, shown.images)}
    homes: dict[str, Path] = {}
    cast: list[Row] = []
    for path in paths:
        rows = read_rows(path)
        check_rows(path, rows, shown.run, counts, tuple(answers))
        for row in rows:
            if row.annotator in homes:
                both = f"annotator {row.annotator!r} is also in {homes[row.annotator]}"
                raise VotesError(f"{path}, line {row.line}: {both}; allowed: one file for each annotator")
        homes |= {row.annotator: path for row in rows}
        cast += rows
    if counts and not cast:
        raise VotesError(f"{', '.join(map(str, paths)) or 'no file'}: no vote; allowed: at least one")
    annotators = tuple(dict.fromkeys(row.annotator for row in cast))
    votes = {number: np.full((count, len(annotators)), NO_VOTE, np.int64) for number, count in counts.items()}
    for row in cast:
        images = slice(None) if row.image is None else row.image
        votes[row.region][images, annotators.index(row.annotator)] = answers[row.label]
    missing = tuple(number for number, own in votes.items() if (own == NO_VOTE).all())
    return Votes(annotators, list(votes.values()), missing)


def read_rows(path: Path) -> list[Row]:
    """The lines of a file of votes; what they say is checked by `check_rows`. A byte-order mark and blank lines pass.

    Raises:
        StorageError: the file is missing, or is no UTF-8 text.
        VotesError: a column that is missing, a line with more or fewer values than columns, a value that is blank, a
            region or an image that is no number.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            check_header(path, header)
            return [
                parsed(f"{path}, line {reader.line_num}", reader.line_num, header, values)
                for values in reader
                if any(value.strip() for value in values)
            ]
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StorageError(f"{path}: not in UTF-8 (byte {error.start}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise VotesError(f"{path}, line {reader.line_num}: no readable CSV ({error})") from error


def check_header(path: Path, header: list[str]) -> None:
    """Check the names of the columns.

    Raises:
        VotesError: a column that is missing or there twice.
    """
    wrong = [name for name in COLUMNS if header.count(name) != 1]
    if wrong:
        held = ", ".join(header) or "nothing"
        separated = "; separated by commas, not by semicolons" if ";" in held else ""
        raise VotesError(f"{path}, line 1: it has {held}; allowed: {', '.join(COLUMNS)}, each once{separated}")


def parsed(place: str, line: int, header: list[str], values: list[str]) -> Row:
    """One line of a file as a row.

    Args:
        place: file and line, for messages.
        line: its number.
        header: names of the columns.
        values: of the line.

    Raises:
        VotesError: as `read_rows`.
    """
    if len(values) != len(header):
        raise VotesError(f"{place}: {len(values)} values; allowed: {len(header)}, one for each column")
    held = {name: value.strip() for name, value in zip(header, values)}
    for name in COLUMNS:
        if not held[name] and name != "image":
            raise VotesError(f"{place}: {name} is blank; allowed: a value in each column but image")
        if name in ("region", "image") and held[name] and not (held[name].isascii() and held[name].isdigit()):
            raise VotesError(f"{place}: {name} is {held[name]!r}; allowed: a whole number")
    image = int(held["image"]) if held["image"] else None
    return Row(line, held["run"], held["annotator"], int(held["region"]), image, held["label"])


def check_rows(path: Path, rows: Sequence[Row], run: str, images: Mapping[int, int], answers: Sequence[str]) -> None:
    """Check the rows of one file against what was shown.

    Args:
        path: the file, for messages.
        rows: its rows.
        run: what was shown.
        images: how many images there are of each region, by its number.
        answers: that are allowed.

    Raises:
        VotesError: votes of another run, an unknown region, image or answer, or two votes of one annotator on an image.
    """
    lines: dict[tuple[str, int, int], int] = {}
    for row in rows:
        place = f"{path}, line {row.line}"
        if row.run != run:
            raise VotesError(f"{place}: votes of run {row.run}; allowed: votes of run {run}, from its own page")
        if row.region not in images:
            raise VotesError(f"{place}: region {row.region}; allowed: {listed(images)}")
        if row.image is not None and row.image >= images[row.region]:
            allowed = f"0 to {images[row.region] - 1}, or none for all of region {row.region}"
            raise VotesError(f"{place}: image {row.image}; allowed: {allowed}")
        if row.label not in answers:
            raise VotesError(f"{place}: label {row.label!r}{nearest(row.label, answers)}; allowed: {listed(answers)}")
        for image in range(images[row.region]) if row.image is None else (row.image,):
            first = lines.setdefault((row.annotator, row.region, image), row.line)
            if first != row.line:
                what = f"region {row.region}" if row.image is None else f"image {row.image} of region {row.region}"
                raise VotesError(f"{place}: {row.annotator!r} has voted on {what} in line {first}; allowed: once")


def nearest(label: str, answers: Sequence[str]) -> str:
    """The allowed answer that an unknown one looks most like, in words; empty where none does."""
    lowered = {answer.lower(): answer for answer in answers}
    found = get_close_matches(label.lower(), lowered, 1)
    return f" (nearest: {lowered[found[0]]!r})" if found else ""


def listed(values: Mapping[int, int] | Sequence[str]) -> str:
    """The first LISTED of the allowed values, in words."""
    rest = f" ... ({len(values)} in all)" if len(values) > LISTED else ""
    return ", ".join(map(str, list(values)[:LISTED])) + rest
