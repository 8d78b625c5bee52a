"""The lake: immutable artefacts found by recipe, a pointer to the current one of each partition, and lineage."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

from curation_pipeline.errors import ConfigError, IntegrityError, LakeError
from curation_pipeline.lake.draft import Draft as Draft
from curation_pipeline.lake.lock import Holder, lock
from curation_pipeline.lake.manifest import FileEntry, Manifest, Partition, Recipe, canonical_json, partition_path
from curation_pipeline.lake.store import Store, file_sha256, open_store

logger = logging.getLogger(__name__)

PACKAGES = ("numpy", "polars", "pyarrow", "scikit-learn", "stable-baselines3", "tokenizers", "torch", "transformers")


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that can change a number."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Head:
    """The pointer of one partition: every artefact that was its current one, oldest first."""

    history: tuple[str, ...]

    @property
    def current(self) -> str:
        """The id of the artefact that readers get."""
        return self.history[-1]

    @property
    def attempt(self) -> int:
        """How many earlier, different artefacts the partition had."""
        return len(self.history) - 1


class Lake:
    """Artefacts under one root.

    Layout: ``data/<table>/<partition>/<id>.<nonce>/<file>`` holds immutable files, ``manifests/<id>.json`` commits
    them, ``heads/<table>/<partition>.json`` points to the current artefact of a partition.
    """

    def __init__(self, store: Store, work: Path) -> None:
        """Keep the store; nothing is read yet.

        Args:
            store: where the bytes are.
            work: a local folder for files in the making and for the state of interrupted work.
        """
        self.store = store
        self.work = work

    @classmethod
    def open(cls, root: str | Path, work: Path | None = None) -> Lake:
        """A lake at a local folder or in a bucket.

        Args:
            root: the root.
            work: local folder for work in the making; next to a local root by default.

        Raises:
            ConfigError: the root is neither.
        """
        text = str(root)
        if work is None:
            work = Path(tempfile.gettempdir(), "curation-work") if "://" in text else Path(text).expanduser() / ".work"
        return cls(open_store(text, work), work)

    def check(self) -> None:
        """Try what every run relies on: that the lake can be written, and that the second of two writers is refused.

        Raises:
            ConfigError: the bucket, the credentials or their rights are missing, or the service makes no such promise.
        """
        path = f"checks/{uuid.uuid4().hex}"
        both = self.store.put_if_absent(path, b"first") and self.store.put_if_absent(path, b"second")
        self.store.delete(path)
        if both:
            raise ConfigError(
                f"{self.store.root}: the service lets two writers put one object (it ignores If-None-Match), "
                "so that both would commit: use a service that refuses the second one"
            )

    # -- writing -----------------------------------------------------------------------------------------------

    def build(
        self,
        recipe: Recipe,
        make: Callable[[Draft], None],
        *,
        set_head: bool = True,
        pinned: bool = False,
        resumes: bool = False,
    ) -> Manifest:
        """Return the artefact of ``recipe``, making it only where it does not exist yet.

        Args:
            recipe: what identifies the work.
            make: writes the files and the summary into a draft.
            set_head: whether the artefact becomes the current one of its partition.
            pinned: made once and then kept: where an artefact that is or was the current one has the recipe's
                parameters, seed and code version it is returned though its inputs differ. For what must not move when
                the corpus grows: a tokenizer, an embedding, the base that every chain starts from.
            resumes: ``make`` uses the draft's scratch folder. A second builder then waits for the first, and finds
                its work or resumes it.

        Returns:
            The committed manifest: of this call's files, or of the writer that committed the same recipe first.

        Raises:
            LakeError: ``make`` wrote no file.
        """
        manifest = self._pinned(recipe) if pinned else None
        if manifest is None:
            manifest = self.find(recipe)
        if manifest is None:
            scratch = self.work / "scratch" / recipe.manifest_id
            with self._alone(scratch) if resumes else nullcontext():
                manifest = self.find(recipe)
                if manifest is None:
                    if resumes:
                        scratch.mkdir(parents=True, exist_ok=True)
                    manifest = self._make(recipe, make, scratch)
        if set_head:
            self._set_head(manifest)
        return manifest

    def _pinned(self, recipe: Recipe) -> Manifest | None:
        head = self.head_record(recipe.table, recipe.partition)
        history = () if head is None else map(self.get, reversed(head.history))
        made = canonical_json((recipe.parameters, recipe.seed, recipe.code_version))
        return next((m for m in history if canonical_json((m.parameters, m.seed, m.code_version)) == made), None)

    def _make(self, recipe: Recipe, make: Callable[[Draft], None], scratch: Path) -> Manifest:
        started = time.monotonic()
        nonce = uuid.uuid4().hex[:8]
        folder = self.work / "drafts" / f"{recipe.manifest_id}.{nonce}"
        with self._alone(folder):  # so that whoever collects garbage sees whether its writer lives
            try:
                folder.mkdir()
                draft = Draft(folder, scratch)
                make(draft)
                manifest = self._commit(recipe, draft, nonce, time.monotonic() - started)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
        return manifest

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Be the only one that uses a folder; whoever comes second waits and names the first."""
        told = False

        def tell(holder: Holder, _waited: float) -> None:
            nonlocal told
            if not told and holder.pid:
                told = True
                logger.warning("%s is being made by %s: waiting for it", folder.name, holder)

        with lock(lock_of(folder), "another process", tell):
            yield

    def _commit(self, recipe: Recipe, draft: Draft, nonce: str, seconds: float) -> Manifest:
        base = f"data/{recipe.table}/{partition_path(recipe.partition)}/{recipe.manifest_id}.{nonce}"
        entries: list[FileEntry] = []
        for file in sorted(path for path in draft.folder.rglob("*") if path.is_file()):
            name = file.relative_to(draft.folder).as_posix()
            rows = (
                pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
                if file.suffix == ".parquet"
                else None
            )
            entries.append(FileEntry(name, f"{base}/{name}", file_sha256(file), file.stat().st_size, rows))
        if not entries:
            raise LakeError(f"{recipe.manifest_id}: the work ended without writing a file; this is a bug in its stage")
        for entry in entries:
            self.store.upload(draft.folder / entry.name, entry.path)
        manifest = Manifest(
            id=recipe.manifest_id,
            table=recipe.table,
            partition=dict(recipe.partition),
            inputs=tuple(sorted(recipe.inputs)),
            parameters=dict(recipe.parameters),
            seed=recipe.seed,
            code_version=recipe.code_version,
            files=tuple(entries),
            packages=package_versions(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            summary=draft.summary,
        )
        if self.store.put_if_absent(f"manifests/{manifest.id}.json", manifest.to_json()):
            return manifest
        for entry in entries:  # another writer of the same recipe committed first
            self.store.delete(entry.path)
        return self.get(manifest.id)

    # -- reading -----------------------------------------------------------------------------------------------

    def find(self, recipe: Recipe) -> Manifest | None:
        """The finished work of ``recipe``, or None."""
        data = self.store.read(f"manifests/{recipe.manifest_id}.json")
        return None if data is None else Manifest.from_json(data, recipe.manifest_id)

    def get(self, manifest_id: str) -> Manifest:
        """The manifest with this id.

        Raises:
            LakeError: there is none.
        """
        return next(self._get_all([manifest_id]))

    def _get_all(self, ids: Sequence[str]) -> Iterator[Manifest]:
        """The manifests with these ids, as `get` gives them."""
        for identity, data in zip(ids, self.store.read_all(f"manifests/{i}.json" for i in ids), strict=True):
            if data is None:
                raise LakeError(f"no artefact {identity!r} in {self.store.root}; `curate status` lists what there is")
            yield Manifest.from_json(data, identity)

    def manifests(self) -> Iterator[Manifest]:
        """Every committed manifest, in order of id."""
        names = (path.removeprefix("manifests/") for path in self.records("manifests"))
        return self._get_all([name.removesuffix(".json") for name in names])

    def records(self, prefix: str) -> Iterator[str]:
        """The paths of manifests or heads, without what a crashed writer left under a temporary name."""
        return (path for path, _ in self.store.list(prefix) if path.endswith(".json"))

    def path(self, manifest: Manifest, name: str) -> Path:
        """A local path of one file of an artefact.

        Raises:
            LakeError: there is none.
            IntegrityError: the file has been cut short, or has grown.
        """
        return self._fetch(manifest, manifest.file(name))

    def _fetch(self, manifest: Manifest, entry: FileEntry) -> Path:
        path = self.store.fetch(entry.path)
        if (size := path.stat().st_size) != entry.n_bytes:
            raise IntegrityError(self._damaged(manifest, entry, f"{size} bytes, recorded {entry.n_bytes}"))
        return path

    def _damaged(self, manifest: Manifest, entry: FileEntry, found: str) -> str:
        return (
            f"{self.store.root}/{entry.path}: {found}; "
            f"restore the file, or delete manifests/{manifest.id}.json and run its stage again"
        )

    def folder(self, manifest: Manifest) -> Path:
        """A local folder with all files of an artefact."""
        paths = [self._fetch(manifest, entry) for entry in manifest.files]
        depth = manifest.files[0].name.count("/")
        return paths[0].parents[depth]

    def frame(self, manifest: Manifest, name: str = "data", columns: list[str] | None = None) -> pl.DataFrame:
        """The Parquet file ``<name>.parquet`` of an artefact."""
        return pl.read_parquet(self.path(manifest, f"{name}.parquet"), columns=columns, glob=False)

    def json(self, manifest: Manifest, name: str) -> Any:
        """The JSON file ``<name>.json`` of an artefact."""
        return json.loads(self.path(manifest, f"{name}.json").read_bytes())

    def verify(self, manifest: Manifest) -> None:
        """Compare every file with its recorded hash.

        Raises:
            IntegrityError: a file differs.
        """
        for entry in manifest.files:
            found = self.store.sha256(entry.path)
            if found != entry.sha256:
                raise IntegrityError(self._damaged(manifest, entry, f"sha256 {found}, recorded {entry.sha256}"))

    # -- heads -------------------------------------------------------------------------------------------------

    def _head_path(self, table: str, partition: Partition) -> str:
        return f"heads/{table}/{partition_path(partition)}.json"

    def _set_head(self, manifest: Manifest) -> None:
        path = self._head_path(manifest.table, manifest.partition)
        head = self._read_head(path)
        if head is not None and head.current == manifest.id:
            return

        def moved(data: bytes | None) -> bytes:
            # An artefact that becomes current again moves to the end: its attempt number is its newest position.
            history = () if data is None else self._parsed_head(path, data).history
            others = [entry for entry in history if entry != manifest.id]
            return json.dumps({"history": [*others, manifest.id]}).encode()

        self.store.update(path, moved)

    def _read_head(self, path: str) -> Head | None:
        data = self.store.read(path)
        return None if data is None else self._parsed_head(path, data)

    def _parsed_head(self, path: str, data: bytes) -> Head:
        try:
            history = json.loads(data)["history"]
            if not history or not all(isinstance(entry, str) for entry in history):
                raise ValueError("it lists no artefact")
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{self.store.root}/{path} is damaged ({error}): restore it from a backup, or delete it, and the next "
                "`curate run` finds the finished work again and points to it"
            ) from error
        return Head(tuple(history))

    def head_record(self, table: str, partition: Partition | None = None) -> Head | None:
        """The pointer of a partition, or None where nothing was ever made there.

        Raises:
            LakeError: it is damaged.
        """
        return self._read_head(self._head_path(table, partition or {}))

    def head(self, table: str, partition: Partition | None = None) -> Manifest | None:
        """The current artefact of a partition, or None."""
        record = self.head_record(table, partition)
        return None if record is None else self.get(record.current)

    def require(self, table: str, partition: Partition | None = None) -> Manifest:
        """The current artefact of a partition.

        Raises:
            LakeError: there is none.
        """
        manifest = self.head(table, partition)
        if manifest is None:
            where = f" for {partition_path(partition)}" if partition else ""
            raise LakeError(f"{table}{where} has not been made yet: materialise the asset of that name first")
        return manifest

    def heads(self, table: str, partition: Partition | None = None) -> list[Manifest]:
        """The current artefact of every partition of a table, in order of partition.

        Args:
            table: the table.
            partition: leading values that the partitions must have.
        """
        prefix = f"heads/{table}" + (f"/{partition_path(partition)}" if partition else "")
        paths = list(self.records(prefix))
        found = zip(paths, self.store.read_all(paths), strict=True)
        heads = [self._parsed_head(path, data) for path, data in found if data is not None]
        return list(self._get_all([head.current for head in heads]))

    # -- lineage -----------------------------------------------------------------------------------------------

    def ancestors(self, manifest_id: str) -> list[Manifest]:
        """The artefact and everything it was made from, each once, nearest first."""
        seen: dict[str, Manifest] = {}
        frontier = [manifest_id]
        while frontier:
            found = list(self._get_all(frontier))
            seen |= {manifest.id: manifest for manifest in found}
            inputs = dict.fromkeys(identity for manifest in found for identity in manifest.inputs)
            frontier = [identity for identity in inputs if identity not in seen]
        return list(seen.values())

    def descendants(self, manifest_ids: set[str]) -> list[Manifest]:
        """Everything that was made, directly or not, from any of these artefacts."""
        every = list(self.manifests())
        reached = set(manifest_ids)
        grown = True
        while grown:
            new = {m.id for m in every if m.id not in reached and reached.intersection(m.inputs)}
            reached |= new
            grown = bool(new)
        return [m for m in every if m.id in reached and m.id not in manifest_ids]


def lock_of(folder: Path) -> Path:
    """The lock of a folder of work in the making, next to it."""
    return folder.with_name(f"{folder.name}.lock")
