"""The generated parts of README, of the report and of its appendix, by page and mark."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from defuse.core.params import DESCRIBED, REPAIRED
from defuse.core.storage import read_table
from defuse.core.verdicts import Cause, RegionVerdict
from defuse.data.class_names import class_name
from defuse.evidence.bugs import clearest_bug
from defuse.evidence.pairs import come_back, pairs_by_reading
from defuse.evidence.results import BY_EYE, measures_by_seed, of_first_seed, provenance, result_path
from defuse.showing.findings import (
    CORRECTION,
    COST,
    NOT_JUDGED,
    PLANTED,
    READINGS,
    REGIONS,
    RIVALS,
    SEARCH,
    UNDECIDED,
    listed,
    main_sentences,
    recorded,
    told,
    verdict_list,
    what_numbers_are,
)
from defuse.showing.report import (
    BEFORE_NOISE,
    OVER_SEEDS,
    arms_table,
    by_eye_table,
    claims_table,
    conditions_table,
    lambda_table,
    linked,
    main_numbers,
    markdown,
    seeds_in_words,
    shown,
    shown_with_range,
    title_with_seeds,
)

README, REPORT, APPENDIX = Path("README.md"), Path("docs/replication.md"), Path("docs/replication_tables.md")
STAGE_SECONDS = Path("docs/stage-seconds.csv")
SHRINK, WIDEST = 0.6, 680  # of a figure's pixels; pixels on the page
CORRECTED_REGIONS = "corrected_regions.csv"
# README's rows of `report.ROWS`.
MAIN = (
    "train_classifier.test_accuracy",
    "cause classifier mistake.share",
    "annotate.accepted_regions",
    "reading repaired.accepted",
    "outcome.region_test_before",
    "outcome.region_test_after_correction",
    "outcome.test_after_correction",
    "plant_bugs.found",
)
MEDIAN_AND_RANGE = (
    "Each cell is the median over the seeds, with the lowest and the highest value in brackets; a dash means that "
    "nothing could be measured. “Kept images” are those that the search takes for mistakes of the classifier."
)
NOT_MEASURED = "Nothing of this has been measured in these runs."
# The appendix: kind of arm (`report.ARMS`), heading, table in `results/DATASET/tables/`, stage that measures it.
ARM_TABLES = (
    ("reading", "Readings of the method", "readings.csv", "compare_readings"),
    ("rival", "Regions and their rivals", "rivals.csv", "compare_readings"),
    ("planted", "Planted bugs", "planted.csv", "plant_bugs"),
    ("VAE", "Autoencoders", "vaes.csv", "ablate_vae"),
    ("search", "Whole searches", "searches.csv", "ablate_search"),
    ("noise", "Noise", "noise.csv", "ablate_noise"),
    ("tau", "How far a region's draws spread", "taus.csv", "ablate_regions"),
    ("mixture", "Truncation and concentration prior of the mixture", "mixtures.csv", "ablate_regions"),
)
# Sections of the report: a figure, its caption, and sentences.
SECTIONS = {
    "search": ("causes", "Causes of the kept images", SEARCH),
    "regions": (
        "procedure",
        "Three regions, before and after correction",
        REGIONS,
    ),
    "correction": ("lambda_sweep", "Accuracy by lambda", CORRECTION),
    "rivals": ("rivals", "Regions and their rivals", RIVALS),
    "planted": ("planted_bugs", "Planted bugs, and the regions nearest to them", PLANTED),
    "readings": ("readings", "The three readings", READINGS),
}


def folders(results: Path, datasets: Sequence[str]) -> list[Path]:
    """The tables of the data sets that have some."""
    return [results / name / "tables" for name in datasets if (results / name / "tables").is_dir()]


def picture(results: Path, datasets: Sequence[str], name: str, caption: str, page: Path) -> str:
    """A figure of the first data set that has it, with links to those of the others; empty where none has it.

    All figures of a page are shrunk alike, so that their words are of one size, up to the widest that is shown whole.
    """
    files = {}
    for tables in folders(results, datasets):
        about = provenance(tables)
        file = tables.parent / "figures" / f"{about['slug']}_{name}.png"
        if file.exists():
            files[str(about["title"])] = file
    if not files:
        return ""
    (title, first), *others = files.items()
    where = Path(os.path.relpath(first, page.parent)).as_posix()
    with Image.open(first) as image:
        width = min(WIDEST, round(SHRINK * image.width))
    rest = f" The same for {listed([linked(other, file, page) for other, file in others])}." if others else ""
    return f'<img src="{where}" alt="{caption}, {title}" width="{width}">\n\n*{caption} ({title}).{rest}*'


def bug_picture(results: Path, datasets: Sequence[str], page: Path) -> str:
    """The clearest of the data sets' clearest bugs, before and after correction; empty where none has its figure.

    Of those that are equally clear to a tenth it is the first data set's, whose images are the easiest to read.
    """
    found = []
    for tables in folders(results, datasets):
        about, regions = provenance(tables), of_first_seed(tables, "regions.csv")
        file = tables.parent / "figures" / f"{about['slug']}_named_bug.png"
        bug = clearest_bug(regions, DESCRIBED)
        if bug is not None and file.exists():
            found.append((round(bug.clearness, 1), tables, file, bug))
    if not found:
        return ""
    _, tables, file, bug = max(found, key=lambda bug: bug[0])
    corrected = of_first_seed(tables, CORRECTED_REGIONS).set_index("region")
    label, prediction = (class_name(tables.parent.name, int(name)) for name in (bug.label, bug.prediction))
    title, where = provenance(tables)["title"], Path(os.path.relpath(file, page.parent)).as_posix()
    rate = linked(f"{bug.failure_rate:.0%}", result_path(tables, "regions.csv"), page)
    after = ""
    if bug.region in corrected.index:
        source_file = result_path(tables, CORRECTED_REGIONS)
        repaired, control = (
            linked(shown("{:.0%}", 1 - corrected.loc[bug.region, column]), source_file, page)
            for column in ("accuracy_after", "accuracy_control")
        )
        after = f", on {repaired} after correction, and on {control} after the same training without regions"
    caption = f"A bug on {title}: annotators call these images {label}, the classifier calls them {prediction}"
    return (
        f'<img src="{where}" alt="{caption}" width="760">\n\n*{caption}. It fails on {rate} of fresh draws of its '
        f"region{after}.*"
    )


def bugs_over_seeds(results: Path, datasets: Sequence[str], page: Path) -> str:
    """How many pairs of label and prediction of accepted regions come back in other seeds; empty without tables."""
    names = {
        DESCRIBED: ("The accepted regions of {}", "regions.csv"),
        REPAIRED: ("Those of the repaired method, of {},", "reading_regions.csv"),
    }
    found = {tables: pairs_by_reading(tables, measures_by_seed(tables)) for tables in folders(results, datasets)}
    sentences = []
    for reading, (whose, file) in names.items():
        counts = [
            [
                linked(str(count), result_path(tables, file), page)
                for count in (len(pairs[reading]), come_back(pairs[reading]).sum())
            ]
            if reading in pairs
            else ["–", "–"]
            for tables, pairs in found.items()
        ]
        if any(count != ["–", "–"] for count in counts):
            all_pairs, back = map(listed, zip(*counts))
            seeds = max(len(pairs[reading].columns) for pairs in found.values() if reading in pairs)
            sentences.append(
                f"{whose.format(seeds_in_words(seeds))} have {all_pairs} different pairs of the annotators' label and "
                f"the classifier's prediction; of these, {back} are found in at least half of the seeds."
            )
    return " ".join(sentences)


def eye_counts(counts: pd.DataFrame, agree: Callable[[pd.DataFrame], pd.Series]) -> str:
    """How many judgements of a sheet agree, differ, or leave it open; a dash where there are none."""
    if counts.empty:
        return "–"
    undecided = counts.by_eye == UNDECIDED
    same = agree(counts) & ~undecided
    number = counts["count"]
    return f"{number[same].sum()}, {number[~same & ~undecided].sum()}, {number[undecided].sum()}"


def seen_table(results: Path, datasets: Sequence[str], page: Path) -> str:
    """What the judge said of the contact sheets, in counts; empty where nobody has looked."""
    sheets: dict[str, tuple[str, str, Callable[[pd.DataFrame], pd.Series]]] = {
        "regions: the annotators' verdict on each": ("regions", "", lambda counts: counts.by_eye == "right"),
        "of these, accepted ones": ("regions", RegionVerdict.ACCEPTED, lambda counts: counts.by_eye == "right"),
        "single mistakes: the cause, where it can be seen": (
            "mistakes",
            "",
            lambda counts: counts.by_eye == counts.oracles,
        ),
        "of these, the classifier's own": (
            "mistakes",
            Cause.CLASSIFIER_MISTAKE,
            lambda counts: counts.by_eye == counts.oracles,
        ),
        "released method: accepted regions": ("released", "", lambda counts: counts.by_eye == "right"),
        "repaired method: accepted regions": ("repaired", "", lambda counts: counts.by_eye == "right"),
    }
    columns, heads = [], []
    for tables in folders(results, datasets):
        file = tables.parent / BY_EYE
        if not file.exists():
            continue
        counts = read_table(file)
        counts = counts[~counts.oracles.isin(BEFORE_NOISE)]  # a judge of images cannot see these causes
        heads.append(linked(str(provenance(tables)["title"]), file, page))
        columns.append(
            [
                eye_counts(counts[(counts.sheet == sheet) & ((counts.oracles == word) | (word == ""))], agree)
                for sheet, word, agree in sheets.values()
            ]
        )
    if not columns:
        return "Nobody has looked at the contact sheets yet."
    return markdown(["judged by eye: right, wrong, undecided", *heads], [[*row] for row in zip(sheets, *columns)])


def time_taken(seconds: Path, datasets: Sequence[str], page: Path) -> str:
    """How long one cell of each data set took, in a sentence; empty where no time is recorded."""
    table = read_table(seconds) if seconds.exists() else pd.DataFrame(columns=["stage", "dataset", "seconds"])
    first = table.drop_duplicates(["stage", "dataset"]).groupby("dataset").seconds.sum()
    taken = [f"{first[name] / 60:,.0f}" for name in datasets if name in first]
    if not taken:
        return ""
    return (
        f"One seed, with what all seeds of a data set share, took {linked(listed(taken), seconds, page)} minutes on "
        "one core of the machine that [cost.md](cost.md) names."
    )


def readme_blocks(results: Path, datasets: Sequence[str]) -> dict[str, str]:
    """The generated parts of README."""
    data, tables = recorded(results, datasets, README), folders(results, datasets)
    found = ["**What the replication found.**", main_sentences(results, data, README), what_numbers_are(data)]
    return {
        "findings": " ".join(filter(None, found)),
        "picture": bug_picture(results, datasets, README),
        "results": f"{MEDIAN_AND_RANGE}\n\n{main_numbers(tables, README, MAIN, shown_with_range)}",
    }


def report_blocks(results: Path, datasets: Sequence[str]) -> dict[str, str]:
    """The generated parts of the report."""
    data, claims = recorded(results, datasets, REPORT), results / "claims.csv"
    blocks = {
        "findings": " ".join(filter(None, [main_sentences(results, data, REPORT), what_numbers_are(data)])),
        "verdicts": claims_table(claims, REPORT) if claims.exists() else NOT_JUDGED,
        "seen": seen_table(results, datasets, REPORT),
        "cost": " ".join(filter(None, [time_taken(STAGE_SECONDS, datasets, REPORT), told(data, COST)])),
        "conclusions": verdict_list(claims),
    }
    texts = {name: (figure, caption, told(data, sentences)) for name, (figure, caption, sentences) in SECTIONS.items()}
    over_seeds = bugs_over_seeds(results, datasets, REPORT)
    texts["over_seeds"] = ("bugs_over_seeds", "Bugs by seed: the annotators' class and the classifier's", over_seeds)
    for name, (figure, caption, text) in texts.items():
        drawn = picture(results, datasets, figure, caption, REPORT) if text else ""
        blocks[name] = "\n\n".join(filter(None, [text or NOT_MEASURED, drawn]))
    return blocks


def source(tables: Path, file: str, stage: str) -> str:
    """Where a data set's table lies, and which stage and command make it."""
    path, dataset = result_path(tables, file), tables.parent.name
    return (
        f"From {linked(f'`{path.name}`', path, APPENDIX)}: measured by the stage `{stage}`, gathered by `summarize`; "
        f"`dvc repro summarize@{dataset}` makes it."
    )


