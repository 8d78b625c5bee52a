"""Patterns of personal data and the checks that tell them from other numbers; one function, ``find``.

Written for few false positives in running text: a number is a phone number because of its shape and its surroundings,
not because it is long. Years, ISBNs, section and version numbers, decimals, dates, docket and serial numbers are left
alone; so are phone numbers that nothing sets apart from these (ten bare digits without "call" or "tel." before them).
Every test of surroundings reads characters next to the match only, which makes redaction final: see ``find``.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import string
from collections.abc import Callable, Iterable, Iterator

from curation_pipeline.annotate.pii_characters import LATIN, MARKS, UNSPACED, WORD, Places, unspaced_endings

Span = tuple[int, int, str]

PLACEHOLDERS: dict[str, str] = {"email": "<EMAIL>", "phone": "<PHONE>", "ip": "<IP>", "card": "<CARD>"}
"""What redacted text has in their place, by kind; also all kinds, in the order in which they claim characters."""

ORDER = ("email", "ip", "card", "phone")

# Cheap necessary conditions, for polars (Rust regular expressions: no look-around, linear time).
CANDIDATES: dict[str, str] = {
    "email": "@",
    "ip": r"[0-9][.\u3002][0-9]{1,3}[.\u3002][0-9]{1,3}[.\u3002][0-9]"
    r"|:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]|[0-9A-Fa-f]::",
    "card": r"[2-6][0-9]{3}[ \u2013\uff0d-]?[0-9]{4}[ \u2013\uff0d-]?[0-9]{4}|3[0-9]{3}[ \u2013\uff0d-]?[0-9]{6}",
    "phone": r"[0-9](?:[ .()/\u2013\u30fc\uff0d-]{0,3}[0-9]){6}",
}

_WORD = f"[{LATIN}0-9_]+"
# A letter of a script with spaces other than Latin, or a mark of it.
_OTHER = rf"(?:[^\W\d_{LATIN}{UNSPACED}]|[{MARKS}])"
# What is before the sign, read backwards from it: words of one script each, joined by points, hyphens and the like.
_LOCAL = re.compile(
    rf"[.%+\uff0d-]*(?:{_WORD}|(?:{_OTHER}|[0-9_])+)(?:[.%+\uff0d-]+(?:{_WORD}|(?:{_OTHER}|[0-9_])+))*[.%+\uff0d-]*"
    rf"|[{UNSPACED}][{UNSPACED}0-9.]*"
    r'|"(?:[^"\r\n]|"\\){1,62}"'
)
_LOCAL_CHARS = 64


@functools.cache
def _domain() -> re.Pattern[str]:
    """What follows the sign. An ending in Latin letters may follow any label, one of another script only its own."""
    spaced = rf"(?:[^\W_{UNSPACED}]|[{MARKS}])"
    label = (
        rf"(?:{spaced}(?:(?:{spaced}|[\uff0d-]){{0,61}}{spaced})?"
        rf"|[{UNSPACED}](?:[{UNSPACED}0-9-]{{0,61}}[{UNSPACED}0-9])?)"
    )
    latin = rf"(?:xn--[A-Za-z0-9-]{{1,59}}|[{LATIN}]{{2,24}})(?![{LATIN}0-9@]|_[{WORD}])"
    other = rf"(?:(?<=[^\W\d_{LATIN}{UNSPACED}]\.)|(?<=[{MARKS}]\.)){_OTHER}{{2,24}}"
    unspaced = rf"{unspaced_endings()}|(?<=[{UNSPACED}]\.)[{UNSPACED}]{{2,8}}(?![{UNSPACED}])"
    # The ideographic full stop ends sentences more often than it divides a domain, so it never does both.
    ideographic = rf"(?:[{LATIN}0-9](?:[{LATIN}0-9-]{{0,61}}[{LATIN}0-9])?\u3002){{1,8}}{latin}"
    return re.compile(
        rf"(?:{label}\.){{1,8}}(?:{latin}|{other}|{unspaced})|{ideographic}|\[(?:IPv6:)?[0-9A-Fa-f.:]{{7,45}}\]"
    )


# Names of files, such as "icon@2x.png", are shaped like addresses; of these endings none is a domain's.
_FILE_ENDINGS = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "css", "js", "json", "html", "php", "txt", "pdf"]
)

_MONEY = "$€£¥₩₹₽฿₺₫₪"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# A letter of another script may follow, but for the words for a section or a version.
_IPV4 = re.compile(
    rf"(?<![{WORD}.-])(?:{_OCTET}\.){{3}}{_OCTET}(?![{WORD}-]|\.[{WORD}]| ?[节節章条條款项項版절장조항])"
)
_IPV6 = re.compile(
    rf"(?<![{WORD}.])(?<![0-9A-Fa-f:]:)(?:[0-9A-Fa-f]{{1,4}}:){{2,7}}(?::|[0-9A-Fa-f]{{1,4}}|(?::[0-9A-Fa-f]{{1,4}}){{1,5}})(?![{WORD}:])"
)
# What every address holds; both begin with a literal, which the search for them is fast with.
_DOTS = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]")
# "version 10.15.7.2", "Section 12.4.1.10": numbers with dots that are no address.
_NUMBERING = re.compile(
    rf"(?:(?<![{WORD}])(?:v|ver|version|release|rev|revision|build|firmware|driver|kernel|update|patch|section|sec|chapter|"
    r"ch|part|clause|article|art|paragraph|para|rule|figure|fig|table|item|step|number|ec|oid)s?\.? ?"
    rf"|(?<![{WORD}])nos?\. ?|[§¶#] ?|[{_MONEY}=/]"
    r"|(?:版本号?|固件|章|节|節|条|條|款|第|图|圖|図|表|见|見|如|バージョン|버전|제|เวอร์ชั่?น|ข้อ|มาตรา"
    r"|верси[яиюей]+|раздел|пункт)[:.]? ?)$",
    re.IGNORECASE,
)

_CARD = re.compile(
    rf"(?<![{WORD}.,/+=-])(?:[3-6][0-9]{{3}}([ \u2013\uff0d-])[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{4}}"
    r"(?P<more>\1[0-9]{1,3})?"
    r"|[2-6][0-9]{12,18}|2[2-7][0-9]{2}([ \u2013\uff0d-])[0-9]{4}\3[0-9]{4}\3[0-9]{4}"
    r"|3[0-9]{3}([ \u2013\uff0d-])[0-9]{6}\4[0-9]{4,5})"
    rf"(?![{WORD}-]|[.,][0-9])"
)
# Issuer prefixes (ISO/IEC 7812) with the lengths that they issue.
_ISSUERS: tuple[tuple[re.Pattern[str], frozenset[int]], ...] = (
    (re.compile(r"4"), frozenset({13, 16, 19})),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), frozenset({16})),
    (re.compile(r"3[47]"), frozenset({15})),
    (re.compile(r"6011|65|64[4-9]"), frozenset({16, 19})),
    (re.compile(r"30[0-5]|3[68]"), frozenset({14})),
    (re.compile(r"352[89]|35[3-8]"), frozenset({16})),
    (re.compile(r"62"), frozenset({16, 17, 18, 19})),
)

_BEFORE_SHAPED = rf"(?<![{WORD}.,/+=<&#{_MONEY}%*:@-])"
_BEFORE = _BEFORE_SHAPED + r"(?<![0-9] )(?<![0-9]\))"
_AFTER_SHAPED = rf"(?![{WORD}%@/+=-]|[.,][0-9]| ?[%°\u00D7])"
_AFTER = _AFTER_SHAPED + r"(?! [0-9])"
_GAP = r"[ .\u2013\uff0d-]"
# The long vowel mark of kana is typed for a hyphen.
_HYPHEN = r"[ \u2013\u30fc\uff0d-]"
_BETWEEN = r"[ .()/\u2013\u30fc\uff0d-]{0,2}"
_ANNOUNCED = rf"(\+?\(?[0-9](?:{_BETWEEN}[0-9]){{6,14}}){_AFTER}"
_PHONES: tuple[re.Pattern[str], ...] = (
    # After a word that announces it, any grouping of 7 to 15 digits.
    re.compile(
        rf"(?<![{WORD}<])(?:tel|telephone|phone|ph|fax|cell|mobile|mob|call|text|dial|whatsapp|hotline|toll[- ]free)"
        rf"(?: (?:us|me|him|her|them|now))?(?: (?:at|on|no\.?|number))?[.:\uff1a#]{{0,2}}\s?{_ANNOUNCED}",
        re.IGNORECASE,
    ),
    # International: a plus sign, then E.164's 8 to 15 digits in groups. The sign is enough: numbers may be next to it.
    re.compile(
        rf"(?<![{WORD}.,<&#{_MONEY}%*@-])(\+[1-9][0-9]{{0,2}}(?:{_BETWEEN}[0-9]){{6,13}})"
        rf"(?![{WORD}%@+-]|[.,][0-9]| ?[%°\u00D7])"
    ),
    # North America: an area code and an exchange, neither beginning with 0 or 1 (the exchange may where it is set off).
    # A shape so plain that numbers may stand next to it.
    re.compile(_BEFORE_SHAPED + r"((?:1[-. ])?\([2-9][0-9]{2}\) ?[0-9]{3}" + _GAP + r"[0-9]{4})" + _AFTER_SHAPED),
    re.compile(
        _BEFORE_SHAPED + r"((?:1[-.])?[2-9][0-9]{2}(?:([-.\u2013\uff0d])[0-9]{3}\2|/[0-9]{3}-)[0-9]{4})" + _AFTER_SHAPED
    ),
    # National numbers with a trunk prefix 0, in two to five groups, ten or eleven digits in all.
    re.compile(
        rf"{_BEFORE}((?:\(0[1-9][0-9]{{0,4}}\)(?:/|{_HYPHEN})?|0[1-9][0-9]{{0,4}}(?:/|{_HYPHEN}))"
        rf"(?:[0-9]{{2,8}}{_HYPHEN}){{0,4}}[0-9]{{2,8}}){_AFTER}"
    ),
)
# The same in other scripts, where that word may follow another without a space.
_ANNOUNCED_ELSEWHERE = re.compile(
    r"(?:电话|電話|手机|手機|热线|熱線|传真|傳真|致电|致電|拨打|撥打|携帯|전화|휴대폰|연락처|팩스|โทร|เบอร์"
    r"|телефон|тел|факс|هاتف|جوال|تلفن|فون|موبایل|τηλ|फ़ोन|फोन|טלפון|נייד|פקס)"
    rf"(?:号码|號碼|号|番号|번호|ศัพท์)?[是为為は]?[.:\uff1a#]{{0,2}}\s?{_ANNOUNCED}",
    re.IGNORECASE,
)
_DIGITS = {1: (8, 15), 2: (10, 11), 3: (10, 11), 4: (10, 11)}
_CUED_DIGITS = (7, 15)
_DATE = re.compile(
    r"(?:1[5-9]|20)[0-9]{2}[ ./\u2013\uff0d-]{1,3}(?:1[5-9]|20)[0-9]{2}(?![0-9])"  # a span of years
    r"|[0-3]?[0-9]([./-])[0-3]?[0-9]\1(?:1[5-9]|20)[0-9]{2}(?![0-9])"  # day, month, year
    r"|(?:1[5-9]|20)[0-9]{2}([./-])[01]?[0-9]\2[0-3]?[0-9](?![0-9])"  # year, month, day
)
_NO_PHONE = re.compile(
    rf"(?:(?<![{WORD}])(?:isbn(?:-1[03])?|issn|pmid|doi|oclc|lccn|ean|upc|sku|case|cases|docket|dkt|no|nos|number|patent|"
    r"serial|model|part|item|order|invoice|ref|reference|id|page|pages|pp?|vol|volume|section|sec|act|zip)\.?:?|[§¶#]"
    r"|(?:订单|訂單|编|編|货|貨|型|单|單|案|书|書|刊|专利|專利|注文|品|주문|일련|송장)(?:号|號|番号?|번호)?:?) ?$",
    re.IGNORECASE,
)
_CONTEXT = 16
"""Characters before a match that ``_NUMBERING`` and ``_NO_PHONE`` read."""
_CUE = 48
"""Characters before a run of digits that hold the word which announces a phone number."""

_MAX_RUN = 100
"""Longer runs of digits are tables, where only plain shapes count. It also bounds how often ``find`` repeats itself."""
_PLAIN_SHAPES = (1, 2, 3)
"""Places in ``_PHONES`` of patterns next to which numbers may be."""

# Phones and cards lie inside of a run of digits, so only the surroundings of runs are searched.
_RUN = re.compile(CANDIDATES["phone"].removesuffix("{6}") + "{6,}")


def find(text: str, kinds: Iterable[str], private_ips: bool) -> list[Span]:
    """Non-overlapping spans, by start, in a plain text (see ``pii_characters``).

    A kind that comes earlier in ``ORDER`` claims its characters first; the next sees angle brackets in their place, as
    it will in the redacted text. The search is repeated until it finds nothing, so redacted text holds no more spans.

    Args:
        text: any string.
        kinds: of ``PLACEHOLDERS``; a kind whose ``CANDIDATES`` the text does not match can be left out.
        private_ips: see ``PiiSettings``.
    """
    wanted = [kind for kind in ORDER if kind in set(kinds)]
    found: list[Span] = []
    fresh = True
    while fresh:
        fresh = False
        for kind in wanted:
            spans = list(_FINDERS[kind](text, private_ips))
            if spans:
                fresh = True
                found += [(start, end, kind) for start, end in spans]
                text = masked(text, spans)
    return sorted(found)


def find_in_original(text: str, kinds: Iterable[str], private_ips: bool) -> list[Span]:
    """As ``find``, in a text of any characters: in its plain form, then where what is invisible sets items apart."""
    found: list[Span] = []
    fresh = True
    while fresh:
        places = Places(text)
        spans = [(*places.original(start, end), kind) for start, end, kind in find(places.plain, kinds, private_ips)]
        if not spans and places.whole != places.plain:
            spans = find(places.whole, kinds, private_ips)
        found += spans
        text = masked(text, [(start, end) for start, end, _ in spans])
        fresh = bool(spans) and places.whole != places.plain
    return sorted(found)


def masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with brackets over the spans: what is next to a span sees what it will see in redacted text."""
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], "<", "\x00" * (end - start - 2), ">"]
        at = end
    return "".join([*parts, text[at:]])


