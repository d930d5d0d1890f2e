"""The GitOps examples: complete, strict, and their very commands run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.cli.inputs import read_inputs
from tests.charts.manifests import ROOT, objects, the
from tests.charts.structure import mistakes

WAYS = ("argocd", "flux")
QUICKSTART = ROOT / "examples" / "quickstart" / "network.yaml"
WORKFLOW = yaml.safe_load((ROOT / "examples" / "ci" / "plan.yaml").read_text())
STEPS = {step["name"]: step for step in WORKFLOW["jobs"]["plan"]["steps"] if "name" in step}


def folder(way: str) -> Path:
    return ROOT / "examples" / way / "cluster"


def built(way: str) -> list[dict[str, Any]]:
    """What Kustomize makes of the example."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here: Kustomize itself is not asked")
    done = subprocess.run([kubectl, "kustomize", str(folder(way))], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def waiting(things: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = the(things, "Job", "plumbline-wait")["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("way", WAYS)
def test_the_network_is_valid(way: str) -> None:
    assert read_inputs(folder(way) / "network.yaml").warnings == ()


@pytest.mark.parametrize("way", WAYS)
def test_the_name_of_the_configmap_is_what_the_daemon_mounts(way: str) -> None:
    said = yaml.safe_load((folder(way) / "kustomization.yaml").read_text())
    network = next(one for one in said["configMapGenerator"] if one["name"] == "plumbline-network")
    assert {**said.get("generatorOptions", {}), **network.get("options", {})}["disableNameSuffixHash"] is True
    for one in objects((ROOT / "deploy" / "plumbline.yaml").read_text()):
        if one["kind"] == "DaemonSet":
            volumes = one["spec"]["template"]["spec"]["volumes"]
            assert [volume["configMap"]["name"] for volume in volumes if "configMap" in volume] == ["plumbline-network"]


@pytest.mark.parametrize("way", WAYS)
def test_what_kustomize_makes_of_it(way: str) -> None:
    things = built(way)
    assert [mistake for one in things for mistake in mistakes(one)] == []
    assert the(things, "ConfigMap", "plumbline-network")["data"]["network.yaml"] == (folder(way) / "network.yaml").read_text()
    mounted = waiting(things)["volumes"][0]["configMap"]["name"]
    assert the(things, "ConfigMap", mounted)["data"]["network.yaml"] == (folder(way) / "network.yaml").read_text()
    assert (mounted == "plumbline-network") == (way == "argocd"), "Flux makes a new Job for new content by the hash in the name"


@pytest.mark.parametrize("way", WAYS)
def test_the_job_waits_for_the_digest_that_the_daemons_have(way: str, tmp_path: Path) -> None:
    """Its very script, with a `plumbline` that writes down what it is asked."""
    (container,) = waiting(objects((folder(way) / "wait.yaml").read_text()))["containers"]
    (mount,) = container["volumeMounts"]
    config, bin = tmp_path / "config", tmp_path / "bin"
    config.mkdir(), bin.mkdir()
    shutil.copy(folder(way) / "network.yaml", config)
    (bin / "plumbline").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\n')
    (bin / "plumbline").chmod(0o755)
    (script,) = container["args"]
    subprocess.run([*container["command"], script.replace(mount["mountPath"], str(config))],
                   env={"PATH": f"{bin}:{os.environ['PATH']}"}, check=True, timeout=30)  # fmt: skip
    said = (tmp_path / "said").read_text().split()
    assert said[:3] == ["wait", "--digest", read_inputs(config).loaded.digest]


def test_argo_cd_applies_on_the_servers_side_and_waits_afterwards() -> None:
    application = yaml.safe_load((ROOT / "examples" / "argocd" / "application.yaml").read_text())
    assert "ServerSideApply=true" in application["spec"]["syncPolicy"]["syncOptions"]
    assert ROOT / application["spec"]["source"]["path"] == folder("argocd")
    job = the(objects((folder("argocd") / "wait.yaml").read_text()), "Job", "plumbline-wait")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PostSync"


def test_flux_checks_the_daemon_and_the_job() -> None:
    said = yaml.safe_load((ROOT / "examples" / "flux" / "kustomization.yaml").read_text())
    source = yaml.safe_load((ROOT / "examples" / "flux" / "source.yaml").read_text())
    assert said["spec"]["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert ROOT / said["spec"]["path"] == folder("flux")
    things = [*objects((folder("flux") / "wait.yaml").read_text()), *objects((ROOT / "deploy" / "plumbline.yaml").read_text())]
    for check in said["spec"]["healthChecks"]:
        there = the(things, check["kind"], check["name"])
        assert (there["apiVersion"], there["metadata"]["namespace"]) == (check["apiVersion"], check["namespace"])


# -- the workflow of a pull request -----------------------------------------------------------------


class Checkout:
    """A repository with network.yaml on its base and another one checked out, and what a runner gives to a step."""

    def __init__(self, path: Path) -> None:
        self.path, self.temp, self.summary = path / "work", path / "temp", path / "summary.md"
        self.path.mkdir(), self.temp.mkdir(), (path / "bin").mkdir()
        for name, line in (("plumbline", f'exec {sys.executable} -m reconciler.cli "$@"'), ("gh", f'printf "%s\\n" "$@" > {path}/gh')):
            (path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
            (path / "bin" / name).chmod(0o755)
        self.bin = path / "bin"
        self.git("init", "-q")
        shutil.copy(QUICKSTART, self.path / "network.yaml")
        self.git("add", ".")
        self.git("-c", "user.name=a", "-c", "user.email=a@example", "commit", "-q", "-m", "a")
        self.base = self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        return subprocess.run(["git", "-C", str(self.path), *words], check=True, capture_output=True, text=True, timeout=30).stdout

    def edit(self, old: str, new: str) -> None:
        text = (self.path / "network.yaml").read_text()
        assert old in text
        (self.path / "network.yaml").write_text(text.replace(old, new))

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        """A step as the runner runs it: bash -e, its environment, and no expression in the script."""
        said = STEPS[step]
        assert "${{" not in said["run"], "what a pull request says must not become part of a script"
        given = {"BASE": self.base, "NUMBER": "7", "GH_TOKEN": "none"}
        env = {**WORKFLOW["env"], **{name: given[name] for name in said.get("env", {})}, "RUNNER_TEMP": str(self.temp),
               "GITHUB_STEP_SUMMARY": str(self.summary), "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}  # fmt: skip
        return subprocess.run(
            ["bash", "-e", "-c", said["run"]], cwd=self.path, env=env, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    return Checkout(tmp_path)


def test_a_pull_request_is_told_what_it_changes(checkout: Checkout, tmp_path: Path) -> None:
    checkout.edit("masquerade: true", "masquerade: false")
    assert checkout.run("Validate").returncode == 0
    done = checkout.run("Plan")
    assert done.returncode == 0, done.stderr
    plan = (checkout.temp / "plan.md").read_text()
    assert "spec against spec: before.yaml" in plan
    assert "3 of 3 nodes change" in plan
    assert "- nft delete table inet plumbline" in plan
    assert checkout.summary.read_text() == plan
    assert checkout.run("Comment").returncode == 0
    assert (checkout.temp / "comment.md").read_text() == plan
    assert (tmp_path / "gh").read_text().split()[:3] == ["pr", "comment", "7"]


def test_a_mistake_across_nodes_fails_the_check(checkout: Checkout) -> None:
    checkout.edit("10.244.2.0/24", "10.244.1.0/24")
    done = checkout.run("Validate")
    assert done.returncode == 1
    assert "overlaps" in done.stderr


def test_facts_beside_it_are_used(checkout: Checkout) -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": "b"}}
    (checkout.path / "nodes.yaml").write_text(yaml.safe_dump(policy))
    assert checkout.run("Validate").returncode == 1


def test_a_plan_too_long_for_a_comment_says_where_it_is(checkout: Checkout) -> None:
    (checkout.temp / "plan.md").write_text("### plumbline\n" + "x" * 70000)
    assert checkout.run("Comment").returncode == 0
    assert (checkout.temp / "comment.md").read_text().splitlines() == [
        "### plumbline", "The plan is too long for a comment: it is in the summary of this run."
    ]  # fmt: skip
