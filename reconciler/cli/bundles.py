"""The verb bundle: one archive that tells somebody else how this node is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from reconciler import __version__
from reconciler.cli.inputs import Inputs, Told, existing, read_inputs, this_node
from reconciler.cli.looks import snapshot_document
from reconciler.cli.options import api_of, facts_option, kubeconfig_option, node_option, root_option, server_option
from reconciler.cli.plans import plans_of
from reconciler.cli.trouble import CannotGoOn
from reconciler.daemon.client import NoAnswer, fetch, fetch_status
from reconciler.engine.text import text
from reconciler.facts.manifests import BadManifest, read_manifests
from reconciler.report import screen
from reconciler.report.bundle import Bundle, write_new
from reconciler.report.bundle_facts import bare
from reconciler.report.bundle_redact import Redactor
from reconciler.report.machine import plan_document
from reconciler.spec.load import load_spec, read_texts
from reconciler.spec.problems import SpecError
from reconciler.spec.segments import Membership

_SECRET = re.compile(r"(?i)pass|secret|token|key|credential|auth(?!or)|cookie")  # in names of environment variables
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_TOOLS = (
    ("ip", "-V"),
    ("bridge", "-V"),
    ("nft", "-v"),
    ("sysctl", "-V"),
    ("wg", "--version"),
    ("bpftool", "version"),
    ("ovs-vsctl", "--version"),
)
_LIBRARIES = ("pydantic", "pyyaml", "jinja2", "pyroute2", "kubernetes", "click")
_ANNOTATIONS = ("plumbline.dev/",)
API = "the Kubernetes API"


@click.command()
@click.option("--config", metavar="PATH", help="network.yaml, or its folder; else what the running daemon uses.")
@node_option
@facts_option
@click.option("--url", default="http://127.0.0.1:9474", show_default=True, metavar="URL", help="Where the daemon listens (run --listen).")
@click.option("--out", metavar="FILE", help="A file that is not there yet; else plumbline-bundle-NODE-TIME.tar.gz here.")
@click.option("--cluster/--no-cluster", default=None, help="Ask the Kubernetes API for the facts; else if the running daemon does.")
@server_option
@kubeconfig_option
@root_option
def bundle(
    config: str | None,
    node: str | None,
    facts: Sequence[str],
    url: str,
    out: str | None,
    cluster: bool | None,
    server: Sequence[str],
    kubeconfig: str,
    root: str,
) -> int:
    """For a bug report: network.yaml, facts, snapshot, plan, status and versions in one archive, without secrets.

    Whatever cannot be had (the daemon is down, the file is not valid) is named and left out. Nothing is sent anywhere.
    """
    if out is not None and os.path.lexists(out):
        raise CannotGoOn([f"{out} is there already, and stays as it is: choose another name with --out"])
    for path in (*([config] if config else []), *facts):
        existing(path)
    redactor = Redactor(_known_secrets())
    made = Bundle(redactor)
    status = _status(made, url)
    config = config or _used_by(status, made)
    name = node or os.environ.get("NODE_NAME") or str(status.get("node") or "") or platform.node()
    told: Sequence[Told] = ()
    if config is not None and (bool(status.get("watches")) if cluster is None else cluster):
        told = _told(made, config, name, server, kubeconfig)
    inputs = _config(made, config, facts, told)
    if inputs is not None:
        try:
            name = this_node(inputs, node or (name if name in inputs.facts.nodes else None))
        except CannotGoOn as error:
            made.without("plan.txt", "; ".join(error.messages))
            inputs = None
    _plan(made, inputs, name, root)
    _snapshot(made, inputs, name, root)
    made.add_json("versions.json", "plumbline, kernel, tools, libraries", _versions())
    return _written(made, name, out)


def _written(made: Bundle, node: str, out: str | None) -> int:
    now = time.time()
    when, stamp = (time.strftime(form, time.gmtime(now)) for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y%m%dT%H%M%SZ"))
    folder = f"plumbline-bundle-{re.sub('[^A-Za-z0-9._-]', '_', node)}-{stamp}"
    path = Path(out) if out is not None else Path(f"{folder}.tar.gz")
    try:
        write_new(path, made.packed(folder, node, when, now))
    except FileExistsError:
        raise CannotGoOn([f"{path} is there already, and stays as it is: choose another name with --out"]) from None
    except OSError as error:
        raise CannotGoOn([f"{path}: {error.strerror}; choose another place with --out"]) from None
    screen.write(made.about(node, when).rstrip())
    screen.write(f"\nwritten: {path} (readable by you alone; nothing was sent)")
    return 0


def _status(made: Bundle, url: str) -> dict[str, Any]:
    """What the daemon says, if one runs."""
    try:
        status = fetch_status(url)
        made.add_json("status.json", "what the daemon says of itself (/status)", status)
        more = {path: fetch(url, f"/status/{path}") for path in ("plan", "peers", "segments", "services")}
        made.add_json("status-more.json", "its plan, and the first of its peers, segments and services", more)
    except NoAnswer as error:
        made.without("status.json", str(error))
        return {}
    return status


def _used_by(status: dict[str, Any], made: Bundle) -> str | None:
    """The daemon's own --config, where this process can see it."""
    config = status.get("config")
    if isinstance(config, str) and os.access(config, os.R_OK):
        return config
    made.without(
        "config/", f"the daemon's is {config}, and cannot be read here; name it with --config" if config else "name it with --config"
    )
    return None


