"""Published weights on this machine: fetch them, verify them, list them.

The body of the command ``lama-ref weights``. What is published is in :mod:`registry`.
"""

from __future__ import annotations

import json
import os
import textwrap
import time
from pathlib import Path

from ..weights.download import DownloadError, download, extract, locked
from . import registry, weights
from .registry import ENTRIES


def fetch(name: str, url: str | None = None) -> Path:
    """Load published weights into the cache folder, unless they are there and undamaged.

    Args:
        name: of :data:`registry.ENTRIES`.
        url: another address of what is loaded, or of the file in the archive itself.

    Returns:
        Where they are.

    Raises:
        ValueError: unknown name.
        DownloadError: says what went wrong and what to do; a file that was there is left.
    """
    entry = registry.entry(name)
    path = registry.cache_folder() / entry.file
    there = registry.find(name)
    if there and check(there)[0] is not False:
        return there
    archive = path.with_suffix(".zip") if entry.archive else path
    try:
        with locked(path):
            if path.is_file() and check(path)[0] is not False:
                return path  # another process brought it meanwhile
            known = _known(path)
            if not (entry.archive and archive.is_file()):  # somebody may have put it there
                download(url or entry.url, archive, {**known, **(entry.archive or {})})
            if entry.archive and weights.checksum(archive) in known:
                os.replace(archive, path)  # the address gave the file itself
            elif entry.archive:
                extract(archive, entry.member, path, known)
                archive.unlink()
            if not known:
                _plausible(path, url or entry.url)
                about = {"url": url or entry.url, "sha256": weights.checksum(path)}
                about |= {"bytes": path.stat().st_size, "fetched": time.strftime("%Y-%m-%d")}
                weights.write_json(_record(path), about)
    except DownloadError as error:
        hints = [f"{name} not fetched: {error}"]
        if entry.mirror and not url:
            hints.append(f"The same is at --url {entry.mirror}")
        if _record(path).exists() and not entry.known:
            hints.append(f"Expected is what the first download gave; forget it: {_record(path)}")
        hints.append(f"Or load it with a browser and put it at {path}")
        raise DownloadError(". ".join(hints)) from None
    return path


def _plausible(path: Path, url: str) -> None:
    """DownloadError, and the file is gone, if it holds no weights: a page that asks to log in."""
    from ..weights import official

    try:
        official.read_checkpoint(path)
    except ValueError as error:
        path.unlink()
        raise DownloadError(f"what {url} gave holds no weights ({error})") from None


def check(path: Path) -> tuple[bool | None, str]:
    """Whether a file of published weights is what it should be (None: nobody knows), and why."""
    known, digits = _known(path), weights.checksum(path)
    if not known:
        return None, f"{path}: no checksum is published; its SHA-256 is {digits}"
    if digits in known:
        return True, f"{path}: SHA-256 {digits[:12]}... as expected"
    return False, f"{path}: SHA-256 is {digits}, expected {' or '.join(known)}: fetch it again"


def _known(path: Path) -> dict[str, int]:
    """SHA-256 and size of what is right under this name: published, or the first download's."""
    entries = sorted(ENTRIES.values(), key=lambda e: e.file != path.name)
    entry = next(e for e in entries if path.name in (e.file, *e.others))
    if entry.known:
        return dict(entry.known)
    try:
        about = json.loads(_record(path).read_text(encoding="utf-8"))
        return {about["sha256"]: about["bytes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _record(path: Path) -> Path:
    """Where the checksum of the first download of a file is kept."""
    return registry.cache_folder() / f"{path.name}.json"


# --------------------------------------------------------------------------- the command
def run(action: str, name: str | None = None, url: str | None = None) -> int:
    """``lama-ref weights ACTION [NAME] [--url URL]``; returns the exit code."""
    if name is None and action in ("fetch", "card"):
        raise ValueError(f"expected: lama-ref weights {action} NAME; {', '.join(ENTRIES)}")
    if url is not None and action != "fetch":
        raise ValueError(f"--url goes with fetch, not with {action}")
    if action == "list":
        print(table())
    elif action == "card":
        print(readable(card(str(name))))
    elif action == "fetch":
        print(f"{name}: {fetch(str(name), url)}")
    else:
        return _verify(name)
    return 0


def _shipped() -> dict[str, Path]:
    return weights.shipped() | weights.shipped("features")


def _verify(name: str | None) -> int:
    """Check one file, or all that are here."""
    if name is not None and name not in _shipped() and registry.find(name) is None:
        raise ValueError(registry.missing(name))
    bad = False
    for key in [name] if name is not None else [*_shipped(), *ENTRIES]:
        if key in _shipped():
            problem = weights.verify(key)
            fine, text = not problem, problem or "checksum fits the model card"
        elif path := registry.find(key):
            fine, text = check(path)
        else:
            continue
        bad |= fine is False
        print(f"{ {True: 'OK  ', None: '?   ', False: 'FAIL'}[fine] }  {key:28}  {text}")
    return int(bad)


def table() -> str:
    """All weights, shipped and published: size, parameters, where they are, licence."""
    rows = [("weights", "size", "parameters", "state", "licence")]
    for name, path in _shipped().items():
        about = weights.card(name)
        parameters = about.get("parameters") or about.get("architecture", {}).get("parameters")
        terms = about.get("licence", "")
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        rows.append((name, size, _millions(parameters), "shipped", terms.split(" for ")[0]))
    for name, entry in ENTRIES.items():
        state = "fetched" if registry.find(name) else "not fetched"
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
        return weights.card(name)
    entry, path = ENTRIES[name], registry.find(name)
    about = {
        "name": name,
        "what": entry.what,
        "for": {
            "generator": f"Inpainter({name!r})",
            "features": f"the perceptual loss: load_encoder({name!r})",
            "metric": "lama-ref evaluate",
        }[entry.kind],
        "parameters": entry.parameters or "unknown",
        "file": str(path) if path else f"not fetched; goes to {registry.cache_folder()}",
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
