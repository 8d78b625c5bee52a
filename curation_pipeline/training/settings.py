"""Settings of the language model and of its training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.settings import Settings


class ScratchModel(Settings):
    """A small Llama-style transformer with tied embeddings, trained from random weights.

    The defaults are the demo's: 0.65 million parameters. Two wide layers gave more tokens a second than three or four
    narrow ones of the same size, because at this size the cost is in the number of small operations.
    """

    vocab_size: int = Field(default=2048, ge=260, le=65_536, description="entries of the byte-level BPE vocabulary")
    hidden_size: int = Field(default=128, ge=16, le=4_096, description="width of the residual stream")
    n_layers: int = Field(default=2, ge=1, le=64, description="transformer blocks")
    n_heads: int = Field(default=2, ge=1, le=64, description="attention heads; must divide hidden_size into even parts")
    init_std: float = Field(default=0.06, gt=0, le=1, description="standard deviation of the random weights")
    mlp_size: int = Field(default=336, ge=16, le=16_384, description="width of the gated feed-forward layer")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % self.n_heads or (self.hidden_size // self.n_heads) % 2:
            raise ValueError(f"n_heads {self.n_heads} must divide hidden_size {self.hidden_size} into even parts")
        return self


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al., 2021) through peft: the weights stay frozen and small products of matrices learn.

    They are merged into the weights at the end of a fit, so a checkpoint is a whole model like any other.
    """

    rank: int = Field(default=16, ge=1, le=1_024, description="inner size of an adapter")
    alpha: float = Field(default=32.0, gt=0, description="an adapter is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout of an adapter's input")
    targets: tuple[str, ...] = Field(
        default=(), description="names of the layers that get adapters; empty: every linear layer but the output"
    )


class TrainingSettings(Settings):
    """How a model is made and fitted; the defaults are the demo's."""

    model_id: str | None = Field(
        default=None, description="local folder or hub id of a causal language model to start from; absent: `scratch`"
    )
    start_from: Literal["parent", "base"] = Field(
        default="parent",
        description="what an iteration goes on from: the checkpoint in force, or the uncurated base each time",
    )
    scratch: ScratchModel = Field(
        default_factory=ScratchModel, description="architecture of the model that is trained from scratch"
    )
    sequence_length: int = Field(
        default=128, ge=8, le=8_192, description="tokens in a training row and in an evaluation window"
    )
    base_tokens: int = Field(
        default=300_000, ge=0, description="uncurated tokens for the base model that iteration 0 starts from"
    )
    base_learning_rate: float = Field(default=4e-3, gt=0, le=1, description="peak learning rate of the base fit")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="peak learning rate of a continuation")
    final_learning_rate: float = Field(default=0.1, ge=0, le=1, description="last learning rate as a share of the peak")
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1, description="share of the steps over which the rate rises")
    weighting: Literal["loss", "sampling"] = Field(
        default="loss",
        description="what a document's weight acts on: its loss, or how often it is put into the training rows",
    )
    normalise_over: Literal["batch", "step"] = Field(
        default="batch",
        description="where loss weights have mean 1: over the curated batch (a step of heavy documents moves the "
        "model more), or over each step",
    )
    batch_size: int = Field(default=4, ge=1, description="rows of a step, over all processes")
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="rows of one forward pass of a process; fewer than a step's rows accumulate gradients and save "
        "memory; absent: all at once",
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="processes that share a step's rows (torchrun on this machine)"
    )
    lora: LoraSettings | None = Field(default=None, description="train low-rank adapters only; needs the extra `lora`")
    passes: int = Field(default=1, ge=1, le=100, description="how often each row is seen")
    weight_decay: float = Field(default=0.05, ge=0, le=1, description="decoupled decay of matrices (not of norms)")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay of the first moment")
    beta2: float = Field(default=0.98, ge=0, lt=1, description="AdamW's decay of the second moment")
    grad_clip: float = Field(default=1.0, gt=0, description="largest Euclidean norm of the gradient")
    divergence_nats: float = Field(
        default=2.0,
        gt=0,
        description="training stops when the mean loss of 16 steps has risen this far above its lowest",
    )
    threads: int = Field(default=1, ge=1, description="threads of torch; two one-thread runs beat one of two threads")
    save_every_seconds: float = Field(default=30.0, ge=0, description="time between two saves of the resumable state")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="arithmetic of the forward pass; auto takes bf16 where it is done in hardware, fp16 on other GPUs",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="where to train; auto takes a GPU if there is one"
    )

    def for_base(self) -> TrainingSettings:
        """The same settings with the base fit's learning rate."""
        return self.model_copy(update={"learning_rate": self.base_learning_rate})
