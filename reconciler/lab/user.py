"""Rights: as root, or without root in a user namespace of one's own (user_namespaces(7))."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from reconciler.lab.topology import LabError

INSIDE = "PLUMBLINE_LAB_USERNS"
_WRAP = ("unshare", "-Urnm", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")
HOW = "unshare -Urnm sh -c 'mount -t tmpfs tmpfs /run && exec \"$SHELL\"'"


def need_rights() -> None:
    """Raises LabError for who may not make network namespaces."""
    if os.geteuid() != 0:
        raise LabError(f"the lab needs root to make network namespaces. Use sudo, or without root first start a shell that may: {HOW}")


def reexec_in_user_namespace() -> None:
    """Start this program again where it may do everything and see nothing of the machine; root goes on as it is.

    Raises LabError where the machine allows no user namespaces.
    """
    if os.geteuid() == 0:
        return
    if INSIDE in os.environ or shutil.which("unshare") is None:
        need_rights()
    tried = subprocess.run([*_WRAP, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        why = " ".join(tried.stderr.split())
        raise LabError(f"neither root, nor are user namespaces allowed here ({why}); run it as root: sudo plumbline lab demo ...")
    os.environ[INSIDE] = "1"
    os.execvp(_WRAP[0], [*_WRAP, sys.executable, *_arguments()])  # noqa: S606


def _arguments() -> list[str]:
    """What made the interpreter run this program, without its own path."""
    return sys.orig_argv[1:]