def _emails(text: str, _: bool) -> Iterator[tuple[int, int]]:
    # From each sign to both sides: a pattern tried at every letter of the text takes several times as long.
    last = 0
    at = text.find("@")
    while at >= 0:
        match = _domain().match(text, at + 1)
        if match and re.split(r"[.\u3002]", match.group())[-1].lower() not in _FILE_ENDINGS:
            start = _local(text, max(last, at - _LOCAL_CHARS - 2), at)
            if start < at:
                yield start, match.end()
                last = match.end()
        at = text.find("@", max(at + 1, last))


def _local(text: str, first: int, at: int) -> int:
    """Where the part before the sign at ``at`` begins, not before ``first``; ``at`` where there is none."""
    found = _LOCAL.match(text[first:at][::-1])
    if not found:
        return at
    whole = found.group()[::-1]
    # Two points in a row stand in no address: they lead to one.
    part = whole if whole[0] == '"' else whole.rpartition("..")[2].lstrip(".%+-\uff0d")
    start = at - len(part)
    if len(part) > _LOCAL_CHARS or (start and text[start - 1] == "@"):
        return at
    return start


def _ips(text: str, private: bool) -> Iterator[tuple[int, int]]:
    spans = list(_ipv4(text, private))
    if "\u3002" in text:
        spans += _ipv4(text.translate(_SWAPPED_STOPS), private)
    last = 0
    for anchor in _COLONS.finditer(text):
        start = anchor.start()
        while start > last and anchor.start() - start < 4 and text[start - 1] in string.hexdigits:
            start -= 1
        match = _IPV6.match(text, start) if start >= last else None
        if match is None and start == anchor.start():  # "IP:2606:": this sign announces the address
            match = _IPV6.match(text, start + 1)
        if match is None:
            continue
        last = match.end()
        try:
            found = ipaddress.IPv6Address(match.group())
        except ValueError:
            continue
        # Times (12:30:45) are no address; names of code (a::b) are, in form, but lie outside of 2000::/3.
        groups = sum(map(bool, match.group().split(":")))
        if groups >= 3 and (private or (found.is_global and int(found) >> 125 == 1)):
            spans.append(match.span())
    yield from sorted(spans)


