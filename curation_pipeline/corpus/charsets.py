"""Bytes as text by the rules of the web: labels and codecs as browsers mean them, byte-order marks before all else.

Python's codecs of the same names leave out what browsers read: the Encoding Standard gives every byte of the Windows
pages a character, reads GBK as GB 18030, and has NEC's and IBM's extensions in the Japanese encodings.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import webencodings
from webencodings import Encoding

from curation_pipeline.corpus.streams import Damage, Piece
from curation_pipeline.extras import extra

Markup = Literal["html", "xhtml", ""]

SNIFFED_BYTES = 1024
"""A page declares its encoding within as many bytes, or not at all."""

SURE_BYTES = 4
"""With so many continuation bytes valid UTF-8 is UTF-8: that four two-byte characters of another encoding look like it
has a probability of about one in a thousand."""

LEGIBLE = 20
"""One character in so many may be lost before a text counts as illegible."""

UTF8, UTF16LE, UTF16BE, _WINDOWS_1252 = map(webencodings.lookup, ("utf-8", "utf-16le", "utf-16be", "windows-1252"))
_MARKS = (
    (codecs.BOM_UTF32_LE, Encoding("utf-32le", codecs.lookup("utf-32-le"))),
    (codecs.BOM_UTF32_BE, Encoding("utf-32be", codecs.lookup("utf-32-be"))),
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF16_LE, UTF16LE),
    (codecs.BOM_UTF16_BE, UTF16BE),
)
"""Browsers do not read UTF-32, but its mark cannot be mistaken."""

_WIDE = {"gbk", "gb18030", "big5", "euc-jp", "iso-2022-jp", "shift_jis", "euc-kr"}

_REFUSED = {"hz-gb-2312": "hz", "iso-2022-kr": "iso2022_kr"}
"""Browsers do not read these, since scripts can hide in them; a text that is whole in them is a text here."""

_CODECS = {"gbk": "gb18030", "iso-2022-jp": "iso2022_jp_ext"}
_GB = str.maketrans(
    "\ue5e5\ue7c7\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796"
    "\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
    "\u3000ḿ︐︒︑︓︔︕︖︗︘︙龴龵龶龷龸龹龺龻",
)
_PATCHES = {
    "gbk": _GB,
    "gb18030": _GB,
    "shift_jis": str.maketrans("\uf8f0\uf8f1\uf8f2\uf8f3", "\ufffd" * 4),
    "koi8-u": str.maketrans("╝╬", "ўЎ"),
    "big5": str.maketrans("•､‾∼♁☉¥¢£", "‧﹑¯～⊕⊙￥￠￡"),  # noqa: RUF001 - what differs looks alike
    "euc-jp": str.maketrans("〜‖−¢£¬", "～∥－￠￡￢"),  # noqa: RUF001 - what differs looks alike
}

_JIS_ESCAPE = re.compile(rb"\x1b(?:\$[@B]|\(I)")
_LOST = re.compile("[\0\ufffd\uf780-\uf7ff]")
_DOUBTFUL = re.compile("[\0\x80-\x9f\ufffd\uf780-\uf7ff]")
"""What is left where there was no character; the last range is that of x-user-defined. The controls between are what
the Windows pages give for bytes that nobody writes: a sign of another encoding, and otherwise to be kept."""


class UnreadableError(ValueError):
    """Bytes that cannot become the text of a document; says why."""


def _complete(error: UnicodeError) -> tuple[str, int]:
    """What the Encoding Standard reads where Python's codec gives up, or U+FFFD."""
    assert isinstance(error, UnicodeDecodeError)
    raw = error.object[error.start : error.start + 2]
    try:
        if error.encoding == "charmap" and 0x80 <= raw[0] < 0xA0:
            return chr(raw[0]), error.start + 1
        if error.encoding == "gb18030" and raw[0] == 0x80:
            return "€", error.start + 1
        wide = {"euc_jp": range(0xA1, 0xFF), "iso2022_jp_ext": range(0x21, 0x7F)}.get(error.encoding, ())
        if all(byte in wide for byte in raw):
            row, cell = (byte & 0x7F for byte in raw)
            lead, second = divmod(row - 0x21, 2)
            trail = cell + (0x7E if second else 0x1F + (cell >= 0x60))
            return bytes((lead + (0x81 if lead < 31 else 0xC1), trail)).decode("cp932"), error.start + 2
        if error.encoding == "big5hkscs":
            return raw.decode("cp950"), error.start + 2
    except ValueError:
        pass
    return "\ufffd", error.end


