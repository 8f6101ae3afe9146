"""Unpickle tensors' descriptions without calling anything that the pickle names.

A pickle is a program: it builds objects by calling any function that it can name. The unpickler
here knows a handful of names, those that rebuild tensors, and even for these puts classes of its
own; every other name becomes :class:`Inert`, which swallows what is done to it.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any, BinaryIO, NamedTuple

import torch


class Inert:
    """What an unknown name becomes, as a class and as its instances.

    It takes any arguments, state, items and calls. State and items are kept, so that tensors
    inside objects of unknown classes (modules, say) are found; nothing else ever happens.
    """

    content: dict[Any, Any]

    def __new__(cls, *args, **kwargs):
        kind: Any = cls if isinstance(cls, type) else Inert  # an instance may be asked, too
        self = object.__new__(kind)
        self.content = {}
        return self

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs) -> Inert:
        return Inert()

    def __setstate__(self, state) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # (attributes, slots)
            self.content.update(part if isinstance(part, dict) else {})

    def __setitem__(self, key, value) -> None:
        self.content[key] = value

    def append(self, value) -> None:
        self.content[len(self.content)] = value

    def add(self, value) -> None:
        """Members of a set have no names: forget them."""


class _Dict(dict):
    """In place of ``OrderedDict``: a dict keeps its order, and this one keeps no attributes."""

    __slots__ = ()

    def __setstate__(self, state) -> None:
        pass


class Storage(NamedTuple):
    """A block of numbers in the file."""

    key: str
    dtype: torch.dtype
    numel: int


class LazyTensor(Inert):
    """A tensor's description: a strided view of a storage, as yet unread and unchecked."""

    def __init__(self, storage, offset, size, stride, *rest):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        # Newer dtypes have no storage class of their own; then the dtype comes last.
        self.dtype = next((item for item in rest if isinstance(item, torch.dtype)), None)


class _First(Inert):
    """In place of functions that wrap a tensor: their first argument."""

    def __new__(cls, value, *rest):
        return value


class _Rebuilt(Inert):
    """In place of the function that rebuilds a tensor with attributes or of a subclass."""

    def __new__(cls, function, kind, arguments, state):
        return function(*arguments)  # which came from this unpickler, like everything here


# Every value is a type or a dtype, immutable or with its own __setstate__: what one pickle does
# cannot change it for those read later.
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): LazyTensor,
    ("torch._utils", "_rebuild_tensor_v2"): LazyTensor,
    ("torch._utils", "_rebuild_tensor_v3"): LazyTensor,
    ("torch._utils", "_rebuild_parameter"): _First,
    ("torch._utils", "_rebuild_parameter_with_state"): _First,
    ("torch._tensor", "_rebuild_from_type_v2"): _Rebuilt,
    ("torch", "UntypedStorage"): torch.uint8,
    ("torch.storage", "UntypedStorage"): torch.uint8,
}
for _pair in (
    "Double=float64 Float=float32 Half=float16 BFloat16=bfloat16 Long=int64 Int=int32 Short=int16 "
    "Char=int8 Byte=uint8 Bool=bool ComplexFloat=complex64 ComplexDouble=complex128"
).split():
    _name, _dtype = _pair.split("=")
    for _module in ("torch", "torch.cuda"):
        _KNOWN[_module, f"{_name}Storage"] = getattr(torch, _dtype)
_KNOWN |= {("torch", k): v for k, v in vars(torch).items() if isinstance(v, torch.dtype)}


class SafeUnpickler(pickle._Unpickler):
    """Knows :data:`_KNOWN`, compared as exact pairs; all other names are :class:`Inert`.

    The Python unpickler is used, not the C one: a damaged index makes that allocate gigabytes.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _KNOWN.get((module, name), Inert)

    def get_extension(self, code) -> None:
        raise ValueError("it uses pickle's extension registry")

    def persistent_load(self, pid) -> Any:
        kind, *rest = pid if isinstance(pid, tuple) else (None,)
        if kind == "module":
            return Inert  # a class and its source code, which we do not look at
        if kind != "storage" or len(rest) not in (4, 5):
            raise ValueError("it refers to something unknown outside the pickle")
        dtype, key, _, numel, *view = rest
        if not (isinstance(dtype, torch.dtype) and isinstance(key, str) and is_size(numel)):
            raise ValueError("a storage has an unknown type, key or size")
        if view not in ([], [None]):
            raise ValueError("it uses views of storages, as PyTorch before 0.4 wrote")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r} is declared in two ways")
        return storage


def is_size(value: Any) -> bool:
    """Whether it can be a size, stride or offset."""
    return isinstance(value, int) and 0 <= value <= sys.maxsize
