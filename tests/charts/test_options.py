"""Every option and variable that we ship in manifests and examples is one of the command."""

from __future__ import annotations

import importlib

import click

from reconciler.cli import command
from tests.charts.manifests import DEPLOY, objects


def known_options(verb: str) -> set[str]:
    """What a verb of the command takes."""
    verbs = getattr(command, "VERBS")  # noqa: B009 - of a subclass of click's
    assert verb in verbs, f"plumbline {verb} is no command"
    found: click.Command = getattr(importlib.import_module(f"reconciler.cli.{verbs[verb]}"), verb)
    return {text for option in found.params for text in option.opts}


def test_of_the_manifests() -> None:
    things = [one for path in (DEPLOY / "plumbline.yaml", DEPLOY / "cleanup" / "daemonset.yaml") for one in objects(path.read_text())]
    pods = [one["spec"]["template"]["spec"] for one in things if one["kind"] == "DaemonSet"]
    said = [one["args"] for pod in pods for one in (*pod["containers"], *pod.get("initContainers", ())) if "args" in one]
    assert len(said) == 2
    for verb, *options in said:
        assert [option for option in options if option.partition("=")[0] not in known_options(verb)] == []
