"""The operator: transforms against numpy, the layer against descriptions that share no code."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lama_ref import build_generator
from lama_ref.ffc import (
    FFC,
    FFCBlock,
    FFCResidualBlock,
    FourierUnit,
    LocalFourierUnit,
    SpectralTransform,
    SqueezeExcitation,
    frequency_ramps,
    hermitian,
    inverse_real_fft,
    real_fft,
    split_channels,
)

SIZES = [
    (1, 1), (1, 2), (1, 7), (1, 8), (2, 1), (7, 1), (8, 1), (2, 2), (3, 3), (2, 3), (3, 2),
    (4, 6), (6, 5), (5, 6), (5, 7), (13, 17), (8, 8), (16, 9),
]  # fmt: skip
NORMS = ("ortho", "backward", "forward")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Float64, evaluation mode, and BatchNorm statistics that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    module = module.double().eval()
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        values = torch.from_numpy(np.asarray(rng.standard_normal(tuple(tensor.shape))))
        positive = name.endswith("running_var") or tensor.ndim == 1 and name.endswith("weight")
        fan = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 4
        tensor.copy_(0.5 + values.abs() if positive else values / fan**0.5)
    return module


def as_complex(z: Tensor) -> np.ndarray:
    """Interleaved channels to complex, by hand: 2c is real, 2c + 1 is imaginary."""
    array = z.detach().numpy()
    return array[:, 0::2] + 1j * array[:, 1::2]


def synthesis(spectrum: np.ndarray, width: int, norm: str) -> np.ndarray:
    """Inverse from a half spectrum in the published order: complex inverse FFT over rows, then
    a sum of cosines and sines over columns in which DC and Nyquist lose their imaginary parts."""
    height, columns = spectrum.shape[-2:]
    rows = np.fft.ifft(spectrum, axis=-2) * height  # sum without a factor
    weight = np.full(columns, 2.0)
    weight[0] = 1
    if width % 2 == 0:
        weight[-1] = 1
    phase = 2 * np.pi * np.outer(np.arange(columns), np.arange(width)) / width
    cosine, sine = weight[:, None] * np.cos(phase), weight[:, None] * np.sin(phase)
    sine[0] = 0
    if width % 2 == 0:
        sine[-1] = 0
    total = rows.real @ cosine - rows.imag @ sine
    n = height * width
    return total * {"ortho": n**-0.5, "backward": 1 / n, "forward": 1.0}[norm]


# --------------------------------------------------------------------------- transforms
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_real_fft_is_numpys_interleaved(size, norm, dtype):
    x = noise(2, 3, *size, dtype=dtype)
    z = real_fft(x, norm)
    assert z.dtype == dtype and z.shape == (2, 6, size[0], size[1] // 2 + 1)
    expected = np.fft.rfft2(x.double().numpy(), norm=norm)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(as_complex(z), expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inverse_of_any_half_spectrum_is_the_published_one(size, norm):
    """Also where the spectrum belongs to no real image, as after a ReLU."""
    height, width = size
    z = noise(2, 6, height, width // 2 + 1).relu()
    ours = inverse_real_fft(z, size, norm).numpy()
    np.testing.assert_allclose(ours, synthesis(as_complex(z), width, norm), rtol=0, atol=1e-12)
    plain = torch.fft.irfft2(torch.from_numpy(as_complex(z)), s=size, norm=norm).numpy()
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-12)


def mirror(spectrum: Tensor) -> Tensor:
    """conj F(-ky), by indices."""
    rows = (-torch.arange(spectrum.shape[-2])) % spectrum.shape[-2]
    return spectrum[..., rows, :].conj()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_projection_is_orthogonal_and_touches_the_right_columns(size):
    height, width = size
    columns = width // 2 + 1
    spectrum = torch.complex(*noise(2, 1, 2, height, columns))
    projected = hermitian(spectrum, width)
    own = [0] if width % 2 else [0, columns - 1]
    others = [k for k in range(columns) if k not in own]
    assert torch.equal(projected[..., others], spectrum[..., others])
    fixed = projected[..., own]
    torch.testing.assert_close(fixed, mirror(fixed), rtol=0, atol=1e-14)
    torch.testing.assert_close(hermitian(projected, width), projected, rtol=0, atol=1e-14)
    # the nearest: what was taken away is orthogonal to every column of a real image
    other = torch.complex(*noise(2, 1, 2, height, len(own), seed=1))
    other = other + mirror(other)
    removed = spectrum[..., own] - fixed
    assert (removed * other.conj()).sum().real.abs() < 1e-12
    if width > 2 and height > 2:
        assert removed.abs().max() > 0.1


def vendor(which: str):
    """Inverse FFTs of other libraries: they build the self-conjugate columns from a half."""

    def irfft2(spectrum: Tensor, s: tuple[int, int], norm: str) -> Tensor:
        f = spectrum.detach().numpy().copy()
        height, width = s
        for column in {0, width // 2} if width % 2 == 0 else {0}:
            for row in range(1, (height + 1) // 2):
                a, b = (row, height - row) if which == "upper" else (height - row, row)
                f[..., b, column] = f[..., a, column].conj()
            for row in {0, height // 2} if height % 2 == 0 else {0}:
                f[..., row, column] = f[..., row, column].real
        return torch.from_numpy(synthesis(f, width, norm))

    return irfft2


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (5, 6), (2, 2)], ids=str)
def test_all_devices_agree(size, monkeypatch):
    """Two vendors that read different halves of the columns give the CPU's image."""
    z = noise(1, 4, size[0], size[1] // 2 + 1).relu()
    raw = torch.from_numpy(as_complex(z))
    upper, lower = (vendor(w)(raw, s=size, norm="ortho") for w in ("upper", "lower"))
    if size[0] > 2:
        assert (upper - lower).abs().max() > 0.05  # without the projection they do not agree
    here = inverse_real_fft(z, size)
    for which in ("upper", "lower"):
        monkeypatch.setattr(torch.fft, "irfft2", vendor(which))
        torch.testing.assert_close(inverse_real_fft(z, size), here, rtol=0, atol=1e-12)


def test_a_half_spectrum_of_another_image_is_refused():
    z = noise(1, 2, 4, 3)
    assert inverse_real_fft(z, (4, 4)).shape[-1] == 4
    assert inverse_real_fft(z, (4, 5)).shape[-1] == 5
    for size in ((4, 3), (4, 6), (5, 4), (8, 4)):
        with pytest.raises(ValueError, match=r"\(4, 3\) half spectrum"):
            inverse_real_fft(z, size)


# --------------------------------------------------------------------------- half precision
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_survives_a_large_mean(dtype):
    """64 * 64 pixels of about 1,500: the DC coefficient, 96,000, is beyond float16."""
    x = (noise(1, 4, 64, 64, dtype=torch.float32) + 1500).to(dtype)
    z = real_fft(x)
    assert z.dtype == torch.float32 and z.max() > 90_000
    torch.testing.assert_close(inverse_real_fft(z, (64, 64)), x.float(), rtol=1e-6, atol=1e-3)
    torch.manual_seed(0)
    unit = FourierUnit(4, 4).eval()
    expected = unit(x.float())
    torch.testing.assert_close(unit(x), expected)
    with torch.autocast("cpu", dtype):
        torch.testing.assert_close(unit(x.float()), expected)  # no spectrum in half precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", ["autocast", "module"])
def test_a_layer_in_half_precision(dtype, how):
    torch.manual_seed(0)
    layer = FFCResidualBlock(16, 0.5, lfu=True, position=True, squeeze_excitation=True).eval()
    x = (torch.randn(1, 8, 12, 10), torch.randn(1, 8, 12, 10))
    expected = layer(x)
    if how == "autocast":
        with torch.autocast("cpu", dtype):
            result = layer(x)
    else:
        result = layer.to(dtype)((x[0].to(dtype), x[1].to(dtype)))
        assert {half.dtype for half in result} == {dtype}
    for half, full in zip(result, expected):
        assert half.isfinite().all()
        error = (half.float() - full).abs().max() / full.abs().max()
        assert error < (0.01 if dtype == torch.float16 else 0.06)


# --------------------------------------------------------------------------- Fourier unit
def unit_by_hand(unit: FourierUnit, x: Tensor) -> np.ndarray:
    """A Fourier unit in evaluation mode in numpy, complex numbers and loops over groups."""
    state = {k: v.numpy() for k, v in unit.state_dict().items()}
    f = np.fft.rfft2(x.numpy(), norm="ortho")  # (B, C, H, K)
    z = np.stack([f.real, f.imag], 2).reshape(len(f), -1, *f.shape[-2:])
    w = state["conv_layer.weight"][..., 0, 0]
    groups = z.shape[1] // w.shape[1]
    parts = zip(np.split(w, groups), np.split(z, groups, 1))
    z = np.concatenate([np.einsum("oc,bchk->bohk", a, b) for a, b in parts], 1)
    for name, operator in (("running_mean", np.subtract), ("running_var", None)):
        column = state[f"bn.{name}"][:, None, None]
        z = operator(z, column) if operator else z / np.sqrt(column + unit.bn.eps)
    z = z * state["bn.weight"][:, None, None] + state["bn.bias"][:, None, None]
    z = np.maximum(z, 0)
    return synthesis(z[:, 0::2] + 1j * z[:, 1::2], x.shape[-1], "ortho")


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (4, 4), (6, 5), (5, 8)], ids=str)
def test_fourier_unit_by_hand(size, groups):
    unit = randomised(FourierUnit(4, 6, groups=groups))
    x = noise(2, 4, *size)
    np.testing.assert_allclose(unit(x).detach().numpy(), unit_by_hand(unit, x), atol=1e-12)


