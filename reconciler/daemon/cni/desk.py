"""The container runtime's requests, answered by what rounds leave: a pod's containers start once its segments are there.

Requests come from threads of the socket and wait here; the loop says when a round begins and what
came of it. Neither ever waits for a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition
from typing import Any, NamedTuple

from reconciler.daemon.cni.attached import Attachment, Attachments, is_of
from reconciler.daemon.cni.boot import Boot
from reconciler.daemon.cni.request import INVALID_CONFIGURATION, INVALID_ENVIRONMENT, NOT_AVAILABLE, TRY_AGAIN, CniError, Request, printed
from reconciler.daemon.step import Report
from reconciler.engine.model import Key, Ref
from reconciler.facts.model import Pod
from reconciler.intents import Context
from reconciler.intents.membership import asks, members
from reconciler.kinds.link import LinkKey

PATIENCE = 10.0  # seconds, before any network.yaml was read
LOOK = "plumbline status, on this node, says more"
OF_A_MEMBER = ("link", "address", "fdb", "route")  # kinds of rows that a segment puts into a pod


class Closed(Exception):
    """The daemon ends: whoever waits asks the next one."""


class _Round(NamedTuple):
    """What the last round left."""

    number: int
    report: Report | None


class Desk:
    """Answers requests. `wake`: asks the loop for a round."""

    def __init__(self, attachments: Attachments, boot: Boot, wake: Callable[[], None], log: Any) -> None:
        self._attachments, self._boot, self._wake, self._log = attachments, boot, wake, log
        self._changed = Condition()
        self._begun = 0
        self._last = _Round(0, None)
        self._closed = False

    # -- from the loop -------------------------------------------------------------------------

    def begins(self) -> None:
        """A round begins: it knows of everything that was said before."""
        with self._changed:
            self._begun += 1

    def ended(self, report: Report) -> None:
        with self._changed:
            self._last = _Round(self._begun, report)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- from the socket's threads -------------------------------------------------------------

    @property
    def patience(self) -> float:
        """Seconds that an answer may take."""
        report = self._last.report
        cni = report.context.spec.cni if report is not None and report.context is not None else None
        return cni.patience if cni is not None else PATIENCE

    def answer(self, request: Request) -> bytes:
        """What the plugin prints. Raises CniError, Closed."""
        match request.command:
            case "ADD":
                said = printed(request.result)
                self._attach(request)
                return said
            case "CHECK":
                self._attach(request)
            case "DEL":
                self._detach(request)
            case "GC":
                self._collect(request)
            case "STATUS":
                self._status()
            case _:
                raise CniError(INVALID_ENVIRONMENT, f"CNI_COMMAND: {request.command[:80]!r} is none")
        return b""

    def _attach(self, request: Request) -> None:
        """Returns once everything that the pod asks for is there."""
        pod = request.pod
        if pod is None:
            return
        key, uid = pod
        netns, known = request.netns
        attachment = Attachment(request.container, request.ifname, key, uid, netns, known, request.addresses)
        if self._asks_nothing(attachment):
            return
        until = time.monotonic() + self.patience
        self._attachments.add(attachment)
        with self._changed:
            needed = self._begun + 1  # one that goes on may have looked already
        self._wake()
        self._wait(attachment, needed, until)

    def _asks_nothing(self, attachment: Attachment) -> bool:
        """Most pods ask for no segment, and need no round."""
        report = self._last.report
        if report is None or report.context is None:
            return False
        pod = _pod(report.context, attachment)
        return not _has_segments(report.context) or (pod is not None and not asks(report.context.spec, pod))

    def _wait(self, attachment: Attachment, needed: int, until: float) -> None:
        why = f"the daemon is busy with another round; {LOOK}"
        seen = needed - 1
        while True:
            with self._changed:
                while not self._closed and self._last.number <= seen:
                    if not self._changed.wait(until - time.monotonic()):
                        self._log.warning("pod waits", pod=attachment.pod, why=why)
                        raise CniError(TRY_AGAIN, f"the network of pod {attachment.pod} is not in place", f"{why}; it is tried again")
                if self._closed:
                    raise Closed
                seen, report = self._last
            if report is not None:
                why = missing(report, attachment)
                if not why:
                    return

    def _detach(self, request: Request) -> None:
        container, ifname = request.container, request.ifname
        if self._attachments.drop(lambda one: (one.container, one.ifname) == (container, ifname)):
            self._wake()

    def _collect(self, request: Request) -> None:
        """Only what is listed stays. A list that names nothing is more likely a mistake than the truth: then all stays."""
        valid = request.attachments
        if valid is not None and self._attachments.drop(lambda one: (one.container, one.ifname) not in valid):
            self._wake()

    def _status(self) -> None:
        if not self._boot.settled:
            raise CniError(NOT_AVAILABLE, "plumbline has not yet brought this node's network up since it booted", LOOK)


def missing(report: Report, attachment: Attachment) -> str:
    """What a pod still lacks after a round, and what to do about it; "" where it has all. Raises CniError for what no round mends."""
    context = report.context
    if context is None:
        return next(iter((*report.problems, *report.errors)), f"no network.yaml is in force yet; {LOOK}")
    if not _has_segments(context):
        return ""
    if context.facts.pods is None:
        return "plumbline does not know which pods there are: is the API reachable? Else it has to be told (run --cluster, or --facts FILE)"
    pod = _pod(context, attachment)
    if pod is None:
        return f"plumbline has not heard of this pod yet (uid {attachment.uid or 'not said'}): is the API reachable? {LOOK}"
    if not asks(context.spec, pod):
        return ""
    if pod.node != context.node:
        return f"plumbline has heard that the pod is on node {pod.node or 'none'}, and this is {context.node}"
    return _lacks(report, context, pod._replace(addresses=attachment.addresses), attachment.netns)


def _has_segments(context: Context) -> bool:
    return bool(context.spec.segments) or context.spec.membership.pod_defined


def _pod(context: Context, attachment: Attachment) -> Pod | None:
    found = next((pod for pod in context.facts.pods or () if pod.key == attachment.pod), None)
    return found if found is not None and is_of(found, attachment.uid) else None


def _lacks(report: Report, context: Context, pod: Pod, netns: str) -> str:
    mine = members(context.spec, [pod])
    if mine.faults:
        raise CniError(INVALID_CONFIGURATION, str(mine.faults[0]), "nothing of this comes by waiting: mend it, and the pod starts")
    if not pod.addresses:
        return "the plugins before plumbline gave the pod no address (prevResult.ips), and a segment's member needs one"
    if netns in report.seen.absent:
        return f"its network namespace {netns} cannot be looked into: {report.seen.absent[netns] or 'it has gone'}"
    for member in (one for everybody in mine.segments.values() for one in everybody):
        if report.wanted.get(Ref("link", LinkKey(netns, member.name))) is None:
            return next(iter((*report.problems, *report.errors)), f"segment {member.segment} is not planned for it; {LOOK}")
    if not report.plans:
        return next(iter(report.errors), LOOK)
    plan = report.plans[-1]
    held = next((conflict.reason for conflict in plan.conflicts if _in(conflict.new.key, netns)), "")
    left = next((action for action in plan.actions if _in(action.ref.key, netns)), None)
    if held or left is None:
        return held or next((why for kind in OF_A_MEMBER if (why := report.seen.failure(kind))), "")
    named = next((error for error in report.errors if error.startswith(f"{left.ref}: ")), "")
    refused = f"refused: {plan.refusal.reason}" if plan.refusal is not None else ""
    return named or refused or f"{left.ref} is not there yet"


def _in(key: Key, netns: str) -> bool:
    return getattr(key, "netns", "") == netns
