"""Every check of notebook 03: right and wrong answers.

And the meters of receptive fields that notebooks 02 and 03 share.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from check_suite import check_suite
from torch import nn

from lama_ref.course.fields import extent, gradient_map, share_within
from lama_ref.perceptual import FeatureConfig, FeatureNet, PerceptualLoss, ResNet50


# --- right answers ----------------------------------------------------------------------------
def receptive_field(layers, *, dilation=True, stride_first=False, grow=None):
    field = jump = 1
    for k, s, d in layers:
        jump = jump * s if stride_first else jump
        field += (grow or (k - 1)) * (d if dilation else 1) * jump
        jump = jump if stride_first else jump * s
    return field, jump


def perceptual_loss(network, prediction, image, *, mode=False, freeze=True, detach=True, **kind):
    network.train(mode)
    network.requires_grad_(not freeze)
    fake, real = network(prediction), network(image)
    real = [r.detach() for r in real] if detach else real
    layers = [kind.get("distance", F.mse_loss)(f, r) for f, r in zip(fake, real)]
    return layers[-1] if kind.get("last") else sum(layers) / (4 if kind.get("mean") else 1)


def dilated_stage(stage, *, own=False, pad=True, spread=True, copy=True, keep=False):
    stage = deepcopy(stage) if copy else stage
    factor = 1
    for layer in stage:
        if isinstance(layer, nn.Conv2d):
            stride, kernel = layer.stride[0], layer.kernel_size[0]
            factor *= stride if own else 1
            d = factor if spread else 1
            layer.dilation = (d, d)
            layer.padding = (kernel // 2 * d,) * 2 if pad else layer.padding
            layer.stride = layer.stride if keep else (1, 1)
            factor *= 1 if own else stride
    return stage


def segmentation_scores(given, labels, classes, *, absent=False, union=True):
    table = torch.bincount((labels * classes + given).flatten(), minlength=classes**2)
    table = table.view(classes, classes).double()
    hits, rows, columns = table.diag(), table.sum(1), table.sum(0)
    total = rows + columns - hits if union else rows
    shares = hits / total.clamp(min=1)
    shares = shares if absent else shares[total > 0]
    return (hits.sum() / table.sum()).item(), shares.mean().item()


def own_features():
    net = FeatureNet(FeatureConfig("regular", width=4)).eval()
    return lambda image: net(image)[1:]


RIGHT = {
    "receptive_field": receptive_field,
    "perceptual_loss": perceptual_loss,
    "dilated_stage": dilated_stage,
    "segmentation_scores": segmentation_scores,
    "own_features": own_features,
}


ALSO_RIGHT = [
    ("own_features", lambda: lambda x: [x, F.avg_pool2d(x, 4)])  # no network at all
]


# --- wrong answers ----------------------------------------------------------------------------
class Batchwise(nn.Module):
    def forward(self, x):
        return [x - x.mean((0, 2, 3), keepdim=True)]


def own(function):
    return lambda: function


def shallow(stage):
    return dilated_stage(nn.Sequential(*list(stage)[:-3]))


def drifting(network, prediction, image):
    value = perceptual_loss(network, prediction, image)
    network.train()(image)
    return value


def no_return(*_):
    return None


WRONG = [
    ("receptive_field", lambda x: receptive_field(x, dilation=False), "dilation 4: field 3"),
    ("receptive_field", lambda x: receptive_field(x, stride_first=True), "7 x 7.*13, expected 7"),
    ("receptive_field", lambda x: receptive_field(x, grow=2), "a 1 x 1 convolution: field 3"),
    ("receptive_field", lambda x: (receptive_field(x)[0], 1), "stride 1, expected 2"),
    ("receptive_field", lambda x: receptive_field(x)[0], "expected a pair"),
    ("receptive_field", lambda x: receptive_field([x.pop() for _ in x[:]]), "changed the list"),
    ("receptive_field", no_return, "returned None"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, mode=True), "grey against|itself|changed"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, freeze=False), "freeze it"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, detach=False), "the target"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, mean=True), "mean over the layers.*use sum"),
    ("perceptual_loss", lambda n, y, x: PerceptualLoss(n)(y, x), "lama_ref's own PerceptualLoss"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a).item(), "return a tensor, not a float"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, distance=F.l1_loss), "largest difference"),
    ("perceptual_loss", lambda *a: perceptual_loss(*a, last=True), "the last layer alone"),
    ("perceptual_loss", lambda n, y, x: perceptual_loss(n, y.detach(), x), "no gradient can"),
    ("perceptual_loss", drifting, "changed the network's .*running_mean"),
    ("perceptual_loss", no_return, "returned None"),
    ("dilated_stage", lambda s: s, r"strides \(2, 1\).*no stride is left"),
    ("dilated_stage", lambda s: dilated_stage(s, keep=True), "no stride is left"),
    ("dilated_stage", lambda s: dilated_stage(s, own=True), "every 2th output"),
    ("dilated_stage", lambda s: dilated_stage(s, spread=False), "every 2th output"),
    ("dilated_stage", lambda s: dilated_stage(s, pad=False), "padding grows"),
    ("dilated_stage", lambda s: dilated_stage(s, copy=False), "work on a deepcopy"),
    ("dilated_stage", shallow, "shape"),
    ("dilated_stage", no_return, "no torch.nn.Module"),
    ("segmentation_scores", lambda *a: segmentation_scores(*a, absent=True), "never occur"),
    ("segmentation_scores", lambda *a: segmentation_scores(*a, union=False), "mean IoU"),
    ("segmentation_scores", lambda *a: segmentation_scores(*a)[::-1], "pixel accuracy"),
    (
        "segmentation_scores",
        lambda g, t, n: (0.75 if (g != t).any() else 1.0, segmentation_scores(g, t, n)[1]),
        "all wrong: pixel accuracy",
    ),
    ("segmentation_scores", no_return, "returned None"),
    ("own_features", lambda: FeatureNet(FeatureConfig()).eval(), "lama_ref's own FeatureNet"),
    ("own_features", own(lambda x: F.avg_pool2d(x, 4)), "must be a list"),
    ("own_features", own(Batchwise()), "alone and in its batch"),
    ("own_features", own(lambda x: [x + torch.rand_like(x)]), "computed twice"),
    ("own_features", own(lambda x: [x.detach()]), "no gradient"),
    ("own_features", own(lambda x: [0 * x]), "distance of 0"),
    ("own_features", own(lambda x: [x.mean((2, 3))]), r"\(B, C, h, w\)"),
    ("own_features", own(lambda x: [x / 0]), "NaN or infinite"),
    ("own_features", own(lambda x: [x + torch.ones(32, 32)]), "raised RuntimeError"),
    ("own_features", no_return, "expected a feature network"),
]

TestChecks = check_suite("3", RIGHT, ALSO_RIGHT, WRONG)


# --- meters of fields -------------------------------------------------------------------------
def test_gradient_map_of_a_convolution_is_its_kernel():
    """With all weights known: magnitudes, summed over channels, mirrored about the centre."""
    x = torch.rand(3, 2, 7, 10)
    kernel = torch.arange(-15.0, 15).view(1, 2, 3, 5)
    m = gradient_map(lambda v: F.conv2d(v, kernel, padding=(1, 2)), x)
    expected = torch.zeros(7, 10)
    expected[2:5, 3:8] = kernel.abs().sum((0, 1))
    torch.testing.assert_close(m, expected)
    assert extent(m) == (3, 5) and not x.requires_grad


def test_gradient_map_adds_several_outputs_and_averages_pictures():
    x = torch.rand(2, 1, 6, 6)
    weight = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    m = gradient_map(lambda v: [v * weight, F.avg_pool2d(v, 2)], x)
    expected = torch.zeros(6, 6)
    expected[2:4, 2:4] = 1 / 4  # pixel (1, 1) of the coarse output
    expected[3, 3] += (1 + 3) / 2
    torch.testing.assert_close(m, expected)


def test_share_within_and_extent():
    m = torch.zeros(5, 8)
    m[2, 4], m[1, 4], m[4, 7] = 1, 2, 5
    assert share_within(m).tolist() == [1 / 8, 3 / 8, 3 / 8, 1.0, 1.0]
    assert extent(m) == (4, 4)
    assert extent(0 * m) == (0, 0)


def test_dilated_resnet_holds_the_plain_one():
    """Same weights: where the strides went, dilation computes the same values and those between."""
    torch.manual_seed(0)
    dilated, plain = ResNet50(True).eval(), ResNet50(False).eval()
    plain.load_state_dict(dilated.state_dict())
    x = torch.rand(1, 3, 75, 64)
    with torch.no_grad():
        for a, b, step in zip(dilated(x), plain(x), (1, 1, 2, 4)):
            torch.testing.assert_close(a[..., ::step, ::step], b, rtol=1e-4, atol=1e-6)