def test_position_and_squeeze_excitation_act_on_the_spectrum():
    unit = randomised(FourierUnit(3, 4, position=True, squeeze_excitation=True))
    assert unit.conv_layer.in_channels == 2 * 3 + 2
    x = noise(2, 3, 6, 7)
    z = torch.cat([frequency_ramps(real_fft(x)), real_fft(x)], 1)
    down, up = unit.se.fc[0].weight, unit.se.fc[2].weight
    gate = torch.sigmoid((z.mean((2, 3)) @ down.T).relu() @ up.T)
    assert down.shape == (1, 8) and 0 < gate.min() and gate.max() < 1
    z = unit.bn(F.conv2d(z * gate[..., None, None], unit.conv_layer.weight)).relu()
    torch.testing.assert_close(unit(x), inverse_real_fft(z, (6, 7)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (4, 3)], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda: FourierUnit(1, 2),
        lambda: FourierUnit(1, 2, position=True, squeeze_excitation=True),
        lambda: LocalFourierUnit(4),
        lambda: SpectralTransform(2, 4),
    ],
    ids=["unit", "unit with options", "local unit", "transform"],
)
def test_gradients_of_the_branch(make, size, training):
    module = randomised(make()).train(training)
    channels = {FourierUnit: 1, LocalFourierUnit: 4, SpectralTransform: 2}[type(module)]
    x = noise(2, channels, *size, seed=3).requires_grad_()
    parameters = dict(module.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(parameters, values)), (x,))

    if training:
        module.apply(lambda m: setattr(m, "track_running_stats", False))
    inputs = (x, *(p.detach().requires_grad_() for p in parameters.values()))
    assert torch.autograd.gradcheck(run, inputs, eps=1e-6, atol=1e-5, fast_mode=True)


