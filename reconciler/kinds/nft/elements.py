"""Sets inside rules, in one form: the kernel keeps intervals, so nft prints neighbours as one and in its own order."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network, summarize_address_range

Address = IPv4Address | IPv6Address


def canonical(words: tuple[str, ...]) -> tuple[str, ...]:
    """A rule's words with every `{ a, b }` sorted and its addresses merged; maps stay as they are."""
    if "{" not in words:
        return words
    done: list[str] = []
    rest = iter(words)
    for word in rest:
        done += _group(rest) if word == "{" else [word]
    return tuple(done)


def _group(rest: Iterator[str]) -> list[str]:
    """The words up to the closing brace, in braces again; one element needs none, as nft prints it."""
    group: list[str] = []
    for word in rest:
        if word == "}":
            break
        group.append(word)
    if ":" in group:
        return ["{", *group, "}"]
    elements = [element for element in "".join(group).split(",") if element]
    merged = _merged(elements)
    if len(merged) <= 1:
        return merged
    return ["{", *(element + "," for element in merged[:-1]), merged[-1], "}"]


def _merged(elements: list[str]) -> list[str]:
    try:
        ranges = sorted(_range(element) for element in elements)
    except (ValueError, TypeError):
        return sorted(elements)  # names, ports, protocols: only their order is nft's own
    merged: list[tuple[Address, Address]] = []
    for first, last in ranges:
        if merged and int(first) <= int(merged[-1][1]) + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return [_text(first, last) for first, last in merged]


def _range(element: str) -> tuple[Address, Address]:
    if element.isdigit():
        raise ValueError(element)
    first, dash, last = element.partition("-")
    if dash:
        return ip_address(first), ip_address(last)
    network = ip_network(element)
    return network[0], network[-1]


def _text(first: Address, last: Address) -> str:
    if first == last:
        return str(first)
    networks = list(summarize_address_range(first, last))
    return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"
