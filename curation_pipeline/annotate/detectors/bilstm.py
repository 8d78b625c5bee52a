"""A bidirectional LSTM with six toxicity heads, the model of the package tox-block, as a torch module.

The network reads the last 100 known words of a text: embedding (50), bidirectional LSTM (50 units each way, gates with
Keras's piecewise linear sigmoid), maximum over the 100 positions, two dense layers. Shorter texts are padded on the
left with word 0, which was trained like any word and NOT masked, so the padding is part of the result and cannot
simply be dropped. It can be shared, though: the forward direction reads the padding first, so its state behind p
padding steps depends on p alone and is computed once; and the backward direction, which meets the padding last, stops
as soon as a step no longer changes its state (exactly, in float32), since all later steps would repeat it.
"""

from __future__ import annotations

import ast
import io
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.allowlist import Global, PickledObject, read_pickle
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, converted
from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.datasets.catalogue import TOX_BLOCK
from curation_pipeline.datasets.packages import read_member
from curation_pipeline.errors import DataError, IntegrityError
from curation_pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from curation_pipeline.annotate.detectors._bilstm_network import BiLstm

NAME = "tox_block"
VERSION = "0.1.2-1"
HEADS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
CHUNK = 8192
BATCH = 512

_RECORDS = (
    ("tox_block.data_processing.preprocessors", "TokenSequencer"),
    ("keras_preprocessing.text", "Tokenizer"),
)
_VALUES: Mapping[Global, Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "int"): int,
}


@dataclass(frozen=True, slots=True, eq=False)
class BiLstmDetector:
    """The recurrent detector, loaded.

    Attributes:
        word_index: number of each known word, 1 to 19,999; 0 is padding, unknown words are skipped.
        filters: characters that separate words besides the space.
        network: the torch module, over (n, 100) word numbers.
        low, high: (6,) range of each head over the package's training texts, for ``rescale``.
        rescale: bring each head to [0, 1] by |p - low| / (high - low), as the package does by default.
    """

    word_index: Mapping[str, int]
    filters: str
    network: BiLstm
    low: np.ndarray
    high: np.ndarray
    rescale: bool = True
    name: str = NAME
    version: str = VERSION
    heads: tuple[str, ...] = HEADS

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Numbers of the last 100 known words of each text, in order, as the package's tokenizer gives them."""
        separators = {ord(character): " " for character in self.filters}
        index, length = self.word_index, self.network.length
        # A loop over documents: splitting is all it does, and it takes a twentieth of the network's time.
        rows = []
        for text in texts:
            words = text.lower().translate(separators).split(" ")
            rows.append(np.array([index[word] for word in words if word in index][-length:], dtype=np.int64))
        return rows

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """Unrounded, rescaled if so set, float64 of shape (n, 6)."""
        rows = self.tokens(texts)
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        raw = np.empty((len(rows), len(self.heads)))
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(rows), BATCH):
            batch = order[start : start + BATCH]
            width = int(lengths[batch].max())
            words = np.zeros((batch.size, width), dtype=np.int64)
            for i, row in enumerate(batch):
                words[i, width - lengths[row] :] = rows[row]
            raw[batch] = self.network.probability(words)
        return np.abs((raw - self.low) / (self.high - self.low)) if self.rescale else raw

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Six Float32 columns, ``toxic`` first, a row a text."""
        report = progress or silent
        parts = [np.empty((0, len(self.heads)))]
        for start in range(0, len(texts), CHUNK):
            parts.append(self.probability(texts[start : start + CHUNK]))
            report(f"scoring with {self.name}", min(1.0, (start + CHUNK) / len(texts)))
        return score_frame(np.concatenate(parts), self.heads)


def convert(archive: Path, out_dir: Path) -> None:
    """Convert the package archive's weights, tokenizer and ranges into ``out_dir`` (safetensors and JSON), once.

    Args:
        archive: the wheel of tox-block.
        out_dir: folder to write; made if absent.

    Raises:
        IntegrityError: when the pickle holds anything but what was reviewed, or the network is another one.
        DataError: when the archive lacks the members.
    """
    encoder = read_pickle(read_member(archive, "tox_block/trained_models/encoder_0.1.2.pkl"), _RECORDS, _VALUES)
    if not isinstance(encoder, PickledObject) or not isinstance(encoder["tokenizer"], PickledObject):
        raise IntegrityError(f"{archive.name} does not hold the tokenizer that was reviewed; use tox-block 0.1.2")
    tokenizer = encoder["tokenizer"]
    if tokenizer["split"] != " " or tokenizer["char_level"] or tokenizer["oov_token"] or not tokenizer["lower"]:
        raise IntegrityError(f"{archive.name}: its tokenizer works differently; use tox-block 0.1.2")
    arrays = _weights(read_member(archive, "tox_block/trained_models/lstm_model_0.1.2.h5"), archive.name)
    ranges = _ranges(read_member(archive, "tox_block/config/config.py").decode("utf-8"), archive.name)
    arrays["low"] = np.array([ranges[head][0] for head in HEADS])
    arrays["high"] = np.array([ranges[head][1] for head in HEADS])
    kept = min(int(tokenizer["num_words"]), arrays["embedding"].shape[0])
    words = {word: int(number) for word, number in tokenizer["word_index"].items() if int(number) < kept}
    save_arrays(
        out_dir,
        arrays,
        {
            "name": NAME,
            "version": VERSION,
            "filters": tokenizer["filters"],
            "length": int(encoder["max_sequence_length"]),
            "word_index": words,
        },
    )


def _weights(raw: bytes, where: str) -> dict[str, np.ndarray]:
    """The network's arrays from the Keras file, after checking that its layers are the ones implemented here."""
    import h5py

    with h5py.File(io.BytesIO(raw), "r") as file:
        layers = {
            layer["class_name"]: layer["config"] for layer in json.loads(file.attrs["model_config"])["config"]["layers"]
        }
        lstm = layers.get("Bidirectional", {}).get("layer", {}).get("config", {})
        understood = (
            layers.get("Embedding", {}).get("mask_zero") is False
            and "GlobalMaxPooling1D" in layers
            and lstm.get("recurrent_activation") == "hard_sigmoid"
            and lstm.get("activation") == "tanh"
        )
        if not understood:
            raise IntegrityError(
                f"{where}: its network has other layers than this detector implements; use tox-block 0.1.2"
            )
        root = file["model_weights"]
        paths = {
            "embedding": "embedding/embedding/embeddings:0",
            "dense_1_kernel": "dense/dense/kernel:0",
            "dense_1_bias": "dense/dense/bias:0",
            "dense_2_kernel": "dense_1/dense_1/kernel:0",
            "dense_2_bias": "dense_1/dense_1/bias:0",
        }
        for way in ("forward", "backward"):
            for part in ("kernel", "recurrent_kernel", "bias"):
                paths[f"{way}_{part}"] = f"bidirectional/bidirectional/{way}_lstm/{part}:0"
        return {name: np.asarray(root[path], dtype=np.float32) for name, path in paths.items()}


