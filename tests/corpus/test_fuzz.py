"""Damaged files of every format: no exception, no hang, and no row lost whose bytes are sound."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.formats import Sample, read, samples

SAMPLES = samples()


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes [at, at + removed) replaced by ``new``."""

    at: int
    removed: int
    new: bytes


def damaged(raw: bytes, edits: list[Edit]) -> bytes:
    for edit in sorted(edits, key=lambda edit: -edit.at):
        raw = raw[: edit.at] + edit.new + raw[edit.at + edit.removed :]
    return raw


def sound_rows(sample: Sample, edits: list[Edit]) -> list[int]:
    """Rows that must survive the edits."""
    lost: set[int] = set()
    for edit in edits:
        stop = edit.at + max(edit.removed, 1)
        touched = {
            row
            for row, spans in enumerate(sample.spans)
            if any(edit.at < end and start < stop for start, end in spans)
            or (sample.moves and len(edit.new) != edit.removed and spans[1][1] > edit.at)
        }
        own = [sample.raw[spans[-1][0] + 1 : spans[-1][1]] for spans in sample.spans]
        changed = edit.new + sample.raw[edit.at : stop] + b"".join(own[row] for row in touched)
        if sample.quoted and touched and b'"' in changed:
            row = max(touched) + 1
            while row < len(own) and b'"' not in own[row]:
                touched.add(row)
                row += 1
            touched.add(row)
        lost |= touched
    return [row for row in range(len(sample.rows)) if row not in lost]


def check(kind: str, edits: list[Edit]) -> None:
    sample = SAMPLES[kind]
    found = read(sample.name, damaged(sample.raw, edits), sample.options)
    texts = Counter(found.rows["text"].to_list())
    wanted = [sample.rows[row] for row in sound_rows(sample, edits)]
    missing = [text for text in wanted if texts[text] != 1]
    assert not missing, (missing, edits, found.failures["reason"].to_list())
    # A damaged packing can give noise of many short lines, but a loop would give more rows than there are bytes.
    assert found.rows.height + found.failures.height <= 2 * len(sample.raw)


def random_edits(raw: bytes, rng: np.random.Generator) -> list[Edit]:
    """One to three flipped bytes, cuts or insertions; sometimes the rest of the file is cut off."""
    edits: list[Edit] = []
    for _ in range(1 + int(rng.integers(3)) * int(rng.integers(2))):
        at = int(rng.integers(len(raw)))
        match int(rng.integers(5)):
            case 0:
                edits.append(Edit(at, 1, bytes((raw[at] ^ (1 << int(rng.integers(8))),))))
            case 1:
                edits.append(Edit(at, 1, rng.bytes(1)))
            case 2:
                edits.append(Edit(at, int(rng.integers(1, 20)), b""))
            case 3:
                marks = (b'"', b"\n", b"\r", b"\0", b",", b"{", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", rng.bytes(5))
                edits.append(Edit(at, 0, marks[int(rng.integers(len(marks)))]))
            case _:
                edits.append(Edit(at, len(raw), b""))
    edits.sort(key=lambda edit: edit.at)
    return [edit for i, edit in enumerate(edits) if i == 0 or edit.at >= edits[i - 1].at + edits[i - 1].removed]


def run(kind: str, cases: int, seed: int) -> None:
    rng = np.random.default_rng((seed, len(kind), cases))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(cases):
        edits = random_edits(SAMPLES[kind].raw, rng)
        started = time.process_time()
        check(kind, edits)
        assert time.process_time() - started < 5, edits
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 512 * 1024, f"{grown} KiB"


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_samples_are_read_whole(kind: str) -> None:
    found = read(SAMPLES[kind].name, SAMPLES[kind].raw, SAMPLES[kind].options)
    assert found.rows["text"].to_list() == SAMPLES[kind].rows
    assert found.rows["position"].to_list() == list(range(len(SAMPLES[kind].rows)))
    assert found.failures.is_empty()


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_damage_costs_only_what_it_touches(kind: str) -> None:
    run(kind, 150, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_a_thousand_corruptions(kind: str) -> None:
    run(kind, 1_000, 2)


@settings(max_examples=150)
@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    place=st.floats(0, 1, exclude_max=True),
    removed=st.integers(0, 3),
    new=st.binary(max_size=6),
)
def test_any_one_edit(kind: str, place: float, removed: int, new: bytes) -> None:
    check(kind, [Edit(int(place * len(SAMPLES[kind].raw)), removed, new)])
