"""The command ``lama-ref weights``: what ships, what can be fetched, and what is here."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ..weights import fetch, names
from ..weights.published import ENTRIES


def weights(
    action: Positional[Literal["list", "fetch", "verify", "card"]] = "list",
    name: Positional[str | None] = None,
    url: str | None = None,
) -> int:
    """List the weights that ship and those that can be fetched; fetch, verify, describe them.

    Args:
        action: "list", "fetch NAME", "verify [NAME]" or "card NAME".
        name: Of weights, as listed.
        url: Fetch from this address instead, such as a mirror or file:///path/of/file.
    """
    return run(action, name, url)


def run(action: str, name: str | None = None, url: str | None = None) -> int:
    """What ``lama-ref weights ACTION [NAME] [--url URL]`` does; returns the exit code."""
    if name is None and action in ("fetch", "card"):
        raise ValueError(f"expected: lama-ref weights {action} NAME; {', '.join(ENTRIES)}")
    if url is not None and action != "fetch":
        raise ValueError(f"--url goes with fetch, not with {action}")
    if action == "list":
        print(table())
    elif action == "card":
        print(readable(card(str(name))))
    elif action == "fetch":
        print(f"{name}: {fetch.fetch(str(name), url)}")
    else:
        return _verify(name)
    return 0


def _shipped() -> dict[str, Path]:
    return names.shipped() | names.shipped("features")


def _verify(name: str | None) -> int:
    """Check one file, or all that are here."""
    if name is not None and name not in _shipped() and names.find(name) is None:
        raise ValueError(names.missing(name))
    bad = False
    for key in [name] if name is not None else [*_shipped(), *ENTRIES]:
        if key in _shipped():
            problem = names.verify(key)
            fine, text = not problem, problem or "checksum fits the model card"
        elif path := names.find(key):
            fine, text = fetch.check(path)
        else:
            continue
        bad |= fine is False
        print(f"{ {True: 'OK  ', None: '?   ', False: 'FAIL'}[fine] }  {key:28}  {text}")
    return int(bad)


def table() -> str:
    """All weights, shipped and published: size, parameters, where they are, licence."""
    rows = [("weights", "size", "parameters", "state", "licence")]
    for name, path in _shipped().items():
        about = names.card(name)
        parameters = about.get("parameters") or about.get("architecture", {}).get("parameters")
        terms = about.get("licence", "")
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        rows.append((name, size, _millions(parameters), "shipped", terms.split(" for ")[0]))
    for name, entry in ENTRIES.items():
        state = "fetched" if names.find(name) else "not fetched"
        rows.append((name, entry.size(), _millions(entry.parameters), state, entry.licence[0]))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        f"{n:{widths[0]}}  {s:>{widths[1]}}  {p:>{widths[2]}}  {at:{widths[3]}}  {terms}".rstrip()
        for n, s, p, at, terms in rows
    ]
    return "\n".join([*lines, "", "lama-ref weights card NAME tells more, fetch NAME loads one."])


def _millions(number: int | None) -> str:
    return "?" if number is None else f"{number / 1e6:.2f} M"


def card(name: str) -> dict:
    """The model card of shipped weights, or what is known of published ones.

    Raises:
        ValueError: unknown name.
    """
    if name not in ENTRIES:
        return names.card(name)
    entry, path = ENTRIES[name], names.find(name)
    about = {
        "name": name,
        "what": entry.what,
        "for": {
            "generator": f"Inpainter({name!r})",
            "features": f"the perceptual loss: load_encoder({name!r})",
            "metric": "lama-ref evaluate",
        }[entry.kind],
        "parameters": entry.parameters or "unknown",
        "file": str(path) if path else f"not fetched; goes to {names.cache_folder()}",
        "address": entry.url,
        "mirror": entry.mirror,
        "member": entry.member,
        "size": entry.size(),
        "sha256": [*(entry.archive or {}), *entry.known] or "unknown",
        "checksum": entry.checksum_from,
        "licence": entry.licence[0],
        "on the licence": entry.licence[1],
        "training data": entry.data,
    }
    return {key: value for key, value in about.items() if value}


def readable(value: dict, indent: str = "") -> str:
    """A model card as text: a line for each entry, wrapped, nested ones indented."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}:", readable(item, indent + "  ")]
            continue
        if isinstance(item, list) and len(item) > 8:
            item = f"{len(item)} entries, in the file"
        elif isinstance(item, list):
            item = ", ".join(map(str, item))
        start = f"{indent}{key}: "
        deeper = indent + "    "
        lines.append(
            textwrap.fill(f"{item}", 96, initial_indent=start, subsequent_indent=deeper,
                          break_long_words=False, break_on_hyphens=False)
        )  # fmt: skip
    return "\n".join(lines)
