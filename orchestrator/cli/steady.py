"""A live view that outlives its terminal's being resized."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleDimensions, ConsoleRenderable, RenderableType
from rich.control import Control
from rich.live import Live


class SteadyLive(Live):
    """Draws below what was printed, and begins on an empty screen where the terminal has another size than before.

    rich goes up by as many rows as it has drawn. A terminal that folds its rows anew when it is resized then has more
    of them, or fewer, and torn views would be left behind.
    """

    def __init__(
        self, draw: Callable[[], RenderableType], console: Console, *, above: Callable[[], Sequence[ConsoleRenderable]]
    ) -> None:
        """`above` gives what is to stand above the view again."""
        self._above = above
        self._size: ConsoleDimensions | None = None
        super().__init__(console=console, get_renderable=draw, refresh_per_second=4, transient=True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what is drawn instead of what was: all of it where the size is another."""
        back, *drawn = super().process_renderables(renderables)
        before, self._size = self._size, self.console.size
        if before in (None, self._size):
            return [back, *drawn]
        return [Control.home(), Control.clear(), *self._above(), *drawn]
