"""The perceptual loss and its networks: published values, and what each switch does."""

from __future__ import annotations

import pickle
from copy import deepcopy

import golden_weights as golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lama_ref import LaMaLoss, build_discriminator, build_generator, official
from lama_ref.course import pretext
from lama_ref.perceptual import (
    EfficientNetLite,
    FeatureConfig,
    FeatureNet,
    PerceptualLoss,
    Remembering,
    ResNet50,
)
from lama_ref.pictures import photographs, scenes
from lama_ref.runs.recipes import PRESETS
from lama_ref.training import TrainState, training_step
from lama_ref.weights import names
from lama_ref.weights.files import checksum
from lama_ref.weights.names import load_features, shipped

KINDS = ("dilated", "regular", "fourier")


# --------------------------------------------------------------------------- the published encoder
@pytest.fixture(scope="module")
def encoder() -> ResNet50:
    return official.load_hrf_encoder(golden.fill_normal(ResNet50()).state_dict())


def test_encoder_has_the_published_keys():
    published = golden.facts()["ade20k"]
    with torch.device("meta"):
        own = ResNet50()
    assert {k: list(v.shape) for k, v in own.state_dict().items()} == golden.keys()["ade20k"]
    assert len(own.state_dict()) == 330
    assert sum(p.numel() for p in own.parameters()) == published["params"] == 23_631_808


def test_encoder_gives_the_published_features(encoder):
    """Means of the four feature maps of one picture, and the layers' distances of two."""
    (a, _), (b, _) = (golden.image_and_mask(seed, 2, 64, 64) for seed in (1, 2))
    features = encoder(a)
    assert [tuple(f.shape) for f in features] == [
        (2, 256, 16, 16), (2, 512, 8, 8), (2, 1024, 8, 8), (2, 2048, 8, 8)
    ]  # fmt: skip
    means = [f.mean().item() for f in features]
    assert means == pytest.approx([0.17349592, 0.20001142, 0.25604763, 0.20027785], rel=1e-5)
    layers = PerceptualLoss(encoder).layers(a, b)
    expected = [1.8884854e-3, 2.8308580e-4, 3.906327e-5, 7.54996e-6]
    assert layers.tolist() == pytest.approx(expected, rel=1e-5)


def test_published_loss_of_the_other_filling():
    encoder = golden.fill_uniform(ResNet50())
    published = golden.facts()["ade20k"]
    a, b = golden.image(11, 2, 3, 64, 64), golden.image(12, 2, 3, 64, 64)
    assert [list(f.shape) for f in encoder(a)] == published["shapes"]
    value = PerceptualLoss(encoder)(b, a).item()
    assert value == pytest.approx(published["hrfpl_sum_mse"], rel=1e-5)
    assert PerceptualLoss(encoder, "mean")(b, a).item() == pytest.approx(value / 4, rel=1e-6)


@pytest.mark.parametrize(("batchnorm", "expected"), [("eval", 0.0665455), ("train", 377.348)])
def test_batchnorm_switch(encoder, batchnorm, expected):
    """The published training normalised with batch statistics: another loss altogether."""
    (a, _), (b, _) = (golden.image_and_mask(seed, 2, 64, 64) for seed in (1, 2))
    state, encoder = encoder.state_dict(), deepcopy(encoder)
    loss = LaMaLoss(None, PerceptualLoss(encoder, batchnorm=batchnorm)).train()
    _, terms = loss.generator(a, a[:, :1] * 0, b)
    assert terms["perceptual"].item() == pytest.approx(expected, rel=1e-4)
    moved = any(not torch.equal(v, state[k]) for k, v in encoder.state_dict().items())
    assert moved == (batchnorm == "train")  # running statistics drift


def test_plain_variant_has_the_same_weights_and_coarser_maps(encoder):
    plain = official.load_hrf_encoder(encoder.state_dict(), dilated=False)
    x = golden.image(0, 1, 3, 64, 64)
    assert [tuple(f.shape[1:]) for f in plain(x)] == [
        (256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)
    ]  # fmt: skip
    for a, b in zip(plain(x)[:2], encoder(x)[:2]):  # dilation begins after the second stage
        torch.testing.assert_close(a, b)