def _ranges(source: str, where: str) -> dict[str, tuple[float, float]]:
    """The ranges of the heads, a literal in the package's configuration module, read without running it."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(
            getattr(target, "id", "") == "RESCALE_PROBA" for target in node.targets
        ):
            value: dict[str, tuple[float, float]] = ast.literal_eval(node.value)
            return value
    raise IntegrityError(f"{where}: its configuration names no RESCALE_PROBA; use tox-block 0.1.2")


def load(directory: Path, rescale: bool = True) -> BiLstmDetector:
    """The detector that ``convert`` wrote.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it holds another version.
    """
    from curation_pipeline.annotate.detectors._bilstm_network import BiLstm

    arrays, meta = load_arrays(directory)
    if meta.get("name") != NAME or meta.get("version") != VERSION:
        raise DataError(f"{directory} does not hold {NAME} {VERSION}; convert the archive again")
    word_index: dict[str, Any] = meta["word_index"]
    return BiLstmDetector(
        word_index=word_index,
        filters=meta["filters"],
        network=BiLstm(arrays, length=int(meta["length"])),
        low=arrays["low"],
        high=arrays["high"],
        rescale=rescale,
    )


DETECTORS = (
    DetectorSpec(
        name=NAME,
        version=VERSION,
        source="the package tox-block 0.1.2, MIT",
        section="judge_rescale",
        make=converted(TOX_BLOCK, convert),
        open=lambda rescale, opening: load(opening.folder, rescale),
        not_a_teacher="it is reserved for judging the trained model; use alt_profanity or detoxify as teachers",
    ),
)
