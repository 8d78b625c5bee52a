"""Models and tokenizers in transformers' format, from a folder or a hub id, without running what came with them.

A folder may name code of its own (``auto_map``), which transformers runs once somebody answers `y`, and weights may be
pickles, which are programs. Neither is ever read here; safetensors and JSON are data.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from curation_pipeline.errors import MissingModelError

_INDEX = "model.safetensors.index.json"
_PICKLES = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


def load_pretrained(auto: str, source: str | Path, failed: str, **options: Any) -> Any:
    """Load with one of transformers' automatic classes.

    Args:
        auto: its name, such as ``AutoTokenizer`` or ``AutoModel``.
        source: a folder, or a hub id.
        failed: begins the message where it cannot be loaded: the setting, and what was looked for.
        options: further arguments of its ``from_pretrained``.

    Raises:
        MissingModelError: there is no such model, or it has only what is not read: code, or pickled weights.
    """
    import transformers
    from safetensors import SafetensorError

    if auto not in ("AutoTokenizer", "AutoConfig") and "gguf_file" not in options:
        if problem := unsafe_weights(Path(source)):
            raise MissingModelError(f"{failed}: {problem}")
        options["use_safetensors"] = True
    try:
        return getattr(transformers, auto).from_pretrained(str(source), trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise MissingModelError(f"{failed}: {what_was_wrong(error, source)}") from error


def what_was_wrong(error: Exception, source: str | Path) -> str:
    """One line on why a model could not be loaded."""
    if "trust_remote_code" in str(error):
        named = re.search(r"class '([^']+)'", str(error))
        place = f"{named[1]} in its modules.json" if named else "auto_map in its config.json or tokenizer_config.json"
        return (
            f"{source} names code of its own ({place}), never run; take a model whose architecture transformers has "
            "itself, or convert it to one"
        )
    return str(error).strip().partition("\n")[0]


def unsafe_weights(folder: Path) -> str | None:
    """Which weights of a local folder are not read, and how to convert them; None for other folders and hub ids."""
    if not folder.is_dir():
        return None
    pickles = [path.name for pattern in _PICKLES for path in sorted(folder.glob(pattern))]
    if pickles and not any(folder.glob("*.safetensors")):
        return (
            f"{folder} has its weights as {pickles[0]}, a pickle, which can run code and is not read; where you trust "
            "it, load it with transformers and write it again with save_pretrained, which makes model.safetensors"
        )
    index = folder / _INDEX
    if index.is_file():
        try:
            shards = {str(shard) for shard in json.loads(index.read_bytes())["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError):
            return f"{index} is no index of weights; write the model again with save_pretrained"
        if other := sorted(
            shard for shard in shards if Path(shard).name != shard or not shard.endswith(".safetensors")
        ):
            return f"{index} names {other[0]!r} as weights, which is no safetensors file of its folder"
    return None
