"""Inpainter: formats in and out, known pixels, sizes, bad input."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image

import lama_ref
from lama_ref.generator import pad_to
from lama_ref.weights import format

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def inpaint():
    torch.manual_seed(0)
    return lama_ref.Inpainter(lama_ref.build_generator("mini-fourier", width=4, blocks=1))


class Echo(torch.nn.Module):
    """Returns the mask as a picture, and remembers what it was given."""

    def forward(self, x):
        self.seen = x
        return x[:, 3:].expand(-1, 3, -1, -1)


def hole_of(size):
    mask = np.zeros(size, bool)
    mask[size[0] // 3 : size[0] // 3 + max(1, size[0] // 2), size[1] // 4 :] = True
    mask[0, 0] = min(size) == 1
    return mask


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (16, 16), (17, 31), (64, 8), (3, 200)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_of_any_size_and_type(inpaint, size, dtype):
    image = RNG.random((*size, 3))
    white = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    image = (image * white).astype(dtype)
    mask = hole_of(size)
    mostly = pytest.warns(UserWarning, match="inverted") if mask.mean() > 0.95 else nullcontext()
    with np.errstate(all="raise"), mostly:
        result = inpaint(image, mask)
    assert result.shape == image.shape and result.dtype == image.dtype
    np.testing.assert_array_equal(result[~mask], image[~mask])
    assert (result[mask] != image[mask]).any()


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_grey_and_alpha_arrays(inpaint, channels):
    shape = (20, 24) if channels is None else (20, 24, channels)
    image = RNG.integers(0, 256, shape, np.uint8)
    mask = hole_of((20, 24))
    result = inpaint(image, mask)
    assert result.shape == shape
    np.testing.assert_array_equal(result[~mask], image[~mask])
    if channels in (2, 4):
        assert (result[mask][:, -1] == 255).all()  # filled pixels are opaque


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_tensors(inpaint, dtype, batch):
    shape = (3, 20, 25) if batch is None else (batch, 3, 20, 25)
    image = torch.rand(shape)
    image = (image * 255).to(dtype) if dtype == torch.uint8 else image.to(dtype)
    mask = torch.from_numpy(hole_of((20, 25)))
    result = inpaint(image, mask)
    assert result.shape == image.shape and result.dtype == dtype
    assert torch.equal(result[..., ~mask], image[..., ~mask])
    assert not torch.equal(result, image)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_pil_modes(inpaint, mode):
    rgb = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    if mode == "F":
        image = Image.fromarray(RNG.random((20, 30), np.float32))
    elif mode in ("I", "I;16"):
        image = Image.fromarray(RNG.integers(0, 65536, (20, 30)).astype(np.uint16)).convert(mode)
    elif mode == "PA":
        image = rgb.convert("P").convert("PA")
    else:
        image = rgb.convert(mode)
    mask = hole_of((20, 30))
    result = inpaint(image, Image.fromarray(mask))
    assert isinstance(result, Image.Image) and result.size == image.size
    same = mode if mode not in ("P", "PA", "HSV") else {"PA": "RGBA"}.get(mode, "RGB")
    assert result.mode == same
    before, after = np.array(image.convert(result.mode)), np.array(result)
    np.testing.assert_array_equal(after[~mask], before[~mask])


def test_exif_orientation_is_applied(inpaint, tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    turned = Image.open(tmp_path / "turned.png")
    mask = hole_of((30, 20))  # as the picture is seen
    result = inpaint(turned, mask)
    assert result.size == (20, 30)
    upright = np.rot90(np.array(image), -1)
    np.testing.assert_array_equal(np.array(result)[~mask], upright[~mask])


def test_lists_of_different_sizes_and_batches(inpaint):
    images = [RNG.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((16, 20), (31, 9))]
    holes = [hole_of(image.shape[:2]) for image in images]
    stack = [images[0]] * 2, np.stack([holes[0], ~holes[0]])  # one array of masks for a list
    for some, masks in ((images, holes), stack):
        for image, hole, result in zip(some, masks, inpaint(some, masks)):
            np.testing.assert_array_equal(result, inpaint(image, hole))
    batch = RNG.random((11, 16, 16, 3)).astype(np.float32)  # more than batch_size
    holes = RNG.random((11, 16, 16)) < 0.4
    together = inpaint(batch, holes)
    alone = np.stack([inpaint(image, hole) for image, hole in zip(batch, holes)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_network_sees_nothing_of_the_hole():
    """Hole pixels are zero and the mask is appended last, whatever hides there, NaN included."""
    echo = Echo()
    image = np.full((16, 16, 3), 0.5, np.float32)
    mask = hole_of((16, 16))
    image[mask] = np.nan
    result = lama_ref.Inpainter(echo)(image, mask)
    assert (echo.seen[0, :3].numpy()[:, mask] == 0).all()
    np.testing.assert_array_equal(echo.seen[0, 3].numpy(), mask)
    assert (result[mask] == 1).all() and (result[~mask] == 0.5).all()


def test_all_forms_of_a_mask_mean_the_same():
    mask = hole_of((16, 24))
    byte = Image.fromarray(mask.astype(np.uint8))
    forms = {
        "bool": mask,
        "uint8": mask * np.uint8(255),
        "uint8 of 0 and 1": mask.astype(np.uint8),
        "float": mask.astype(np.float64),
        "HW1": mask[..., None],
        "1HW": torch.from_numpy(mask)[None],
        "RGB": Image.fromarray(mask * np.uint8(255)).convert("RGB"),
        "RGBA": Image.fromarray(mask * np.uint8(255)).convert("RGBA"),
        "L of 0 and 1": byte,
        "I": byte.convert("I"),
        "F": byte.convert("F"),
        "I;16": Image.fromarray(mask.astype(np.uint16) * 65535),
    }
    inpaint = lama_ref.Inpainter(Echo())
    for name, form in forms.items():
        result = inpaint(np.zeros((16, 24, 3)), form)
        np.testing.assert_array_equal(result[..., 0], mask, err_msg=name)


def test_training_mode_of_a_module_is_restored():
    generator = lama_ref.build_generator("mini-fourier", width=4, blocks=1).train()
    frozen = generator.model[1].bn_l.eval()
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    lama_ref.Inpainter(generator)(np.zeros((16, 16, 3), np.uint8), hole_of((16, 16)))
    assert generator.training and not frozen.training
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (np.zeros((8, 8, 3)), np.zeros((8, 9)), ValueError, r"\(8, 9\)"),
        (np.zeros((3, 8, 8)), np.zeros((8, 8)), ValueError, "channels come last"),
        (np.full((8, 8, 3), 200.0), np.zeros((8, 8)), ValueError, "divide 8-bit values by 255"),
        (np.full((8, 8, 3), np.nan), np.zeros((8, 8)), ValueError, "NaN"),
        (np.zeros((8, 8, 3)), np.full((8, 8), np.nan), ValueError, "NaN"),
        (np.zeros((8, 8, 3)), np.full((8, 8), -1.0), ValueError, "1 = hole"),
        (np.zeros((8, 8, 3), np.int64), np.zeros((8, 8)), TypeError, "int64"),
        (torch.zeros(1, 8, 8), torch.zeros(8, 8), ValueError, r"\(3, H, W\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), torch.zeros(8, 8), TypeError, "int32"),
        ("photo.png", np.zeros((8, 8)), TypeError, "str"),
        (np.zeros((8, 8, 3)), "mask.png", TypeError, "str"),
        (np.zeros((0, 8, 3)), np.zeros((0, 8)), ValueError, "empty"),
        (np.zeros((2, 8, 8, 3)), np.zeros((3, 8, 8)), ValueError, "3 masks for 2 images"),
        ([np.zeros((8, 8, 3))], [], ValueError, "1 images but 0 masks"),
        (torch.zeros(3, 0, 5), torch.zeros(0, 5), ValueError, "empty"),
        (torch.zeros(3, 3, 8, 8), torch.zeros(1, 3, 8, 8), ValueError, "one channel, not 3"),
        (np.zeros((8, 8, 3)), np.zeros((8, 8), complex), TypeError, "complex128"),
    ],
)
def test_bad_input_is_named(inpaint, image, mask, error, message):
    with pytest.raises(error, match=message):
        inpaint(image, mask)


def test_names_and_paths(tmp_path, monkeypatch):
    for variable in ("LAMA_REF_CACHE", "TORCH_HOME"):  # nothing fetched
        monkeypatch.setenv(variable, str(tmp_path))
    generator = lama_ref.build_generator("mini-fourier", width=4, blocks=1).eval()
    path = format.save(generator, tmp_path / "mine.safetensors")
    image, mask = RNG.random((16, 16, 3)), hole_of((16, 16))
    expected = lama_ref.Inpainter(generator)(image, mask)
    np.testing.assert_array_equal(lama_ref.Inpainter(path)(image, mask), expected)
    with pytest.raises(ValueError, match="mini-fourier"):
        lama_ref.Inpainter("no-such-name")
    with pytest.raises(ValueError, match="not shipped"):
        lama_ref.Inpainter("big-lama")
    with pytest.raises(FileNotFoundError, match="absent.ckpt"):
        lama_ref.Inpainter(tmp_path / "absent.ckpt")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="text.safetensors"):
        lama_ref.Inpainter(tmp_path / "text.safetensors")


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (16, 16), (30, 2)])
def test_padding_agrees_with_numpy(size):
    x = torch.rand(1, 2, *size)
    padded = pad_to(x, 8, 16).numpy()
    assert all(side % 8 == 0 and side >= 16 for side in padded.shape[-2:])
    expected = x.numpy()
    for axis in (3, 2):
        extra = padded.shape[axis] - size[axis - 2]
        pad = [(0, 0)] * 4
        pad[axis] = (0, extra)
        expected = np.pad(expected, pad, mode="reflect" if extra < size[axis - 2] else "edge")
    np.testing.assert_array_equal(padded, expected)


def test_shipped_weights_beat_classical_fill_on_held_out_scenes():
    """The claim of the model card, on fewer pictures than its command uses."""
    from lama_ref.evaluation.cards import CardConfig, evaluate

    (cell,) = evaluate(CardConfig(sizes="128", n=64, seed=2_000_000, metrics="hole-l1"))["cells"]
    for baseline in ("telea", "navier-stokes"):
        mean, low, high = cell["differences"][f"mini-fourier minus {baseline}"]["hole-l1"]
        assert low <= mean <= high < 0, cell


def test_sixteen_bits_in_either_byte_order(inpaint, tmp_path):
    values = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
    tiff = b"MM\x00\x2a" + (8).to_bytes(4, "big")  # Motorola byte order: PIL's mode I;16B
    entries = [(256, 30), (257, 20), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1),
               (278, 20), (279, 1200)]  # fmt: skip
    tiff += len(entries).to_bytes(2, "big")
    for tag, value in entries:
        tiff += tag.to_bytes(2, "big") + b"\x00\x04\x00\x00\x00\x01" + value.to_bytes(4, "big")
    tiff += b"\x00" * 4
    (tmp_path / "big.tif").write_bytes(tiff.ljust(122, b"\x00") + values.astype(">u2").tobytes())
    image = Image.open(tmp_path / "big.tif")
    assert image.mode == "I;16B"
    mask = hole_of((20, 30))
    result = np.array(inpaint(image, mask))
    np.testing.assert_array_equal(result[~mask], values[~mask])
    assert (result[mask] != values[mask]).any()


def test_colour_profile_and_colour_key(inpaint):
    image = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    image.info["icc_profile"] = b"profile"
    assert inpaint(image, hole_of((20, 30))).info["icc_profile"] == b"profile"
    image.info["transparency"] = tuple(image.getpixel((0, 0)))
    result = inpaint(image, hole_of((20, 30)))
    assert result.mode == "RGBA" and result.getpixel((0, 0))[3] == 0
