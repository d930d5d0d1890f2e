"""Every option and variable that we ship in manifests and examples is one of the command."""

from __future__ import annotations

import importlib
import re

import click

from reconciler.cli import command
from tests.charts.manifests import DEPLOY, ROOT, objects, template, the


def known_options(verb: str) -> set[str]:
    """What a verb of the command takes."""
    verbs = getattr(command, "VERBS")  # noqa: B009 - of a subclass of click's
    assert verb in verbs, f"plumbline {verb} is no command"
    found: click.Command = getattr(importlib.import_module(f"reconciler.cli.{verbs[verb]}"), verb.replace("-", "_"))
    return {text for option in found.params for text in option.opts}


def test_of_the_manifests() -> None:
    things = [one for path in (DEPLOY / "plumbline.yaml", DEPLOY / "cleanup" / "daemonset.yaml") for one in objects(path.read_text())]
    pods = [one["spec"]["template"]["spec"] for one in things if one["kind"] == "DaemonSet"]
    said = [one["args"] for pod in pods for one in (*pod["containers"], *pod.get("initContainers", ())) if "args" in one]
    assert len(said) == 2
    for verb, *options in said:
        assert [option for option in options if option.partition("=")[0] not in known_options(verb)] == []


def test_of_everything_that_the_chart_can_make() -> None:
    things = objects(template('http.listen="node"', "features.segments=true", "features.cniPlugin=true", "cluster.configmapWatch=true",
                              'facts.existing="nodes"', "dryRun=true", "verbose=true"))  # fmt: skip
    pods = [the(things, "DaemonSet")["spec"]["template"]["spec"], the(things, "Pod", "plumbline-verify")["spec"]]
    said = [one["args"] for pod in pods for one in (*pod["containers"], *pod.get("initContainers", ()))]
    assert sorted(verb for verb, *_ in said) == ["install-cni", "run", "verify"]
    for verb, *options in said:
        assert [option for option in options if option.partition("=")[0] not in known_options(verb)] == []


def test_of_the_jobs_that_wait() -> None:
    for way in ("argocd", "flux"):
        (container,) = the(objects((ROOT / "examples" / way / "cluster" / "wait.yaml").read_text()), "Job", "plumbline-wait")["spec"][
            "template"
        ]["spec"]["containers"]
        assert set(re.findall(r" (--[a-z]+)", container["args"][0])) - known_options("wait") == set()
