"""The page on which people label regions: one static file, which works offline and shows no prediction."""

from collections.abc import Sequence

from defuse.method.shown import NOT_RECOGNISABLE, SEVERAL_CLASSES, Shown
from defuse.showing.pages import data_uri, render

DIGITS = "1234567890"
# Of the answers that name no class: no letter, since letters search.
OTHER_ANSWERS = ((NOT_RECOGNISABLE, "-"), (SEVERAL_CLASSES, "+"))
# What to do with the file of votes: a sentence, and a command or nothing.
STEPS = (
    ("Move it into the folder of the run, where this page lies.", ""),
    ("When everybody has done so, run in that folder:", "defuse correct . --votes votes-*.csv"),
)


def answer_keys(class_names: Sequence[str]) -> list[str]:
    """Keys of the classes, by their place among those that the page shows at the time.

    Names that begin with a digit each have that digit as their key, since 3 for the third of the digits, the two, would
    mislead. Up to ten others have 1 to 9 and 0. More than ten are searched; they have these keys too, unless a name
    holds a digit: then digits search as letters do, and no class has a key.
    """
    first = [name[0] for name in class_names]
    if set(first) <= set(DIGITS) and len(set(first)) == len(first):
        return first
    if len(class_names) > len(DIGITS) and any(digit in name for name in class_names for digit in DIGITS):
        return []
    return list(DIGITS)


def annotation_page(shown: Shown, title: str, pixels: bool = True, steps: Sequence[tuple[str, str]] = STEPS) -> str:
    """The page as HTML: images, classes, and how to go on are all inside it.

    It asks for the labeller's name, shows a region at a time, keeps the answers in the browser under the run and the
    name, and writes `votes-NAME.csv` as `defuse.annotators.people` reads it, of the regions answered so far.

    Args:
        shown: regions and classes.
        title: of the page.
        pixels: whether enlarged pixels stay squares; otherwise they are smoothed.
        steps: what to do with the file of votes, each a sentence and a command or nothing.
    """
    regions = [
        {
            "number": int(number),
            "images": [data_uri(image, "png") for image in images],
            "shape": images.shape[2] / images.shape[1],
        }
        for number, images in zip(shown.numbers, shown.images)
    ]
    content = {
        "run": shown.run,
        "regions": regions,
        "class_keys": answer_keys(shown.class_names),
        "other_keys": [key for _, key in OTHER_ANSWERS],
    }
    return render(
        "label.html",
        {},
        title=title,
        content=content,
        class_names=shown.class_names,
        other_answers=OTHER_ANSWERS,
        searched=len(shown.class_names) > len(DIGITS),
        pixels=pixels,
        steps=steps,
    )
