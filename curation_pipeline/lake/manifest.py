"""Recipes and manifests: what makes an artefact, and the record that it was made.

A *recipe* says how a piece of work would be made: its table and partition, the manifests it reads, its parameters,
seed and the declared version of the code. Its key is a hash of exactly that, so finished work is found again by the
key, and a change of any ingredient is a different piece of work. A *manifest* is the commit record of finished work:
the recipe, the content hash of each file, and what it was made with. An artefact exists when its manifest does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from curation_pipeline.errors import LakeError
from curation_pipeline.names import path_part

Partition = Mapping[str, str]
"""Names and values of a partition in order, for example ``{"chain": "main", "iteration": "0003"}``; empty for none."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def partition_path(partition: Partition) -> str:
    """A relative path for a partition, one folder per value; ``all`` for an unpartitioned table.

    `names.path_part` says what becomes of characters that a file system treats specially, and of long values.
    """
    return "/".join(path_part(name, value) for name, value in partition.items()) or "all"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a piece of work is made; see the module's docstring.

    Attributes:
        table: the table it belongs to, for example ``checkpoints``.
        partition: the partition of that table.
        inputs: ids of the manifests that it reads; order does not matter.
        parameters: JSON-serialisable settings that change the result.
        seed: the seed of its random streams.
        code_version: the declared version of the function, raised by hand when its results change.
    """

    table: str
    partition: Partition
    inputs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    code_version: str = "1"

    @property
    def key(self) -> str:
        """The recipe key: sha256 over all ingredients, in hexadecimal."""
        return sha256_text(
            canonical_json(
                {
                    "table": self.table,
                    "partition": dict(self.partition),
                    "inputs": sorted(self.inputs),
                    "parameters": dict(self.parameters),
                    "seed": self.seed,
                    "code_version": self.code_version,
                }
            )
        )

    @property
    def manifest_id(self) -> str:
        """The id that the finished work has: the table's name and 64 bits of the key."""
        return f"{self.table}-{self.key[:16]}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One immutable file of an artefact.

    Attributes:
        name: the name inside the artefact, for example ``data.parquet``.
        path: the path under the lake's root.
        sha256: content hash in hexadecimal.
        n_bytes: size in bytes.
        n_rows: rows, for Parquet files.
    """

    name: str
    path: str
    sha256: str
    n_bytes: int
    n_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The commit record of one artefact: its recipe, its files and its summary.

    Attributes:
        id: ``<table>-<first 16 digits of the recipe key>``.
        files: the files, in order of name.
        packages: versions of the packages that can change the numbers.
        created_at: ISO 8601, UTC.
        seconds: wall time of the work.
        summary: figures that people and later stages read without opening the files.
    """

    id: str
    table: str
    partition: dict[str, str]
    inputs: tuple[str, ...]
    parameters: dict[str, Any]
    seed: int
    code_version: str
    files: tuple[FileEntry, ...]
    packages: dict[str, str]
    created_at: str
    seconds: float
    summary: dict[str, Any]

    @property
    def content_hash(self) -> str:
        """A hash of the names and contents of the files; equal content has an equal hash whatever made it."""
        return sha256_text(canonical_json([[file.name, file.sha256] for file in self.files]))

    @property
    def n_rows(self) -> int:
        """Rows of the file ``data.parquet``, or of all Parquet files where there is none."""
        main = [file for file in self.files if file.name == "data.parquet"]
        return sum(file.n_rows or 0 for file in main or self.files)

    def holds(self, name: str) -> bool:
        """Whether it has a file of this name; one of an earlier version may lack what a later one writes."""
        return any(file.name == name for file in self.files)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.n_bytes for file in self.files)

    @property
    def partition_text(self) -> str:
        """The partition for people: values joined by ``|``."""
        return "|".join(self.partition.values())

    def file(self, name: str) -> FileEntry:
        """The entry of the file called ``name``.

        Raises:
            LakeError: the artefact has no such file.
        """
        for entry in self.files:
            if entry.name == name:
                return entry
        raise LakeError(f"{self.id} has no file {name!r}; it has {', '.join(e.name for e in self.files) or 'none'}")

    def to_json(self) -> bytes:
        """The manifest as it is stored."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Read a stored manifest.

        Raises:
            LakeError: the bytes are no manifest.
        """
        try:
            raw = json.loads(data)
            raw["files"] = tuple(FileEntry(**entry) for entry in raw["files"])
            raw["inputs"] = tuple(raw["inputs"])
            return cls(**raw)
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(f"{where} is not a manifest of this lake ({error}); restore it from a backup") from error