def test_loading_an_encoder(encoder, tmp_path):
    state = encoder.state_dict()
    x = golden.image(0, 1, 3, 32, 32)
    expected = encoder(x)
    # in a training checkpoint, and with the classifier of ImageNet weights
    nested = {f"loss_resnet_pl.impl.{k}": v for k, v in state.items()} | {"generator.x": x}
    torch.save({"state_dict": nested}, tmp_path / "last.ckpt")
    torch.save(state | {"fc.weight": x, "fc.bias": x}, tmp_path / "resnet50-imagenet.pth")
    for name in ("last.ckpt", "resnet50-imagenet.pth"):
        loaded = official.load_hrf_encoder(tmp_path / name)
        assert not loaded.training
        for a, b in zip(loaded(x), expected):
            assert torch.equal(a, b)
    with pytest.raises(ValueError, match="(?s)does not fit ResNet50.*missing.*layer4"):
        official.load_hrf_encoder({k: v for k, v in state.items() if "layer4" not in k})
    with pytest.raises(ValueError, match="no LaMa encoder in these 2 tensors"):
        official.load_hrf_encoder({"a": x, "b": x})
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) images.*\(1, 4, 8, 8\)"):
        encoder(torch.zeros(1, 4, 8, 8))


# --------------------------------------------------------------------------- a whole training step
@pytest.mark.parametrize(
    ("batchnorm", "perceptual_term", "total", "norm", "d_total", "d_norm"),
    [
        ("eval", 0.1168331, 54.4685135, 301.7668, 1.5646310, None),
        ("train", 379.27457, 433.62625, 1.0159e5, 1.5511478, 16.17885),
    ],
)
def test_published_training_step(encoder, batchnorm, perceptual_term, total, norm, d_total, d_norm):
    """Generator's loss, clipping to norm 1, Adam, then the discriminator's on a new prediction.

    Batch statistics of 128 values make the encoder's gradient in training mode a matter of
    rounding: scaling the picture by 1 + 1e-7 moves its norm by 0.2 %, and float64 gives 101,700,
    0.11 % off the recorded value. Adam's first step takes the sign of each gradient, so what
    follows it scatters as well (in float64: 1.5530, and 1.5551 after that scaling).
    """
    chaotic = batchnorm == "train"
    encoder = deepcopy(encoder)  # whose running statistics may drift
    image, mask = golden.image_and_mask(1, 2, 64, 64)
    generator = golden.fill_normal(build_generator("lama-fourier")).train()
    discriminator = golden.fill_normal(build_discriminator()).train()
    loss = LaMaLoss(discriminator, PerceptualLoss(encoder, batchnorm=batchnorm)).train()

    adam, adam_d = (torch.optim.Adam(n.parameters()) for n in (generator, discriminator))
    state = TrainState(generator, adam, discriminator, adam_d)
    published = PRESETS["lama-fourier"]  # predicts anew for the discriminator
    terms = {k: v.item() for k, v in training_step(state, loss, image, mask, published).items()}
    of_generator = {
        "l1": 1.8520819,
        "adversarial": 7.5568600,
        "feature_matching": 44.9427376,
        "perceptual": perceptual_term,
    }
    assert {k: terms[k] for k in of_generator} == pytest.approx(of_generator, rel=1e-4)
    assert sum(terms[k] for k in of_generator) == pytest.approx(total, rel=1e-4)
    assert terms["gradient_norm"] == pytest.approx(norm, rel=4e-3 if chaotic else 1e-3)
    of_discriminator = sum(terms[f"d_{k}"] for k in ("real", "fake", "r1"))
    assert of_discriminator == pytest.approx(d_total, rel=5e-3 if chaotic else 1e-3)
    assert terms["d_r1"] == pytest.approx(0.02858718, rel=1e-3)
    if d_norm:
        assert terms["d_gradient_norm"] == pytest.approx(d_norm, rel=3e-3)


