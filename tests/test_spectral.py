"""The kit's transforms against scipy, its blocks against LaMa's layer, and the contract on variants
made to break it, one for each line."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image
from torch import nn

import lama_ref
from lama_ref.cli import main
from lama_ref.ffc import SpectralTransform
from lama_ref.generator import as_text, resolve_config
from lama_ref.losses import LossWeights
from lama_ref.runs import disk
from lama_ref.runs.loop import train
from lama_ref.runs.recipes import TrainConfig
from lama_ref.spectral import transforms, variants
from lama_ref.spectral.contract import spectral_contract
from lama_ref.spectral.variants import VARIANTS, find_spectral, pointwise, register_spectral
from lama_ref.weights.format import save

SIZES = ((8, 8), (7, 9), (6, 11), (5, 1), (1, 6), (1, 1), (13, 10))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def registry():
    """What a test registers is forgotten."""
    before = dict(VARIANTS)
    yield
    VARIANTS.clear()
    VARIANTS.update(before)


# --- transforms -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", transforms.TRANSFORMS)
def test_transforms_invert_keep_energy_and_agree(name, size):
    x = noise(2, 3, *size)
    quick, product = transforms.TRANSFORMS[name](), transforms.TRANSFORMS[name](backend="matmul")
    spectrum, other = quick(x), product(x)
    assert spectrum.values.shape[1:3] == (3, quick.parts) and not spectrum.values.is_complex()
    torch.testing.assert_close(other.values, spectrum.values)
    torch.testing.assert_close(spectrum.energy(), x.square().sum())  # Parseval
    torch.testing.assert_close(quick.inverse(spectrum), x)
    # any coefficients, not only those of a real map
    free = spectrum.with_channels(spectrum.channels().relu())
    torch.testing.assert_close(product.inverse(free), quick.inverse(free))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_transforms_are_those_of_scipy(size):
    x = noise(1, 1, *size)
    picture = x[0, 0].numpy()
    full, half = scipy.fft.fft2(picture, norm="ortho"), scipy.fft.rfft2(picture, norm="ortho")
    expected = {
        "dct": scipy.fft.dctn(picture, norm="ortho")[None],
        "hartley": (full.real - full.imag)[None],
        "fft": np.stack([half.real, half.imag]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            transforms.TRANSFORMS[name]()(x).values[0, 0], values, atol=1e-12
        )


def test_frequencies_are_where_a_wave_has_its_coefficients():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    wave = torch.cos(2 * torch.pi * (-3 * y / 16 + 5 * x / 20)).double()[None, None]
    spectrum = transforms.FFT()(wave)
    row, column = divmod(int(spectrum.values.square().sum(2).argmax()), spectrum.values.shape[-1])
    assert spectrum.ky[row, 0] == pytest.approx(-3 / 16)
    assert spectrum.kx[0, column] == pytest.approx(5 / 20)
    cosine = torch.cos(torch.pi * 6 * (x + 0.5) / 20).double()[None, None]  # three periods
    spectrum = transforms.DCT()(cosine)
    assert spectrum.kx[0, int(spectrum.values.abs().argmax()) % 20] == pytest.approx(3 / 20)


def test_the_haar_wavelet_by_hand():
    a, b, c, d = 1.0, 2.0, 5.0, 11.0
    spectrum = transforms.Haar()(torch.tensor([[[[a, b], [c, d]]]]))
    by_hand = [a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]
    assert spectrum.values.flatten().tolist() == [v / 2 for v in by_hand]


def test_windows_see_their_tile_alone():
    x, changed = noise(1, 2, 20, 19), noise(1, 2, 20, 19)
    changed[..., 3, 4] += 1
    unit = transforms.WindowedFFT(8)

    def output(image):
        spectrum = unit(image)
        return unit.inverse(spectrum.with_channels(spectrum.channels().relu()))

    moved = (output(changed) - output(x)).abs().amax((0, 1)) > 1e-9
    assert moved[:8, :8].float().mean() > 0.9 and not moved[8:].any() and not moved[:, 8:].any()


@pytest.mark.parametrize("backend", ["fft", "matmul"])
@pytest.mark.parametrize("name", ["fft", "dct", "hartley"])
def test_what_inference_has_kept_serves_training(name, backend):
    layer = pointwise(transforms.TRANSFORMS[name](backend))(4, 4, stride=1, groups=1)
    x = torch.randn(2, 4, 19, 23)  # a size that no other test has kept
    transforms._matrices.cache_clear()
    transforms._half_grid.cache_clear()
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="'fft' or 'matmul', not 'fftw'"):
        transforms.DCT(backend="fftw")


# --- blocks -----------------------------------------------------------------------------------


def settled(module: nn.Module) -> nn.Module:
    """With statistics and weights as if trained."""
    generator = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return module.eval()


@pytest.mark.parametrize("backend", ["fft", "matmul"])
@pytest.mark.parametrize("size", [(16, 16), (9, 14), (7, 5)], ids=str)
def test_lamas_unit_in_the_kit_takes_its_weights(size, backend):
    lama = settled(SpectralTransform(24, 16))
    ours = pointwise(transforms.FFT(backend))(24, 16, stride=1, groups=1).eval()
    ours.load_state_dict(lama.state_dict())  # the same keys
    x = noise(2, 24, *size).float()
    torch.testing.assert_close(ours(x), lama(x), atol=1e-5, rtol=1e-5)


def test_the_global_filter_is_its_own_at_its_own_size():
    """GFNet: multiply the half spectrum by K, K stored with the zero frequency in the middle."""
    mixer = variants.GlobalFilter(3, (8, 10)).double()
    x = noise(1, 3, 8, 10)
    k = torch.view_as_complex(mixer.weight.unflatten(1, (3, 2)).movedim(2, -1).contiguous())
    k = torch.fft.ifftshift(k, -2)
    expected = torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * k, s=(8, 10), norm="ortho")
    torch.testing.assert_close(transforms.FFT().inverse(mixer(transforms.FFT()(x))), expected)


def test_low_modes_are_a_neural_operator():
    mixer = variants.LowModes(2, modes=3).double()
    x = noise(1, 2, 9, 12)
    z, out = torch.fft.rfft2(x, norm="ortho"), torch.zeros(1, 2, 9, 7, dtype=torch.complex128)
    r = torch.complex(*mixer.weight)
    for ky in range(-2, 3):
        for kx in range(3):
            out[0, :, ky, kx] = r[:, :, ky + 2, kx] @ z[0, :, ky, kx]
    expected = torch.fft.irfft2(out, s=(9, 12), norm="ortho")
    # kx = 0 need not be that of a real map: the inverse takes its Hermitian part, as irfft2 here
    torch.testing.assert_close(transforms.FFT().inverse(mixer(transforms.FFT()(x))), expected)


def test_a_complex_unit_without_conjugation_multiplies():
    mixer = variants.Complex(2).double().eval()
    mixer.bn = nn.Identity()
    spectrum = transforms.FFT()(noise(1, 2, 5, 6))
    w = torch.complex(mixer.a.weight, mixer.b.weight)[:, :, 0, 0]
    z = torch.view_as_complex(spectrum.values.movedim(2, -1).contiguous())
    expected = torch.view_as_real(torch.einsum("oi,bihw->bohw", w, z)).movedim(-1, 2)
    torch.testing.assert_close(mixer(spectrum).values, expected.relu())


# --- contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_keeps_the_contract(name):
    card = spectral_contract(name, verbose=False)
    assert card.passed, str(card)
    assert card.impulse is not None and card.impulse.shape == (65, 65)
    formula, _, source = (VARIANTS[name].__doc__ or "").partition("\n")
    assert "=" in formula or name == "ffc"
    assert source.strip()


class Broken(nn.Module):
    """A pointwise layer, and a flaw."""

    def __init__(self, c_in, c_out, *, stride, groups, flaw=""):
        super().__init__()
        self.conv, self.stride, self.flaw = nn.Conv2d(c_in, c_out, 1), stride, flaw
        self.idle = nn.Parameter(torch.ones(1)) if flaw == "idle" else None
        self.transform = Loud() if flaw in ("parseval", "backends") else nn.Identity()
        self.hidden = torch.randn(c_out, 1, 1) if flaw == "saved" else 0  # not a buffer

    def forward(self, x):
        if self.flaw == "odd" and x.shape[-1] % 2:
            raise RuntimeError("even widths alone")
        y = self.conv(x)[..., :: self.stride, :: self.stride] + self.hidden
        if self.flaw in ("parseval", "backends"):
            y = self.transform.inverse(self.transform(y))
        if self.flaw == "batch":
            y = y - y.mean(0, keepdim=True)
        if self.flaw == "size" and x.shape[-1] > 20:
            self.conv.weight.data.mul_(2)
        if self.flaw == "overflow":
            y = y * y.sum((-2, -1), keepdim=True).mul(40).half()  # beyond 65,504
        if self.flaw == "gradient":
            y = y.detach() + self.conv(x)[..., :: self.stride, :: self.stride] * 0.5
        return torch.complex(y, y) if self.flaw == "complex" else y


class Loud(transforms.FFT):
    """Not orthonormal; the other backend is another transform."""

    def forward(self, x):
        spectrum = super().forward(x)
        factor = 2.0 if self.backend == "fft" else 3.0
        return spectrum.with_channels(factor * spectrum.channels())


@pytest.mark.parametrize(
    ("flaw", "line", "words"),
    [
        ("odd", "shapes", "even widths alone"),
        ("complex", "shapes", "must give real"),
        ("idle", "all weights are trained", "idle"),
        ("batch", "batch independence", "alone or among three"),
        ("size", "resolution freedom", "before and after"),
        ("overflow", "autocast", "not finite"),
        ("gradient", "gradient", "finite differences"),
        ("saved", "saved and loaded", "after loading"),
        ("backends", "two backends", "fft against matmul"),
        ("parseval", "Parseval", "energy"),
    ],
)
def test_each_line_of_the_contract_can_fail(flaw, line, words):
    def factory(c_in, c_out, *, stride, groups):
        return Broken(c_in, c_out, stride=stride, groups=groups, flaw=flaw)

    found = {what: (verdict, text) for what, verdict, text in _lines(factory)}
    assert found[line][0] == "fails" and words in found[line][1], found[line]
    if flaw not in ("odd", "complex"):  # those spoil more than one line
        assert found["shapes"][0] == "holds"


def _lines(factory):
    card = spectral_contract(factory, verbose=False)
    assert not card.passed and "NOT" in str(card)
    return card.lines


@pytest.mark.parametrize("made", [None, lambda x: x, 3])
def test_what_is_no_module_ends_the_contract(made):
    card = spectral_contract(lambda c_in, c_out, *, stride, groups: made, verbose=False)
    assert [line[:2] for line in card.lines] == [("module", "fails")]
    assert "must return an nn.Module" in card.lines[0][2]


def test_what_is_declared_is_not_tested():
    class Fixed(Broken):
        resolution_free = batch_independent = False

    card = spectral_contract(Fixed, verbose=False)
    declared = {what for what, verdict, _ in card.lines if verdict == "declared"}
    assert {"batch independence", "resolution freedom"} <= declared and card.passed


def test_the_contract_leaves_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    spectral_contract("identity", verbose=False)
    torch.testing.assert_close(torch.rand(3), expected)


# --- names ------------------------------------------------------------------------------------


def plain(c_in, c_out, *, stride, groups):
    """y = W x."""
    return Broken(c_in, c_out, stride=stride, groups=groups)


def test_a_registered_name_goes_wherever_a_preset_does(registry, tmp_path):
    assert lama_ref.register_spectral("mine")(plain) is plain
    small = lama_ref.GeneratorConfig(blocks=1, width=4, downsamplings=1, spectral="mine")
    g = lama_ref.build_generator(small)
    assert any(isinstance(part, Broken) for part in g.modules())
    by_hook = lama_ref.build_generator(small, spectral="ffc", global_branch=plain)
    assert by_hook.config == small
    by_text = lama_ref.build_generator(
        "mini-fourier:blocks=1,width=4,downsamplings=1,spectral=mine"
    )
    assert by_text.config == small

    path = save(g.eval(), tmp_path / "mine.safetensors")
    image, mask = np.full((16, 16, 3), 0.5, np.float32), np.zeros((16, 16), bool)
    mask[4:9, 4:9] = True
    expected = lama_ref.Inpainter(g)(image, mask)
    np.testing.assert_array_equal(lama_ref.Inpainter(path)(image, mask), expected)
    del VARIANTS["mine"]
    with pytest.raises(ValueError, match="no spectral variant 'mine' is registered: import"):
        lama_ref.Inpainter(path)


def test_a_branch_without_a_name_trains_but_is_not_saved(registry, tmp_path):
    g = lama_ref.build_generator("trio-fourier", global_branch=plain)
    assert g.config.spectral == "unregistered"
    with pytest.raises(ValueError, match="global branch without a name"):
        save(g, tmp_path / "g.safetensors")
    assert not list(tmp_path.iterdir())


def test_equal_seeds_give_equal_weights_whatever_is_checked():
    torch.manual_seed(0)
    one = lama_ref.build_generator("trio-fourier", spectral="identity")
    torch.manual_seed(0)
    other = lama_ref.build_generator("trio-fourier", spectral="identity")
    for a, b in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    after = torch.rand(1)
    torch.manual_seed(0)
    lama_ref.build_generator("trio-fourier", spectral="identity")
    assert torch.rand(1) == after


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (dict(spectral="no-such"), "no spectral variant 'no-such'"),
        (dict(kind="regular", spectral="dct"), "needs kind 'fourier'"),
        (dict(lfu=True, spectral="dct"), r"\['lfu'\] are of spectral 'ffc'"),
        (dict(position=True, global_branch=plain), r"\['position'\] are of spectral 'ffc'"),
        (
            dict(global_branch=lambda c_in, c_out, *, stride, groups: None),
            "must return an nn.Module",
        ),
        (dict(global_branch=lambda a, b, *, stride, groups: nn.AdaptiveAvgPool2d(1)), "must give"),
    ],
)
def test_what_cannot_be_built_is_refused(options, error):
    with pytest.raises((ValueError, TypeError), match=error):
        lama_ref.build_generator("trio-fourier", **options)


@pytest.mark.parametrize(
    ("name", "factory", "error"),
    [
        ("", plain, "a-z"),
        ("My Variant", plain, "a-z"),
        ("dct", plain, "ships with lama_ref"),
        ("mine", 3, "a factory, not a int"),
    ],
)
def test_what_cannot_be_registered_is_refused(registry, name, factory, error):
    with pytest.raises((ValueError, TypeError), match=error):
        register_spectral(name)(factory)


def test_an_unknown_name_tells_what_there_is():
    with pytest.raises(ValueError, match="--plugin MODULE.py.*choose from ffc, ffc-lfu"):
        find_spectral("dtc")


# --- runs -------------------------------------------------------------------------------------


def tiny(**options):
    return TrainConfig(
        stages=((0.0, 16, 2),), steps=2, warmup=1, settle=0, l1_until=1.0, features=None,
        weights=LossWeights(adversarial=0, feature_matching=0, perceptual=0), device="cpu",
        **options,
    )  # fmt: skip


def test_a_config_for_a_run_may_be_any_generators(tmp_path):
    small = lama_ref.GeneratorConfig(blocks=1, width=4, downsamplings=2, ratio=0.5, spectral="dct")
    config = tiny(generator=small)
    assert (
        config.generator.startswith("lama-fourier:blocks=1,width=4")
        and config.architecture == small
    )
    train(config, tmp_path / "run", progress=False)
    assert disk.read_config(tmp_path / "run") == config  # so it can be resumed
    path = train(replace(config, steps=2), tmp_path / "run", progress=False)
    assert lama_ref.Inpainter(path).generator.config == small
    assert tiny(generator="mini-fourier", spectral="dct").architecture.spectral == "dct"
    assert resolve_config(as_text(lama_ref.GeneratorConfig())) == lama_ref.GeneratorConfig()
    odd = lama_ref.GeneratorConfig(kind="dilated", dilations=(1, 3), blocks=2)
    assert resolve_config(as_text(odd)) == odd


def test_variants_from_the_command_line(tmp_path, capsys, registry):
    plugin = tmp_path / "my_variants.py"
    plugin.write_text(
        "import lama_ref\nfrom lama_ref.spectral import transforms, variants\n"
        "lama_ref.register_spectral('mine')(variants.pointwise(transforms.DCT(), norm=False))\n"
    )
    run = tmp_path / "run"
    arguments = ["train", str(run), "--plugin", str(plugin), "--spectral", "mine", "--steps", "1"]
    arguments += ["--generator", "mini-fourier:width=4,blocks=1", "--stages", "0", "16", "2"]
    arguments += ["--l1-until", "1", "--warmup", "1", "--settle", "0", "--features", "None"]
    arguments += ["--perceptual", "0", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0, capsys.readouterr().err
    del VARIANTS["mine"]
    for extra, code, words in (
        ([], 1, "no spectral variant 'mine'"),
        (["--plugin", str(tmp_path / "no.py")], 1, "no plugin at"),
        (["--plugin", str(plugin)], 0, "wrote"),
    ):
        image, mask = tmp_path / "photo.png", tmp_path / "mask.png"
        Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(image)
        Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(mask)
        with pytest.raises(SystemExit) as ended:
            main(["inpaint", str(image), str(mask), "-o", str(tmp_path / "out.png"),
                  "--weights", str(run), *extra])  # fmt: skip
        said = "".join(capsys.readouterr())
        assert ended.value.code == code and words in said, said
