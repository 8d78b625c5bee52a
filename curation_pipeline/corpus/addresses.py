"""Addresses of pages by what they mean: one host, and one page, however it is written."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import unicodedata
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

import polars as pl

AUTHORITY = r"^\s*((?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?[^/?#]*)"
"""A polars pattern of what a url's host is read from."""

_AROUND = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


def trimmed(text: str) -> str:
    """The text without white space and invisible characters around it."""
    before = None
    while text != before:
        before, text = text, text.strip().strip(_AROUND)
    return text


def canonical_host(name: str) -> str:
    """The one form of a host's name: lower case, ASCII (Punycode), without a final point; of an IP address its own.

    Raises:
        ValueError: it is no name of a host; says why.
    """
    import idna

    name = unquote(name, errors="strict").rstrip(".\u3002")
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError as error:
            try:  # the older standard has signs and pictographs, too
                name = name.encode("idna").decode()
            except UnicodeError:
                raise ValueError(f"is no name of a host ({error})") from None
    if not _HOST.fullmatch(name.lower()):
        raise ValueError("is no name of a host")
    return name.lower()


def split_url(url: str) -> SplitResult:
    """The parts of a url, or of an address without a scheme.

    Raises:
        ValueError: it has none.
    """
    text = trimmed(url)
    return urlsplit(text if "://" in text or text.startswith("//") else f"//{text}")


def host_of(url: str) -> str | None:
    """The host of a url, as `canonical_host` writes it if it can; None where the text names none."""
    try:
        parts = split_url(url)
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    with contextlib.suppress(ValueError):  # what is below a site is part of it, however odd its name
        host = canonical_host(host)
    return host if host and ("//" in url or "." in host) else None


def page_of(url: str) -> str:
    """What two urls of one page have in common.

    Scheme (http and https), ``www.``, user, default port, case of the host, a final slash, percent-encoding and
    fragment do not count. A text without a host is its own page.
    """
    host = host_of(url)
    if host is None:
        return trimmed(url)
    parts = split_url(url)
    scheme = "" if parts.scheme in ("", "http", "https") else f"{parts.scheme}:"
    port = re.search(r":([^\]@]*)$", parts.netloc)
    where = f":{port.group(1)}" if port and port.group(1) not in ("", "80", "443") else ""
    path = unquote(parts.path, errors="backslashreplace").rstrip("/")
    query = f"?{unquote_plus(parts.query, errors='backslashreplace')}" if parts.query else ""
    shown = f"[{host}]" if ":" in host else host.removeprefix("www.")
    return unicodedata.normalize("NFC", f"{scheme}//{shown}{where}{path}{query}")


def hosts_of(urls: pl.Series) -> pl.Series:
    """The host of each url; null where it names none."""
    authorities = urls.str.extract(AUTHORITY)
    # A call for each distinct authority, of which there are few.
    distinct = authorities.drop_nulls().unique()
    hosts = pl.Series([host_of(authority) for authority in distinct.to_list()], dtype=pl.Utf8)
    return authorities.replace_strict(distinct, hosts, default=None, return_dtype=pl.Utf8).alias("host")
