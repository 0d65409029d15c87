"""A bundle checked, then put back: outputs into their places and DVC's cache, so that `dvc repro` trains nothing."""

import hashlib
import json
import os
import shutil
import tarfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.obj import HashFile
from dvc_data.hashfile.tree import Tree

from defuse.core.errors import BundleError
from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance
from experiments.running.bundle import CARDS, FORMAT, RECORD, RUNS, SUMS
from experiments.running.bundle_content import (
    Content,
    Entry,
    check_dataset,
    directory_md5,
    recorded_content,
    run_cache_file,
)
from experiments.running.model_cards import KINDS
from experiments.running.pipeline import opened
from experiments.running.replication import only_replication
from experiments.running.verification import Output, files_of, hashed_output
from experiments.shared.cell import ARTIFACTS, RESULTS

UNPACKED = ARTIFACTS / "unbundle"  # folder of what is on its way to its place
CARD_NAMES = ("README.md", *(f"{kind}.md" for kind in KINDS))
Digests = dict[str, tuple[str, str]]  # member -> sha256, md5


class Archive:
    """An open archive whose members are plain files below one folder."""

    def __init__(self, tar: tarfile.TarFile, name: str) -> None:
        """Look at the names of all members; no byte is trusted yet.

        Raises:
            BundleError: a member that is no plain file, leads out of the archive's folder, or is there twice.
        """
        self.tar, self.name = tar, name
        self.members: dict[str, tarfile.TarInfo] = {}
        for member in tar.getmembers():
            parts = PurePosixPath(member.name).parts
            plain = member.isreg() and str(PurePosixPath(*parts)) == member.name and "\\" not in member.name
            if not plain or parts[0] == "/" or ".." in parts or len(parts) < 2:
                raise self.error(f"member {member.name!r} is refused; allowed: plain files below one folder")
            inside = "/".join(parts[1:])
            if inside in self.members or parts[0] != tar.getnames()[0].partition("/")[0]:
                raise self.error(f"member {member.name!r} is refused; allowed: each file once, below one folder")
            self.members[inside] = member

    def error(self, reason: str) -> BundleError:
        """An error that names the archive."""
        return BundleError(f"{self.name}: {reason}")

    def read(self, member: str) -> bytes:
        """The bytes of a member.

        Raises:
            BundleError: there is no such member.
        """
        if member not in self.members:
            raise self.error(f"no {member} in it: it is not an archive of make bundle")
        file = self.tar.extractfile(self.members[member])
        assert file is not None
        return file.read()

    def below(self, folder: str) -> list[str]:
        """The members below a folder."""
        return [name for name in self.members if name.startswith(f"{folder}/")]


def unbundle(root: Path, file: Path) -> tuple[Content, str]:
    """Check an archive of `make bundle` and put back what it holds; nothing is written unless all of it is right.

    Returns:
        The data set as recorded, and what has to be known about its prepared images.

    Raises:
        BundleError: the archive is damaged, unsafe, of another commit, or would replace other outputs.
        ReplicationError: a replication runs in this folder.
        StorageError: a file cannot be written, or the data set has no tables in `results/`.
    """
    root, place = root.resolve(), file.absolute()  # DVC works in the repository's folder
    with ExitStack() as stack:
        repo = stack.enter_context(opened(root))
        try:
            archive = Archive(stack.enter_context(tarfile.TarFile(place)), str(file))
            content = checked_content(repo, archive)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BundleError(f"{file}: not a readable archive: {error}") from error
        cache = HashFileDB(repo.cache.local.fs, repo.cache.local.path)
        missing = missing_outputs(repo, cache, archive, content)
        source = str(provenance(root / RESULTS / content.dataset / "tables")["line"])
        stack.enter_context(only_replication(root))
        put_back(repo, root, archive, content, missing)
        return content, advice_on_prepared(content.prepared, hashed_output(repo, cache, content.prepared), source)


def checked_content(repo: Repo, archive: Archive) -> Content:
    """What `dvc.lock` records of the archive's data set, once every member is what it should be.

    Raises:
        BundleError: as `unbundle`.
    """
    digests = {name: member_digests(archive.read(name)) for name in archive.members}
    check_sums(archive, digests)
    try:
        record = json.loads(archive.read(RECORD))
        layout, dataset, stages = record["format"], record["dataset"], record["stages"]
    except (ValueError, KeyError, TypeError) as error:
        raise archive.error(f"{RECORD} is not readable: {error}") from error
    if layout != FORMAT:
        raise archive.error(f"its layout is {layout!r}; allowed: {FORMAT}")
    try:
        check_dataset(repo, dataset)
        content = recorded_content(repo, dataset)
    except BundleError as error:
        raise archive.error(f"cannot be put back here: {error}") from None
    check_record(archive, content, stages)
    known = {RECORD, SUMS, *(f"{CARDS}/{name}" for name in CARD_NAMES)}
    known |= {f"{RUNS}/{run_cache_file(entry)[0]}" for entry in content.entries.values()}
    for output in content.outputs:
        known |= check_output(archive, digests, output)
    if unknown := sorted(archive.members.keys() - known):
        raise archive.error(f"{unknown[0]} is not part of a bundle of {dataset}")
    return content


