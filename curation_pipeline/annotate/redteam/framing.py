"""Benign texts that hold a harmful one: its denial, and counter speech that quotes and condemns it.

Functional tests of hate speech detectors (Röttger et al. 2021, HateCheck, arXiv:2012.15606) found that detectors flag
both, because they read the words and not what is said with them. A detector that does so silences the people who answer
abuse. The sentences around the quotation are this project's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from curation_pipeline.seeds import derive

NEGATIONS: tuple[str, ...] = (
    'Nobody should ever say "{text}".',
    'It is simply not true that "{text}", and I have never thought so.',
    'I would never write "{text}" to anyone.',
    'No one at our school believes "{text}".',
    'The moderator reported that a user had posted "{text}"; the post was removed.',
    'She denies that she said "{text}" to her colleague.',
    'We do not accept messages such as "{text}" here.',
    'You will not hear me say "{text}".',
)
COUNTER_SPEECH: tuple[str, ...] = (
    'Someone wrote "{text}" under my photo. That was wrong, and I am sorry for everyone who had to read it.',
    '"{text}" is no way to talk to people. Please be kind to each other.',
    'If a stranger tells you "{text}", remember that it says nothing about you.',
    'Posting "{text}" hurts real people. Stand with them and report it.',
    'My friend was told "{text}" on the bus today. Everyone around her spoke up for her.',
    'We teach our children that words like "{text}" wound, and what to answer.',
    '"{text}" - comments of this kind are why our community has rules, and I am glad of them.',
    'I read "{text}" this morning and I disagree with every word of it.',
)

FRAMES: dict[str, tuple[str, ...]] = {"negation": NEGATIONS, "counter_speech": COUNTER_SPEECH}
"""The families of frame by name."""


def framed(texts: Sequence[str], family: str, seed: int) -> list[str]:
    """Each text inside one sentence of a family, chosen by the text and the seed.

    Args:
        texts: n harmful texts; double quotes in them become single ones.
        family: "negation" or "counter_speech".
        seed: chooses the sentence of each text.
    """
    frames = FRAMES[family]
    chosen = (frames[derive(seed, "frame", family, text) % len(frames)] for text in texts)
    return [
        frame.format(text=text.replace('"', "'").strip().rstrip(".")) for frame, text in zip(chosen, texts, strict=True)
    ]
