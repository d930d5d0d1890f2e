"""`segments:` and `membership:`, extra networks that pods join; and what a pod says of one in its annotation."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from reconciler.spec.section import Mtu, Port, Section, Vni, one_or_many
from reconciler.spec.values import InterfaceName

DEFAULTS = {4: "0.0.0.0/0", 6: "::/0"}
_LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TEMPLATE = re.compile(r"(/([A-Za-z0-9_.+@-]|\{namespace\}|\{name\}|\{uid\}|\{node\})+)+")
_SEGMENT = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
MAX_NAME = 63  # bytes of a segment's name


def segment_name(value: str) -> str:
    """A segment's name: one plain word, as pods write it into their annotation."""
    if len(value) > MAX_NAME or not _SEGMENT.fullmatch(value):
        raise ValueError(
            f"{value!r} is no name for a segment; allowed: up to {MAX_NAME} of a-z A-Z 0-9 _ . -, beginning with a letter or digit"
        )
    return value


def interface_address(value: str) -> str:
    """An address of a pod in a segment, with the length of the segment's prefix; without one it is a whole address."""
    try:
        found = ip_interface(value)
    except ValueError:
        raise ValueError(f"{value!r} is no address; allowed: 192.168.11.2/29 or fd00:11::2/64") from None
    if "%" in value or found.ip.is_multicast or found.ip.is_loopback or found.ip.is_unspecified:
        raise ValueError(f"{value!r} cannot be the address of a pod; allowed: a unicast address without a zone, 192.168.11.2/29")
    return str(found)


def destination(value: str) -> str:
    """What a route leads to: a network, or `default` in iproute2's word for everything."""
    if value == "default":
        return value
    try:
        return str(ip_network(value))
    except ValueError as error:
        found = "has host bits set" if "host bits" in str(error) else "is no network"
        raise ValueError(f"{value!r} {found}; allowed: 192.168.12.0/29, fd00:12::/64 or default") from None


def gateway(value: str) -> str:
    """The address that a route goes by."""
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is no address of a gateway; allowed: 192.168.11.1 or fd00:11::1") from None


def label_name(value: str) -> str:
    """The name of a label or an annotation (Kubernetes: an optional prefix, a slash, a name)."""
    if len(value) > 317 or not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a label or annotation; allowed: example.org/networks")
    return value


def netns_template(value: str) -> str:
    """Where pods' namespaces stand, or `auto`."""
    if value != "auto" and (not _TEMPLATE.fullmatch(value) or "{" not in value or "/../" in f"{value}/"):
        allowed = "auto, or an absolute path with {namespace}, {name}, {uid} or {node} in it: /run/netns/{uid}"
        raise ValueError(f"{value!r} says not where pods' namespaces stand; allowed: {allowed}")
    return value


SegmentName = Annotated[str, AfterValidator(segment_name)]
InterfaceAddress = Annotated[str, AfterValidator(interface_address)]
Destination = Annotated[str, AfterValidator(destination)]
Gateway = Annotated[str, AfterValidator(gateway)]
LabelName = Annotated[str, AfterValidator(label_name)]
NetnsTemplate = Annotated[str, AfterValidator(netns_template)]
InterfaceAddresses = Annotated[list[InterfaceAddress], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])]
Override = Literal["id", "dev", "name", "defaultRoute"]


class SegmentRoute(Section):
    """One route of a pod through a segment."""

    to: Destination
    via: Gateway

    @property
    def network(self) -> str:
        """What it leads to as a network; `default` is everything of its gateway's family."""
        return DEFAULTS[6 if ":" in self.via else 4] if self.to == "default" else self.to

    @model_validator(mode="after")
    def _one_family(self) -> Self:
        if (":" in self.network) is not (":" in self.via):
            raise ValueError(f"{self.to} and its gateway {self.via} are of two families; give a gateway of the same one")
        return self


class Allow(Section):
    """Which pods may join. Pod authors are not trusted: who may write an annotation may not yet join every network."""

    namespaces: list[str] | None = None  # None: those of every namespace
    pod_selector: dict[str, str] = Field(default_factory=dict)  # labels that a pod must have, all of them


class Segment(Section):
    """One network: what its members have in common, and what they say unless a pod says otherwise."""

    vni: Vni | None = None  # None: only pods that may say their own (podOverrides: [id]) can join
    type: Literal["vxlan"] = "vxlan"
    name: InterfaceName | None = None  # of the device in the pod; None: the segment's own name
    device: InterfaceName = "eth0"  # of the pod, by which the packets leave
    up: bool | None = None  # None: true under plumbline's annotation; under the reference's only when the pod says so
    ip: InterfaceAddresses = Field(default_factory=list)
    routes: list[SegmentRoute] = Field(default_factory=list)
    port: Port | None = None  # UDP; None: 4789 under plumbline's annotation, 8472 under the reference's, as it always was there
    mtu: Mtu | None = None  # None: the kernel's choice when it makes the device, which is that of `device` less the outer headers
    allow: Allow = Allow()
    pod_overrides: list[Override] = Field(default_factory=list)  # what pods may say that leads out of their own affairs


class Membership(Section):
    """How pods say that they join, and where their namespaces are found."""

    label: LabelName = "vxlan.openvnf.org"  # must be "true" for `annotation` to count
    annotation: LabelName = "vxlan.openvnf.org/networks"  # in kube-vxlan-controller's grammar, with its meanings
    segments_annotation: LabelName = "plumbline.dev/segments"  # structured; needs no label
    pod_defined: bool = False  # networks that only an annotation defines are legal, as they were in the reference
    netns: NetnsTemplate = "auto"  # auto: asked of containerd's and CRI-O's state on the node


class PodSegment(Section):
    """What a pod says of one segment in plumbline's annotation. None: nothing, so what network.yaml says holds."""

    vni: Vni | None = None
    name: InterfaceName | None = None
    device: InterfaceName | None = None
    up: bool | None = None
    ip: InterfaceAddresses | None = None
    routes: list[SegmentRoute] | None = None
    mtu: Mtu | None = None
