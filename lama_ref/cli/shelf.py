"""The command ``lama-ref weights``: what ships, what can be fetched, and what is here."""

from __future__ import annotations

import json
import re
from typing import Literal

from tyro.conf import Positional

from ..weights import names
from ..weights.fetch import fetch


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
    if name is None and action in ("fetch", "card"):
        raise ValueError(
            f"expected: lama-ref weights {action} NAME; {', '.join(names.published())}"
        )
    if url is not None and action != "fetch":
        raise ValueError(f"--url goes with fetch, not with {action}")
    ours = names.shipped() | names.shipped("features")
    if action == "list":
        print(table())
        return 0
    if action == "card":
        print(json.dumps(names.card(str(name)), indent=2, ensure_ascii=False))
        return 0
    if action == "fetch":
        entry = names.entry(str(name))
        here = names.fetched(str(name)) is not None and names.verify(str(name))[0] is not False
        if not here and not entry.package:
            fetch(entry, names.cache_folder() / entry.file, url)
    here = [*ours, *filter(names.fetched, names.published())]
    found = {key: names.verify(key) for key in ([name] if name is not None else here)}
    for key, (fine, text) in found.items():
        print(f"{ {True: 'OK  ', None: '?   ', False: 'FAIL'}[fine] }  {key:28}  {text}")
    return int(any(fine is False for fine, _ in found.values()))


def table() -> str:
    """All weights, shipped and published: size, whether they are here, licence."""
    rows = [("weights", "size", "state", "licence")]
    for name, path in (names.shipped() | names.shipped("features")).items():
        terms = names.card(name).get("licence", "")
        rows.append((name, f"{path.stat().st_size / 1e6:.1f} MB", "shipped", terms))
    for name, entry in names.published().items():
        state = "here" if names.fetched(name) else "not here"
        rows.append((name, entry.size, state, entry.licence))
    lines = [
        f"{name:28}  {size:>12}  {state:9}  {re.split(':|,| for ', terms)[0]}"
        for name, size, state, terms in rows
    ]
    return "\n".join([*lines, "", "lama-ref weights card NAME tells more, fetch NAME loads one."])
