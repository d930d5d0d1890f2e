"""The only place that prints. Colour and progress on a terminal, plain when piped; errors go to standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from reconciler.engine.model import Plan
from reconciler.engine.text import aligned, counts, printed, visible

_COLOURS = {"+": "green", "-": "red", "~": "yellow", "?": "cyan", "!": "bold red"}


def out() -> Console:
    return Console(highlight=False, soft_wrap=True, emoji=False)


def write(text: str) -> None:
    """Something as it is, on standard output."""
    out().print(_shown(text.rstrip("\n")), markup=False)


def errors(messages: Iterable[str], prefix: str = "error") -> None:
    """On standard error, a line each."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    colour = "red" if prefix == "error" else "yellow"
    for message in messages:
        console.print(f"[{colour}]{prefix}:[/{colour}] {escape(_shown(message))}")


def _shown(message: str) -> str:
    """A message of several lines, each with what a terminal would take for a command made visible."""
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in message.split("\n"))


def show_plan(plan: Plan, title: str) -> None:
    """A plan as text, coloured by its signs."""
    console = out()
    console.print(f"[bold]# {escape(plan.node)} · {escape(title)} · {counts(plan)}[/bold]")
    for line in aligned(printed(plan)):
        colour = _COLOURS.get(line[:1])
        console.print(f"[{colour}]{escape(line)}[/]" if colour else escape(line))
    if plan.digest:
        console.print(f"[dim]# digest {plan.digest}[/dim]")


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for the actions of a round; nothing where nobody watches."""
    console = Console(stderr=True, emoji=False)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield step