# --------------------------------------------------------------------------- the loss itself
def test_loss_by_hand():
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.random((2, 3, 6, 5))) for _ in range(2))
    features = lambda x: [x.mean(1), 3 * x[..., ::2]]  # noqa: E731
    difference = (a - b).numpy()
    layers = [(difference.mean(1) ** 2).mean(), 9 * (difference[..., ::2] ** 2).mean()]
    assert PerceptualLoss(features).layers(a, b).tolist() == pytest.approx(layers)
    assert PerceptualLoss(features)(a, b).item() == pytest.approx(sum(layers))
    assert PerceptualLoss(features, "mean")(a, b).item() == pytest.approx(sum(layers) / 2)


def test_gradient_reaches_the_prediction_alone():
    net = FeatureNet(FeatureConfig(width=4)).double()
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.random((1, 3, 8, 8))).requires_grad_() for _ in range(2))
    loss = PerceptualLoss(net)
    loss(a, b).backward()
    assert a.grad is not None and a.grad.any() and b.grad is None
    assert all(p.grad is None for p in net.parameters())  # frozen
    a.grad = None
    assert torch.autograd.gradcheck(lambda y: loss(y, b), (a,))


def test_evaluation_mode_is_kept():
    net = FeatureNet(FeatureConfig(width=4))
    assert net.training
    parent = nn.ModuleList([PerceptualLoss(net)])
    assert not net.training
    assert not parent.train()[0].features.training
    follows = PerceptualLoss(net, batchnorm="train")
    assert follows.train().features.training and not follows.eval().features.training


@pytest.mark.parametrize("wrong", [{"reduction": "max"}, {"batchnorm": "frozen"}], ids=str)
def test_unknown_switch(wrong):
    with pytest.raises(ValueError, match=f"not '{next(iter(wrong.values()))}'"):
        PerceptualLoss(lambda x: [x], **wrong)


def test_what_is_not_a_network_or_a_pair():
    with pytest.raises(TypeError, match="not 'segmentation-dilated'.*load_features"):
        PerceptualLoss("segmentation-dilated")  # type: ignore[arg-type]
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"one shape, not \(2, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        PerceptualLoss(lambda x: [x])(x, x[:1])


# --------------------------------------------------------------------------- EfficientNet-Lite
LITE = ("efficientnet-lite0", "efficientnet-lite1")


@pytest.mark.parametrize("case", golden.efficientnet()["cases"], ids=lambda case: str(case["size"]))
def test_efficientnet_gives_the_published_values(case):
    network = names.load_efficientnet(LITE[0], (7,))
    image = golden.image(7, 2, 3, *case["size"])
    with torch.no_grad():
        found = dict(zip(case["layers"], network.outputs(image), strict=True))
    assert len(found) == 17
    for name, layer in case["layers"].items():
        x = found[name]
        assert list(x.shape) == layer["shape"], name
        values = [x.mean().item(), x.std().item(), *x.flatten()[:6].tolist()]
        expected = [layer["mean"], layer["std"], *layer["first"]]
        assert values == pytest.approx(expected, rel=0, abs=1e-4), name


@pytest.mark.parametrize("name", LITE)
def test_maps_are_of_unit_variance_on_photographs(name):
    """What the BatchNorms say of ImageNet holds for pictures that were not in it."""
    network = names.load_efficientnet(name, range(1, 8))
    photos = [photographs.square(photo, 224) for photo in photographs.sample_photos().values()]
    with torch.no_grad():
        maps = network(torch.from_numpy(np.stack(photos)))
    for stage, x in enumerate(maps, 1):
        std = x.var((0, 2, 3)).mean().sqrt().item()  # of a channel, as BatchNorm counts
        # stage 6 knows objects, of which six photographs hold few: on fifty others it has 1.07
        assert std == pytest.approx(1, rel=0.35 if stage == 6 else 0.25), stage


