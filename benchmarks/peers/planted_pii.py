"""Personal data, and things that look like it, planted in real text: what there is to find and to get wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

KINDS = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip"}

PERSONAL: dict[str, tuple[str, ...]] = {
    "email": ("{w}.{v}@example.org", "{w}{d2}@mail.example.co.uk", "<{w}@example.com>", "({w}_{v}@example.net)"),
    "phone": (
        "({a}) 555-{d4}", "{a}-555-{d4}", "{a}.555.{d4}", "+1 {a} 555 {d4}", "+44 20 7946 {d4}", "tel: {a}555{d4}",
        "020 7946 {d4}", "1-{a}-555-{d4}", "Phone: {a} 555 {d4}",
    ),
    "ip": ("81.2.{o}.{o}", "the host 185.{o}.{o}.{o}"),
}  # fmt: skip
DECOYS: tuple[str, ...] = (
    "ISBN 978-3-16-{d4}10-0", "PMID: 1{d4}567", "version 10.{o}.{o}.2", "Section 12.4.{o}.10", "2014 WL 7{d4}46",
    "Docket 3125550{d2}9", "serial 212555{d4}", "p = 0.{d4}001", "Case 2:06-cv-0{d4}", "1914-1918", "127.0.0.1",
    "rs117{d4}08", "the sum of 2125550{d2}7 units",
)  # fmt: skip


def plant(texts: list[str], seed: int) -> tuple[list[str], list[list[tuple[int, int, str]]]]:
    """Personal data and decoys between words of a fifth of the texts; where the personal data stands."""
    import numpy as np

    generator = np.random.default_rng(seed)

    def fill(pattern: str) -> str:
        names = ("ana", "bruno", "chidi", "dora", "emre", "farah", "goran", "hana")
        values: dict[str, Callable[[], object]] = {
            "w": lambda: names[generator.integers(8)],
            "v": lambda: names[generator.integers(8)],
            "a": lambda: generator.choice((212, 312, 415, 617, 713, 808)),
            "d2": lambda: f"{generator.integers(100):02d}",
            "d4": lambda: f"{generator.integers(10_000):04d}",
            "o": lambda: generator.integers(11, 250),
        }
        return re.sub(r"\{(\w+)\}", lambda match: str(values[match.group(1)]()), pattern)

    out, truth = [], []
    for text in texts:
        spans: list[tuple[int, int, str]] = []
        if generator.random() < 0.2:
            words, built = text.split(" "), ""
            places = set(generator.choice(len(words), size=4, replace=False).tolist())
            for i, word in enumerate(words):
                if i in places:
                    kind = ("email", "phone", "phone", "ip", "decoy", "decoy")[generator.integers(6)]
                    patterns = DECOYS if kind == "decoy" else PERSONAL[kind]
                    piece = fill(patterns[generator.integers(len(patterns))])
                    if kind != "decoy":
                        spans.append((len(built), len(built) + len(piece), kind))
                    built += piece + " "
                built += word + " "
            text = built.rstrip(" ")
        out.append(text)
        truth.append(spans)
    return out, truth


def judged(found: list[list[tuple[int, int, str]]], truth: list[list[tuple[int, int, str]]]) -> dict[str, Any]:
    """Against what was planted, in planted documents only; a span is found when half of its characters are."""
    out: dict[str, Any] = {}
    for kind in KINDS.values():
        planted = hit = extra = 0
        for spans, real in zip(found, truth, strict=True):
            wanted = [(a, b) for a, b, k in real if k == kind]
            have = [(a, b) for a, b, k in spans if k == kind]
            planted += len(wanted)
            hit += sum(any(min(b, d) - max(a, c) >= (b - a) / 2 for c, d in have) for a, b in wanted)
            if real:
                extra += sum(not any(min(b, d) > max(a, c) for c, d in wanted) for a, b in have)
        out[kind] = {"planted": planted, "recall": round(hit / planted, 4) if planted else None, "false": extra}
    return out


def disagreements(
    texts: list[str], ours: list[list[tuple[int, int, str]]], theirs: list[list[tuple[int, int, str]]]
) -> dict[str, int]:
    """Why spans of one are not in the other, by the shape of the text there."""
    reasons: dict[str, int] = {}
    for text, mine, other in zip(texts, ours, theirs, strict=True):
        for left, right, who in ((mine, other, "only here"), (other, mine, "only dolma")):
            for a, b, kind in left:
                if kind == "card" or any(k == kind and min(b, d) > max(a, c) for c, d, k in right):
                    continue
                piece = text[a:b].strip()
                if kind == "phone" and re.fullmatch(r"\(?\d{10}\)?", piece):
                    why = "ten bare digits"
                elif kind == "phone" and who == "only here":
                    why = "not in North American form, or not after a space"
                elif kind == "phone":
                    why = "digits inside of a longer number, or with a context that is no phone's"
                elif kind == "ip":
                    why = "version or section number, or an address of no host" if who == "only dolma" else "IPv6"
                else:
                    why = "brackets or no space after it"
                reasons[f"{who}, {kind}: {why}"] = reasons.get(f"{who}, {kind}: {why}", 0) + 1
    return dict(sorted(reasons.items(), key=lambda item: -item[1]))
