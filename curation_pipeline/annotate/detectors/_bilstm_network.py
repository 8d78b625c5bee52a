"""The network of the BiLSTM detector; apart because it imports torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

FORWARD, BACKWARD = 0, 1


class BiLstm(nn.Module):
    """Embedding, bidirectional LSTM, maximum over positions, two dense layers; inference only.

    Two things are folded into the parameters at construction. The input's share of the gates is a function of the word
    alone, so it is tabulated for the vocabulary (2, v, 4u). And Keras's hard sigmoid, clip(x / 5 + 1/2, 0, 1), becomes
    a plain clip by scaling the weights and biases of its three gates. Columns stand in the order input, forget, output,
    candidate, so that the three gates are one slice.

    Args:
        arrays: ``embedding`` (v, e); ``{forward,backward}_{kernel,recurrent_kernel,bias}`` with Keras's gate order
            input, forget, candidate, output; ``dense_{1,2}_{kernel,bias}``.
        length: positions read, T.
    """

    table: Tensor
    recurrent: Tensor
    dense_1: Tensor
    bias_1: Tensor
    dense_2: Tensor
    bias_2: Tensor

    def __init__(self, arrays: Mapping[str, np.ndarray], length: int) -> None:
        super().__init__()
        units = arrays["forward_recurrent_kernel"].shape[0]
        self.length, self.units = length, units
        order = np.concatenate([np.arange(2 * units), np.arange(3 * units, 4 * units), np.arange(2 * units, 3 * units)])
        scale = np.where(np.arange(4 * units) < 3 * units, 0.2, 1.0)
        shift = np.where(np.arange(4 * units) < 3 * units, 0.5, 0.0)
        tables, recurrent = [], []
        for way in ("forward", "backward"):
            kernel, bias = arrays[f"{way}_kernel"].astype(np.float64), arrays[f"{way}_bias"].astype(np.float64)
            gates = arrays["embedding"].astype(np.float64) @ kernel + bias
            tables.append((gates[:, order] * scale + shift).astype(np.float32))
            recurrent.append((arrays[f"{way}_recurrent_kernel"][:, order] * scale).astype(np.float32))
        self.register_buffer("table", torch.from_numpy(np.stack(tables)))
        self.register_buffer("recurrent", torch.from_numpy(np.stack(recurrent)))
        for i in (1, 2):
            self.register_buffer(f"dense_{i}", torch.from_numpy(arrays[f"dense_{i}_kernel"].copy()))
            self.register_buffer(f"bias_{i}", torch.from_numpy(arrays[f"dense_{i}_bias"].copy()))
        self._prefix = self._padding_states()

    def _step(self, way: int, gates: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step of one direction: gates (n, 4u) of the input, hidden and cell (n, u)."""
        u = self.units
        total = torch.addmm(gates, hidden, self.recurrent[way])
        doors = total[:, : 3 * u].clamp_(0.0, 1.0)
        cell = torch.addcmul(doors[:, u : 2 * u] * cell, doors[:, :u], total[:, 3 * u :].tanh_())
        return doors[:, 2 * u :] * cell.tanh(), cell

    @torch.inference_mode()
    def _padding_states(self) -> tuple[Tensor, Tensor, Tensor]:
        """Forward hidden state, cell and running maximum behind 0 to T padding steps, each (T + 1, u)."""
        hidden = cell = torch.zeros(1, self.units)
        best = torch.full((1, self.units), -torch.inf)
        rows = [(hidden, cell, best)]
        for _ in range(self.length):
            hidden, cell = self._step(FORWARD, self.table[FORWARD, :1], hidden, cell)
            best = torch.maximum(best, hidden)
            rows.append((hidden, cell, best))
        hiddens, cells, bests = (torch.cat(column) for column in zip(*rows, strict=True))
        return hiddens, cells, bests

    @torch.inference_mode()
    def probability(self, words: np.ndarray) -> np.ndarray:
        """Probabilities of the heads.

        Args:
            words: int64 (n, w) word numbers with w <= T, padded on the left with 0; the T - w padding positions to the
                left of them are implied.

        Returns:
            float64 of shape (n, heads).
        """
        n, width = words.shape
        padding = self.length - width
        ids = torch.from_numpy(words)
        hidden, cell, best_forward = (part[padding].expand(n, -1) for part in self._prefix)
        for t in range(width):
            hidden, cell = self._step(FORWARD, self.table[FORWARD].index_select(0, ids[:, t]), hidden, cell)
            best_forward = torch.maximum(best_forward, hidden)
        hidden = cell = torch.zeros(n, self.units)
        best_backward = torch.full((n, self.units), -torch.inf)
        for t in reversed(range(width)):
            hidden, cell = self._step(BACKWARD, self.table[BACKWARD].index_select(0, ids[:, t]), hidden, cell)
            best_backward = torch.maximum(best_backward, hidden)
        pad = self.table[BACKWARD, :1].expand(n, -1)
        for _ in range(padding):
            before = hidden, cell
            hidden, cell = self._step(BACKWARD, pad, hidden, cell)
            best_backward = torch.maximum(best_backward, hidden)
            if torch.equal(before[0], hidden) and torch.equal(before[1], cell):
                break
        pooled = torch.cat([best_forward, best_backward], dim=1)
        inner = torch.relu(torch.addmm(self.bias_1, pooled, self.dense_1))
        return np.asarray(torch.sigmoid(torch.addmm(self.bias_2, inner, self.dense_2)).double().numpy())