def _told(made: Bundle, config: str, node: str, servers: Sequence[str], kubeconfig: str) -> list[Told]:
    """What the daemon hears of the Kubernetes API, as it is there now."""
    from reconciler.cluster.transport import Trouble
    from reconciler.cluster.view import objects_of

    try:
        spec = load_spec(config).spec
        with api_of(servers or spec.cluster.api_servers, kubeconfig) as api:
            return [(thing, API) for thing in objects_of(api, spec, node)]
    except SpecError:
        made.without("facts.json", f"what to ask {API} for is not known: the configuration is not valid")
    except CannotGoOn as error:
        made.without("facts.json", "; ".join(error.messages))
    except Trouble as trouble:
        made.without("facts.json", str(trouble))
    return []


def _config(made: Bundle, config: str | None, facts: Sequence[str], told: Sequence[Told]) -> Inputs | None:
    """The files, valid or not, and what they say together; None where that is nothing."""
    inputs, membership = None, Membership()
    if config is not None:
        try:
            for content, name in read_texts(config):
                made.add_yaml(f"config/{Path(name).name}", "what the network should be", content.decode("utf-8", "replace"))
            inputs = read_inputs(config, facts, told)
            membership = inputs.loaded.spec.membership
        except SpecError as error:
            made.without("config/", "; ".join(str(problem) for problem in error.problems))
        except CannotGoOn as error:
            made.add_text("problems.txt", "why the configuration is not valid", "\n".join(error.messages) + "\n")
    if facts or told:
        annotations = (*_ANNOTATIONS, membership.annotation, membership.segments_annotation)
        try:
            objects = [thing for thing, _ in (*told, *(one for path in facts for one in read_manifests(path)))]
            whose = " and ".join([f"of {API}"] * bool(told) + ["--facts"] * bool(facts))
            made.add_json("facts.json", f"nodes, pods and services, as far as they are read ({whose})", bare(objects, annotations))
        except BadManifest as error:
            made.without("facts.json", str(error))
    return inputs


def _plan(made: Bundle, inputs: Inputs | None, node: str, root: str) -> None:
    if inputs is None:
        return
    try:
        plans, against = plans_of(inputs, node, every=False, snapshot=None, root=root)
    except CannotGoOn as error:
        made.without("plan.txt", "; ".join(error.messages))
        return
    for one in plans:
        made.add_text("plan.txt", f"what would run, {against}", text(one, f"{inputs.title} · {against}"))
        made.add_json("plan.json", "the same for programs", plan_document(one, against))


def _snapshot(made: Bundle, inputs: Inputs | None, node: str, root: str) -> None:
    """What this host holds: with the eyes of the content where that is possible, else without."""
    reasons: list[str] = []
    for looked in (inputs, None) if inputs is not None else (None,):
        try:
            made.add_json("snapshot.json", "what this host holds", snapshot_document(looked, node, root))
        except CannotGoOn as error:
            reasons += error.messages
            continue
        break
    if reasons:
        made.without("of snapshot.json the host's facts", "; ".join(dict.fromkeys(reasons)))


def _versions() -> dict[str, Any]:
    return {
        "plumbline": __version__,
        "python": platform.python_version(),
        "kernel": f"{platform.release()} {platform.version()}",
        "machine": platform.machine(),
        "distribution": _distribution(),
        "tools": dict(_tools()),
        "libraries": dict(_libraries()),
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _tools() -> Iterator[tuple[str, str]]:
    for name, option in _TOOLS:
        if shutil.which(name) is None:
            yield name, ""
            continue
        try:
            done = subprocess.run([name, option], capture_output=True, text=True, check=False, timeout=10)
            yield name, (done.stdout or done.stderr).strip().partition("\n")[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            yield name, f"does not answer: {error}"


def _libraries() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, ""


def _known_secrets() -> Iterable[str]:
    """What this process was given as secrets: wherever they turn up, they go."""
    yield from (value for name, value in os.environ.items() if _SECRET.search(name) and not value.startswith("/"))
    try:
        yield Path(_SERVICE_ACCOUNT).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return
