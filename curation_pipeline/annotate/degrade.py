"""Damage as crawls of the web do it to text, made from undamaged text, to teach a quality classifier.

Each kind keeps words of the text that it is made from, so that its topic, register and dialect remain on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# fmt: off
_FURNITURE: tuple[str, ...] = (
    "Home", "About Us", "Contact", "Contact Us", "Login", "Log in", "Sign up", "Register", "Search", "Menu", "Cart",
    "Add to Cart", "Checkout", "My Account", "Privacy Policy", "Terms of Use", "Site Map", "Help", "FAQ", "News",
    "Reply", "Quote", "Report", "Share", "Tweet", "Like", "Follow us", "Subscribe", "Newsletter", "Print", "E-mail",
    "Read More", "Read more »", "Continue reading", "Next", "Previous", "Back to top", "View all", "Download",
    "Click here", "Related posts", "Recent Comments", "Leave a comment", "Tags", "Categories", "Archives", "Posted by",
    "Filed under", "Permalink", "Advertisement", "Sponsored", "Loading...", "Skip to content", "All rights reserved",
    "Copyright", "Powered by", "Last updated", "Page 1 of 3", "Join Date", "Posts", "Location", "Reviews", "Rating",
    "Free shipping", "In stock", "Out of stock", "Sold out", "Price", "Size", "Color", "Quantity", "Item", "Order now",
)
_FIELDS: tuple[str, ...] = (
    "Price", "Size", "Date", "Model", "Weight", "Views", "Posts", "Joined", "Category", "Type", "Status", "Hours",
    "Points", "Rating", "Author", "Year", "Item", "Location", "Length", "Brand", "Condition",
)
# fmt: on
_MOJIBAKE = {"'": "â€™", "\u2019": "â€™", '"': "â€œ", "-": "â€“", "é": "Ã©", " ": "Â "}


def degrade(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """A damaged version of a text.

    Args:
        text: undamaged text.
        others: texts of the same register, from which lists and teasers take their other entries.
        generator: draws the kind of damage and its places.
    """
    kinds = _KINDS
    kind = kinds[int(generator.choice(len(kinds), p=_CHANCES))]
    return kind(text, others, generator)


def _furniture(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """Menus and buttons around little text, or none."""
    labels = [_label(text, generator) if generator.random() < 0.5 else _pick(_FURNITURE, generator) for _ in range(30)]
    kept = labels[: int(generator.integers(5, 30))]
    words = text.split()
    if generator.random() < 0.6:
        size = int(generator.integers(3, 25))
        start = int(generator.integers(0, max(len(words) - size, 1)))
        kept.insert(int(generator.integers(0, len(kept))), " ".join(words[start : start + size]))
    return _pick(("\n", "\n", " | ", " » ", " "), generator).join(kept)


def _teasers(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """The beginnings of several articles, each cut short."""
    chosen = [text, *(_pick(others, generator) for _ in range(int(generator.integers(1, 5))))]
    lines = []
    for other in chosen:
        words = other.split()
        start = int(generator.integers(0, max(len(words) - 20, 1)))
        cut = " ".join(words[start : start + int(generator.integers(4, 18))])
        stamp = _stamp(generator) if generator.random() < 0.5 else ""
        more = _pick(("...", "…", "... Read More", " [more]", "… Continue reading", ""), generator)
        lines.append(f"{_label(other, generator)} {stamp}\n{cut}{more}")
    return "\n".join(lines)


def _forum(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """A scrap of a thread: names, dates and counts, and a few words."""
    lines = []
    for other in [text, *(_pick(others, generator) for _ in range(int(generator.integers(0, 3))))]:
        words = other.split()
        start = int(generator.integers(0, max(len(words) - 15, 1)))
        lines += [
            f"{_label(other, generator).replace(' ', '')}{generator.integers(1, 99)} {_stamp(generator)}",
            f"{_pick(('Posts', 'Join Date', 'Points', 'Replies', 'Views'), generator)}: {generator.integers(1, 9999)}",
            " ".join(words[start : start + int(generator.integers(2, 15))]),
            _pick(_FURNITURE, generator),
        ]
    return "\n".join(lines)


def _catalogue(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """Records of a listing: fields, prices and codes."""
    lines = []
    for _ in range(int(generator.integers(3, 12))):
        value = _pick(
            (
                f"${generator.integers(1, 999)}.{generator.integers(10, 99)}",
                f"{generator.integers(1, 5000)}",
                _stamp(generator),
                _label(_pick(others, generator) if generator.random() < 0.3 else text, generator),
                f"{generator.integers(1, 99)} x {generator.integers(1, 99)}",
            ),
            generator,
        )
        lines.append(f"{_pick(_FIELDS, generator)}: {value}" if generator.random() < 0.5 else _label(text, generator))
    return _pick(("\n", "\n- ", " | ", ", "), generator).join(lines)


def _shuffled(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """Word salad, as spun text is: neighbours in a wrong order."""
    words = text.split()
    reach = float(generator.uniform(2.0, 20.0))
    keys = np.arange(len(words)) + generator.uniform(0.0, reach, len(words))
    return " ".join(words[i] for i in np.argsort(keys, kind="stable"))


def _stuffed(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """A few phrases of the text over and over."""
    phrases = [_label(text, generator).lower() for _ in range(int(generator.integers(1, 5)))]
    extra = ("best", "cheap", "buy", "free", "online", "top", "review", "for sale")
    lines = [
        f"{_pick(extra, generator)} {_pick(phrases, generator)}"
        if generator.random() < 0.4
        else _pick(phrases, generator)
        for _ in range(int(generator.integers(10, 50)))
    ]
    return _pick((" ", ", ", "\n"), generator).join(lines)


def _garbled(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """A wrong encoding, spaces lost, or markup left in."""
    way = int(generator.integers(0, 3))
    if way == 0:
        return "".join(_MOJIBAKE.get(letter, letter) if generator.random() < 0.5 else letter for letter in text)
    words = text.split()
    if way == 1:
        joints = np.where(generator.random(len(words)) < generator.uniform(0.2, 0.7), "", " ")
        return "".join(word + joint for word, joint in zip(words, joints.tolist(), strict=True))
    marks = ("<br />", "&nbsp;", "</div>", "<p>", "{{", "}}", "&amp;", '<a href="#">', "</a>", "[[", "]]", "==")
    return " ".join(word if generator.random() > 0.15 else f"{word} {_pick(marks, generator)}" for word in words)


def _mixed(text: str, others: Sequence[str], generator: np.random.Generator) -> str:
    """Half a text, cut off in a sentence, between furniture."""
    words = text.split()
    half = " ".join(words[: max(3, int(len(words) * generator.uniform(0.1, 0.4)))])
    return "\n".join([_furniture(text, others, generator), half, _teasers(text, others, generator)])


_Damage = Callable[[str, Sequence[str], np.random.Generator], str]
_KINDS: tuple[_Damage, ...] = (_furniture, _teasers, _forum, _catalogue, _shuffled, _stuffed, _garbled, _mixed)
_CHANCES = (0.18, 0.20, 0.18, 0.14, 0.08, 0.06, 0.06, 0.10)
"""About how often each kind of debris is met in pages that people set aside; no page was counted."""


def _pick(choices: Sequence[str], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(0, len(choices)))]


def _label(text: str, generator: np.random.Generator) -> str:
    """One to four neighbouring words of a text in title case."""
    words = text.split() or [""]
    start = int(generator.integers(0, len(words)))
    chosen = " ".join(words[start : start + int(generator.integers(1, 5))]).strip(".,;:!?()\"'")
    return chosen.title() if generator.random() < 0.8 else chosen


def _stamp(generator: np.random.Generator) -> str:
    """A date or a time as pages write them."""
    day, month, year = generator.integers(1, 29), generator.integers(1, 13), generator.integers(1999, 2024)
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    clock = f"{generator.integers(1, 13)}:{generator.integers(10, 60)} {_pick(('am', 'pm', 'AM'), generator)}"
    return _pick((f"{names[month - 1]} {day}, {year}", f"{year}-{month:02d}-{day:02d}", clock), generator)
