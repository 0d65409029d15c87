"""A model card for each kind of network in a bundle, from what its stage recorded: no number is typed."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defuse.core.storage import read_json, read_table
from experiments.running.bundle_content import Content
from experiments.running.pipeline import stage_and_cell

Objects = Mapping[str, Path]  # path of an output's file -> where its bytes lie
Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class Kind:
    """What is said of all networks of a stage.

    Attributes:
        title: what they are, in a heading.
        what: the same in a sentence or two.
        use: what they are meant for.
        limits: what they are not good for, beside what holds for all.
        build: the function that makes such a network, and its module.
    """

    title: str
    what: str
    use: str
    limits: str
    build: tuple[str, str] = ("defuse.models.classifiers", "build_classifier")


AUTOENCODER = ("defuse.models.autoencoder", "VAE")
KINDS = {
    "train_classifier": Kind(
        "the classifier to debug",
        "The image classifier whose bugs the replication looks for, as it was before any correction.",
        "To find, name and correct bugs in it, and to compare methods that do so.",
        "It is trained for few epochs and is meant to have bugs. Where it fails is what `results/` is about.",
    ),
    "train_features": Kind(
        "the network of the feature term",
        "A small classifier in whose layers the autoencoder compares an image with its reconstruction.",
        "To train the autoencoder (`train_vae.*.feature_weight`).",
        "It is not an annotator, and its accuracy was never an aim.",
    ),
    "train_vae": Kind(
        "the autoencoder",
        "The variational autoencoder around whose codes of images the search looks for mistakes.",
        "To encode images, to decode codes near theirs, and so to look for a classifier's mistakes.",
        "It blurs what its training does not reward; not every decoded image keeps the label of the image that it "
        "comes from, and part of what a search finds is its fault.",
        AUTOENCODER,
    ),
    "train_released_vae": Kind(
        "the autoencoder by the released code's settings",
        "An autoencoder with the settings of the authors' released code, as far as they can be followed.",
        "To compare the released reading of the method with the others; the main chain does not use it.",
        "Its reconstructions are much worse than the main chain's.",
        AUTOENCODER,
    ),
    "train_oracle": Kind(
        "the simulated annotators",
        "Networks that stand for the people who label what a search finds. Each says a class, or that nothing can be "
        "recognised where its confidence is below its threshold.",
        "To vote, together, on decoded images. One alone is right less often than their consensus.",
        "They are not people: see `docs/by_eye`. A network decides with confidence on images that no person would "
        "recognise.",
    ),
    "train_checker": Kind(
        "the checker",
        "A second classifier that looks at each mistake of a search: one that it shares is not kept.",
        "To filter what a search finds before anybody labels it (the repaired reading).",
        "It is neither debugged nor an annotator, and it is never asked for a label.",
    ),
}
IN_RESULTS = {
    **dict.fromkeys(("train_classifier", "train_vae", "train_released_vae", "train_checker"), "measures.csv"),
    "train_oracle": "oracles.csv",
}
FOR_ALL = (
    "It takes float32 images (N, C, 32, 32) with values from 0 to 1 and knows only the classes of this data set. "
    "What it says of other images, such as photographs taken in another way, was not measured. It was trained for "
    "research; nobody's safety may depend on it. The data set has terms of use of its own."
)


def model_cards(content: Content, objects: Objects, about: Mapping[str, object]) -> dict[str, str]:
    """Markdown by file name: a card for each kind of network, and a first page that says what the archive is.

    Args:
        content: the data set as recorded.
        objects: every file of its outputs.
        about: the provenance of its tables.
    """
    cards = {}
    for kind in KINDS:
        weights = sorted(
            path for path in objects if path.endswith(".safetensors") and path.startswith(f"artifacts/{kind}/")
        )
        if weights:
            cards[f"{kind}.md"] = card(kind, weights, content, objects, about)
    listed = "\n".join(f"- [{KINDS[name.removesuffix('.md')].title}]({name})" for name in cards)
    page = f"""# Networks of Defuse's replication on {about["title"]}