def member_digests(data: bytes) -> tuple[str, str]:
    """The sha256 and the md5 of a member."""
    return hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()


def check_sums(archive: Archive, digests: Digests) -> None:
    """Compare every member with the archive's list.

    Raises:
        BundleError: a member that differs, is missing or is not in the list.
    """
    lines = archive.read(SUMS).decode("utf-8", "replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted(listed.keys() | archive.members.keys() - {SUMS}):
        found = digests[name][0] if name in digests else "missing"
        if listed.get(name) != found:
            raise archive.error(f"damaged: {name} is {found}; {SUMS} has {listed.get(name, 'no such file')}")


def check_record(archive: Archive, content: Content, stages: dict[str, Entry]) -> None:
    """Compare what the archive says of each stage with this commit's `dvc.lock`.

    Raises:
        BundleError: a stage was recorded otherwise, or is in one of the two alone.
    """
    for name in [*content.entries, *stages]:
        if stages.get(name) != content.entries.get(name):
            here = "of another commit" if name in stages and name in content.entries else "of other seeds or stages"
            raise archive.error(
                f"it is {here}: {name} is not as in this dvc.lock; allowed: an archive made from this dvc.lock"
            )


def check_output(archive: Archive, digests: Digests, output: Output) -> set[str]:
    """The members of an output, which must have the bytes that `dvc.lock` records.

    Raises:
        BundleError: they have not.
    """
    if output.md5.endswith(".dir"):
        names = archive.below(output.path)
        found = directory_md5({name.removeprefix(f"{output.path}/"): digests[name][1] for name in names})
    else:
        names = [output.path]
        found = digests[output.path][1] if output.path in digests else "missing"
    if found != output.md5:
        raise archive.error(f"{output.path} of {output.stage} is {found}; dvc.lock records {output.md5}")
    return set(names)


def missing_outputs(repo: Repo, cache: HashFileDB, archive: Archive, content: Content) -> list[Output]:
    """The outputs that are not in their places, or not whole.

    Raises:
        BundleError: a file in the place of one is neither the recorded one nor part of it.
    """
    missing = []
    for output in content.outputs:
        found = hashed_output(repo, cache, output)
        if found is not None and found.hash_info.value == output.md5:
            continue
        # A part is what a killed run leaves.
        held = files_of(found) if isinstance(found, Tree) else {} if found is None else {"": "a file"}
        for name, md5 in held.items():
            path = f"{output.path}/{name}".rstrip("/")
            if path not in archive.members or member_digests(archive.read(path))[1] != md5:
                raise archive.error(f"{path} is already here with other bytes; move it away, or remove it")
        missing.append(output)
    return missing


def put_back(repo: Repo, root: Path, archive: Archive, content: Content, missing: list[Output]) -> None:
    """Write the outputs, DVC's cache with its run cache, and the cards; each output comes to its place at once."""
    unpacked = root / UNPACKED
    shutil.rmtree(unpacked, ignore_errors=True)
    for output in missing:
        for name in archive.below(output.path) or [output.path]:
            with atomic_path(unpacked / name) as temporary:
                temporary.write_bytes(archive.read(name))
        place = root / output.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            shutil.rmtree(place)
        os.replace(unpacked / output.path, place)
    shutil.rmtree(unpacked, ignore_errors=True)
    with repo.lock:
        for stage in content.stages:
            for out in stage.outs:
                if out.use_cache:
                    out.commit()
    runs = Path(repo.stage_cache.cache_dir)
    for entry in content.entries.values():
        name, data = run_cache_file(entry)
        write_whole(runs / name, data)
    for name in archive.below(CARDS):
        write_whole(root / ARTIFACTS / "cards" / content.dataset / Path(name).name, archive.read(name))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file at once."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def advice_on_prepared(prepared: Output, found: HashFile | None, source: str) -> str:
    """What the prepared images here mean for the next `dvc repro`.

    Args:
        prepared: the recorded arrays.
        found: those that are here.
        source: the provenance line of the recorded ones.
    """
    recorded = f"recorded from {source}"
    if found is None:
        return (
            f"Next: dvc repro --single-item {prepared.stage} ({recorded}), and this command again, "
            "which then says whether dvc repro would train anything."
        )
    if found.hash_info.value == prepared.md5:
        return f"{prepared.path} is as recorded: dvc repro trains nothing."
    return f"{prepared.path} has other bytes than the {recorded}: dvc repro would train everything again."
