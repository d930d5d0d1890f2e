"""How the demo looks: chapters, plans, claims that hold or do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from reconciler.engine.model import Plan
from reconciler.engine.text import aligned, counts, printed

_COLOURS = {"+": "green", "~": "yellow", "-": "red", "?": "cyan", "!": "bold red"}


class Screen:
    """What a person sees, and what was claimed. A context manager: the bar is gone when it ends."""

    def __init__(self, chapters: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._chapters, self._chapter = chapters, 0
        self._task = self._progress.add_task("", total=chapters)
        self.failed: list[str] = []
        self.held = 0

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def chapter(self, title: str, *lines: str) -> None:
        """A heading, and what is going to be seen."""
        self._progress.update(self._task, completed=self._chapter, description=title)
        self._chapter += 1
        self._console.print(f"\n[bold]{self._chapter}/{self._chapters}  {escape(title)}[/bold]")
        self.say(*lines)

    def say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(f"     [dim]{escape(line)}[/dim]" if line else "")

    def show(self, text: str) -> None:
        """Something as it is."""
        for line in text.splitlines():
            self._console.print(f"     {escape(line)}")

    def command(self, words: str) -> None:
        self._console.print(f"     [bold cyan]$ {escape(words)}[/bold cyan]")

    def edit(self, lines: Iterable[str]) -> None:
        """Lines of a difference, sign in front."""
        for line in lines:
            self._console.print(f"     [{_COLOURS[line[0]]}]{escape(line)}[/]")

    def plan(self, plan: Plan) -> None:
        """What would run on a node, and why."""
        self._console.print(f"     [bold]# {escape(plan.node)} · {counts(plan)}[/bold]")
        for line in aligned(printed(plan)):
            colour = _COLOURS.get(line[:1], "default")
            self._console.print(f"     [{colour}]{escape(line)}[/]")

    def claim(self, text: str, holds: bool, otherwise: str = "") -> None:
        """Something that must be so."""
        if holds:
            self.held += 1
            self._console.print(f"     [green]✓[/green] {escape(text)}")
        else:
            self.failed.append(text)
            self._console.print(f"     [red]✗ {escape(text)}[/red]")
            self.show(otherwise)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """The bar says what is being waited for."""
        self._progress.update(self._task, description=what)
        yield
