"""What a person can do when Open vSwitch does not take what it is given."""

from __future__ import annotations

from reconciler.engine.kind import NO_EFFECT


def advice(failure: str) -> str:
    """For a line that failed with these words."""
    if "signal 14" in failure or "exit status -14" in failure:
        return "the database took it and ovs-vswitchd did not within 10 s: is it running? (systemctl status openvswitch-switch)"
    if "database connection failed" in failure:
        return "start Open vSwitch: systemctl start openvswitch-switch"
    if failure == NO_EFFECT:
        return "the log of ovs-vswitchd tells more (/var/log/openvswitch); datapathType system needs the kernel's module openvswitch"
    return ""
