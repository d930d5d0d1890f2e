"""What is printed is what was said: no piece of it is taken for a picture, a colour or a command of the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reconciler
from reconciler.engine.model import Plan, Refusal
from reconciler.report import screen

HARDLY_WORDS = ["ip addr add fd00:100::1/64 dev eth0", "2001:db8:1234:ab::/64", ":cat: :x: :100:", "[bold]x[/bold] [/] \\[x]", "site [red]"]


@pytest.mark.parametrize("text", HARDLY_WORDS)
def test_text_stays_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen.write(text)
    screen.errors([text])
    screen.show_plan(Plan("n1", (), failures=(text,), refusal=Refusal(text, text)), text)
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == text
    assert said.err == f"error: {text}\n"
    assert said.out.count(text) == 5


def test_nobody_prints_with_pictures() -> None:
    """Of Rich's consoles each says that `:100:` is a piece of an address, and not an emoji."""
    sources = list(Path(reconciler.__file__).parent.rglob("*.py"))
    calls = [call for path in sources for call in re.findall(r"\bConsole\(.*\)", path.read_text())]
    assert calls
    assert [call for call in calls if "emoji=False" not in call] == []
