"""The recurrent network: shapes, cells of the user's own, normalisation, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workloads.hyperparameters import Hyperparameters
from workloads.models.cells import BUILTIN, make_cell
from workloads.models.recurrent import RecurrentNetwork


class LeakyCell(nn.Module):
    """A cell of a user's own: h = 0.9 h + W x."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.drive = nn.Linear(input_size, hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden = inputs.new_zeros(inputs.shape[1], self.drive.out_features) if state is None else state
        outputs = []
        for drive in self.drive(inputs):
            hidden = 0.9 * hidden + drive
            outputs.append(hidden)
        return torch.stack(outputs), hidden


OWN = f"{__name__}:LeakyCell"


def network(cell_type: str, **options: Any) -> RecurrentNetwork:
    torch.manual_seed(0)
    h = Hyperparameters(cell_type=cell_type, hidden_size=8, **options)
    return RecurrentNetwork(h, input_size=3, output_size=5)


@pytest.mark.parametrize("cell_type", [*BUILTIN, OWN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "layer_norm": True}])
def test_a_sequence_in_pieces_gives_what_it_gives_whole(cell_type: str, options: dict[str, Any]) -> None:
    made = network(cell_type, **options).eval()
    inputs = torch.randn(20, 4, 3)
    whole, _ = made(inputs)
    assert whole.shape == (20, 4, 5)
    pieces, state = [], None
    for piece in inputs.split([1, 7, 12]):
        outputs, state = made(piece, state)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces), whole)


def test_tokens_are_embedded_at_a_size_of_their_own() -> None:
    h = Hyperparameters(hidden_size=8, embedding_size=3)
    made = RecurrentNetwork(h, vocabulary_size=11, output_size=11)
    assert made(torch.randint(0, 11, (6, 2)))[0].shape == (6, 2, 11)
    assert made.layers[0].input_size == 3


@pytest.mark.parametrize(
    ("cell_type", "message"),
    [
        ("no_such_module:Cell", "train.cell_type: no_such_module:Cell cannot be imported"),
        ("torch.nn:NoSuchCell", "cannot be imported"),
        ("collections:Counter", "is not a torch.nn.Module"),
    ],
)
def test_a_cell_that_is_none_is_refused_by_name(cell_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_cell(cell_type, 3, 8)


def test_dropout_is_on_in_training_alone() -> None:
    made = network("gru", dropout=0.5)
    inputs = torch.randn(5, 2, 3)
    assert not torch.equal(made.train()(inputs)[0], made(inputs)[0])
    assert torch.equal(made.eval()(inputs)[0], made(inputs)[0])


def test_bfloat16_is_close_to_full_precision_and_not_it() -> None:
    inputs = torch.randn(5, 2, 3)
    exact, rounded = (network("gru", precision=precision).eval()(inputs)[0] for precision in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0.05)
