"""docs/metrics.md, made from the metrics themselves: `make metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.daemon.metrics import Metrics

_HEAD = """\
# Metrics

Made from the code by `make metrics`; do not edit. The daemon serves them at `/metrics` (see [daemon.md](daemon.md)) in
Prometheus' text format. Names and labels are an interface: they are only ever added to.

| name | type | labels | meaning |
|---|---|---|---|
"""
_TAIL = """
## Worth an alert

| expression | means |
|---|---|
| `plumbline_ready == 0` for some minutes | the node is not as the newest content wants it; `plumbline status` says why |
| `plumbline_spec_valid == 0` | the newest content is not in force; `plumbline_spec_invalid` names the place |
| `plumbline_confirmation_awaited == 1` | something waits for a person: `plumbline status` shows the command that confirms it |
| `plumbline_spec_stale == 1` | the node runs on what was kept on disk: nothing is deleted until the content is read again |
| `plumbline_fights > 0` | somebody else changes rows of ours again and again |
| `time() - plumbline_last_converged_timestamp_seconds > 300` | no round came to its end |
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_rows()) + "\n" + _TAIL


def _rows() -> Iterator[str]:
    for metric in Metrics("n1").described():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.type} | {labels} | {metric.meaning} |"