codecs.register_error("curation-web", _complete)


def decode_page(body: bytes, declared: str | None, markup: Markup) -> str:
    """A page's text: by its byte-order mark, else by what HTTP or the page itself declares, else by what it looks like.

    A declaration is believed as far as the bytes bear it out: what is valid UTF-8 is taken for it, and where more is
    lost by one encoding than by the next, the next is taken. Bytes that are no character become U+FFFD, as in a
    browser, where they are few.

    Args:
        body: the page without content or transfer encodings.
        declared: the charset of its HTTP header.
        markup: where in the page a declaration can stand; empty for plain text.

    Raises:
        UnreadableError: no encoding makes the bytes legible.
    """
    body, announced = marked(body)
    if announced:
        text = _decode(body, announced)
        if not _is_legible(text):
            raise UnreadableError(f"not decodable as {announced.name}, which its byte-order mark announces")
        return text.lstrip("\ufeff")  # Some pages have two.
    http = webencodings.lookup(declared) if declared else None
    if markup and body.startswith((b"<\0", b"\0<")):
        found = [UTF16LE if body[0] else UTF16BE]
    elif body.isascii() and _JIS_ESCAPE.search(body):
        found = [webencodings.lookup("iso-2022-jp")]
    else:
        found = ([http] if http else []) + _declarations(body[:SNIFFED_BYTES], markup)
    if (utf8 := _as_utf8(body, found[0] if found else UTF8)) is not None:
        return utf8
    if found and found[0].name == "replacement":
        try:
            return body.decode(_REFUSED[(declared or "").strip().lower()])
        except (KeyError, UnicodeDecodeError):
            pass
        raise UnreadableError("declared to be in an encoding that browsers refuse to read (ISO-2022-KR, HZ or its kin)")
    # UTF-16 without a zero byte has neither markup nor a line feed.
    found = [e for e in found if e.name != "replacement" and (b"\0" in body or e not in (UTF16LE, UTF16BE))]
    looks = _looks_like(body)
    if http and looks in found[1:]:
        found.reverse()  # Servers that are not told otherwise declare one encoding for all pages.
    guesses = [UTF8, *([looks] if looks else []), _WINDOWS_1252]
    tried: dict[str, str] = {}
    for candidates, strict in ((found + guesses, True), (found, False)):
        for encoding in candidates:
            text = tried.get(encoding.name) or _decode(body, encoding)
            tried[encoding.name] = text
            if _fits(text, encoding, strict):
                return text.lstrip("\ufeff")
    named = f"declared as {declared!r}, " if declared else ""
    raise UnreadableError(f"{named}not decodable as {', '.join(tried)}")


def decode_strictly(body: bytes, declared: str | None) -> str:
    """A text in the encoding declared, UTF-8 where there is none; a byte-order mark decides and goes.

    Raises:
        UnreadableError: some bytes are no character.
    """
    body, announced = marked(body)
    encoding = announced or (webencodings.lookup(declared) if declared else None) or UTF8
    try:
        return str(encoding.codec_info.decode(body, "strict")[0])
    except UnicodeDecodeError as error:
        if encoding is not UTF8 and "\ufffd" not in (text := _decode(body, encoding)):
            return text
        raise UnreadableError(f"not valid {encoding.name.upper()} at byte {error.start} of the text") from error


