"""Kubernetes Pod objects as plain dictionaries → Pod. API watches and manifest files use the same function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.facts.model import Pod
from reconciler.wire.ip import normal_address, usable_by_a_host

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # wider than Kubernetes', and never a path: it may stand in one

MIRROR = "kubernetes.io/config.mirror"  # annotation of what a kubelet tells of a static pod: the uid that it itself and the runtime know


class BadPod(Exception):
    """A Pod object that says something impossible; names the pod and the field."""


def pods_of(objects: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[tuple[Pod, ...] | None, list[str]]:
    """The Pods among Kubernetes objects, and what is wrong with those that are left out.

    None where no pod is named at all: then nobody asked for them, and nothing is to be concluded.
    """
    pods: dict[str, Pod] = {}
    wrong: list[str] = []
    for thing, where in objects:
        if thing.get("kind") != "Pod":
            continue
        try:
            pod = parse_pod(thing, where)
        except BadPod as error:
            wrong.append(f"{error}; the pod is left out")
            continue
        first = pods.setdefault(pod.key, pod)
        if first is not pod and first._replace(where="") != pod._replace(where=""):
            wrong.append(f"{pod.where}: said otherwise before, in {first.where}; the first one counts")
    return tuple(pods.values()) if pods or wrong else None, wrong


def parse_pod(thing: Mapping[str, Any], where: str = "") -> Pod:
    """One Pod object. Raises BadPod; fields that are absent are absent, not wrong."""
    metadata = _mapping(thing, "metadata", where or "a Pod")
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        raise BadPod(f"{where or 'a Pod'}: metadata.name is missing")
    _check(where, name=name, namespace=namespace)
    label = f"{where} (Pod {namespace}/{name})" if where else f"Pod {namespace}/{name}"
    annotations = _texts(metadata, "annotations", label)
    uid = annotations.get(MIRROR) or str(metadata.get("uid") or "")
    _check(where, uid=uid)
    spec, status = _mapping(thing, "spec", label), _mapping(thing, "status", label)
    return Pod(
        namespace,
        name,
        uid,
        str(spec.get("nodeName") or ""),
        _addresses(status, label),
        _texts(metadata, "labels", label),
        annotations,
        spec.get("hostNetwork") is True,
        str(status.get("phase") or ""),
        label,
    )


def _check(where: str, **said: str) -> None:
    """Raises BadPod."""
    for field, text in said.items():
        if len(text) > 253 or (text and not _NAME.fullmatch(text)):
            raise BadPod(f"{where or 'a Pod'}: metadata.{field}: {text[:80]!r} is none; allowed: a-z 0-9 - and dots")


def _mapping(thing: Mapping[str, Any], name: str, label: str) -> Mapping[str, Any]:
    found = thing.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise BadPod(f"{label}: {name} is no mapping")
    return found


def _texts(metadata: Mapping[str, Any], name: str, label: str) -> Mapping[str, str]:
    found = _mapping(metadata, name, label)
    for key, value in found.items():
        if not isinstance(value, str):
            raise BadPod(f'{label}: metadata.{name}.{key} is no text; write "{str(value).lower()}" in quotes')
    return found


def _addresses(status: Mapping[str, Any], label: str) -> tuple[str, ...]:
    listed = status.get("podIPs") or ([{"ip": status["podIP"]}] if status.get("podIP") else [])
    if not isinstance(listed, list):
        raise BadPod(f"{label}: status.podIPs is no list")
    found = []
    for one in listed:
        text = one.get("ip") if isinstance(one, Mapping) else None
        if not text:
            continue  # a Pending pod has none yet
        try:
            address = normal_address(str(text))
            if not usable_by_a_host(address):
                raise ValueError(f"{address} cannot be the address of a pod")
        except ValueError as error:
            raise BadPod(f"{label}: status.podIPs: {error}") from None
        found.append(address)
    return tuple(found)