def reach(unit: FourierUnit, where: tuple[int, int]) -> Tensor:
    """Pixels that answer to a change of one pixel of a noise image."""
    before = noise(1, 1, 32, 32)
    after = before.clone()
    after[0, 0, where[0], where[1]] += 1
    response = (unit(after) - unit(before))[0, 0].abs()
    return response > 1e-9 * response.max()


@pytest.mark.parametrize("where", [(5, 9), (20, 3)])
def test_the_linear_part_reaches_34_pixels_and_relu_the_rest(where):
    torch.manual_seed(0)
    unit = FourierUnit(1, 1).double().eval()
    assert reach(unit, where).sum() == 1024
    unit.relu = nn.Identity()
    pixels = reach(unit, where)
    row, column = where
    assert pixels.sum() == 34
    assert sorted(pixels.any(1).nonzero()[:, 0].tolist()) == sorted([row, 32 - row])
    expected = [column, *((column + 1 + 2 * i) % 32 for i in range(16))]  # a Hilbert transform
    assert sorted(pixels[row].nonzero()[:, 0].tolist()) == sorted(expected)


# --------------------------------------------------------------------------- local Fourier unit
@pytest.mark.parametrize("size", [(4, 4), (6, 8), (8, 6), (5, 5), (5, 8), (6, 7), (1, 1)], ids=str)
def test_local_unit_by_hand(size):
    """As published on even squares; elsewhere it pads and crops."""
    unit = randomised(LocalFourierUnit(8))
    x = noise(1, 8, *size)
    even = [side + side % 2 for side in size]
    rows, columns = (np.minimum(np.arange(e), s - 1) for e, s in zip(even, size))
    padded = x[:, :2, rows][..., columns]
    h, w = even[0] // 2, even[1] // 2
    quadrants = [padded[..., a : a + h, b : b + w] for b in (0, w) for a in (0, h)]
    small = unit_by_hand(unit, torch.cat(quadrants, 1))
    expected = np.tile(small, (2, 2))[..., : size[0], : size[1]]
    result = unit(x).detach().numpy()
    assert result.shape == (1, 8, *size)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_local_unit_wants_channels_divisible_by_four():
    with pytest.raises(ValueError, match="divisible by 4, not 6"):
        LocalFourierUnit(6)
    with pytest.raises(ValueError, match="divisible by 4, not 6"):
        SpectralTransform(8, 12, lfu=True)


