"""The closed lists of words in tables and figures: causes of mistakes, verdicts on regions, verdicts on claims."""

from enum import StrEnum


class Cause(StrEnum):
    """Why the classifier gets an identified image wrong, by the annotators (design decisions 2 and 8)."""

    WRONG_BEFORE = "wrong before the search"  # the seed image itself is: a known error of the classifier
    RECONSTRUCTION = "reconstruction"  # the seed image is right, its plain reconstruction is not
    LABEL_CHANGED = "label changed"  # annotators side with the classifier
    CLASSIFIER_MISTAKE = "classifier mistake"  # annotators side with the seed's label
    THIRD_LABEL = "third label"  # annotators side with neither
    NOT_RECOGNISABLE = "not recognisable"  # annotators do not agree


class RegionVerdict(StrEnum):
    """What annotators make of a region: a bug, or why it is none."""

    ACCEPTED = "accepted"
    FALSE_ALARM = "false alarm"
    NO_AGREEMENT = "no agreement"
    NOT_RECOGNISABLE = "not recognisable"
    NOT_JUDGED = "not judged"  # nobody has voted on it yet


class ClaimVerdict(StrEnum):
    """What the seeds say of a claim; `MEASURED` is for questions without a rule."""

    REPRODUCED = "reproduced"
    PARTLY = "partly"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    MEASURED = "measured"
