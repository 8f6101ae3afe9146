"""The three generators: sizes, settings, layout, and the composite.

What a layer computes is compared with the published code in test_parity.py.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import warnings

import pytest
import torch
from helpers import with_statistics
from torch import Tensor, nn

from lama_ref import build_generator
from lama_ref.ffc import FFC, SpectralTransform
from lama_ref.generator import PRESETS, Generator, GeneratorConfig, inpaint_batch, resolve_config

KINDS = ("fourier", "regular", "dilated")


def tiny(kind: str = "fourier", **changes) -> GeneratorConfig:
    return GeneratorConfig(
        **({"kind": kind, "blocks": 1, "width": 4, "downsamplings": 1} | changes)
    )


def ready(config: GeneratorConfig, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return with_statistics(Generator(config))


def picture(n: int = 2, height: int = 16, width: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = (torch.rand(n, 1, height, width, generator=g) > 0.7).float()
    return torch.rand(n, 3, height, width, generator=g), mask


# --------------------------------------------------------------------------- presets and settings
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fills_pictures(name):
    generator = build_generator(name, width=4, blocks=2).eval()
    c = generator.config
    assert (
        dataclasses.replace(c, width=PRESETS[name].width, blocks=PRESETS[name].blocks)
        == (PRESETS[name])
    )
    height, width = c.smallest, c.smallest + 2 * c.multiple
    y = generator(torch.rand(2, 4, height, width))
    assert y.shape == (2, 3, height, width) and y.dtype == torch.float32
    assert 0 < y.min() and y.max() < 1 and y.std() > 0


@pytest.mark.parametrize("downsamplings", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_width_doubles_up_to_its_limit(kind, downsamplings):
    generator = ready(tiny(kind, downsamplings=downsamplings, max_width=12, blocks=0))
    convs = [m for m in generator.model.modules() if isinstance(m, nn.ConvTranspose2d)]
    widths = [min(12, 4 * 2**i) for i in range(downsamplings + 1)]
    assert [m.in_channels for m in convs] == widths[:0:-1]
    side = generator.config.smallest
    assert generator(torch.rand(1, 4, side, side)).shape == (1, 3, side, side)


BAD_SETTINGS = [
    ({"kind": "fourrier"}, "fourrier"),
    ({"output": "relu"}, "relu"),
    ({"blocks": -1}, "blocks.*-1"),
    ({"blocks": 2.5}, "blocks.*2.5"),
    ({"width": 0}, "width.*0"),
    ({"downsamplings": -1}, "downsamplings.*-1"),
    ({"max_width": 0}, "max_width.*0"),
    ({"ratio": 1.2}, "ratio.*1.2"),
    ({"kind": "regular", "ratio": -0.5}, "ratio.*-0.5"),
    ({"dilations": ()}, r"dilations.*\(\)"),
    ({"dilations": (1, 0)}, r"dilations.*\(1, 0\)"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SETTINGS, ids=str)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**changes)
    with pytest.raises(ValueError, match=message):
        build_generator("mini-fourier", **changes)


def test_channels_that_cannot_be_shared():
    with pytest.raises(ValueError, match="8 input channels.*3 dilations"):
        build_generator(tiny("dilated", dilations=(1, 2, 3)))
    with pytest.raises(ValueError, match="divisible by 4"):
        build_generator(tiny(lfu=True))


def test_resolving_names_and_changes():
    config = resolve_config("big-lama", width=8, output="tanh")
    assert config == GeneratorConfig(blocks=18, width=8, output="tanh")
    assert resolve_config(config) == config
    assert resolve_config(config, blocks=1).blocks == 1 and config.blocks == 18
    assert build_generator().config.blocks == 9  # published LaMa-Fourier by default
    with pytest.raises(ValueError, match="no generator preset 'lama'.*big-lama"):
        resolve_config("lama")
    with pytest.raises(ValueError, match="no setting.*depth.*it has.*blocks"):
        build_generator("big-lama", depth=3)
    with pytest.raises(ValueError, match="'fourier', not 'regular'"):
        build_generator(tiny("regular"), global_branch=SpectralTransform)


@pytest.mark.parametrize("name", PRESETS)
def test_settings_survive_json(name):
    config = dataclasses.replace(PRESETS[name], dilations=(1, 3))
    text = json.dumps(dataclasses.asdict(config))
    again = GeneratorConfig(**json.loads(text))
    assert again == config and hash(again) == hash(config)
    assert isinstance(again.dilations, tuple)


# --------------------------------------------------------------------------- sizes
@pytest.mark.parametrize(
    ("kind", "downsamplings", "blocks"), list(itertools.product(KINDS, range(4), (0, 1)))
)
def test_the_smallest_size_is_exactly_where_padding_works(kind, downsamplings, blocks):
    config = tiny(kind, downsamplings=downsamplings, blocks=blocks)
    generator = ready(config)
    n, step = config.smallest, config.multiple
    assert n % step == 0
    for size in ((n, n), (n, n + step), (n + step, n)):
        assert generator(torch.rand(1, 4, *size)).shape == (1, 3, *size)
    below = n - step
    if below == 0:
        return
    for size in ((below, n), (n, below)):
        with pytest.raises(ValueError) as error:
            generator(torch.rand(1, 4, *size))
        message = str(error.value)
        assert f"at least {n}" in message and str(size) in message and "Inpainter" in message
        with pytest.raises(RuntimeError, match="[Pp]adding"):  # torch itself cannot do it either
            generator.model(torch.rand(1, 4, *size))


def test_published_smallest_sizes():
    smallest = {
        name: c.smallest for name, c in PRESETS.items() if not name.startswith(("mini", "trio"))
    }
    assert smallest.pop("lama-dilated") == 72
    assert set(smallest.values()) == {16}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4, 16, 20), r"multiples of 8.*\(16, 20\)"),
        ((1, 4, 17, 16), r"multiples of 8.*\(17, 16\)"),
        ((4, 16, 16), r"\(B, 4, H, W\).*\(4, 16, 16\)"),
        ((1, 3, 16, 16), r"\(B, 4, H, W\).*\(1, 3, 16, 16\)"),
    ],
)
def test_what_does_not_fit_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        ready(tiny(downsamplings=3))(torch.rand(*shape))


# --------------------------------------------------------------------------- layout
@pytest.mark.parametrize("kind", KINDS)
def test_output_activations(kind):
    generators = {o: ready(tiny(kind, output=o)) for o in ("none", "sigmoid", "tanh")}
    state = generators["none"].state_dict()
    for generator in generators.values():
        generator.load_state_dict(state)  # none has parameters of its own
    x = 5 * torch.rand(1, 4, 24, 20)
    raw = generators["none"](x)
    assert torch.equal(generators["sigmoid"](x), raw.sigmoid())
    assert torch.equal(generators["tanh"](x), raw.tanh())
    assert raw.min() < 0


@pytest.mark.parametrize("downsamplings", range(4))
@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_ratios_of_the_fourier_body(ratio, downsamplings):
    generator = ready(tiny(ratio=ratio, downsamplings=downsamplings, blocks=2))
    layers = [m for m in generator.modules() if isinstance(m, FFC)]
    assert len(layers) == 1 + downsamplings + 4
    # only what stands just before the blocks opens a global half
    assert all(m.convl2g is None and m.convl2l is not None for m in layers[:downsamplings])
    assert (layers[downsamplings].convl2g is not None) == (ratio > 0)
    assert (layers[downsamplings].convl2l is not None) == (ratio < 1)
    for layer in layers[1 + downsamplings :]:
        assert (layer.convg2g is not None) == (ratio > 0)
        assert (layer.convl2l is not None) == (ratio < 1)
        assert (layer.convl2g is not None) == (0 < ratio < 1) == (layer.convg2l is not None)
    side = generator.config.smallest
    y = generator(torch.rand(1, 4, side, 2 * side))
    assert y.shape == (1, 3, side, 2 * side) and y.isfinite().all()


def test_options_reach_every_spectral_transform():
    generator = ready(
        tiny(width=16, lfu=True, gated=True, position=True, squeeze_excitation=True, ratio=0.5)
    )
    branches = [m for m in generator.modules() if isinstance(m, SpectralTransform)]
    assert len(branches) == 2
    for branch in branches:
        assert branch.lfu is not None and branch.lfu.se is None
        assert branch.fu.position and branch.fu.se is not None
    gates = [m.gate is not None for m in generator.modules() if isinstance(m, FFC)]
    assert gates == [False, False, True, True]
    assert generator(torch.rand(1, 4, 12, 14)).isfinite().all()


# --------------------------------------------------------------------------- behaviour
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_parameter(kind):
    generator = ready(tiny(kind, width=8, gated=True))
    image, mask = picture(2, 20, 24)
    (inpaint_batch(generator, image, mask)[0] - image).square().mean().backward()
    silent = [n for n, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_equals_finite_differences(kind):
    generator = ready(tiny(kind, dilations=(1, 2))).double()
    x = torch.rand(1, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(generator, (x,), fast_mode=True, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_deterministic_and_independent_of_the_batch(kind):
    generator = ready(tiny(kind))
    image, mask = picture(3, 20, 22)
    x = torch.cat([image * (1 - mask), mask], 1)
    state = copy.deepcopy(generator.state_dict())
    together = generator(x)
    assert torch.equal(generator(x), together)
    alone = torch.cat([generator(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)
    assert all(torch.equal(v, state[k]) for k, v in generator.state_dict().items())
    assert not torch.allclose(generator.train()(x), together, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_tracing(kind):
    generator = ready(tiny(kind))
    x = torch.rand(1, 4, 20, 18)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks of the size are traced away
        traced = torch.jit.trace(generator, x)
    other = torch.rand(1, 4, 20, 18)
    torch.testing.assert_close(traced(other), generator(other))


@pytest.mark.parametrize("kind", KINDS)
def test_composite(kind):
    generator = ready(tiny(kind))
    image, mask = picture(2, 20, 24)
    prediction, composite = inpaint_batch(generator, image, mask)
    hole = mask.bool().expand_as(image)
    assert torch.equal(composite[~hole], image[~hole])  # bit for bit
    assert torch.equal(composite[hole], prediction[hole])
    assert torch.equal(prediction, generator(torch.cat([image * (1 - mask), mask], 1)))
    # what the hole hides has no influence
    hidden = torch.where(hole, torch.rand_like(image), image)
    assert torch.equal(inpaint_batch(generator, hidden, mask)[0], prediction)
    # the mask itself does
    assert not torch.equal(inpaint_batch(generator, image, torch.zeros_like(mask))[0], prediction)
