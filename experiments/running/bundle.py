"""One archive per data set with what its stages made: networks with their model cards, DVC's run cache, checksums."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB

from defuse.core.errors import BundleError
from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance
from experiments.running.bundle_content import (
    Content,
    cached_files,
    check_dataset,
    datasets_of,
    recorded_content,
    run_cache_file,
)
from experiments.running.model_cards import model_cards
from experiments.running.pipeline import opened
from experiments.shared.cell import ARTIFACTS, RESULTS

FOLDER = ARTIFACTS / "bundles"
FORMAT = 1  # of an archive's layout
RECORD, SUMS, CARDS, RUNS = "bundle.json", "SHA256SUMS", "cards", "runs"  # members beside the outputs' own paths


def archive_path(root: Path, about: dict[str, object]) -> Path:
    """The archive of a data set, named as its result files: a subset never passes for the whole."""
    return root / FOLDER / f"defuse_{about['slug']}.tar"


def make_bundles(root: Path, datasets: list[str]) -> tuple[list[Path], list[str]]:
    """Write the archive of each data set; without names, of all that are recorded whole.

    Returns:
        The archives, and for each data set that was not asked for and left out the reason.

    Raises:
        BundleError: a data set that was asked for is not recorded, nothing is, or an object of DVC's cache is damaged.
        StorageError: an archive cannot be written, or the data set has no tables in `results/`.
    """
    root = root.resolve()
    archives, left_out = [], []
    with opened(root) as repo:
        # Without DVC's state database, which takes a file for unchanged by its size and times.
        cache = HashFileDB(repo.cache.local.fs, repo.cache.local.path)
        for dataset in datasets or datasets_of(repo):
            check_dataset(repo, dataset)
            try:
                content, files = find_content(repo, cache, dataset)
            except BundleError as error:
                if datasets:
                    raise
                left_out.append(str(error))
                continue
            archives.append(write_bundle(root, cache, content, files))
    if not archives:
        raise BundleError(f"no data set is recorded whole: {'; '.join(left_out)}")
    return archives, left_out


def find_content(repo: Repo, cache: HashFileDB, dataset: str) -> tuple[Content, dict[str, str]]:
    """What is recorded of a data set, and the md5 of each file by its path.

    Raises:
        BundleError: a stage is not recorded as it is now, or DVC's cache lacks a file; it names the data set.
    """
    try:
        content = recorded_content(repo, dataset)
        return content, {path: md5 for output in content.outputs for path, md5 in cached_files(cache, output).items()}
    except BundleError as error:
        raise BundleError(f"{dataset}: {error}") from None


def write_bundle(root: Path, cache: HashFileDB, content: Content, files: dict[str, str]) -> Path:
    """Write the archive of a data set; the same record gives the same bytes."""
    about = provenance(root / RESULTS / content.dataset / "tables")
    archive = archive_path(root, about)
    record = {"format": FORMAT, "dataset": content.dataset, "stages": content.entries}
    texts = {
        RECORD: (json.dumps(record, indent=1, sort_keys=True) + "\n").encode(),
        **dict(run_cache_file(entry) for entry in content.entries.values()),
    }
    texts = {name if name == RECORD else f"{RUNS}/{name}": text for name, text in texts.items()}
    objects = {path: Path(cache.oid_to_path(md5)) for path, md5 in files.items()}
    for name, card in model_cards(content, objects, about).items():
        texts[f"{CARDS}/{name}"] = card.encode()
    sums = {}
    with atomic_path(archive) as temporary, tarfile.TarFile(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted([*texts, *files]):
            data = texts[name] if name in texts else object_bytes(objects[name], name, files[name])
            sums[name] = hashlib.sha256(data).hexdigest()
            add_member(tar, f"{archive.stem}/{name}", data)
        lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
        add_member(tar, f"{archive.stem}/{SUMS}", lines.encode())
    return archive


def object_bytes(path: Path, name: str, md5: str) -> bytes:
    """An object of DVC's cache.

    Raises:
        BundleError: it is not what its name says.
    """
    data = path.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise BundleError(f"DVC's cache: the object of {name} is damaged; make verify names all that are")
    return data


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file without time, owner or the like."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