@pytest.mark.parametrize("name", LITE)
def test_stages_of_efficientnet(name):
    image = golden.image(3, 1, 3, 70, 101)
    some, every = (names.load_efficientnet(name, s) for s in ((2, 5), range(1, 8)))
    assert some.channels == [24, 112] and every.channels == [16, 24, 40, 80, 112, 192, 320]
    sides = [tuple(m.shape[-2:]) for m in every(image)]
    assert sides == [(70 // n, 101 // n) for n in (2, 4, 8, 16, 16, 32, 32)]
    for a, b in zip(some(image), [every(image)[i] for i in (1, 4)]):
        assert torch.equal(a, b)
    assert len(some.state_dict()) < len(every.state_dict())  # what is not asked for is not built
    maps, last = list(some.outputs(image)), some(image)[-1]
    torch.testing.assert_close(last * some.spread(5), maps[-1])
    assert len(maps) == 1 + sum(EfficientNetLite.BLOCKS[some.variant][:5])
    sizes = {
        n: sum(p.numel() for p in EfficientNetLite(n, (7,)).parameters())
        for n in EfficientNetLite.BLOCKS
    }
    assert [round(n / 1e6, 1) for n in sizes.values()] == [3.0, 3.7]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "b0"}, "one of lite0, lite1, not 'b0'"),
        ({"stages": ()}, r"within 1 to 7, not \(\)"),
        ({"stages": (5, 2)}, r"ascend.*not \(5, 2\)"),
        ({"stages": (2, 2)}, "ascend"),
        ({"stages": (0, 1)}, "within 1 to 7"),
        ({"stages": (7, 8)}, "within 1 to 7"),
    ],
    ids=str,
)
def test_bad_settings_of_efficientnet(wrong, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite(**wrong)


def test_pictures_too_small_for_a_stage_are_named():
    network = EfficientNetLite(stages=(1, 6)).eval()
    assert [m.shape[-2:] for m in network(torch.rand(1, 3, 32, 32))] == [(16, 16), (1, 1)]
    message = r"stage 6 needs sides of at least 32 px, not \(31, 64\)"
    with pytest.raises(ValueError, match=message):
        network(torch.rand(1, 3, 31, 64))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) images.*\(1, 4, 64, 64\)"):
        network(torch.rand(1, 4, 64, 64))


def test_the_file_is_read_without_unpickling(monkeypatch):
    read, real = [], official.read_checkpoint
    monkeypatch.setattr(official, "read_checkpoint", lambda p: read.append(p) or real(p))
    for owner, name in (
        (torch, "load"),
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
    ):
        monkeypatch.setattr(owner, name, lambda *a, **k: pytest.fail("it runs code"))
    network = names.load_encoder("efficientnet-lite0", (3,))
    assert [path.name for path in read] == ["efficientnet-lite0-57934424.pth"]
    assert network.stages == (3,) and not network.training
    assert not any(p.requires_grad for p in network.parameters())  # a gradient costs time


