"""Language identifiers and Presidio on given texts; run by the python of their environment.

    python fast_annotators.py heliport|py3langid|pycld2|presidio SOURCE.json TARGET.json

The source is a list of texts. Written are the CPU seconds that they took and the answers: a language code for each
text, or the spans of e-mail addresses, phone numbers and IP addresses. Presidio's recognisers are called without its
language model, which these kinds do not need and which would cost most of the time.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from planted_pii import KINDS

MACROS = {"nb": "no", "nn": "no", "zh-Hant": "zh", "zh-Hans": "zh", "iw": "he", "jw": "jv", "in": "id"}
"""Codes of one language that the judged texts have under another."""


def heliport() -> Callable[[str], str]:
    from babel.core import get_global
    from heliport import Identifier

    short, identifier = get_global("language_aliases"), Identifier()
    return lambda text: str(short.get(found := identifier.identify(text) or "und", found))


def py3langid() -> Callable[[str], str]:
    from py3langid import classify

    return lambda text: str(classify(text)[0])


def pycld2() -> Callable[[str], str]:
    import pycld2

    def identify(text: str) -> str:
        # It refuses control characters.
        return str(pycld2.detect(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", " ", text), bestEffort=True)[2][0][1])

    return identify


def presidio() -> Callable[[str], list[tuple[int, int, str]]]:
    from presidio_analyzer.predefined_recognizers import EmailRecognizer, IpRecognizer, PhoneRecognizer

    recognisers = (EmailRecognizer(), PhoneRecognizer(), IpRecognizer())

    def spans(text: str) -> list[tuple[int, int, str]]:
        found = [result for one in recognisers for result in one.analyze(text, one.supported_entities)]
        return [(result.start, result.end, KINDS[result.entity_type]) for result in found]

    return spans


PROGRAMS: dict[str, Callable[[], Callable[[str], Any]]] = {
    "heliport": heliport, "py3langid": py3langid, "pycld2": pycld2, "presidio": presidio,
}  # fmt: skip


def main(name: str, source: Path, target: Path) -> None:
    answer, texts = PROGRAMS[name](), json.loads(source.read_text(encoding="utf-8"))
    for text in texts[:20]:
        answer(text)
    started = time.process_time()
    answers = [answer(text) for text in texts]
    seconds = time.process_time() - started
    if name != "presidio":
        answers = [MACROS.get(found, found) for found in answers]
    package = "presidio-analyzer" if name == "presidio" else name
    target.write_text(json.dumps({"seconds": seconds, "answers": answers, "version": version(package)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
