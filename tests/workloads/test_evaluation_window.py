"""How much of a held-out stream is evaluated at a time."""

from __future__ import annotations

import pytest

from workloads.evaluation_window import evaluation_steps


@pytest.mark.parametrize(
    ("streams", "hidden_size", "output_size", "on_gpu", "steps"),
    [
        (16, 128, 65, False, 256),
        (16, 512, 65, False, 64),  # as many numbers in a layer as before
        (16, 512, 65, True, 256),
        (16, 2**20, 65, False, 32),
        (1, 128, 24, False, 512),
        (16, 128, 10_000, False, 13),  # the outputs are what there is most of
        (16, 128, 10**8, False, 1),
    ],
)
def test_windows_are_short_where_the_network_or_its_outputs_are_wide(
    streams: int, hidden_size: int, output_size: int, on_gpu: bool, steps: int
) -> None:
    assert evaluation_steps(streams, hidden_size=hidden_size, output_size=output_size, on_gpu=on_gpu) == steps
