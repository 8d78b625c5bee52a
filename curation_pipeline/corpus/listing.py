"""What lies in a source: the files to read, and those left alone with the reason of each."""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from curation_pipeline.corpus.archives import Archive, ArchiveError
from curation_pipeline.corpus.files import SourceFile, remote
from curation_pipeline.corpus.readers import format_of, reader_for
from curation_pipeline.corpus.streams import packing_of
from curation_pipeline.errors import DataError
from curation_pipeline.lake.bucket import Bucket, is_bucket
from curation_pipeline.names import unicode_name

if TYPE_CHECKING:
    from curation_pipeline.corpus.sources.folder import FolderSource

NAMED = 5
"""How many files of one kind a message names."""

STATE_BYTES = 64 * 1024 * 1024
"""Most bytes of the file that describes a saved data set."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file, a folder or something else in a source that is not read.

    Attributes:
        file: as it would be read.
        reason: why it is not.
    """

    file: SourceFile
    reason: str

    @property
    def name(self) -> str:
        """Its path below the source's folder."""
        return self.file.name


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything in a source, or in one delivery of it.

    Attributes:
        files: what is read, in order of name.
        left: what is left alone, in order of name.
    """

    files: tuple[SourceFile, ...]
    left: tuple[LeftAlone, ...]

    @property
    def snapshots(self) -> list[str]:
        """Names of the deliveries, sorted."""
        return sorted({file.snapshot for file in self.files})

    def of(self, snapshot: str) -> Listing:
        """One delivery. What lies in a folder without any readable file belongs to the first delivery."""
        names = self.snapshots
        kept = (entry.file.snapshot if entry.file.snapshot in names else names[0] for entry in self.left if names)
        left = tuple(entry for entry, home in zip(self.left, kept, strict=False) if home == snapshot)
        return Listing(tuple(file for file in self.files if file.snapshot == snapshot), left)

    def told(self) -> list[str]:
        """What was left alone, a line for each reason."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for entry in self.left:
            kinds[entry.reason].append(entry.name)
        return [
            f"{len(names):,} left alone ({reason}): {', '.join(names[:NAMED])}"
            + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
            for reason, names in sorted(kinds.items())
        ]


def listing(source: FolderSource) -> Listing:
    """Everything in a source; a file of several names has one that is read.

    Raises:
        DataError: the folder does not exist, or a bucket cannot be read.
    """
    found = list(_members(_bucket_files(source) if is_bucket(source.path) else _local_files(source)))
    judged = [LeftAlone(entry.file, entry.reason or _unread(entry.file, source)) for entry in found]
    saved = _saved_datasets([entry.file for entry in found if not entry.reason])
    files: dict[tuple[str, str], SourceFile] = {}
    left: list[LeftAlone] = []
    for entry in judged:
        file, reason = entry.file, entry.reason or _outside_saved(entry.name, saved)
        place = (file.place, file.name if file.archive else "")
        if reason or place in files:
            left.append(LeftAlone(file, reason))
        else:
            files[place] = file
    # A second name; or the first one, where only a link has the ending that tells the format.
    other = {place: file.name for (place, member), file in files.items() if not member}
    left = [LeftAlone(e.file, f"read as {other[e.file.place]}") if e.file.place in other else e for e in left]
    return Listing(
        tuple(sorted(files.values(), key=lambda file: file.name)), tuple(sorted(left, key=lambda entry: entry.name))
    )


def _unread(file: SourceFile, source: FolderSource) -> str:
    """Why a file is not read, as far as its name tells; empty where it is."""
    if any(part.startswith(".") for part in file.name.split("/")):
        return "hidden"
    bases = {name.rpartition("/")[2] for name in (file.name, file.delivered)}
    if source.include is not None and not any(fnmatch(base, glob) for base in bases for glob in source.include):
        return "no pattern of include matches"
    if is_broken_archive(file):
        return ""
    if reader := reader_for(file.name):
        return reader.refusal(source)
    ending = format_of(file.name)
    if ending == ".zip" and file.archive:
        return "an archive in an archive"
    return f"nothing reads {ending}{packing_of(file.name)}" if ending else "no ending that tells a format"


def is_broken_archive(file: SourceFile) -> bool:
    """Whether the file represents an archive whose members are not known."""
    return file.archive == file.name