def as_utf8(stream: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of a text file in UTF-8 where its byte-order mark says UTF-16 or UTF-32; others as they are."""
    source, begin, head = iter(stream), list[Piece](), b""
    for piece in source:
        begin.append(piece)
        if isinstance(piece, Damage):
            break
        head += piece
        if len(head) >= len(codecs.BOM_UTF32):
            break
    encoding = marked(head)[1]
    if encoding is None or encoding is UTF8:
        yield from begin
        yield from source
        return
    # Half a surrogate pair becomes bytes that are not UTF-8, and costs its row. The readers take the mark off.
    decoder = encoding.codec_info.incrementaldecoder("surrogatepass")
    try:
        for piece in chain(begin, source):
            if isinstance(piece, Damage):
                yield Damage(f"{piece.reason}; the rest is left unread: where its {encoding.name} continues is unknown")
                return
            yield decoder.decode(piece).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        yield Damage(f"the rest is left unread: not valid {encoding.name} ({error.reason})")


def marked(body: bytes) -> tuple[bytes, Encoding | None]:
    """Bytes without their byte-order mark, and the encoding that it announces."""
    return next(((body[len(mark) :], encoding) for mark, encoding in _MARKS if body.startswith(mark)), (body, None))


def _is_legible(text: str, lost: re.Pattern[str] = _LOST) -> bool:
    return (len(text) - len(lost.sub("", text))) * LEGIBLE <= len(text)


def _fits(text: str, encoding: Encoding, strict: bool) -> bool:
    """Whether few enough characters are lost: of those beyond ASCII one in a hundred, or not half where not strict.

    UTF-8 is never held to one in a hundred: other encodings hardly ever look like it.
    """
    pattern = _DOUBTFUL if strict else _LOST
    lost = len(text) - len(pattern.sub("", text))
    if not lost or encoding in (UTF16LE, UTF16BE):
        return _is_legible(text)
    kept = len(text) - len(text.encode("ascii", "ignore")) - lost
    return _is_legible(text, pattern) and lost * (100 if strict and encoding is not UTF8 else 1) <= kept


def _as_utf8(body: bytes, declared: Encoding) -> str | None:
    """The text of bytes that are UTF-8, but for a few, whatever is declared; None where they are something else."""
    try:
        text, lost = body.decode("utf-8"), 0
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
        lost = text.count("\ufffd")
    if not lost and declared is UTF8:
        return text.lstrip("\ufeff")
    beyond = len(text) - len(text.encode("ascii", "ignore")) - lost
    if declared in (UTF16LE, UTF16BE):
        sure = b"\0" not in body
    elif not beyond:
        sure = declared.name not in ("iso-2022-jp", "replacement")
    else:
        sure = len(body) - len(text) >= SURE_BYTES or declared.name not in _WIDE
    return text.lstrip("\ufeff") if sure and lost * LEGIBLE <= beyond else None


def _looks_like(body: bytes) -> Encoding | None:
    with extra("web", "reading web pages"):
        from resiliparse.parse.encoding import detect_encoding

    name = (detect_encoding(body, html5_compatible=False) or "").replace("_", "-")
    found: Encoding | None = webencodings.lookup({"cp949": "euc-kr", "iso2022-jp": "iso-2022-jp"}.get(name, name))
    return found


_ATTRIBUTES = rb"""(?:[^<>=]|=\s*(?:"[^"]*"|'[^']*')?)*"""
_SCAN = re.compile(rb"<!--.*?(?:-->|\Z)|<meta(?=[\s/])(" + _ATTRIBUTES + rb")|</?[a-z]" + _ATTRIBUTES, re.I | re.S)
_ATTRIBUTE = re.compile(rb"""([^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)
_XML = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([^"'>]+)["']""")


def charset_of(content_type: str) -> str | None:
    """The charset of a Content-Type."""
    found = _CHARSET.search(content_type)
    return found[1] if found else None


def _declarations(head: bytes, markup: Markup) -> list[Encoding]:
    """What the beginning of a page declares. In XHTML the XML declaration comes before ``meta``, in HTML behind it."""
    if not markup:
        return []
    xml = _XML.match(head)
    labels = [_meta_label(head), xml[1].decode("latin-1") if xml else None]
    found = [webencodings.lookup(label) for label in (labels if markup == "html" else labels[::-1]) if label]
    # A page whose declaration can be read as ASCII is neither of these.
    instead = {"utf-16le": UTF8, "utf-16be": UTF8, "x-user-defined": _WINDOWS_1252}
    return [instead.get(encoding.name, encoding) for encoding in found if encoding]


def _meta_label(head: bytes) -> str | None:
    """The first encoding that a ``meta`` element declares and browsers know."""
    for tag in _SCAN.finditer(head):
        attributes: dict[str, str] = {}
        for name, *values in _ATTRIBUTE.findall(tag[1] or b""):
            attributes.setdefault(name.decode("latin-1").lower(), b"".join(values).decode("latin-1"))
        label = attributes.get("charset")
        if label is None and attributes.get("http-equiv", "").lower() == "content-type":
            label = charset_of(attributes.get("content", ""))
        if label and webencodings.lookup(label):
            return label
    return None


def _decode(body: bytes, encoding: Encoding) -> str:
    decode = codecs.lookup(_CODECS[encoding.name]).decode if encoding.name in _CODECS else encoding.codec_info.decode
    try:
        text = decode(body, "strict")[0]
    except UnicodeDecodeError:
        text = decode(body, "replace" if encoding is UTF8 else "curation-web")[0]
    return text.translate(_PATCHES[encoding.name]) if encoding.name in _PATCHES else text