# --------------------------------------------------------------------------- the layer
def test_split_channels():
    published = {
        (512, 0.75): (128, 384), (10, 0.75): (3, 7), (3, 0.75): (1, 2), (1, 0.75): (1, 0),
        (513, 0.5): (257, 256), (7, 0.3): (5, 2), (8, 0): (8, 0), (8, 1): (0, 8),
    }  # fmt: skip
    for (channels, ratio), halves in published.items():
        assert split_channels(channels, ratio) == halves
    for ratio in (-0.1, 1.01, math.nan):
        with pytest.raises(ValueError, match=str(ratio)):
            split_channels(8, ratio)


def plain_conv(path: nn.Conv2d, x: Tensor, padding: int, **options) -> Tensor:
    """Reflect padding by indices, then a convolution without any."""

    def reflected(n: int) -> np.ndarray:
        i = np.abs(np.arange(-padding, n + padding))
        return np.where(i < n, i, 2 * (n - 1) - i)

    x = x[..., reflected(x.shape[-2]), :][..., reflected(x.shape[-1])]
    return F.conv2d(x, path.weight, **options)


def halves_of(x: Tensor, ratio: float) -> tuple[Tensor | None, Tensor | None]:
    local, _ = split_channels(x.shape[1], ratio)
    return (x[:, :local] if local else None), (x[:, local:] if local < x.shape[1] else None)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("ratio_in", "ratio_out"), list(itertools.product([0, 0.25, 0.5, 1], repeat=2))
)
def test_paths_exist_where_channels_do_and_add_up(ratio_in, ratio_out, stride):
    layer = randomised(FFC(8, 12, 3, ratio_in, ratio_out, stride=stride, padding=1))
    local, glob = halves_of(noise(2, 8, 6, 8), ratio_in)
    to_local, to_global = ratio_out < 1, ratio_out > 0
    assert (layer.convl2l is not None) == (local is not None and to_local)
    assert (layer.convl2g is not None) == (local is not None and to_global)
    assert (layer.convg2l is not None) == (glob is not None and to_local)
    assert (layer.convg2g is not None) == (glob is not None and to_global)
    expected_local = expected_global = 0.0
    for path, x in ((layer.convl2l, local), (layer.convg2l, glob)):
        if path is not None:
            expected_local = expected_local + plain_conv(path, x, 1, stride=stride)
    if layer.convl2g is not None:
        expected_global = plain_conv(layer.convl2g, local, 1, stride=stride)
    if layer.convg2g is not None:
        expected_global = expected_global + layer.convg2g(glob)
    result = layer((local, glob))
    for half, expected, exists in zip(
        result, (expected_local, expected_global), (to_local, to_global)
    ):
        assert (half is not None) == exists
        if exists:
            assert half.shape[-2:] == (6 // stride, 8 // stride)
            torch.testing.assert_close(half, expected)


def test_a_lone_tensor_is_all_local():
    x = noise(1, 4, 5, 6)
    for layer in (FFC(4, 6, 3, 0, 0.5, padding=1), FFCResidualBlock(4, 0)):
        for lone, pair in zip(randomised(layer)(x), layer((x, None))):
            assert lone is pair is None or torch.equal(lone, pair)


@pytest.mark.parametrize("dilation", [1, 2])
def test_kernel_dilation_and_groups(dilation):
    layer = randomised(FFC(8, 8, 3, 0.5, 0.5, padding=dilation, dilation=dilation, groups=4))
    local, glob = halves_of(noise(1, 8, 7, 9), 0.5)
    options = {"dilation": dilation, "groups": 4}
    expected = plain_conv(layer.convl2l, local, dilation, **options)
    expected = expected + plain_conv(layer.convg2l, glob, dilation, **options)
    torch.testing.assert_close(layer((local, glob))[0], expected)
    assert layer.convg2g.conv1[0].groups == 2  # half as many in the spectral branch
    assert not any(m.bias is not None for m in layer.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 1), (5, 2)], ids=str)
