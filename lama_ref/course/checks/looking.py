"""Checks of notebook 03, the HRF perceptual loss."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from ...perceptual import EfficientNetLite, FeatureConfig, FeatureNet, PerceptualLoss, ResNet50
from ...pictures import scenes
from ..fields import gradient_map, share_within
from .core import by_hand, compare, exercise, expect, returned, tensor, uniform

__all__ = [
    "receptive_field",
    "perceptual_loss",
    "dilated_stage",
    "segmentation_scores",
    "own_features",
]

Layers = list[tuple[int, int, int]]


# --------------------------------------------------------------------------- 3.1
def _resnet50(dilated: bool) -> Layers:
    """Its kernels of more than one pixel, from the stem to the last stage."""
    layers: Layers = [(3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1)]
    for stage, blocks in enumerate((3, 4, 6, 3)):
        spread = {2: 2, 3: 4}.get(stage, 1) if dilated else 1
        stride = 2 if stage and spread == 1 else 1
        layers += [(3, stride, max(1, spread // 2))] + [(3, 1, spread)] * (blocks - 1)
    return layers


def _vgg19() -> Layers:
    """Up to relu5_1."""
    conv, pool = (3, 1, 1), (2, 2, 1)
    return [*[conv] * 2, pool, *[conv] * 2, pool, *[conv] * 4, pool, *[conv] * 4, pool, conv]


@exercise("3.1")
def receptive_field(answer: Callable[[Layers], tuple[int, int]]) -> None:
    """``answer(layers)``: (field, stride) of a chain of (kernel, stride, dilation)."""
    ours = [(3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1)]
    cases: tuple[tuple[str, Layers, tuple[int, int]], ...] = (
        ("no layer at all", [], (1, 1)),
        ("a 1 x 1 convolution", [(1, 1, 1)], (1, 1)),
        ("a 7 x 7 convolution of stride 2", [(7, 2, 1)], (7, 2)),
        ("a 3 x 3 convolution of dilation 4", [(3, 1, 4)], (9, 1)),
        ("a 4 x 4 convolution of dilation 3", [(4, 1, 3)], (10, 1)),
        ("a 1 x 1 convolution of stride 2, then 3 x 3", [(1, 2, 1), (3, 1, 1)], (5, 2)),
        ("a strided layer that is dilated, then 3 x 3", [(3, 2, 2), (3, 1, 1)], (9, 2)),
        ("the regular feature network", ours + [(3, 1, 1)] * 4, (55, 4)),
        ("the dilated one", ours + [(3, 1, 2)] * 2 + [(3, 1, 4)] * 2, (119, 4)),
        ("VGG19 up to relu5_1", _vgg19(), (156, 16)),
        ("the plain ResNet50", _resnet50(False), (431, 32)),
        ("the dilated ResNet50", _resnet50(True), (431, 8)),
    )
    for name, layers, expected in cases:
        before = list(layers)
        got = answer(layers)
        returned(got, name)
        expect(layers == before, f"{name}: your function changed the list; work on a copy")
        expect(
            isinstance(got, tuple) and len(got) == 2,
            f"{name}: the result is {got}, expected a pair (field, stride)",
        )
        expect(got[0] == expected[0], f"{name}: field {got[0]}, expected {expected[0]} pixels")
        expect(got[1] == expected[1], f"{name}: stride {got[1]}, expected {expected[1]} pixels")


# --------------------------------------------------------------------------- 3.2
def _feature_net(seed: int) -> FeatureNet:
    """A small network with BatchNorms that have seen something, in training mode."""
    torch.manual_seed(seed)
    net = FeatureNet(FeatureConfig(width=4, classes=3)).train()
    with torch.no_grad():
        for i in range(3):
            net(uniform(2, 3, 16, 16, seed=seed + i))
    return net


def _name_the_slip(value: Tensor, layers: Tensor, what: str) -> None:
    """Frequent wrong values, said in words. All are right for two equal pictures."""
    if value.shape or not layers.any():
        return
    slips = {
        "the mean over the layers, but the published code adds them up: use sum": layers.mean(),
        "the last layer alone: add the layers up": layers[-1],
        "half of the loss: there is no factor 1/2": layers.sum() / 2,
    }
    for slip, wrong in slips.items():
        expect(not torch.isclose(value.detach(), wrong, rtol=1e-4), f"{what}: this is {slip}")


@exercise("3.2")
def perceptual_loss(answer: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
    """``answer(network, prediction, image)`` against ``PerceptualLoss``."""
    answer = by_hand(answer, PerceptualLoss.layers)
    for n, h, w in ((1, 16, 16), (3, 13, 18)):
        net = _feature_net(n)
        reference = PerceptualLoss(deepcopy(net))
        image = uniform(n, 3, h, w, seed=7)
        inputs = {
            "the picture itself": image.clone(),
            "grey": torch.full_like(image, 0.5),
            "another picture": uniform(n, 3, h, w, seed=8),
        }
        for name, prediction in inputs.items():
            what = f"{name} against a batch of {n}, {h} x {w} px"
            state = deepcopy(net.state_dict())
            net.train().requires_grad_(True).zero_grad()
            y, x = prediction.clone().requires_grad_(), image.clone().requires_grad_()
            value = tensor(answer(net, y, x), what)
            wanted = y.detach().clone().requires_grad_()
            layers = reference.layers(wanted, image)
            expected = layers.sum()
            _name_the_slip(value, layers.detach(), what)
            compare(value, expected, what)
            moved = [k for k, v in net.state_dict().items() if not torch.equal(v, state[k])]
            expect(not moved, f"{what}: your function changed the network's {moved[:1]}")
            expect(value.requires_grad, f"{what}: no gradient can reach the prediction")
            value.backward()
            expected.backward()
            expect(x.grad is None, f"{what}: the gradient reaches the real picture, the target")
            compare(y.grad, wanted.grad, f"{what}: gradient of the prediction")
            heavy = [k for k, p in net.named_parameters() if p.grad is not None]
            expect(not heavy, f"{what}: a gradient reaches the network's {heavy[:1]}: freeze it")


# --------------------------------------------------------------------------- 3.3
def _stage(seed: int, *strides: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i, stride in enumerate(strides):
        kernel = 5 if i == 1 else 3
        conv = nn.Conv2d(3 + i, 4 + i, kernel, stride, kernel // 2, bias=i == 0)
        norm = nn.BatchNorm2d(4 + i)
        nn.init.normal_(norm.running_mean, 0, 0.1)  # type: ignore[arg-type]
        layers += [conv, norm, nn.ReLU()]
    return nn.Sequential(*layers).eval()


@exercise("3.3")
def dilated_stage(answer: Callable[[nn.Sequential], nn.Sequential]) -> None:
    """``answer(stage)``: the same weights without strides; old outputs among the new ones."""
    for strides in ((1, 1), (2, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (2, 3, 1, 1)):
        stage = _stage(len(strides), *strides)
        before = deepcopy(stage)
        dense = answer(stage)
        total = int(np.prod(strides))
        what = f"a stage with strides {strides}"
        expect(isinstance(dense, nn.Module), f"{what}: the result is no torch.nn.Module")
        expect(
            str(stage) == str(before),
            f"{what}: your function changed the stage that it was given; work on a deepcopy",
        )
        for n, h, w in ((1, 24, 24), (3, 19, 26)):
            x = uniform(n, 3, h, w, seed=h).requires_grad_()
            size = f"{what}, {h} x {w} px"
            y, plain = dense(x), stage(x)
            expect(
                y.shape[-2:] == (h, w),
                f"{size}: output of {tuple(y.shape[-2:])}, expected {(h, w)}: no stride is left, "
                "and padding grows with the dilation",
            )
            sample = y[..., ::total, ::total]
            compare(sample, plain, f"{size}: every {total}th output against the strided stage")
            (got,) = torch.autograd.grad(sample.square().sum(), x)
            (expected,) = torch.autograd.grad(plain.square().sum(), x)
            compare(got, expected, f"{size}: gradient", 1e-4)


# --------------------------------------------------------------------------- 3.4
@exercise("3.4")
def segmentation_scores(answer: Callable[[Tensor, Tensor, int], tuple[float, float]]) -> None:
    """``answer(given, labels, classes)``: (pixel accuracy, mean IoU over what occurs)."""
    a = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1]]])
    b = torch.tensor([[[0, 0, 0, 1], [0, 0, 0, 1]]])
    noisy = (uniform(3, 9, 7, seed=1) * 5).long()
    truth = torch.where(uniform(3, 9, 7, seed=2) < 0.6, noisy, (uniform(3, 9, 7) * 4).long())
    cases: list[tuple[str, Tensor, Tensor, int, tuple[float, float]]] = [
        ("all right", a, a, 2, (1.0, 1.0)),
        ("all wrong", 1 - a, a, 2, (0.0, 0.0)),
        ("a quarter wrong", b, a, 2, (0.75, (4 / 6 + 2 / 4) / 2)),
        ("classes that never occur do not count", b, a, 17, (0.75, (4 / 6 + 2 / 4) / 2)),
        ("a class that was given and is not there", a + (a == 1) * (b == 1), a, 3, (0.75, 0.5)),
    ]
    inter = [int(((noisy == c) & (truth == c)).sum()) for c in range(6)]
    union = [int(((noisy == c) | (truth == c)).sum()) for c in range(6)]
    iou = float(np.mean([i / u for i, u in zip(inter, union) if u]))
    cases.append(("random labels", noisy, truth, 6, (sum(inter) / noisy.numel(), iou)))
    for name, given, labels, classes, expected in cases:
        got = answer(given, labels, classes)
        returned(got, name)
        for what, value, wanted in zip(("pixel accuracy", "mean IoU"), got, expected):
            compare(float(value), wanted, f"{name}: {what}", 1e-6)


# --------------------------------------------------------------------------- 3.5
def _posts(shift: int) -> tuple[Tensor, Tensor]:
    """An empty wall, and the wall with three posts, the middle one raised by ``shift`` px."""
    wall = torch.tensor([0.85, 0.8, 0.7])[:, None, None].expand(1, 3, 376, 232).clone()
    image = wall.clone()
    for i in range(3):
        top, left = 160 - (shift if i == 1 else 0), 48 + 64 * i
        image[..., top : top + 56, left : left + 8] = torch.tensor([0.35, 0.2, 0.1])[:, None, None]
    return image, wall


@exercise("3.5")
def own_features(answer: Callable[[], Callable[[Tensor], list[Tensor]]]) -> None:
    """``answer()`` builds a feature network: the contract of ``PerceptualLoss``, and its field."""
    torch.manual_seed(0)
    features = answer()
    expect(callable(features), f"your function returned {features}, expected a feature network")
    expect(
        type(features) not in (FeatureNet, ResNet50, EfficientNetLite),
        f"this is lama_ref's own {type(features).__name__}: look through something else, or "
        "change what it returns",
    )
    loss = PerceptualLoss(features).train()
    for n, h, w in ((1, 32, 32), (3, 33, 46)):
        what = f"a batch of {n}, {h} x {w} px"
        image, other = uniform(n, 3, h, w, seed=1), uniform(n, 3, h, w, seed=2)
        maps = features(image)
        expect(
            isinstance(maps, list | tuple) and len(maps) > 0,
            f"{what}: features must be a list of maps, not {type(maps).__name__}",
        )
        for i, m in enumerate(maps):
            expect(
                isinstance(m, Tensor) and m.ndim == 4 and len(m) == n,
                f"{what}: map {i} must be a (B, C, h, w) tensor of {n} pictures",
            )
            expect(bool(m.isfinite().all()), f"{what}: map {i} has NaN or infinite values")
        for i, (m, again) in enumerate(zip(maps, features(image))):
            compare(again, m, f"{what}: map {i} of the same picture, computed twice")
        alone = features(image[:1])
        for i, (m, single) in enumerate(zip(maps, alone)):
            compare(single, m[:1], f"{what}: map {i} of the first picture, alone and in its batch")
        y = other.clone().requires_grad_()
        value = loss(y, image)
        expect(value.item() > 0, f"{what}: two different pictures have a distance of 0")
        expect(value.requires_grad, f"{what}: no gradient reaches the prediction")
        (gradient,) = torch.autograd.grad(value, y)
        expect(bool(gradient.any()), f"{what}: the gradient of the prediction is zero")
    x = torch.from_numpy(scenes.batch(2, 160, np.random.default_rng(9))[0])
    share = share_within(gradient_map(lambda v: features(v)[-1], x))
    (row, wall), (broken, _) = _posts(0), _posts(40)
    with torch.no_grad():
        change = abs(loss(broken, wall) / loss(row, wall) - 1).item()
    radius = int((share < 0.9).sum())
    print(f"90 % of the gradient within {radius} px; posts in a row or not: {change:.2%}")
