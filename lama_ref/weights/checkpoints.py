"""Read a checkpoint's tensors without running anything that the file asks for.

Steps: bytes -> tree of tensor descriptions (unpickled safely, see ``unpickle.py``) -> flat dict
-> storages of the tensors in it. A checkpoint that holds the settings of a trainer, or the whole
module, still gives its tensors, and a hostile one gives nothing else. What stands beside a state
dict, such as optimizer states, is not even read from disk.
"""

from __future__ import annotations

import io
import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .unpickle import Inert, LazyTensor, SafeUnpickler, Storage, is_size

EXPECTED = "a PyTorch file (.ckpt, .pt, .pth), a TorchScript archive or a .safetensors file"
_LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # starts files of PyTorch before 1.6
_MOST_CONTAINERS = 100_000  # dicts, lists and objects on the way; published: a few hundred


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, on the CPU; code in the file never runs.

    Where the file holds a dict with a ``state_dict`` (as Lightning writes), the tensors of that
    one are returned, otherwise all tensors, named by the keys on the way to them, joined by dots.

    Args:
        path: a file written by ``torch.save`` (a state dict, a Lightning checkpoint, a module;
            in the zip format or the one before 1.6), ``torch.jit.save`` or safetensors. Its
            content decides, not its name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, is damaged, or holds no tensors.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; name a file in it (of a released LaMa: models/best.ckpt)"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    with path.open("rb") as file:
        try:
            return _read(file)
        except Exception as error:  # a damaged file can break any line of any parser
            name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ValueError(f"cannot read {path}, expected {EXPECTED}: {name}{error}") from error


def _read(file: BinaryIO) -> dict[str, Tensor]:
    head = file.read(64)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        tensors = _read_zip(file)
    elif _LEGACY_MAGIC in head:
        tensors = _read_legacy(file)
    elif head[8:9] == b"{":
        from safetensors.torch import load_file

        tensors = load_file(file.name)
    else:
        raise ValueError(f"it is none of these and begins with {head[:16]!r}")
    if not tensors or "" in tensors:  # nothing, or a lone tensor
        raise ValueError("it holds no tensors with names")
    return tensors


# --------------------------------------------------------------------------- file formats
def _read_zip(file: BinaryIO) -> dict[str, Tensor]:
    """``torch.save`` since 1.6 and TorchScript: ROOT/data.pkl, and storages as ROOT/data/KEY."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        roots = [name.split("/")[0] for name in names if name.split("/")[1:] == ["data.pkl"]]
        if len(roots) != 1:
            raise ValueError(
                "it is a zip archive, but not PyTorch's: unpack it first and name a file in it "
                "(of a released LaMa: models/best.ckpt)"
            )

        def read(name: str) -> bytes:
            info = archive.getinfo(f"{roots[0]}/{name}")
            if info.compress_type != zipfile.ZIP_STORED:  # would let a small file fill memory
                raise ValueError(f"{info.filename} is compressed, which PyTorch never does")
            return archive.read(info)  # checks the CRC

        if f"{roots[0]}/byteorder" in names and read("byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        tree = SafeUnpickler(io.BytesIO(read("data.pkl"))).load()
        return _tensors(tree, lambda storage: read(f"data/{storage.key}"), _length(file))


def _read_legacy(file: BinaryIO) -> dict[str, Tensor]:
    """``torch.save`` before 1.6: pickles of magic number, version, system, content, storage keys;
    then each storage as its length and its numbers."""
    for _ in range(2):
        SafeUnpickler(file).load()
    system = SafeUnpickler(file).load()
    if not (isinstance(system, dict) and system.get("little_endian") is True):
        raise ValueError("it was written on a big-endian machine")
    unpickler = SafeUnpickler(file)
    tree = unpickler.load()
    length, positions = _length(file), {}
    for key in SafeUnpickler(file).load():
        storage = unpickler.storages[key]
        (numel,) = struct.unpack("<q", file.read(8))
        positions[storage] = file.tell()
        if numel != storage.numel or file.tell() + _bytes(storage) > length:
            raise ValueError(f"storage {key!r} is cut short")
        file.seek(_bytes(storage), os.SEEK_CUR)

    def read(storage: Storage) -> bytes:
        file.seek(positions[storage])
        return file.read(_bytes(storage))

    return _tensors(tree, read, length)


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


# --------------------------------------------------------------------------- tree to tensors
def _tensors(tree: Any, read: Callable[[Storage], bytes], file_length: int) -> dict[str, Tensor]:
    """Flatten the tree and read the tensors it names; ``read`` gives the bytes of a storage."""
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), (dict, Inert)):
        tree = tree["state_dict"]
    left, storages = file_length, {}

    def tensor(name: str, t: LazyTensor) -> Tensor:
        nonlocal left
        s = t.storage
        if not isinstance(s, Storage):
            raise ValueError(f"tensor {name} has no storage")
        if s not in storages:  # tensors may share one
            left -= _bytes(s)
            if left < 0:  # storages that overlap would let a small file fill memory
                raise ValueError("its storages are larger than the file")
            data = bytearray(read(s))
            if s.numel:
                storages[s] = torch.frombuffer(data, dtype=s.dtype, count=s.numel)
            else:  # frombuffer refuses an empty buffer, and one that is too short
                storages[s] = torch.empty(0, dtype=s.dtype)
        flat = storages[s] if t.dtype is None else storages[s].view(t.dtype)
        _check_view(name, t, flat.numel())
        return flat.as_strided(t.size, t.stride, t.offset)

    return {name: tensor(name, t) for name, t in _flatten(tree)}


def _check_view(name: str, t: LazyTensor, numel: int) -> None:
    """Refuse a view that reaches beyond its storage's ``numel`` numbers."""
    tuples = isinstance(t.size, tuple) and isinstance(t.stride, tuple)
    if not (tuples and all(map(is_size, (t.offset, *t.size, *t.stride)))):
        raise ValueError(f"tensor {name} has an invalid size, stride or offset")
    if len(t.size) != len(t.stride) or math.prod(t.size) > sys.maxsize:
        raise ValueError(f"tensor {name} has an impossible shape")
    end = t.offset + 1 + sum((n - 1) * step for n, step in zip(t.size, t.stride))
    if (end if all(t.size) else t.offset) > numel:
        raise ValueError(f"tensor {name} reaches number {end} of a storage with {numel}")


def _flatten(tree: Any) -> Iterator[tuple[str, LazyTensor]]:
    """Tensors with their names: keys and attributes on the way, joined by dots."""
    containers = 0

    def walk(node: Any, names: tuple[str, ...], above: tuple[int, ...]) -> Iterator:
        nonlocal containers
        if isinstance(node, LazyTensor):
            yield ".".join(names), node
            return
        is_object = isinstance(node, Inert)
        children = node.content if is_object else node
        if isinstance(children, (list, tuple)) and not isinstance(node, Storage):
            children = dict(enumerate(children))
        if not isinstance(children, dict):
            return
        containers += 1
        if containers > _MOST_CONTAINERS or id(node) in above:
            raise ValueError("its content is nested without end")
        for key, child in children.items():
            if is_object and key in ("_parameters", "_buffers", "_modules"):
                yield from walk(child, names, (*above, id(node)))  # of a whole nn.Module
            elif isinstance(key, (str, int)):
                yield from walk(child, (*names, str(key)), (*above, id(node)))

    return walk(tree, (), ())


def _bytes(storage: Storage) -> int:
    return storage.numel * storage.dtype.itemsize
