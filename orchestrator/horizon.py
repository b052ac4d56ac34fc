"""The gradient horizon of a trial, read from its metrics: in words, as a table and as a figure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.looks import looks_of
from orchestrator.pages import Block, Paragraph, Table
from orchestrator.wording import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALLOWED_BIAS, NEGLIGIBLE = 0.1, 0.01
"""The bias at which a length is advised, and the part of a gradient that is called gone: `workloads.bptt.horizon`'s."""
BAR = 30
"""Characters of the longest bar."""


@dataclass(frozen=True, slots=True)
class LayerHorizon:
    """How far gradients travel within the states of one layer, the lowest being 1."""

    layer: int
    decay: float
    reach: int | None


@dataclass(frozen=True, slots=True)
class GradientHorizon:
    """What an evaluation measured."""

    truncation_length: int | None
    """That of the trial."""
    decay: float
    """The mean factor per step in the farther half of the window."""
    reach: int | None
    """Steps after which the gradient stays below NEGLIGIBLE of its largest; None where it does not."""
    advised: int | None
    """The truncation length to use: up to the edge, else the shortest of little bias; None where none is known."""
    edge: int | None
    """Steps back at which the gradient falls at one blow; None where it falls smoothly."""
    bias: float | None
    """The estimated relative bias at the trial's own truncation length."""
    norms: Mapping[int, float]
    """By steps back."""
    biases: Mapping[int, float]
    """By truncation length."""
    layers: Sequence[LayerHorizon]

    @property
    def explodes(self) -> bool:
        """Tell whether the gradient has grown over the window and still does at its end."""
        distances = sorted(self.norms)
        return self.decay > 1 and self.norms[distances[-1]] > self.norms[distances[0]]

    def plain(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        return {**dataclasses.asdict(self), "explodes": self.explodes}


def read_horizon(metrics: Mapping[str, float], truncation_length: int | None) -> GradientHorizon | None:
    """Return the horizon in an evaluation's metrics; None where they hold none."""
    norms, biases = grouped(metrics, "horizon_norm/distance:"), grouped(metrics, "horizon_bias/length:")
    if not norms or "horizon_decay" not in metrics:
        return None
    decays, reaches = grouped(metrics, "horizon_decay/layer:"), grouped(metrics, "horizon_reach/layer:")
    return GradientHorizon(
        truncation_length,
        metrics["horizon_decay"],
        whole(metrics.get("horizon_reach")),
        whole(metrics.get("horizon_length")),
        whole(metrics.get("horizon_edge")),
        metrics.get("horizon_bias"),
        norms,
        biases,
        [LayerHorizon(layer, decay, whole(reaches.get(layer))) for layer, decay in decays.items()],
    )


def grouped(metrics: Mapping[str, float], prefix: str) -> dict[int, float]:
    """Return the metrics of one kind of group by the number that names each."""
    found = {int(name.removeprefix(prefix)): value for name, value in metrics.items() if name.startswith(prefix)}
    return dict(sorted(found.items()))


def whole(value: float | None) -> int | None:
    """Return a whole number; None stays None."""
    return None if value is None else round(value)


def sentences(found: GradientHorizon) -> list[str]:
    """Say what a person would want said: how far gradients travel, what a longer truncation buys, what to do."""
    window = max(found.norms)
    if found.explodes:
        return [
            f"These gradients explode: they grow by a factor of {found.decay:.3g} with each step back, over the "
            f"{window} steps measured. A lower max_grad_norm or learning_rate, or a gated cell (lstm, gru), keeps "
            "training stable; a shorter truncation length only hides it."
        ]
    if found.reach is None:
        said = [
            f"Gradients do not fall below {100 * NEGLIGIBLE:g} % of their largest within the {window} steps measured."
        ]
    else:
        said = [f"Gradients fall below {100 * NEGLIGIBLE:g} % of their largest after {found.reach} steps."]
    if found.edge is not None:
        said.append(
            f"At {found.edge} steps they fall at one blow: there lies what the task has to remember. A truncation "
            f"length of {found.edge} reaches it; longer ones buy little."
        )
    elif found.advised is None:
        said.append(
            f"No truncation length is known whose bias is below {100 * ALLOWED_BIAS:g} %: take the longest you can."
        )
    elif found.advised > window:
        said.append(f"By their decay, a truncation length of about {found.advised} would have a bias of 10 %.")
    else:
        said.append(
            f"A truncation length of {found.advised} keeps the estimated bias of the gradient at or below "
            f"{100 * ALLOWED_BIAS:g} %; longer ones buy little here."
        )
    if found.bias is not None and found.truncation_length is not None:
        said.append(f"At {found.truncation_length}, that of this trial, it is {share(found.bias)}.")
    return said


def share(part: float) -> str:
    """Return a part of the whole in words."""
    return "below 0.1 %" if part < 0.001 else percent(part)


def blocks(found: GradientHorizon) -> list[Block]:
    """Return words, the curve with bars (each of them a factor of ten for a third of its length), and the layers."""
    largest = max(found.norms.values())
    rows = [
        (
            str(distance),
            f"{norm / largest:.2g}",
            "-" if found.biases.get(distance) is None else share(found.biases[distance]),
            "#" * bar(norm / largest),
        )
        for distance, norm in found.norms.items()
    ]
    page: list[Block] = [
        Paragraph(" ".join(sentences(found))),
        Table(("steps back", "gradient", "bias if cut there", "gradient, a third for each factor of ten"), rows),
    ]
    if len(found.layers) > 1:
        named = [(str(each.layer), f"{each.decay:.3g}", number_or_dash(each.reach)) for each in found.layers]
        page.append(Table(("layer", "decay per step", "below 1 % after"), named))
    return page


def bar(part: float) -> int:
    """Return the length of a bar on a logarithmic scale from one to a thousandth."""
    return 0 if part <= 0 else max(round(BAR * (1 + math.log10(part) / 3)), 0)


def number_or_dash(value: int | None) -> str:
    """Return a whole number, or a dash where it is not known."""
    return "-" if value is None else str(value)


def draw(found: Mapping[str, GradientHorizon]) -> Figure:
    """Draw the gradient by distance and the bias by truncation length, a line for each horizon by its name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, look in looks_of(list(found)).items():
        horizon, style = found[name], {"color": look.color, "marker": look.marker, "linestyle": look.dashes}
        largest = max(horizon.norms.values())
        left.plot(list(horizon.norms), [norm / largest for norm in horizon.norms.values()], label=name, **style)
        right.plot(list(horizon.biases), list(horizon.biases.values()), label=name, **style)
    left.set(xscale="log", yscale="log", xlabel="steps back", ylabel="gradient norm / its largest", ylim=(1e-6, 2))
    left.axhline(NEGLIGIBLE, color="grey", linestyle=":")
    right.set(xscale="log", xlabel="truncation length", ylabel="estimated relative bias", ylim=(0, 1.05))
    right.axhline(ALLOWED_BIAS, color="grey", linestyle=":")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if len(found) > 1:
        right.legend(fontsize="small")
    return figure
