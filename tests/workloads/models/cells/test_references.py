"""Each cell against its paper's equations, written out step by step in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workloads.models.cells import BUILTIN

TIME, BATCH, FEATURES, HIDDEN = 11, 3, 4, 5

Weights = dict[str, Tensor]
Reference = Callable[[Weights, Tensor, Any], tuple[Tensor, Any]]


def normed(values: Tensor, gain: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    mean = values.mean(-1, keepdim=True)
    return (values - mean) / ((values - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def layer_norm_lstm(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    (h,), (c,) = state
    outputs = []
    for x in inputs:
        gates = normed(h @ w["from_hidden.weight"].T, w["hidden_norm.weight"])
        gates = gates + normed(x @ w["from_input.weight"].T, w["input_norm.weight"], w["input_norm.bias"])
        f, i, o, g = gates.split(HIDDEN, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(normed(c, w["cell_norm.weight"], w["cell_norm.bias"]))
        outputs.append(h)
    return torch.stack(outputs), (h[None], c[None])


def ind_rnn(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    (h,) = state
    outputs = []
    for x in inputs:
        h = torch.relu(x @ w["from_input.weight"].T + w["recurrent"] * h + w["from_input.bias"])
        outputs.append(h)
    return torch.stack(outputs), h[None]


def min_gru(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    (h,) = state
    outputs = []
    for x in inputs:
        gate, candidate = (x @ w["from_input.weight"].T + w["from_input.bias"]).split(HIDDEN, dim=-1)
        z = torch.sigmoid(gate)
        h = (1 - z) * h + z * candidate
        outputs.append(h)
    return torch.stack(outputs), h[None]


def min_lstm(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    (h,) = state
    outputs = []
    for x in inputs:
        forget, admit, candidate = (x @ w["from_input.weight"].T + w["from_input.bias"]).split(HIDDEN, dim=-1)
        f, i = torch.sigmoid(forget), torch.sigmoid(admit)
        h = f / (f + i) * h + i / (f + i) * candidate
        outputs.append(h)
    return torch.stack(outputs), h[None]


def slstm(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Without a stabiliser: in double precision a few steps do not overflow."""
    (h,), (c,), (n,), (m,) = state
    c, n = c * m.exp(), n * m.exp()
    outputs = []
    for x in inputs:
        gates = x @ w["from_input.weight"].T + w["from_input.bias"] + h @ w["from_hidden.weight"].T
        z, o, i, f = gates.split(HIDDEN, dim=-1)
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs), (h[None], c[None], n[None], torch.zeros_like(n)[None])


def lru(w: Weights, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    """With real numbers alone: a product of complex numbers is a rotation and a scaling."""
    x_re, x_im = state[0, :, 0::2], state[0, :, 1::2]
    radius, angle = torch.exp(-torch.exp(w["nu"])), torch.exp(w["theta"])
    b_re, b_im = w["from_input"][0::2], w["from_input"][1::2]
    c_re, c_im = w["to_output"][:, 0::2], -w["to_output"][:, 1::2]
    outputs = []
    for u in inputs:
        turned_re = radius * (torch.cos(angle) * x_re - torch.sin(angle) * x_im)
        turned_im = radius * (torch.sin(angle) * x_re + torch.cos(angle) * x_im)
        x_re = turned_re + torch.exp(w["gamma"]) * (u @ b_re.T)
        x_im = turned_im + torch.exp(w["gamma"]) * (u @ b_im.T)
        outputs.append(x_re @ c_re.T - x_im @ c_im.T + u @ w["past"].T)
    return torch.stack(outputs), torch.stack([x_re, x_im], -1).flatten(-2)[None]


REFERENCES: dict[str, Reference] = {
    "layer_norm_lstm": layer_norm_lstm,
    "ind_rnn": ind_rnn,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "slstm": slstm,
    "lru": lru,
}


def content(cell_type: str, state: Any) -> Any:
    """Return what a state stands for: an sLSTM's is scaled by exp(m), any m."""
    if cell_type != "slstm":
        return state
    h, c, n, m = state
    return h, c * m.exp(), n * m.exp()


def tensors(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


@pytest.mark.parametrize("cell_type", REFERENCES)
@pytest.mark.parametrize("begins", ["from nothing", "from a state"])
def test_outputs_states_and_gradients_are_those_of_the_papers_equations(cell_type: str, begins: str) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN).double()
    for parameter in cell.parameters():  # norms' gains and biases too
        parameter.data += 0.1 * torch.randn_like(parameter)
    parameters = dict(cell.named_parameters())
    _, reached = cell(torch.randn(6, BATCH, FEATURES, dtype=torch.float64), None)
    inputs = torch.randn(TIME, BATCH, FEATURES, dtype=torch.float64, requires_grad=True)
    outputs_weights = torch.randn(TIME, BATCH, HIDDEN, dtype=torch.float64)
    start = [tensor.detach() * (begins == "from a state") for tensor in tensors(reached)]
    watched = [inputs, *parameters.values()]
    if begins == "from a state":
        watched += [tensor.requires_grad_() for tensor in start]
    state = start[0] if isinstance(reached, Tensor) else tuple(start)
    results = []
    given_state = state if begins == "from a state" else None
    for outputs, after in (cell(inputs, given_state), REFERENCES[cell_type](parameters, inputs, state)):
        gradients = torch.autograd.grad((outputs * outputs_weights).sum(), watched)
        results.append((outputs, content(cell_type, after), gradients))
    torch.testing.assert_close(*results)
