"""plumbline lab: the cluster of network.yaml as network namespaces on this machine."""

from __future__ import annotations

from collections.abc import Sequence

import click

from reconciler.cli.options import facts_option, file_argument
from reconciler.cli.trouble import CannotGoOn
from reconciler.report import screen
from reconciler.spec.problems import SpecError

name_option = click.option("--name", metavar="NAME", help="The lab's name; else metadata.name of the file.")


@click.group()
def lab() -> None:
    """Try a network.yaml without a cluster: every node a namespace, every pod too, proven with packets."""


@lab.command()
@file_argument
@name_option
@facts_option
def up(file: str, name: str | None, facts: Sequence[str]) -> int:
    """Build the lab and converge every node once."""
    from reconciler import lab as labs

    with _told():
        built = labs.up(file, name, facts)
    for node, result in built.results.items():
        screen.write(f"{node}: {'converged' if result.converged else 'not converged'}, {len(result.outcomes)} changes")
        screen.errors(f"{node}: {error}" for error in result.errors)
    screen.write(f"lab {built.lab.name} is up; next: plumbline lab verify {built.lab.name}")
    return 0 if built.converged else 1


@lab.command()
@click.argument("name")
def verify(name: str) -> int:
    """Every pod to every pod and to the world, with packets."""
    from reconciler import lab as labs

    with _told():
        matrix = labs.verify(name)
    screen.write(matrix.text)
    return 0 if matrix.ok else 1


@lab.command()
@click.argument("name")
@click.argument("node")
@click.argument("command", nargs=-1)
def shell(name: str, node: str, command: Sequence[str]) -> int:
    """A shell, or a command, on a node or in a pod (n1-p1)."""
    from reconciler import lab as labs

    with _told():
        return labs.shell(name, node, command)


@lab.command()
@click.argument("name")
def down(name: str) -> int:
    """Take the lab away."""
    from reconciler import lab as labs

    with _told():
        there = labs.down(name)
    screen.write(f"lab {name} is gone" if there else f"there was no lab {name}; up are: {', '.join(labs.names()) or 'none'}")
    return 0


@lab.command()
@file_argument
def demo(file: str) -> int:
    """Everything, shown in under a minute."""
    from reconciler import lab as labs

    with _told():
        return labs.demo(file)


class _told:
    """Mistakes of labs as something to act on."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from reconciler.engine.reader import ObservationFailed
        from reconciler.intents import IntentError
        from reconciler.lab.topology import LabError

        if isinstance(error, SpecError):
            raise CannotGoOn(str(problem) for problem in error.problems) from None
        if isinstance(error, LabError | IntentError | ObservationFailed):
            raise CannotGoOn([str(error)]) from None
