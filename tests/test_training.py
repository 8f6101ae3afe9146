"""One training step and the recipes: what moves, by which loss, at which speed."""

import copy
import json
from dataclasses import asdict, replace

import pytest
import torch

from lama_ref import training
from lama_ref.discriminator import ProjectedDiscriminator, build_discriminator
from lama_ref.generator import GeneratorConfig, build_generator, inpaint_batch
from lama_ref.losses import LaMaLoss, LossWeights
from lama_ref.runs.recipes import PRESETS, TrainConfig, from_dict
from lama_ref.training import TrainState, training_step

TINY = GeneratorConfig(blocks=1, width=8, downsamplings=2)
CONFIG = TrainConfig(warmup=1, decay_from=1.0, lr=5e-3)


def a_batch(n: int = 2, side: int = 32):
    rng = torch.Generator().manual_seed(1)
    mask = torch.zeros(n, 1, side, side)
    mask[..., :16, 8:24] = 1
    return torch.rand(n, 3, side, side, generator=rng), mask


def a_state(discriminator: bool = True, average: bool = False) -> TrainState:
    torch.manual_seed(0)
    g = build_generator(TINY)
    d = build_discriminator(8) if discriminator else None
    return TrainState(
        g,
        torch.optim.Adam(g.parameters()),
        d,
        d and torch.optim.Adam(d.parameters()),
        copy.deepcopy(g) if average else None,
    )


def vector(network) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def test_it_learns_to_copy_a_grey_picture():
    state, (_, mask) = a_state(discriminator=False), a_batch(4)
    image = torch.full((4, 3, 32, 32), 0.25)
    loss = LaMaLoss(None, weights=LossWeights(l1_hole=10))
    errors = [training_step(state, loss, image, mask, CONFIG)["hole_l1"] for _ in range(41)]
    assert errors[-1] < errors[0] / 3
    assert state.step == 41


def test_one_step_moves_each_network_by_its_own_loss():
    state, (image, mask) = a_state(), a_batch()
    g, d = vector(state.generator), vector(state.discriminator)
    still = replace(CONFIG, lr=0.0)  # Adam then moves nothing
    terms = training_step(state, LaMaLoss(state.discriminator), image, mask, still)
    names = {"l1", "adversarial", "feature_matching", "d_real", "d_fake", "d_r1", "hole_l1"}
    assert set(terms) == names | {"gradient_norm", "d_gradient_norm"}
    assert torch.equal(g, vector(state.generator))
    assert not torch.equal(d, vector(state.discriminator))
    # both gradients are clipped; the discriminator's come from its own loss alone
    for network in (state.generator, state.discriminator):
        norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        assert 0 < norm <= CONFIG.clip * 1.001
    assert all(p.requires_grad for p in state.discriminator.parameters())


def test_a_projected_discriminator_trains_its_heads_alone():
    state, (image, mask) = a_state(), a_batch()
    features = torch.nn.Conv2d(3, 5, 4, 4).requires_grad_(False)
    state.discriminator = d = ProjectedDiscriminator(lambda x: [features(x)] * 2, (5, 5), 4)
    state.optimizer_d = torch.optim.Adam(d.parameters(), 1e-3)
    before = {name: x.clone() for name, x in d.state_dict().items()}
    for _ in range(2):  # the same batch twice: R1's gradient is of this step
        terms = training_step(state, LaMaLoss(d), image, mask, CONFIG)
    assert {"adversarial", "feature_matching", "d_real", "d_fake", "d_r1"} <= set(terms)
    same = {name for name, x in d.state_dict().items() if torch.equal(x, before[name])}
    assert {name for name in same if "_u" not in name} == {"heads.0.mix", "heads.1.mix"}