def _members(found: Iterable[LeftAlone]) -> Iterator[LeftAlone]:
    """Files, and in place of each archive its members."""
    for entry in found:
        file = entry.file
        if entry.reason or not file.name.lower().endswith(".zip"):
            yield entry
            continue
        try:
            with file.open() as stream:
                members = list(Archive(stream).members())
            for member, reason in members:
                name = f"{file.name}/{unicode_name(member.filename)}"
                yield LeftAlone(replace(file, name=name, archive=file.name, member=member), reason)
            if not members:
                yield LeftAlone(file, "an archive without members")
        except (ArchiveError, OSError):
            # What is wrong with it becomes a quarantined row when it is read.
            yield LeftAlone(replace(file, archive=file.name), "")


def _local_files(source: FolderSource) -> Iterator[LeftAlone]:
    """Everything below a folder: first what lies there, then what links lead to, each folder once."""
    given = Path(source.path).expanduser()
    if not given.is_dir():
        raise DataError(f"source {source.name!r}: {given} is not a folder; check its path in the profile")
    root = os.path.realpath(given)
    folders, links, walked = [("", root)], list[tuple[str, str]](), {root}
    while folders or links:
        if not folders:
            links.sort(reverse=True)
            name, path = links.pop()
            target, reason = _target(path, root, source.outside_links)
            if not reason and os.path.isdir(target):
                if target not in walked:
                    walked.add(target)
                    folders.append((f"{name}/", target))
                    continue
                reason = "a link to a folder that is read in its own place"
            yield _entry(name, target, reason or _irregular(target))
            continue
        below, folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield _entry(below, folder, f"a folder that cannot be listed: {error.strerror}")
            continue
        for entry in entries:
            name = below + entry.name
            if entry.name.startswith("."):
                yield _entry(name, entry.path, "hidden")
            elif entry.is_symlink():
                links.append((name, entry.path))
            elif entry.is_dir(follow_symlinks=False):
                if entry.path not in walked:
                    walked.add(entry.path)
                    folders.append((f"{name}/", entry.path))
            else:
                yield _entry(name, entry.path, "" if entry.is_file(follow_symlinks=False) else _irregular(entry.path))


def _entry(name: str, place: str, reason: str) -> LeftAlone:
    return LeftAlone(SourceFile(unicode_name(name), place), reason)


def _target(path: str, root: str, outside_links: bool) -> tuple[str, str]:
    """Where a link leads, and why it is not followed."""
    try:
        target = os.path.realpath(path, strict=True)
    except OSError as error:
        return path, f"a link that leads nowhere: {error.strerror}"
    if not outside_links and os.path.commonpath((target, root)) != root:
        return target, "a link out of the source's folder; outside_links = true follows it"
    return target, ""


def _irregular(path: str) -> str:
    """What a thing is that is no regular file; empty for one."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"gone, or not to be looked at: {error.strerror}"
    if stat.S_ISREG(mode):
        return ""
    return "a named pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _bucket_files(source: FolderSource) -> Iterator[LeftAlone]:
    with remote():
        bucket = Bucket(str(source.path), source.endpoint_url, source.anonymous)
        entries = [entry for entry in bucket.list() if entry.n_bytes or bucket.entry(entry.path) is not None]
    if not entries:
        raise DataError(f"source {source.name!r}: nothing lies under {bucket.url}; check its path in the profile")
    for entry in entries:  # what marks a folder is listed without its last slash, and no object has that name
        hidden = any(part.startswith(".") for part in entry.path.split("/"))
        file = SourceFile(entry.path, f"{bucket.url}/{entry.path}", bucket, entry)
        yield LeftAlone(file, "hidden" if hidden else "")


def _saved_datasets(files: list[SourceFile]) -> dict[str, set[str]]:
    """Folders that ``save_to_disk`` wrote, with the files that belong to the data set: not the caches next to it."""
    found: dict[str, set[str]] = {}
    arrow = {file.name.rpartition("/")[0] for file in files if file.name.endswith(".arrow")}
    for file in files:
        folder, _, last = file.name.rpartition("/")
        if last == "state.json" and folder in arrow and not file.archive:
            try:
                with file.open() as stream:
                    names = [entry["filename"] for entry in json.loads(stream.read(STATE_BYTES))["_data_files"]]
                    found[folder] = {f"{folder}/{name}" if folder else name for name in names}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # Not the state of a data set, or a damaged one: every Arrow file is read.
    return found


def _outside_saved(name: str, saved: dict[str, set[str]]) -> str:
    """Why a file in the folder of a saved data set is not read."""
    folder, _, last = name.rpartition("/")
    if folder in saved and name not in saved[folder]:
        return "no part of the data set that its folder's state.json describes"
    if last == "dataset_dict.json" and any(other.rpartition("/")[0] == folder for other in saved):
        return "it describes the data sets in its folders"
    return ""