# --------------------------------------------------------------------------- remembering
class Counted(nn.Module):
    """A feature network that is told how often it was asked."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3).double().requires_grad_(False)
        self.calls = 0

    def forward(self, image: Tensor) -> list[Tensor]:
        self.calls += 1
        return [self.conv(image).tanh(), self.conv(image).square()]


def test_remembered_features_and_gradients_are_those_of_the_network():
    plain, counted = Counted(), Counted()
    features = Remembering(counted)
    rng = np.random.default_rng(0)
    real, fake = (torch.from_numpy(rng.random((2, 3, 8, 8))) for _ in range(2))
    gradients = []
    for phi in (plain, features):
        y = fake.clone().requires_grad_()
        with torch.no_grad():
            target = phi(real)
        PerceptualLoss(phi)(y, real).backward()  # asks for both, again for the real one
        z = y * 1
        (of_maps,) = torch.autograd.grad(torch.stack([m.sum() for m in phi(z)]).sum(), z)
        gradients += [[y.grad, of_maps, *target, *phi(y.detach())]]
    assert all(torch.equal(a, b) for a, b in zip(*gradients))
    assert (plain.calls, counted.calls) == (5, 3)


def test_a_picture_goes_through_the_network_once():
    features = Remembering(counted := Counted())
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64).requires_grad_()
    maps = features(x)
    assert features(x) is maps and maps[0].requires_grad
    assert torch.equal(features(x.detach())[0], maps[0]) and counted.calls == 1
    assert not features(x.detach())[0].requires_grad
    features(x.detach().clone())
    assert counted.calls == 2  # equal values elsewhere are another picture
    with torch.no_grad():
        assert not features(x)[0].requires_grad
    assert counted.calls == 2
    features(torch.rand(1, 3, 8, 8, dtype=torch.float64)), features(x)
    assert counted.calls == 4  # the last two are kept: x is the third one back
    with torch.no_grad():
        x.add_(1)  # a step of Adam
    assert torch.equal(features(x.detach())[0], counted(x)[0])


def test_a_gradient_that_was_not_kept_is_computed():
    features = Remembering(counted := Counted())
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        features(image)
    for calls in (2, 3):  # R1 makes a leaf of each step's own, even of the same picture
        leaf = image.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(features(leaf)[1].sum(), leaf)
        assert gradient.any() and counted.calls == calls
    leaf = 1 - leaf.detach()
    with torch.no_grad():
        features(leaf.requires_grad_())
    assert features(leaf)[0].requires_grad and counted.calls == 5
    assert not torch.equal(features(image.transpose(2, 3))[0], features(image)[0])


# --------------------------------------------------------------------------- small networks
def test_the_three_kinds_are_of_equal_size():
    sizes = [sum(p.numel() for p in FeatureNet(FeatureConfig(k)).parameters()) for k in KINDS]
    assert max(sizes) < 1.02 * min(sizes) and sizes[0] == sizes[1] == 226_289


@pytest.mark.parametrize("kind", KINDS)
def test_feature_maps(kind):
    net = FeatureNet(FeatureConfig(kind, classes=5, width=8)).eval()
    x = torch.rand(2, 3, 33, 46)
    assert [f.shape[-2:] for f in net(x)] == [(17, 23), (9, 12), (9, 12), (9, 12)]
    assert net.scores(x).shape == (2, 5, 9, 12)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        net(x[0])


def test_unknown_kind():
    with pytest.raises(ValueError, match="'vgg'"):
        FeatureNet(FeatureConfig("vgg"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "field"), [("dilated", 119), ("regular", 55), ("fourier", 128)])
def test_receptive_field(kind, field):
    """Input pixels on which the middle of the last map depends, by gradient: as computed.

    2 after the stem's stride, each 3x3 convolution adds 2 * dilation * stride so far; an FFC
    reaches everything.
    """
    torch.manual_seed(0)
    net = FeatureNet(FeatureConfig(kind, width=8)).eval().double()
    x = torch.rand(1, 3, 128, 128, dtype=torch.float64).requires_grad_()
    total = torch.zeros(())
    for _ in range(3):  # several weights, since ReLUs hide pixels at random
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
        (g,) = torch.autograd.grad(net(x)[-1][0, :, 16, 16].sum(), x)
        total = total + g.abs().sum((0, 1))
    rows = total.sum(1).nonzero()
    assert (rows.max() - rows.min() + 1).item() == field


def test_bytes_are_refused():
    with pytest.raises(ValueError, match=r"torch.uint8: divide by 255"):
        FeatureNet(FeatureConfig(width=4))(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


# --------------------------------------------------------------------------- pretext tasks
@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"held_out": 0}, {"stages": ()}, {"pretext": "jigsaw"}], ids=str
)
def test_bad_pretext_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pretext.PretextConfig(**wrong)


def test_pretext_training_that_diverges_writes_nothing(tmp_path):
    config = pretext.PretextConfig(steps=150, stages=((0.0, 8, 1),), lr=1e30, held_out=1)
    with pytest.raises(FloatingPointError, match="lower lr"):
        pretext.train(config, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_pretext_losses_by_hand():
    torch.manual_seed(0)
    net = FeatureNet(FeatureConfig(classes=3, width=4)).eval()
    image = torch.rand(2, 3, 8, 8)
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[1, :, 4:] = 2
    full = F.interpolate(net.scores(image), (8, 8), mode="bilinear").softmax(1)
    expected = -full.gather(1, labels[:, None]).log().mean()
    torch.testing.assert_close(pretext.pretext_loss(net, "segmentation", image, labels), expected)
    p = net.scores(image).mean((2, 3)).sigmoid()
    truth = torch.tensor([[1.0, 0, 0], [1, 0, 1]])
    expected = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    torch.testing.assert_close(pretext.pretext_loss(net, "classification", image, labels), expected)
    with pytest.raises(ValueError, match="'jigsaw'"):
        pretext.pretext_loss(net, "jigsaw", image, labels)


def test_a_label_occurs_from_one_percent_on():
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[0, 0, :4] = 1  # 4 of 400 pixels
    labels[0, 1, :3] = 2
    assert pretext.occurring(labels, 4).tolist() == [[1, 1, 0, 0]]


class Oracle(FeatureNet):
    """Knows the labels: the scene's, at 1/4 of the resolution, from the picture it is given."""

    def __init__(self, truth: Tensor):
        super().__init__(FeatureConfig(width=4))
        self.truth = truth

    def scores(self, image: Tensor) -> Tensor:
        return F.one_hot(self.truth[: len(image)], 17).permute(0, 3, 1, 2).float() - 0.01


