"""Checkpoints: every format is read, nothing in them runs, and misfits are explained."""

import copyreg
import io
import pickle
import pickletools
import random
import sys
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from golden_weights import fill_normal, image, input_with_scattered_holes
from safetensors.torch import save_file
from torch import nn

from lama_ref import official
from lama_ref.discriminator import Discriminator, build_discriminator
from lama_ref.generator import PRESETS, Generator, GeneratorConfig, build_generator
from lama_ref.weights import checkpoints, unpickle

SMALL = GeneratorConfig(width=8, blocks=1, downsamplings=2)


def small_generator(**changes) -> Generator:
    return fill_normal(build_generator(SMALL, **changes))


def shapes_on_meta(build, *args, **options) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return build(*args, **options).state_dict()


def assert_same(got: dict, expected: dict) -> None:
    assert list(got) == list(expected)
    for key, value in expected.items():
        assert got[key].dtype == value.dtype and torch.equal(got[key], value), key


def rewrite(path: Path, edit) -> None:
    """Pass every entry of a zip archive through ``edit(name, data)``; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if (data := edit(name, data)) is not None:
                archive.writestr(name, data)


def edit_pickle(path: Path, edit) -> None:
    rewrite(path, lambda name, data: edit(data) if name.endswith("/data.pkl") else data)


# --- formats ----------------------------------------------------------------------------------


def save_state(generator, path, **options):
    torch.save(generator.state_dict(), path, **options)


def save_module(generator, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # source code that the old format cannot find
        torch.save(generator, path, **options)


def save_safetensors(generator, path):
    save_file(generator.state_dict(), path)


def save_torchscript(generator, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants; torch.jit grows old
        traced = torch.jit.trace(generator, torch.rand(1, 4, 16, 16), check_trace=False)
        traced.save(str(path))


def save_lightning(generator, path, **torch_options):
    """With optimizer state, and settings of classes that are gone when the file is read."""
    module = sys.modules["vanished"] = types.ModuleType("vanished")

    class Config(dict):
        def __init__(self, **values):
            super().__init__(values)
            self.attribute = values

    class Slots:
        __slots__ = ("value",)

    for kind in (Config, Slots):
        kind.__module__, kind.__qualname__ = "vanished", kind.__name__
        setattr(module, kind.__name__, kind)
    slots = Slots()
    slots.value = {1, 2}
    moments = {i: {"exp_avg": p.detach()} for i, p in enumerate(generator.parameters())}
    torch.save(
        {
            "epoch": 3,
            "state_dict": {f"generator.{k}": v for k, v in generator.state_dict().items()},
            "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-3}]}],
            "callbacks": {Config: {"best": torch.tensor(0.5), "path": Path("x")}},
            "hyper_parameters": Config(a=[Config(b=1), slots], device=torch.device("cpu")),
        },
        path,
        **torch_options,
    )
    del sys.modules["vanished"]


ZIPPED = {"zip": save_state, "module": save_module, "lightning": save_lightning}
LEGACY = {
    f"legacy {name}": partial(save, _use_new_zipfile_serialization=False)
    for name, save in ZIPPED.items()
}
FORMATS = ZIPPED | LEGACY | {"safetensors": save_safetensors, "torchscript": save_torchscript}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_round_trips(form, tmp_path):
    generator = small_generator()
    FORMATS[form](generator, tmp_path / "file")
    state = official.read_checkpoint(tmp_path / "file")
    expected = generator.state_dict()
    if "lightning" in form:
        expected = {f"generator.{key}": value for key, value in expected.items()}
    if form == "safetensors":  # sorted by that format
        state = {key: state[key] for key in expected}
    assert_same(state, expected)
    loaded = official.load_generator(tmp_path / "file")
    x = input_with_scattered_holes(0, 1, 32, 40)
    assert torch.equal(loaded(x), generator(x))
    assert not loaded.training and loaded.config == SMALL
    assert all(p.requires_grad and p.is_leaf for p in loaded.parameters())


@pytest.mark.parametrize("zipped", [True, False])
def test_dtypes_views_and_shared_storages(zipped, tmp_path):
    base = torch.arange(24.0)
    odd = torch.ones(3, requires_grad=True)
    odd.note = "a tensor with an attribute"
    parameter = nn.Parameter(torch.rand(2))
    parameter.note = "likewise"
    state = {
        **{
            str(dtype): torch.tensor([0, 1, 1, 0, 1]).to(dtype)
            for dtype in (
                *(torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64),
                *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
            )
        },
        "transposed": base.view(4, 6).T,
        "slice": base[5:11:2],
        "again": base,
        "expanded": torch.ones(1).expand(3, 4),
        "empty": torch.empty(5, 0),
        "scalar": torch.tensor(3),
        "parameter": parameter,
        "odd": odd,
    }
    if zipped:
        state["uint16"] = torch.tensor([1, 2, 3], dtype=torch.uint16)
    torch.save(state, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    got = official.read_checkpoint(tmp_path / "file")
    assert_same(got, state)
    assert got["transposed"].stride() == (1, 6)
    assert got["again"].untyped_storage().data_ptr() == got["slice"].untyped_storage().data_ptr()
    assert {type(value) for value in got.values()} == {torch.Tensor}


def test_nested_dicts_become_dotted_names(tmp_path):
    torch.save(
        {"a": {"b": [torch.ones(1), {"c": torch.ones(2)}]}, 3: torch.ones(3)}, tmp_path / "f"
    )
    state = official.read_checkpoint(tmp_path / "f")
    assert {key: len(value) for key, value in state.items()} == {"a.b.0": 1, "a.b.1.c": 2, "3": 3}


class Slotted:
    __slots__ = ("w",)


def test_tensors_inside_objects_are_found(tmp_path):
    slotted = Slotted()
    slotted.w = torch.ones(1)
    state = {
        "slots": slotted,
        "attributes": types.SimpleNamespace(w=torch.ones(2)),
        "items": defaultdict(list, w=torch.ones(3)),
        "queue": deque([torch.ones(4)]),
        "shape": torch.Size([1, 2]),
    }
    torch.save(state, tmp_path / "f")
    lengths = {key: len(value) for key, value in official.read_checkpoint(tmp_path / "f").items()}
    assert lengths == {"slots.w": 1, "attributes.w": 2, "items.w": 3, "queue.0": 4}


def test_only_the_state_dict_of_a_lightning_checkpoint_is_read(tmp_path):
    path = tmp_path / "file.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "optimizer_states": [torch.ones(9)]}, path)
    rewrite(path, lambda name, data: None if name.endswith("data/1") else data)
    assert_same(official.read_checkpoint(path), {"w": torch.ones(2)})


def test_pickles_of_python_2_are_read(tmp_path):
    """There, OrderedDict was pickled with a list of pairs."""
    path = tmp_path / "file.pth"
    torch.save({"w": torch.ones(2)}, path)

    def as_pairs(data: bytes) -> bytes:
        pair = data[data.index(text("w")) : -2]  # "w", the tensor; without SETITEM and STOP
        return b"\x80\x02" + name("collections", "OrderedDict") + b"(((" + pair + b"tltR."

    edit_pickle(path, as_pairs)
    assert_same(official.read_checkpoint(path), {"w": torch.ones(2)})


# --- files that are no checkpoints ------------------------------------------------------------


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.ckpt"):
        official.read_checkpoint(tmp_path / "nowhere.ckpt")
    with pytest.raises(FileNotFoundError, match="nowhere.ckpt"):
        official.load_generator(str(tmp_path / "nowhere.ckpt"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>not found</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"PK\x03\x04 broken",
        pickle.dumps({"weights": [1.0, 2.0]}),
        b"\x10\0\0\0\0\0\0\0{}",
    ],
    ids=["empty", "web page", "lfs", "zip", "pickle", "safetensors"],
)
def test_other_files_are_refused_by_name(content, tmp_path):
    path = tmp_path / "thing.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"thing\.ckpt.*expected.*\.safetensors"):
        official.read_checkpoint(path)


def test_folders_and_release_archives_are_explained(tmp_path):
    with pytest.raises(ValueError, match="models/best.ckpt"):
        official.read_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "big-lama.zip", "w") as archive:
        archive.writestr("big-lama/models/best.ckpt", b"")
    with pytest.raises(ValueError, match="unpack it"):
        official.read_checkpoint(tmp_path / "big-lama.zip")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, torch.ones(3), {"state_dict": {}}, [1, "a"]])
def test_checkpoint_without_named_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="no tensors with names"):
        official.read_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_refused(form, tmp_path):
    path = tmp_path / "file"
    FORMATS[form](small_generator(width=2, downsamplings=1, blocks=0), path)
    data = path.read_bytes()
    lengths = {*range(64), *range(64, len(data), max(1, len(data) // 60)), len(data) - 1}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="cannot read"):
            official.read_checkpoint(path)


@pytest.mark.parametrize("save", [save_state, save_lightning, save_torchscript])
def test_damaged_pickles_are_read_or_refused(save, tmp_path):
    """Any byte of data.pkl may change: tensors or a ValueError come out, nothing else."""
    path = tmp_path / "file"
    save(small_generator(width=2, downsamplings=0, blocks=0), path)
    original, rng = path.read_bytes(), random.Random(0)
    refused = 0

    def damage(data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 3])):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(damaged)

    for _ in range(120):
        path.write_bytes(original)
        edit_pickle(path, damage)
        try:
            state = official.read_checkpoint(path)
        except ValueError as error:
            assert "cannot read" in str(error)
            refused += 1
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert refused > 10


def test_damaged_numbers_are_noticed(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"w": torch.ones(64)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.ones(1).numpy().tobytes() * 8) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="CRC"):
        official.read_checkpoint(path)


# --- views and storages that lie --------------------------------------------------------------


class Rebuilt:
    """Pickles as a tensor with any offset, size and stride over 12 floats."""

    def __init__(self, *view):
        self.view = view

    def __reduce__(self):
        storage = torch.arange(12.0).untyped_storage()
        typed = torch.storage.TypedStorage(
            wrap_storage=storage, dtype=torch.float32, _internal=True
        )
        return torch._utils._rebuild_tensor_v2, (typed, *self.view, False, OrderedDict())


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (0, (4, 4), (4, 1)),
        (0, (2, 2), (11, 1)),
        (0, (2,), (2**62,)),
        (0, (2, 2), (2**63 - 1, 2**63 - 1)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (2**70,), (0,)),
        (-1, (2,), (1,)),
        (11, (2,), (-1,)),
        (0, (-1,), (1,)),
        (13, (0,), (1,)),
        (12, (), ()),
        (0, (2, 3), (1,)),
        (0, (2.0,), (1,)),
        (0, [2], (1,)),
        ("0", (2,), (1,)),
        (None, None, None),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_views_beyond_their_storage_are_refused(offset, size, stride, zipped, tmp_path):
    path = tmp_path / "file.pt"
    content = {"w": Rebuilt(offset, size, stride)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="cannot read.*tensor w"):
        official.read_checkpoint(path)


def test_views_up_to_the_end_of_their_storage_are_read(tmp_path):
    torch.save({"w": Rebuilt(5, (2, 3), (4, 1)), "v": Rebuilt(12, (0,), (1,))}, tmp_path / "f")
    state = official.read_checkpoint(tmp_path / "f")
    assert state["w"].tolist() == [[5, 6, 7], [9, 10, 11]] and state["v"].numel() == 0


def test_short_missing_and_compressed_storages_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    for data, message in [(lambda old: old[:-1], "bytes"), (lambda old: None, "data/0")]:
        torch.save({"w": torch.ones(64)}, path)
        rewrite(path, lambda name, old, new=data: new(old) if "/data/" in name else old)
        with pytest.raises(ValueError, match=message):
            official.read_checkpoint(path)
    torch.save({"w": torch.ones(64)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="compressed"):
        official.read_checkpoint(path)


def test_big_endian_files_are_refused(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "file.pt")
    rewrite(tmp_path / "file.pt", lambda n, d: b"big" if n.endswith("byteorder") else d)
    with pytest.raises(ValueError, match="big-endian"):
        official.read_checkpoint(tmp_path / "file.pt")


def test_endless_content_is_refused(tmp_path):
    circle: dict = {"w": torch.ones(1)}
    circle["self"] = circle
    tree = {"w": torch.ones(1)}
    for _ in range(60):  # 2 ** 60 names for one tensor
        tree = {"a": tree, "b": tree}
    for content in (circle, tree):
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(ValueError, match="without end"):
            official.read_checkpoint(tmp_path / "file.pt")


def test_storages_larger_than_the_file_are_refused():
    tree = {
        str(i): unpickle.LazyTensor(unpickle.Storage(str(i), torch.uint8, 8), 0, (8,), (1,))
        for i in range(3)
    }
    assert len(checkpoints._tensors(tree, lambda storage: bytes(8), 24)) == 3
    with pytest.raises(ValueError, match="larger than the file"):
        checkpoints._tensors(tree, lambda storage: bytes(8), 23)


# --- hostile pickles --------------------------------------------------------------------------


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def name(module: str, attribute: str, stack: bool = False) -> bytes:
    if stack:
        return text(module) + text(attribute) + b"\x93"
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


MKDIR = name("os", "mkdir")


def hostile(target: str) -> dict[str, tuple[bytes, bool]]:
    """Pickle programs that make the folder ``target`` if they run; each leaves one object.

    The flag says whether the benign tensor beside it can still be read.
    """
    path, namespace = text(target), call(name("types", "SimpleNamespace"))
    mkdir, mapped = call(MKDIR, path), MKDIR + b"]" + path + b"a"
    lazy = name("builtins", "map") + b"(" + mapped + b"t\x81"  # runs when it is read
    rebuild, evaluate = name("torch._tensor", "_rebuild_from_type_v2"), name("builtins", "eval")
    looked_up = call(name("builtins", "getattr"), name("shutil", "os"), text("mkdir"))
    return {
        "GLOBAL, REDUCE": (mkdir, True),
        "STACK_GLOBAL": (call(name("os", "mkdir", stack=True), path), True),
        "dotted name": (call(name("torch.serialization", "os.mkdir", stack=True), path), True),
        "dotted torch": (call(name("torch", "serialization.os.mkdir", stack=True), path), True),
        "eval": (call(evaluate, text(f"__import__('os').mkdir({target!r})")), True),
        "INST": (b"(" + path + b"ios\nmkdir\n", True),
        "OBJ": (b"(" + MKDIR + path + b"o", True),
        "NEWOBJ": (name("builtins", "tuple") + lazy + b"\x85\x81", True),
        "nested": (call(name("builtins", "list"), call(name("builtins", "map"), mapped)), True),
        "partial": (call(call(name("functools", "partial"), MKDIR, path)), True),
        "getattr": (call(looked_up, path), True),
        "BUILD": (namespace + b"}" + text("__setstate__") + MKDIR + b"sb" + path + b"b", True),
        "APPEND": (namespace + b"}" + text("append") + MKDIR + b"sb" + path + b"a", True),
        "rebuild": (call(rebuild, MKDIR, name("torch", "Tensor"), path + b"\x85", b"N"), True),
        "parameter": (call(name("torch._utils", "_rebuild_parameter"), mkdir, b"\x88", b"N"), True),
        "in a module's id": (b"(" + text("module") + mkdir + b"NNtQ", True),
        "in a storage's id": (b"(" + text("storage") + mkdir + text("0") + b"NK\x01tQ", False),
        "before a text id": (mkdir + b"0" + b"Pid\n", False),
        "extension": (b"\x82\xf0" + path + b"\x85R", False),
    }


class Naive(pickle.Unpickler):
    def persistent_load(self, pid):
        return None


@pytest.fixture
def extension():
    copyreg.add_extension("os", "mkdir", 0xF0)
    pickle.loads(b"\x80\x02\x82\xf0.")  # from now on in the cache, past find_class
    yield
    copyreg.remove_extension("os", "mkdir", 0xF0)


def insert_stored(data: bytes, program: bytes) -> bytes:
    """As one more value of the dict that the pickle ends with."""
    return data[:-1] + text("evil") + program + b"s."


def insert_dropped(data: bytes, program: bytes) -> bytes:
    """Before all else, its result dropped."""
    return data[:2] + program + b"0" + data[2:]


@pytest.mark.parametrize("case", hostile("x"))
@pytest.mark.parametrize("insert", [insert_stored, insert_dropped])
def test_hostile_pickle_does_not_run(case, insert, tmp_path, extension):
    made = tmp_path / "made"
    program, readable = hostile(str(made))[case]
    with suppress(Exception):
        Naive(io.BytesIO(b"\x80\x04" + program + b".")).load()
    assert made.is_dir(), "this program would not be hostile anywhere"
    made.rmdir()

    path = tmp_path / "file.ckpt"
    torch.save({"weight": torch.arange(3.0)}, path)
    edit_pickle(path, lambda data: insert(data, program))
    if readable:
        assert_same(official.read_checkpoint(path), {"weight": torch.arange(3.0)})
    else:
        with pytest.raises(ValueError, match="cannot read"):
            official.read_checkpoint(path)
    assert not made.exists()


def edit_legacy(path: Path, edit) -> None:
    data = path.read_bytes()
    stream = io.BytesIO(data)
    for _ in range(3):
        list(pickletools.genops(stream))
    start = stream.tell()
    list(pickletools.genops(stream))
    path.write_bytes(data[:start] + edit(data[start : stream.tell()]) + data[stream.tell() :])


@pytest.mark.parametrize("case", ["GLOBAL, REDUCE", "dotted name", "BUILD", "rebuild"])
def test_hostile_legacy_file_does_not_run(case, tmp_path):
    made, path = tmp_path / "made", tmp_path / "file.pth"
    torch.save({"weight": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    program, _ = hostile(str(made))[case]
    edit_legacy(path, lambda data: insert_stored(data, program))
    assert_same(official.read_checkpoint(path), {"weight": torch.arange(3.0)})
    # in the pickles around it, too
    data = path.read_bytes()
    path.write_bytes(insert_dropped(data, program))
    with suppress(ValueError):
        official.read_checkpoint(path)
    assert not made.exists()


def test_hostile_torchscript_archive_does_not_run(tmp_path):
    made, path, generator = tmp_path / "made", tmp_path / "file.pt", small_generator()
    save_torchscript(generator, path)
    program, _ = hostile(str(made))["GLOBAL, REDUCE"]
    rewrite(
        path,
        lambda name, data: (
            insert_dropped(data, program) if name.endswith(".pkl") and data[:1] == b"\x80" else data
        ),
    )
    assert_same(official.read_checkpoint(path), generator.state_dict())
    assert not made.exists()


def test_pickle_cannot_change_what_later_ones_are_read_with(tmp_path):
    """Attributes of known names cannot be set: each attempt is refused, and leaves no trace."""
    path = tmp_path / "file.pt"
    state = {"weight": torch.arange(3.0)}
    torch.save(state, path)
    original = path.read_bytes()
    for module, attribute in [*unpickle._KNOWN, ("nobody", "knows")]:
        for change in (
            b"}" + text("__setstate__") + MKDIR + b"sb",
            b"N}" + text("__new__") + MKDIR + b"s\x86b",
            text("x") + b"a",
            text("__call__") + MKDIR + b"s",
        ):
            path.write_bytes(original)
            program = name(module, attribute) + change
            edit_pickle(path, lambda data, program=program: insert_stored(data, program))
            with pytest.raises(ValueError, match="cannot read"):
                official.read_checkpoint(path)
    torch.save(state, path)
    assert_same(official.read_checkpoint(path), state)


def test_no_module_is_imported_for_a_name(tmp_path, monkeypatch):
    made, path = tmp_path / "made", tmp_path / "file.pt"
    (tmp_path / "module_of_the_attacker.py").write_text(f"import os; os.mkdir({str(made)!r})")
    monkeypatch.syspath_prepend(tmp_path)
    torch.save({"weight": torch.ones(1)}, path)
    program = name("module_of_the_attacker", "anything")
    edit_pickle(path, lambda data: insert_stored(data, program))
    assert_same(official.read_checkpoint(path), {"weight": torch.ones(1)})
    assert not made.exists() and "module_of_the_attacker" not in sys.modules


# --- loaders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["", "generator.", "module.", "model.generator.", "module.generator.", "ema.model."]
)
def test_any_prefix_is_found(prefix):
    generator, discriminator = small_generator(), fill_normal(build_discriminator(4))
    other = f"{prefix.removesuffix('generator.')}" if "generator" in prefix else ""
    state = {
        **{f"{other}loss_resnet_pl.impl.conv1.weight": torch.ones(64, 3, 3, 3)},
        **{f"{prefix}{key}": value for key, value in generator.state_dict().items()},
        **{f"{other}discriminator.{k}": v for k, v in discriminator.state_dict().items()},
        **{f"{other}a.model.1.weight": torch.ones(64, 3, 7, 7)},
    }
    x = input_with_scattered_holes(1, 1, 32, 32)
    assert torch.equal(official.load_generator(state)(x), generator(x))
    logits, features = official.load_discriminator(state)(picture := image(2, 1, 3, 64, 64))
    expected, expected_features = discriminator(picture)
    assert torch.equal(logits, expected)
    assert all(torch.equal(a, b) for a, b in zip(features, expected_features))
    assert official.infer_config(state) == SMALL


def test_published_prefix_wins():
    ours, average = small_generator(), small_generator(blocks=2)
    state = {
        **{f"average.{key}": value for key, value in average.state_dict().items()},
        **{f"generator.{key}": value for key, value in ours.state_dict().items()},
        **{f"a.{key}": value for key, value in average.state_dict().items()},
    }
    assert official.infer_config(state) == SMALL
    assert official.infer_config({"state_dict": state, "epoch": 3}) == SMALL


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_read_off_their_keys(preset):
    assert official.infer_config(shapes_on_meta(build_generator, preset)) == PRESETS[preset]


def configs():
    for kind, blocks, downsamplings in product(
        ("fourier", "regular", "dilated"), (0, 1, 3), (0, 1, 2, 4)
    ):
        yield GeneratorConfig(
            kind="regular" if blocks == 0 and kind == "dilated" else kind,
            blocks=blocks,
            width=8,
            downsamplings=downsamplings,
        )
    for ratio in (0.0, 0.25, 0.5, 1.0, 0.3, 0.9, 0.03):
        yield GeneratorConfig(width=49, blocks=1, downsamplings=0, ratio=ratio)
        yield GeneratorConfig(width=10, blocks=2, downsamplings=2, ratio=ratio)
    for lfu, gated, position, squeeze in product((False, True), repeat=4):
        yield GeneratorConfig(
            **{"width": 16, "blocks": 1, "downsamplings": 2, "ratio": 0.5, "lfu": lfu},
            **{"gated": gated, "position": position, "squeeze_excitation": squeeze},
        )
    for limit in (8, 20, 2048):
        yield GeneratorConfig(width=8 if limit < 99 else 512, blocks=1, max_width=limit)
    for n in (1, 2, 4, 5):
        yield GeneratorConfig(
            kind="dilated",
            width=20,
            blocks=1,
            downsamplings=1,
            dilations=tuple(2**i for i in range(n)),
        )


@pytest.mark.parametrize("config", list(configs()), ids=str)
def test_config_is_read_off_keys_and_shapes(config):
    state = shapes_on_meta(Generator, config)
    inferred = official.infer_config(state)
    again = shapes_on_meta(Generator, inferred)
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in state.items()}
    if config.ratio in (0.75, 0.5, 0.25) and config.max_width == 1024:
        assert inferred == config


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "regular"},
        {"kind": "dilated", "dilations": (1, 2)},
        {"ratio": 0.5, "width": 16, "lfu": True, "gated": True},
        {"ratio": 0.5, "position": True, "squeeze_excitation": True},
        {"blocks": 0},
    ],
    ids=str,
)
def test_generators_of_all_options_give_the_same_output(changes):
    generator = small_generator(**changes)
    loaded = official.load_generator(generator.state_dict())
    x = input_with_scattered_holes(3, 1, 32, 48)
    assert torch.equal(loaded(x), generator(x))


@pytest.mark.parametrize(
    "width, layers, limit", [(8, 4, 512), (8, 1, 512), (8, 2, 16), (8, 3, 20), (300, 1, 600)]
)
def test_discriminator_is_read_off_keys_and_shapes(width, layers, limit):
    original = fill_normal(Discriminator(width, layers, limit))
    loaded = official.load_discriminator(original.state_dict())
    picture = image(0, 1, 3, 32, 32)
    assert torch.equal(loaded(picture)[0], original(picture)[0])
    assert not loaded.training
    assert (loaded.width, loaded.layers, loaded.max_width) == (width, layers, limit)


def test_weights_are_copied_and_widened():
    generator = small_generator()
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in generator.state_dict().items()
    }
    loaded = official.load_generator(half)
    assert {v.dtype for v in loaded.state_dict().values()} == {torch.float32, torch.int64}
    assert all(
        torch.equal(loaded.state_dict()[k], v.to(loaded.state_dict()[k])) for k, v in half.items()
    )

    state = generator.state_dict()
    with torch.no_grad():
        for parameter in official.load_generator(state).parameters():
            parameter.zero_()
    assert_same(state, small_generator().state_dict())


def test_output_activation_can_be_chosen():
    state = small_generator().state_dict()
    x = input_with_scattered_holes(0, 1, 32, 32)
    raw = official.load_generator(state, output="none")(x)
    assert torch.equal(official.load_generator(state)(x), raw.sigmoid())
    assert torch.equal(official.load_generator(state, output="tanh")(x), raw.tanh())
    with pytest.raises(ValueError, match="no setting.*activation"):
        official.load_generator(state, activation="tanh")


def test_old_checkpoints_without_batch_counters_fit():
    state = small_generator().state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert_same(official.load_generator(old).state_dict(), state)


def test_misfit_lists_keys_and_shapes():
    state = dict(small_generator(blocks=2).state_dict())
    weight = state.pop("model.4.conv1.ffc.convl2l.weight")
    state["model.4.conv1.surplus"] = weight
    state["model.5.conv2.bn_l.bias"] = torch.ones(5)
    with pytest.raises(ValueError) as error:
        official.load_generator(state)
    lines = str(error.value).splitlines()
    assert "does not fit a generator with GeneratorConfig" in lines[0]
    assert lines[1:] == [
        "1 missing:",
        "  model.4.conv1.ffc.convl2l.weight",
        "1 unexpected:",
        "  model.4.conv1.surplus",
        "1 of another shape:",
        "  model.5.conv2.bn_l.bias: expected (8,), got (5,)",
    ]


def test_long_misfits_are_cut():
    state = small_generator().state_dict()
    with pytest.raises(ValueError) as error:
        official.load_generator(state, kind="regular")
    message = str(error.value)
    assert message.count("... and ") >= 2 and len(message.splitlines()) <= 40

    discriminator = dict(build_discriminator(4).state_dict())
    del discriminator["model5.0.bias"]
    with pytest.raises(ValueError, match=r"does not fit a discriminator(.|\n)*model5\.0\.bias"):
        official.load_discriminator(discriminator)


def test_states_without_the_network_are_refused():
    with pytest.raises(ValueError, match="no LaMa generator.*4 input channels"):
        official.load_generator(nn.Conv2d(1, 1, 1).state_dict())
    with pytest.raises(ValueError, match="no LaMa discriminator"):
        official.load_discriminator(small_generator().state_dict())
    with pytest.raises(ValueError, match="no LaMa generator in these 0 tensors"):
        official.load_generator({})
    with pytest.raises(TypeError, match="state dict.*int"):
        official.load_generator(3)
