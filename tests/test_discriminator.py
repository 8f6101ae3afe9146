"""Both discriminators: sizes, what of them is trained and saved; the projected one by hand.

What the patch discriminator computes is compared with the published code in test_parity.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers import with_statistics

from lama_ref import build_discriminator, build_generator
from lama_ref.discriminator import Discriminator, ProjectedDiscriminator
from lama_ref.generator import GeneratorConfig
from lama_ref.weights.format import save_training
from lama_ref.weights.names import load_efficientnet, load_training


def ready(**options) -> Discriminator:
    torch.manual_seed(0)
    return with_statistics(Discriminator(**options))


def logits_side(side: int, layers: int = 4) -> int:
    """A 4 x 4 kernel with two pixels of padding: n -> n // 2 + 1 with stride 2, else n + 1."""
    for _ in range(layers):
        side = side // 2 + 1
    return side + 2


@pytest.mark.parametrize(("side", "expected"), [(512, 35), (256, 19), (64, 7)])
def test_published_sizes_of_the_logits(side, expected):
    assert logits_side(side) == expected
    logits, features = ready(width=2)(torch.rand(1, 3, side, side))
    assert logits.shape == (1, 1, expected, expected)
    assert len(features) == 5


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (7, 30), (33, 16)], ids=str)
def test_any_size_and_depth(size, layers):
    logits, features = ready(width=2, layers=layers)(torch.rand(2, 3, *size))
    assert logits.shape == (2, 1, *(logits_side(side, layers) for side in size))
    assert len(features) == layers + 1


def test_width_stops_at_its_limit():
    _, features = ready(width=4, layers=4, max_width=8)(torch.rand(1, 3, 32, 32))
    assert [f.shape[1] for f in features] == [4, 8, 8, 8, 8]
    _, features = ready(width=16, layers=2, max_width=8)(torch.rand(1, 3, 32, 32))
    assert [f.shape[1] for f in features] == [8, 8, 8]


def test_one_score_sees_one_patch():
    """Each layer widens the field by three of its input's steps: 142 pixels, and no others."""
    d = ready(width=2).double()
    image = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    logits, _ = d(image)
    (gradient,) = torch.autograd.grad(logits[0, 0, 9, 9], image)
    seen = gradient[0].abs().sum(0) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == 1 + 3 * (1 + 2 + 4 + 8 + 16 + 16)


def test_gradient_reaches_image_and_every_parameter():
    d = ready(width=4)
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    d(image)[0].square().mean().backward()
    assert image.grad.abs().min() > 0
    assert [n for n, p in d.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bad_settings_and_images_are_named():
    for options in ({"width": 0}, {"layers": 0}, {"max_width": -3}):
        with pytest.raises(ValueError, match=f"at least 1.*{next(iter(options.values()))}"):
            build_discriminator(**options)
    d = ready(width=2)
    for shape in ((3, 32, 32), (1, 4, 32, 32)):
        with pytest.raises(ValueError) as error:
            d(torch.rand(*shape))
        assert str(shape) in str(error.value)


# --------------------------------------------------------------------------- projected
STAGES, CHANNELS = (2, 5, 6), (24, 112, 192)


@pytest.fixture(scope="module")
def features():
    return load_efficientnet("efficientnet-lite0", STAGES)


def projected(features, width: int = 8) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(features, CHANNELS, width).eval()


@pytest.mark.parametrize("size", [(64, 64), (65, 127), (96, 33), (32, 32)], ids=str)
def test_one_map_of_scores_from_each_layer(features, size):
    d = projected(features)
    logits, hidden = d(torch.rand(2, 3, *size))
    sides = [(size[0] // n, size[1] // n) for n in (4, 16, 32)]
    assert [tuple(s.shape) for s in logits] == [(2, 1, *side) for side in sides]
    assert [tuple(x.shape) for x in hidden] == [(2, 8, *side) for side in sides for _ in "xy"]
    assert d.grids(*size) == sides == d.grids(*size)


def test_a_head_by_hand(features):
    d, image = projected(features), torch.rand(1, 3, 64, 64)
    logits, hidden = d(image)
    for i, (seen, head) in enumerate(zip(features(image), d.heads)):
        x = torch.einsum("oi,bihw->bohw", head.mix[:, :, 0, 0], seen)
        for layer, found in zip((head.conv1, head.conv2), hidden[2 * i : 2 * i + 2]):
            x = F.conv2d(F.pad(x, (1, 1, 1, 1)), layer.weight, layer.bias)
            x = torch.where(x > 0, x, 0.2 * x)
            torch.testing.assert_close(found, x)
        torch.testing.assert_close(logits[i], F.conv2d(x, head.last.weight, head.last.bias))
        assert x.min() < 0 < x.max()


def test_spectral_norms_settle_at_one(features):
    d = projected(features).train()
    for _ in range(50):
        d(torch.rand(1, 3, 32, 32))
    for head in d.heads:
        for layer in (head.conv1, head.conv2, head.last):
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            assert norm == pytest.approx(1, abs=0.02)


def test_features_are_neither_part_nor_parameter(features):
    d = projected(features)
    assert {name.split(".")[0] for name in d.state_dict()} == {"heads"}
    assert len(d.state_dict()) == len(projected(None).state_dict())
    assert all("mix" not in name for name, _ in d.named_parameters())
    assert sum("mix" in name for name, _ in d.named_buffers()) == len(STAGES)
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.stack([s.square().mean() for s in d(image)[0]]).sum().backward()
    assert image.grad is not None and image.grad.any()
    assert all(p.grad is None for p in features.parameters())
    assert [n for n, p in d.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_features_can_be_set_later(features):
    image, d = torch.rand(1, 3, 32, 32), projected(None)
    for run in (lambda: d(image), lambda: d.grids(32, 32)):
        with pytest.raises(ValueError, match="has no features: see look_through"):
            run()
    d.look_through(features)
    for a, b in zip(d(image)[0], projected(features)(image)[0]):
        assert torch.equal(a, b)
    d.look_through(lambda x: [2 * m for m in features(x)])
    assert not torch.equal(d(image)[0][0], projected(features)(image)[0][0])


@pytest.mark.parametrize("half", [False, True])
def test_a_projected_discriminator_returns_from_its_file(features, half, tmp_path):
    generator = build_generator(GeneratorConfig(blocks=1, width=4, downsamplings=2))
    d, image = projected(features), torch.rand(1, 3, 48, 40)
    path = save_training(tmp_path / "t.safetensors", generator, d, half=half)
    _, loaded = load_training(path)
    assert isinstance(loaded, ProjectedDiscriminator)
    assert (loaded.channels, loaded.width) == (CHANNELS, 8)
    loaded.eval().look_through(features)
    for a, b in zip(loaded(image)[0], d(image)[0]):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3 if half else 0)
