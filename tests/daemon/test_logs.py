"""Log lines for machines and for people."""

from __future__ import annotations

import io
import json

import pytest

from reconciler.daemon.logs import make_logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_when_piped() -> None:
    out = io.StringIO()
    make_logger(out, json=None, verbose=False, node="n1").info("repaired", row="fdb plumb0 aa:bb")
    said = json.loads(out.getvalue())
    assert list(said)[:3] == ["timestamp", "level", "event"]
    assert (said["event"], said["node"], said["row"]) == ("repaired", "n1", "fdb plumb0 aa:bb")


def test_key_value_on_a_terminal() -> None:
    out = Terminal()
    make_logger(out, json=None, verbose=False, node="n1").info("round", converged=False, why="not yet")
    assert out.getvalue().rstrip().endswith('level=info event=round node=n1 converged=false why="not yet"')


@pytest.mark.parametrize(("verbose", "lines"), [(False, 0), (True, 1)])
def test_rounds_that_changed_nothing_are_for_the_curious(verbose: bool, lines: int) -> None:
    out = io.StringIO()
    make_logger(out, json=True, verbose=verbose, node="n1").debug("round")
    assert len(out.getvalue().splitlines()) == lines