def appendix_blocks(results: Path, datasets: Sequence[str]) -> dict[str, str]:
    """All tables of the report: conditions of the claims, the judge's, main numbers, and each kind of arm."""
    claims, sections = results / "claims.csv", {}
    measured = folders(results, datasets)
    measures = {tables: measures_by_seed(tables) for tables in measured}
    if claims.exists():
        sections["Every condition of every claim"] = (
            f"From {linked('`claims.csv`', claims, APPENDIX)}: judged by the stage `claims`; `dvc repro claims` makes "
            "it. A measure links to the table that holds its values; the last column names the stages that measured "
            "and gathered them, which `dvc repro STAGE` runs. Behind a median stands its distribution-free 95% "
            "interval, or the value of each seed, in the order of `params.yaml`, where fewer than six have one. “By "
            "eye” counts regions in place of seeds.\n\n" + conditions_table(claims, APPENDIX)
        )
    sections["Main numbers"] = (
        "A heading links to the table of all measures, gathered by the stage `summarize` from those of the chain and "
        f"the studies; `dvc repro summarize` makes it. {OVER_SEEDS}\n\n{main_numbers(measured, APPENDIX)}"
    )
    seen = by_eye_table(results, datasets, APPENDIX)
    if seen:
        sections["Judged by eye"] = (
            "A title links to its table, counted by the stage `compare_by_eye` from `docs/by_eye/`; `dvc repro "
            f"compare_by_eye` makes it.\n\n{seen}"
        )
    for tables in measured:
        where, title = source(tables, "lambda_sweep.csv", "correct"), title_with_seeds(tables, measures[tables])
        sections[f"Accuracy by lambda: {title}"] = f"{where}\n\n{lambda_table(tables)}"
    for kind, name, file, stage in ARM_TABLES:
        for tables in measured:
            own = {key: values for key, values in measures[tables].items() if key.startswith(f"{kind} ")}
            if own:
                sections[f"{name}: {title_with_seeds(tables, own)}"] = (
                    f"{source(tables, file, stage)}\n\n{arms_table(own, kind)}"
                )
    return {"results": "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())}