Data: {about["line"]}. The data set itself is not part of this archive.

{listed}

`artifacts/` holds the networks and everything else that the stages made, `runs/` the entries of DVC's run cache,
`bundle.json` what `dvc.lock` records of them, and `SHA256SUMS` a checksum of every file (`sha256sum --check
SHA256SUMS`). In a clone of the repository, at a commit with this `dvc.lock`, `make unbundle FILE=...` checks the
archive and puts it in place.
"""
    return {"README.md": page, **cards}


def card(kind: str, weights: list[str], content: Content, objects: Objects, about: Mapping[str, object]) -> str:
    """The card of the networks of one stage, whose files are `weights`."""
    from defuse.showing.report import markdown

    said = KINDS[kind]
    module, build = said.build
    of_kind = [name for name in content.entries if stage_and_cell(name)[0] == kind]
    settings = content.entries[of_kind[0]]["params"]["params.yaml"]
    rows = [[key, f"`{value}`"] for key, value in flat(settings)]
    return f"""# Model card: {said.title}, {about["title"]}

**What it is.** {said.what} Made by the stage `{kind}`.

**Data.** {about["line"]}. Trained only on the training images; validation images are set aside from these.

**Intended use.** {said.use}

**Limits.** {said.limits} {FOR_ALL}

## Files

{markdown(*files_table(weights, objects))}

```python
from pathlib import Path

from {module} import {build}
from defuse.models.saved_networks import load_network

network = load_network(Path("{weights[0]}"), {build})
```

## Measured

{markdown(*measured_table(kind, weights, content, objects))}

{measured_source(kind, content, about)}

## Settings

Those of `params.yaml`, as `dvc.lock` records them for `{of_kind[0]}`; other seeds have the same.

{markdown(["key", "value"], rows)}
"""


def seed_of(path: str, content: Content) -> str:
    """The seed of a network, "0, shared by all seeds" for one that is trained once for its data set."""
    folder = Path(path).parent.name
    return "0, shared by all seeds" if folder == content.dataset else folder


def files_table(weights: list[str], objects: Objects) -> Table:
    """Each file with its network, parameters and what it was trained on, by its header."""
    from defuse.models.weights import opened_weights

    rows = []
    for path in weights:
        with opened_weights(objects[path]) as (file, network, machine):
            count = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        built = ", ".join(f"{key} {value}" for key, value in network.items() if value is not None)
        trained = "not recorded" if machine is None else "{device} ({processor}), {precision}".format(**machine)
        rows.append([f"`{path}`", built, f"{count:,}", trained])
    return ["file", "network", "numbers in it", "trained on"], rows


def measured_source(kind: str, content: Content, about: Mapping[str, object]) -> str:
    """Where a card's measures come from, and the table in git that has them too, if one does."""
    source = "`oracles.csv` of the stage `calibrate_oracle`" if kind == "train_oracle" else "`metrics.json` beside it"
    table = IN_RESULTS.get(kind)
    same = f" `results/{content.dataset}/tables/{about['slug']}_{table}` has the same." if table else ""
    return f"From {source}, which is part of this archive.{same}"


def measured_table(kind: str, weights: list[str], content: Content, objects: Objects) -> Table:
    """What a stage measured of each of its networks: a row for each network."""
    if kind == "train_oracle":
        table = read_table(objects[f"artifacts/calibrate_oracle/{content.dataset}/oracles.csv"])
        return list(table.columns), [[number(value) for value in row] for row in table.itertuples(index=False)]
    rows = []
    for path in weights:
        measured = read_json(objects[str(Path(path).with_name("metrics.json"))])
        numbers = {key: value for key, value in measured.items() if key != "machine"}
        rows.append({"seed": seed_of(path, content), **{key: number(value) for key, value in numbers.items()}})
    return list(rows[0]), [list(row.values()) for row in rows]


def number(value: object) -> str:
    """A value of a table; fractions to four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a tree of settings."""
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from flat(value, name)
        else:
            yield name, json.dumps(value) if isinstance(value, list | dict) else value