def test_the_discriminators_loss_does_not_reach_the_generator():
    state, (image, mask) = a_state(), a_batch()
    training_step(state, LaMaLoss(state.discriminator), image, mask, CONFIG)
    with_d = vector(state.generator)
    state = a_state()
    state.optimizer_d = None  # the discriminator stands still
    training_step(state, LaMaLoss(state.discriminator), image, mask, CONFIG)
    assert torch.equal(with_d, vector(state.generator))


def test_without_the_adversarial_term_the_discriminator_waits():
    state, (image, mask) = a_state(), a_batch()
    before = vector(state.discriminator)
    terms = training_step(state, LaMaLoss(None), image, mask, CONFIG)
    assert set(terms) == {"l1", "gradient_norm", "hole_l1"}
    assert torch.equal(before, vector(state.discriminator))


@pytest.mark.parametrize("double", [False, True])
def test_which_prediction_the_discriminator_sees(double):
    """The generator's updated by the step's first half if predicted anew, as published."""
    state, (image, mask) = a_state(), a_batch()
    loss, seen = LaMaLoss(state.discriminator), []
    original = loss.discriminator
    loss.discriminator = lambda *args: seen.append(args[2].detach().clone()) or original(*args)
    config = replace(CONFIG, double_forward=double)
    old, _ = inpaint_batch(copy.deepcopy(state.generator), image, mask)
    training_step(state, loss, image, mask, config)
    assert torch.equal(seen[0], old) != double
    updates = state.generator.model[1].bn_l.num_batches_tracked.item()
    assert updates == 1 + double  # of BatchNorm's statistics, too


def test_half_precision_is_close_and_keeps_float32_weights():
    image, mask = a_batch(2, 64)
    values = {}
    for precision in ("float32", "bfloat16"):
        state = a_state()
        config = replace(CONFIG, precision=precision)
        loss = LaMaLoss(state.discriminator)
        values[precision] = training_step(state, loss, image, mask, config)
        assert {p.dtype for p in state.generator.parameters()} == {torch.float32}
    for name, value in values["float32"].items():
        assert values["bfloat16"][name].item() == pytest.approx(value.item(), rel=0.1), name
    assert values["bfloat16"]["l1"] != values["float32"]["l1"]  # it was on


def test_moving_average():
    state, (image, mask) = a_state(average=True), a_batch()
    config = replace(CONFIG, average=0.5)
    loss, seen = LaMaLoss(None), [vector(state.generator)]
    state.step = 100  # beyond its warm-up
    for _ in range(2):
        training_step(state, loss, image, mask, config)
        seen.append(vector(state.generator))
    expected = 0.25 * seen[0] + 0.25 * seen[1] + 0.5 * seen[2]
    torch.testing.assert_close(vector(state.average), expected)
    bn, of_average = state.generator.model[1].bn_l, state.average.model[1].bn_l
    assert of_average.num_batches_tracked == bn.num_batches_tracked == 2
    assert not torch.equal(bn.running_mean, of_average.running_mean)  # it is averaged, too


def test_a_state_returns_from_its_dictionary():
    state, (image, mask) = a_state(average=True), a_batch()
    other = a_state(average=True)
    training_step(state, LaMaLoss(state.discriminator), image, mask, CONFIG)
    other.load_state_dict(copy.deepcopy(state.state_dict()))
    assert other.step == 1
    for s in (state, other):
        training_step(s, LaMaLoss(s.discriminator), image, mask, CONFIG)
    for name in ("generator", "discriminator", "average"):
        assert torch.equal(vector(getattr(state, name)), vector(getattr(other, name)))


def test_settling_makes_evaluation_equal_training_mode():
    generator = a_state().generator
    image, mask = a_batch(6)

    def same():
        while True:
            yield image, mask

    for _ in range(3):  # statistics of other pictures, to be forgotten
        inpaint_batch(generator, 3 + torch.rand(2, 3, 32, 32), mask[:2])
    training.settle_batchnorm(generator, same(), 3)
    assert not generator.training
    settled, _ = inpaint_batch(generator, image, mask)
    with_batch_statistics, _ = inpaint_batch(generator.train(), image, mask)
    # running variances are unbiased, batch variances biased: equal up to n / (n - 1)
    torch.testing.assert_close(settled, with_batch_statistics, atol=2e-2, rtol=0)
    assert generator.model[1].bn_l.momentum == 0.1


