"""Scores of ONNX Runtime on a folder of transformers' format; run by the python of its environment.

    python onnx_scores.py MODEL-FOLDER SOURCE.json TARGET.json

The source is a list of texts. The network is written as ONNX once, next to the folder. Texts go in batches of 32 of
like length, cut at 512 tokens, in one thread; written are the same facts as by the other contestants.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from profanity_check_scores import peak_mib

BATCH = 32


def export(folder: Path, target: Path) -> None:
    """Write the network as ONNX, with free sizes of batch and text."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    model.config.return_dict = False
    example = dict(
        AutoTokenizer.from_pretrained(folder)(["one text", "another, longer text"], padding=True, return_tensors="pt")
    )
    names = ["input_ids", "attention_mask", "token_type_ids"]
    free = {0: torch.export.Dim("batch", min=1, max=256), 1: torch.export.Dim("length", min=2, max=512)}
    torch.onnx.export(
        model, (), target, kwargs={name: example[name] for name in names}, input_names=names, output_names=["logits"],
        dynamic_shapes={name: free for name in names}, dynamo=True,
    )  # fmt: skip


def main(folder: Path, source: Path, target: Path) -> None:
    written = folder.parent / "model.onnx"
    if not written.is_file():
        export(folder, written)
    import onnxruntime
    from tokenizers import Tokenizer

    started = time.process_time()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(written), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)
    tokenizer.enable_padding()
    toxic = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label2id"]["toxic"]

    def score(texts: list[str]) -> np.ndarray:
        out = np.empty(len(texts))
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), BATCH):
            rows = order[start : start + BATCH]
            found = tokenizer.encode_batch([texts[row] for row in rows])
            fed = {
                "input_ids": np.array([one.ids for one in found], dtype=np.int64),
                "attention_mask": np.array([one.attention_mask for one in found], dtype=np.int64),
                "token_type_ids": np.array([one.type_ids for one in found], dtype=np.int64),
            }
            out[rows] = 1.0 / (1.0 + np.exp(-session.run(["logits"], fed)[0][:, toxic]))
        return out

    texts = json.loads(source.read_text(encoding="utf-8"))
    score(texts[:BATCH])
    cpu, wall = time.process_time(), time.perf_counter()
    scores = score(texts)
    report = {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "start_seconds": cpu - started,
        "peak_mib": peak_mib(),
        "scores": scores.tolist(),
    }
    target.write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