def test_evaluation_by_an_oracle():
    _, labels = scenes.batch(10, 32, np.random.default_rng(5))
    labels = torch.from_numpy(labels).long()
    network = Oracle(labels).train()
    result = pretext.evaluate(network, n=10, size=32, seed=5)
    assert network.training  # the mode is left alone
    counts = np.bincount(labels.flatten(), minlength=17)
    assert result["pixels"] == 1 and result["classes"] == 1 and result["occurring"] > 0.99
    assert result["pixels_commonest"] == pytest.approx(counts.max() / counts.sum(), abs=1e-4)
    wrong = pretext.evaluate(Oracle((labels + 1) % 17), n=10, size=32, seed=5)
    assert wrong["pixels"] == 0 and wrong["classes"] == 0


@pytest.mark.parametrize("task", ["segmentation", "classification"])
@pytest.mark.slow
def test_training_learns_and_repeats(task, tmp_path):
    config = pretext.PretextConfig(
        pretext=task, steps=40, stages=((0.0, 16, 4), (0.5, 32, 2)), held_out=4, seed=1
    )
    first = pretext.train(config, tmp_path / "a", progress=False)
    second = pretext.train(config, tmp_path / "b", progress=False)
    assert first.read_bytes() == second.read_bytes()
    card = names.card(first)
    assert card["sha256"] == checksum(first) and card["training"]["pretext"] == task
    fresh = FeatureNet(FeatureConfig())
    trained = load_features(first)
    image, labels = map(torch.from_numpy, scenes.batch(20, 32, np.random.default_rng(9)))
    with torch.no_grad():
        losses = [
            pretext.pretext_loss(net.train(), task, image, labels.long()).item()
            for net in (fresh, trained)
        ]
    assert losses[1] < 0.9 * losses[0]


# --------------------------------------------------------------------------- what is shipped
def test_shipped_feature_networks():
    files = shipped("features")
    assert set(files) == {f"{p}-{k}" for p in ("segmentation", "classification") for k in KINDS}
    assert sum(path.stat().st_size for path in files.values()) < 3e6
    for name, path in files.items():
        card = names.card(path)
        assert checksum(path) == card["sha256"], name
        assert name == f"{card['training']['pretext']}-{card['network']['kind']}"
        assert not load_features(name).training


@pytest.mark.parametrize("name", [f"segmentation-{kind}" for kind in KINDS])
def test_shipped_accuracy_is_that_of_the_card(name):
    """On the first 50 of the card's 200 held-out scenes, to sampling error."""
    held_out = names.card(shipped("features")[name])["held_out"]
    here = pretext.evaluate(load_features(name), n=50)
    assert here["pixels"] == pytest.approx(held_out["pixels"], abs=0.06)
    assert here["pixels"] > held_out["pixels_commonest"] + 0.3


def test_loading_features_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="'vgg19'.*segmentation-dilated"):
        load_features("vgg19")
    with pytest.raises(ValueError, match="does not hold"):
        load_features(shipped()["mini-fourier"])
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match="does not hold"):
        load_features(tmp_path / "text.safetensors")