# --------------------------------------------------------------------------- recipes
def test_schedule():
    config = TrainConfig(steps=100, warmup=10, decay_from=0.5)
    assert config.speed(0) == pytest.approx(0.1) and config.speed(30) == 1
    assert config.speed(75) == pytest.approx(0.5) and config.speed(100) == 0
    constant = replace(config, warmup=1, decay_from=1.0)
    assert {constant.speed(step) for step in (0, 50, 99)} == {1.0}
    state = a_state()
    state.step = 75
    image, mask = a_batch()
    training_step(state, LaMaLoss(state.discriminator), image, mask, config)
    speeds = [adam.param_groups[0]["lr"] for adam in (state.optimizer, state.optimizer_d)]
    assert speeds == pytest.approx([config.lr / 2, config.lr_discriminator / 2])


def test_published_recipe():
    """reference: published configs; Adam 1e-3 and 1e-4, no schedule, clipped to 1, 10 a GPU."""
    recipe = PRESETS["lama-fourier"]
    assert (recipe.lr, recipe.lr_discriminator, recipe.clip) == (1e-3, 1e-4, 1.0)
    assert {recipe.speed(step) for step in (0, 1, 10**5, 10**6 - 1)} == {1.0}
    assert recipe.weights == LossWeights() == LossWeights(10, 0, 10, 100, 30, 0.001)
    assert recipe.double_forward and recipe.average is None and recipe.l1_until == 0
    assert recipe.stages == ((0.0, 256, 30),) and recipe.discriminator_width == 64
    assert PRESETS["big-lama"].stages == ((0.0, 256, 120),)


def test_the_trio_differs_in_its_kind_alone():
    trio = [PRESETS[f"trio-{kind}"] for kind in ("fourier", "regular", "dilated")]
    assert len({replace(recipe, generator="trio-fourier") for recipe in trio}) == 1
    configs = [build_generator(recipe.generator).config for recipe in trio]
    assert [c.kind for c in configs] == ["fourier", "regular", "dilated"]
    assert len({replace(c, kind="fourier") for c in configs}) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_recipes_survive_json(name):
    assert from_dict(json.loads(json.dumps(asdict(PRESETS[name])))) == PRESETS[name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stages": ((0.5, 64, 8),)}, "stages must start at 0"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"stages": ((0.0, 33, 8),)}, "33 px.*multiples of 4"),
        ({"stages": ((0.0, 32, 0),)}, "batches at least 1"),
        ({"save_every": 0}, "save_every must be at least 1, not 0"),
        ({"l1_until": 1.5}, r"l1_until must lie in \[0, 1\], not 1.5"),
        ({"average": -0.1}, r"average must lie in \[0, 1\], not -0.1"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"precision": "float16"}, "float32 or bfloat16, not 'float16'"),
        ({"generator": "lama"}, "no generator preset 'lama'"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"weights": LossWeights(l1_hole=-3)}, "weights not below"),
        ({"stages": ((0.0, 32, 2), (2.0, 32, 2))}, "growing shares below 1"),
        ({"stages": ((0.0, 32, 2), (0.6, 32, 2), (0.5, 32, 2))}, "growing shares"),
        ({"minutes": 0.0, "stages": ((0.0, 64, 2),)}, "minutes must be above 0"),
        ({"minutes": -1, "stages": ((0.0, 64, 2),)}, "not -1"),
        ({"minutes": 1, "stages": ((0.0, 64, 2), (0.5, 96, 2))}, "with 2 stages"),
    ],
    ids=str,
)
def test_bad_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)
