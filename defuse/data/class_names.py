"""What the classes are called, where a number says little."""

# The 43 German traffic signs, by the benchmark's class numbers.
TRAFFIC_SIGNS = (
    "limit 20",
    "limit 30",
    "limit 50",
    "limit 60",
    "limit 70",
    "limit 80",
    "end of limit 80",
    "limit 100",
    "limit 120",
    "no overtaking",
    "no overtaking for lorries",
    "priority at the next crossing",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no lorries",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "bicycles",
    "snow or ice",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "straight ahead",
    "straight or right",
    "straight or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking for lorries",
)


def class_name(dataset: str, label: int) -> str:
    """The name of a class: its number, and for traffic signs what the sign says."""
    return f"{label} ({TRAFFIC_SIGNS[label]})" if dataset == "gtsrb" else str(label)


def pair_name(dataset: str, label: int, prediction: int, arrow: str = "→") -> str:
    """A pair in words: the annotators' class and the classifier's.

    Where the two are one class, the draws shown failed and most fresh ones do not, or fail each in its own way.
    """
    said = "another class" if label == prediction else class_name(dataset, prediction)
    return f"{class_name(dataset, label)} {arrow} {said}"
