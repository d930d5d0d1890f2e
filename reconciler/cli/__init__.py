"""The command. Each module here holds verbs that belong together; all printing goes through `reconciler.report`."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import ClassVar

import click

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some in every installed package is a tenth of a start

from reconciler import __version__
from reconciler.cli.trouble import CannotGoOn

USAGE = 64  # sysexits.h, EX_USAGE: Click's own 2 means "changes pending" here
INTERRUPTED = 130


class _Group(click.Group):
    """Verbs are imported when they are used: `plumbline --version` need not know of netlink."""

    VERBS: ClassVar[dict[str, str]] = {
        "validate": "plans", "plan": "plans", "explain": "plans", "schema": "plans",
        "apply": "changes", "cleanup": "changes", "run": "daemons",
        "check": "checks", "verify": "looks", "snapshot": "looks", "graph": "graphs", "bundle": "bundles",
        "status": "running", "confirm": "running", "wait": "waiting",
        "inspect": "inspects", "list": "lists", "services": "services",
        "lab": "labs", "install-cni": "plugin",
    }  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.VERBS)

    LASTING: ClassVar[frozenset[str]] = frozenset({"run", "lab"})  # verbs that live on

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        import gc
        import importlib

        module = self.VERBS.get(name)
        if module is None:
            return None
        if name not in self.LASTING:
            gc.disable()  # ten thousand nodes make many values, all of which live as long as the command
        found: click.Command = getattr(importlib.import_module(f"reconciler.cli.{module}"), name.replace("-", "_"))
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            guess = difflib.get_close_matches(args[0], self.VERBS, 1)
            more = f"Did you mean {guess[0]}?" if guess else f"There are {', '.join(self.VERBS)}."
            raise click.UsageError(f"{error.message} {more}", ctx) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="plumbline")
def command() -> None:
    """Keeps the network of Kubernetes nodes true to one network.yaml.

    First `validate` the file, then `plan` shows what would run and changes nothing, `apply` runs it. `lab demo FILE`
    shows all of it on this machine, without a cluster.

    Exit status: 0 done or nothing to do, 1 something failed or the input is invalid, 2 changes pending
    (plan --detailed-exitcode), 3 refused by a guard or a conflict, 64 wrong usage.
    """


def main() -> None:
    """Run the command; whatever happens, a person reads what to do and not a traceback."""
    _print_anywhere()
    try:
        status = command.main(standalone_mode=False, prog_name="plumbline")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)  # a hundred thousand rows need not be taken apart one by one
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.UsageError as error:
        error.show()
        if hint := _hint(error):
            click.echo(hint, err=True)
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses it twice has been heard
        _complain("stopped by you; whatever is left half done, the same command goes on with it")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `plumbline plan … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except CannotGoOn as error:
        from reconciler.report.screen import errors

        errors(error.messages)
        sys.exit(error.status)
    except OSError as error:
        if os.environ.get("PLUMBLINE_DEBUG"):
            raise
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PLUMBLINE_DEBUG"):
            raise
        _complain(f"{type(error).__name__}: {error}\nThis is a mistake in plumbline; PLUMBLINE_DEBUG=1 shows where.")
        sys.exit(1)


def _hint(error: click.UsageError) -> str:
    """Some verbs take network.yaml as their argument and some by --config: whoever mixes them up is told which."""
    if error.ctx is None:
        return ""
    names, call = {parameter.name for parameter in error.ctx.command.params}, error.ctx.command_path
    wrong = error.param.name if isinstance(error, click.MissingParameter) and error.param is not None else ""
    if wrong == "file" or (isinstance(error, click.NoSuchOption) and error.option_name == "--config" and "file" in names):
        return f"FILE is network.yaml, or the folder with its files: {call} network.yaml"
    if wrong == "config" or ("unexpected extra argument" in error.message and "config" in names):
        return f"The file is named by an option: {call} --config network.yaml"
    return ""


def _print_anywhere() -> None:
    """Signs that a terminal's encoding lacks come out as \\u…, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str) -> None:
    click.echo(f"plumbline: {message}", err=True)
