"""What nobody's value may do: become an option, a second word or line, a quote, a command, or a template."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

CORE = "zq7"  # stands in every hostile value, so that it is found wherever it lands
NASTY = [
    f"-{CORE}", f"--{CORE}=x", f"{CORE} up", f"{CORE}\tup", f"{CORE}\nip link del eth0", f"\n{CORE}", f"{CORE}\r", f"{CORE}\x00x", f"{CORE}\x1b[2J",
    f'{CORE}"', f"'{CORE}'", f"`{CORE}`", f"$({CORE})", f"${CORE}", f"{CORE};reboot", f"{CORE}|sh", f"{CORE}&", f"{CORE}>x", f"{CORE}<x", f"{CORE}\\",
    f"{{{{ {CORE} }}}}", f"{{% {CORE} %}}", f"{{{CORE}}}", f"{CORE}#x", f"{CORE}*", f"{CORE}?", f"[{CORE}]", f"~{CORE}", f"!{CORE}", f"({CORE})",
    f"{CORE}\u2028x", f"{CORE}\x85x", f"{CORE}\x01x", f"{CORE}\u202ex", f"{CORE}é", f"{CORE}\udcff", f"{CORE}\u00a0x", f"‹{CORE}›",
]  # fmt: skip

# Written without a look at the product's own rule.
_ENDPOINT = re.compile(r"^\[([0-9a-f:]+)\](?=:[0-9]+$)")  # of an IPv6 address, with its port
_FIT = re.compile(r"[A-Za-z0-9_./:,%@+=-]+")

nasty = st.sampled_from(NASTY) | st.tuples(st.text(max_size=8), st.text(max_size=8)).map(CORE.join).filter(lambda text: not fit(text))


def fit(text: str) -> bool:
    """Whether a value is one plain word that no tool and no shell takes for anything else."""
    return _FIT.fullmatch(text) is not None and not text.startswith("-")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts stand in rows, mappings and lists, as paths; rows' origins left out."""
    if isinstance(value, str):
        yield path
    elif hasattr(value, "_fields"):
        for name in value._fields:
            if name != "origin":
                yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, tuple | list):
        for index, one in enumerate(value):
            yield from leaves(one, (*path, index))
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*path, name))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with what stands at a path replaced."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if hasattr(value, "_fields"):
        return value._replace(**{first: put(getattr(value, first), rest, new)})
    if isinstance(value, dict):
        return {**value, first: put(value[first], rest, new)}
    changed = [put(one, rest, new) if index == first else one for index, one in enumerate(value)]
    return tuple(changed) if isinstance(value, tuple) else changed


def out_of_place(line: str) -> list[str]:
    """Words in which a hostile value landed; one among others behind a comma is no word of its own, and no option."""
    return [word for word in line.split(" ") if CORE in word and not re.search(rf",-?-?{CORE}", word)]


def unfit_words(line: str) -> list[str]:
    """Words of a line of a plan that are none that a plan may have."""
    allowed = {"!=", "{", "}", ";", "'{", "}'", '"plumbline"', "-n", "-6", "-w", "-T", "-r", "--", "--timeout=10"}
    bare = re.sub(r'=("[^"]*")', lambda match: "=" + match[1].strip('"').replace(" ", ""), line)  # sysctl's value of several words
    return [word for word in bare.split(" ") if word not in allowed and not fit(_ENDPOINT.sub(r"\1", word).removeprefix("--db=unix:"))]
