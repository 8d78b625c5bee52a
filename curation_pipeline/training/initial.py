"""The model that training starts from: random weights of a given shape, or a pretrained model."""

from __future__ import annotations

from pathlib import Path

from curation_pipeline.seeds import derive
from curation_pipeline.training.runtime import load_model, save_model
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import load_tokenizer


def init_model(settings: TrainingSettings, tokenizer_dir: Path, out_dir: Path, seed: int) -> Path:
    """Write the model that training starts from as a checkpoint folder.

    Args:
        settings: `model_id` to copy an existing model and its own tokenizer, else the `scratch` architecture.
        tokenizer_dir: tokenizer of a scratch model; not read when `model_id` is set.
        out_dir: folder to write; made if absent.
        seed: decides the random weights of a scratch model.

    Returns:
        ``out_dir``: config.json, model.safetensors and the tokenizer's files.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    out_dir.mkdir(parents=True, exist_ok=True)
    if settings.model_id is not None:
        save_model(load_model(settings.model_id), out_dir)
        load_tokenizer(settings.model_id).save_pretrained(str(out_dir))
        return out_dir
    tokenizer = load_tokenizer(tokenizer_dir)
    shape = settings.scratch
    config = LlamaConfig(
        vocab_size=max(shape.vocab_size, len(tokenizer)),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.mlp_size,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        max_position_embeddings=max(2 * settings.sequence_length, 512),
        tie_word_embeddings=True,
        initializer_range=shape.init_std,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init_model"))
        model = LlamaForCausalLM(config)
    save_model(model, out_dir)
    tokenizer.save_pretrained(str(out_dir))
    return out_dir
