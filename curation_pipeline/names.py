"""Names that others chose (files, folders, deliveries) as names that every table, path and partition key can hold.

A name that already serves stays as it is. Any other gets a hash behind it, so that no two names become one.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

MAX_PART = 240
"""Most bytes of a part of a path in the lake: file systems take 255, and a file in the making has a longer name."""

KEPT = 160
"""How much of a part that is too long stays readable."""

_REFUSED = re.compile(r"[\x00-\x1f\x7f]|\.\.\.|\|")
"""Control characters and runs of dots, which the orchestrator refuses in a key, and the bar behind a source's name."""


def unicode_name(raw: str) -> str:
    r"""A path whose every part is valid Unicode: bytes that are not UTF-8 as ``\xe9``, with a hash before the suffix.

    Args:
        raw: as the operating system gave it, with ``surrogateescape``; parts separated by ``/``.
    """
    return "/".join(_unicode_part(part) for part in raw.split("/"))


def _unicode_part(raw: str) -> str:
    try:
        raw.encode()
    except UnicodeEncodeError:
        data = raw.encode("utf-8", "surrogateescape")
        stem, dot, suffixes = data.decode("utf-8", "backslashreplace").partition(".")
        return f"{stem}{_mark(data)}{dot}{suffixes}"
    return raw


def partition_value(name: str) -> str:
    """A name as one value of a partition: what a partition's key cannot hold is percent-encoded, with a hash behind."""
    escaped = _REFUSED.sub(lambda found: "".join(f"%{ord(char):02X}" for char in found[0]), name)
    return name if escaped == name else escaped + _mark(name.encode())


def path_part(name: str, value: str) -> str:
    """``name=value`` as one part of a path: what file systems or object stores treat specially is percent-encoded."""
    part = f"{name}={quote(value, safe='-_.')}"
    return part if len(part) <= MAX_PART else part[:KEPT] + _mark(value.encode())


def _mark(data: bytes) -> str:
    return f"~{hashlib.sha256(data).hexdigest()[:16]}"