def test_odd_and_even_sizes_round_up(size, stride):
    layer = FFC(8, 8, 3, 0.5, 0.5, stride=stride, padding=0 if size == (1, 1) else 1, gated=True)
    if size == (1, 1):
        layer = FFC(8, 8, 1, 0.5, 0.5, stride=stride, gated=True)
    halves = layer.eval()(halves_of(noise(1, 8, *size, dtype=torch.float32), 0.5))
    expected = (1, 4, -(-size[0] // stride), -(-size[1] // stride))
    assert [tuple(half.shape) for half in halves] == [expected, expected]


@pytest.mark.parametrize("stride", [1, 2])
def test_gates_scale_the_crossing_paths(stride):
    layer = randomised(FFC(8, 8, 3, 0.5, 0.5, stride=stride, padding=1, gated=True))
    local, glob = halves_of(noise(2, 8, 6, 8), 0.5)
    gates = torch.sigmoid(F.conv2d(torch.cat([local, glob], 1), layer.gate.weight, layer.gate.bias))
    gates = gates[:, :, ::stride, ::stride]
    assert gates.std() > 0.05
    expected = (
        layer.convl2l(local) + layer.convg2l(glob) * gates[:, 0:1],
        layer.convg2g(glob) + layer.convl2g(local) * gates[:, 1:2],
    )
    for half, e in zip(layer((local, glob)), expected):
        torch.testing.assert_close(half, e)
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.bias.copy_(torch.tensor([-99.0, 99.0]))  # first shut, second open
    shut, opened = layer((local, glob))
    torch.testing.assert_close(shut, layer.convl2l(local))
    torch.testing.assert_close(opened, layer.convg2g(glob) + layer.convl2g(local))


def test_gates_need_two_halves_to_cross():
    assert FFC(8, 8, gated=True).gate is not None
    assert FFC(8, 8).gate is None
    for ratios in ((0, 0.5), (1, 0.5), (0.5, 1)):
        assert FFC(8, 8, 3, *ratios, gated=True).gate is None


def test_block_normalises_and_activates_each_half():
    block = randomised(FFCBlock(8, 12, 3, 0.5, 0.25, padding=1))
    x = halves_of(noise(2, 8, 6, 6), 0.5)
    local, glob = block.ffc(x)
    result = block(x)
    torch.testing.assert_close(result[0], block.bn_l(local).clamp(min=0))
    torch.testing.assert_close(result[1], block.bn_g(glob).clamp(min=0))
    assert (block.bn_l.num_features, block.bn_g.num_features) == (9, 3)
    smooth = FFCBlock(8, 8, 3, 0.5, 0.5, padding=1, activation=nn.Tanh).double().eval()
    assert min(half.min().item() for half in smooth(x)) < 0


@pytest.mark.parametrize("ratio", [0, 0.5, 1])
@pytest.mark.parametrize("dilation", [1, 2])
def test_residual_block_adds_what_is_not_negative(ratio, dilation):
    block = randomised(FFCResidualBlock(8, ratio, dilation=dilation))
    x = halves_of(noise(2, 8, 6, 7), ratio)
    assert block.conv1.ffc.channels_in == split_channels(8, ratio)
    wide = [m for m in block.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(wide) == 2 * {0: 1, 0.5: 3, 1: 0}[ratio]
    assert {(m.dilation, m.padding) for m in wide} <= {((dilation,) * 2,) * 2}
    for before, after, added in zip(x, block(x), block.conv2(block.conv1(x))):
        assert (before is None) == (after is None)
        if before is not None:
            torch.testing.assert_close(after, before + added)
            assert added.min() >= 0 and added.max() > 0


def test_gradient_of_a_gated_strided_layer():
    layer = randomised(FFC(4, 4, 3, 0.5, 0.5, stride=2, padding=1, gated=True))
    local, glob = (h.requires_grad_() for h in (noise(1, 2, 5, 4), noise(1, 2, 5, 4, seed=1)))
    assert torch.autograd.gradcheck(lambda a, b: layer((a, b)), (local, glob), fast_mode=True)


def test_every_parameter_of_a_layer_learns():
    torch.manual_seed(0)
    block = FFCResidualBlock(32, 0.5, gated=True, lfu=True, position=True, squeeze_excitation=True)
    for module in block.modules():
        if isinstance(module, SqueezeExcitation):
            module.fc[0].weight.data.abs_()  # one hidden value: alive, whatever the seed
    halves = block.eval()((torch.randn(8, 16, 8, 8), torch.randn(8, 16, 8, 8)))
    (halves[0].square().mean() + halves[1].square().mean()).backward()
    silent = [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


# --------------------------------------------------------------------------- the plug-in point
class Recorder:
    """A factory of plain convolutions that remembers how it was called."""

    def __init__(self):
        self.calls: list[tuple] = []

    def __call__(self, c_in: int, c_out: int, *, stride: int, groups: int) -> nn.Module:
        self.calls.append((c_in, c_out, stride, groups))
        return nn.Conv2d(c_in, c_out, 3, stride, 1, groups=groups)


def test_a_branch_of_your_own_in_a_layer():
    factory = Recorder()
    layer = FFC(8, 12, 3, 0.5, 0.5, stride=2, padding=1, groups=2, global_branch=factory)
    assert factory.calls == [(4, 6, 2, 1)]
    local, glob = halves_of(noise(1, 8, 6, 6, dtype=torch.float32), 0.5)
    expected = layer.convg2g(glob) + layer.convl2g(local)
    torch.testing.assert_close(layer((local, glob))[1], expected)
    FFC(8, 8, 3, 0, 0.5, global_branch=factory)  # no global input: nothing to build
    assert len(factory.calls) == 1


def test_a_branch_of_your_own_in_blocks_and_generators():
    factory = Recorder()
    x = halves_of(noise(1, 8, 6, 6, dtype=torch.float32), 0.5)
    for block in (
        FFCBlock(8, 8, 3, 0.5, 0.5, padding=1, global_branch=factory),
        FFCResidualBlock(8, 0.5, global_branch=factory),
    ):
        assert all(half.shape == (1, 4, 6, 6) for half in block(x))
    assert factory.calls == [(4, 4, 1, 1)] * 3
    generator = build_generator("mini-fourier", width=8, blocks=2, global_branch=factory)
    assert factory.calls[5:] == [(24, 24, 1, 1)] * 4  # after two that are tried
    assert not any(isinstance(m, FourierUnit) for m in generator.modules())
    assert generator(torch.rand(2, 4, 16, 24)).shape == (2, 3, 16, 24)


# --------------------------------------------------------------------------- errors
def test_errors_name_what_was_given():
    with pytest.raises(ValueError, match="1 or 2, not 3"):
        FFC(8, 8, stride=3)
    with pytest.raises(ValueError, match="1.5"):
        FFC(8, 8, 3, 0.5, 1.5)
    with pytest.raises(ValueError, match="lfu.*factory"):
        FFC(8, 8, lfu=True, global_branch=Recorder())
    layer = FFC(8, 8, 3, 0.25, 0.5, padding=1)
    x = torch.zeros(1, 8, 6, 6)
    for wrong, given_ in ((x, (8, 0)), ((x[:, :4], x[:, 4:]), (4, 4)), ((None, x[:, :2]), (0, 2))):
        with pytest.raises(ValueError) as error:
            layer(wrong)
        assert "(6, 2)" in str(error.value) and str(given_) in str(error.value)