_SWAPPED_STOPS = str.maketrans(".\u3002", "\u3002.")
"""Addresses are written with points or with ideographic full stops throughout."""


def _ipv4(text: str, private: bool) -> Iterator[tuple[int, int]]:
    for anchor in _DOTS.finditer(text):
        start = anchor.start()
        while start > 0 and anchor.start() - start < 3 and text[start - 1] in "0123456789":
            start -= 1
        match = _IPV4.match(text, start)
        # Four numbers below ten are a section or a version far more often than one of these few addresses.
        if match is None or len(match.group()) == 7 or _preceded(text, start, _NUMBERING):
            continue
        address = ipaddress.IPv4Address(match.group())
        if private or (address.is_global and not address.is_multicast and int(address) >> 28 < 15):
            yield match.span()


def _cards(text: str, _: bool) -> Iterator[tuple[int, int]]:
    for run in _RUN.finditer(text):
        if not 13 <= run.end() - run.start() <= _MAX_RUN:
            continue
        for match in _CARD.finditer(text, run.start(), run.end() + 2):
            # What follows may be the card's expiry or code instead of its last digits.
            for end in (match.end(), match.start("more")):
                digits = re.sub(r"[ \u2013\uff0d-]", "", text[match.start() : max(end, match.start())])
                issued = any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)
                if issued and len(set(digits)) > 1 and luhn(digits):
                    yield match.start(), end
                    break


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812-1, annex B)."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _phones(text: str, _: bool) -> Iterator[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    last = 0
    for run in _RUN.finditer(text):
        here: list[tuple[int, int]] = []
        begin, last = max(last, run.start() - _CUE), run.end()
        table = last - run.start() > _MAX_RUN
        taken = bytearray(last + 3 - begin)
        elsewhere = () if text[begin : run.start()].isascii() else (_ANNOUNCED_ELSEWHERE,)
        for place, pattern in enumerate((*_PHONES, *elsewhere)):
            if table and place not in _PLAIN_SHAPES:
                continue
            low, high = _DIGITS.get(place, _CUED_DIGITS)
            for match in pattern.finditer(text, begin, last + 3):
                start, end = match.span(1)
                digits = sum(character.isdigit() for character in match.group(1))
                if (
                    low <= digits <= high
                    and not _DATE.search(match.group(1))
                    and not (1 < place < len(_PHONES) and _preceded(text, start, _NO_PHONE))
                    and not any(taken[start - begin : end - begin])
                ):
                    here.append((start, end))
                    taken[start - begin : end - begin] = b"\1" * (end - start)
        spans += sorted(here)
    yield from spans


def _preceded(text: str, start: int, pattern: re.Pattern[str]) -> bool:
    return pattern.search(text[max(0, start - _CONTEXT) : start]) is not None


_FINDERS: dict[str, Callable[[str, bool], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "ip": _ips,
    "card": _cards,
    "phone": _phones,
}
