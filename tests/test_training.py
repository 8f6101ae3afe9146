"""The trainer: it learns, it resumes bit for bit, it complains early."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lama_ref import training
from lama_ref.data import weights
from lama_ref.generator import build_generator, inpaint_batch
from lama_ref.losses import LaMaLoss, LossWeights
from lama_ref.training import TrainConfig, TrainState, train, training_step

SMALL = dict(stages=((0.0, 32, 2),), steps=6, save_every=2, settle=2, warmup=1)


@pytest.fixture(autouse=True)
def small_preset(monkeypatch):
    from lama_ref.generator import PRESETS, GeneratorConfig

    tiny = GeneratorConfig(blocks=1, width=8, downsamplings=2)
    monkeypatch.setitem(PRESETS, "tiny", tiny)


def tensors(path):
    return weights.load_state_dict(path)


@pytest.mark.parametrize("adversarial", [False, True])
def test_resumed_equals_uninterrupted(tmp_path, adversarial, monkeypatch):
    chosen = LossWeights() if adversarial else TrainConfig().weights
    features = "segmentation-dilated" if adversarial else None
    config = TrainConfig(
        generator="tiny", weights=chosen, features=features, discriminator_width=8, **SMALL
    )
    whole = train(config, tmp_path / "whole", progress=False)

    step = training.training_step

    def dies(state, *args):
        if state.step == 5:  # after the checkpoint of step 4
            raise KeyboardInterrupt
        return step(state, *args)

    monkeypatch.setattr(training, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", progress=False)
    monkeypatch.setattr(training, "training_step", step)
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    resumed = train(config, tmp_path / "cut", progress=False)
    first, second = tensors(whole), tensors(resumed)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_it_learns_to_copy_a_grey_picture():
    torch.manual_seed(0)
    generator = build_generator("tiny")
    state = TrainState(generator, torch.optim.Adam(generator.parameters(), 5e-3), None, None)
    loss = LaMaLoss(None, weights=TrainConfig().weights)
    image = torch.full((4, 3, 32, 32), 0.25)
    mask = torch.zeros(4, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    first = training_step(state, loss, image, mask, 5.0)["hole_l1"]
    for _ in range(40):
        last = training_step(state, loss, image, mask, 5.0)["hole_l1"]
    assert last < first / 3
    assert state.step == 41


def test_one_step_moves_each_network_by_its_own_loss():
    torch.manual_seed(0)
    from lama_ref.discriminator import build_discriminator

    g, d = build_generator("tiny"), build_discriminator(8)
    state = TrainState(g, torch.optim.SGD(g.parameters(), 0.0), d, torch.optim.Adam(d.parameters()))
    before_g = [p.clone() for p in g.parameters()]
    before_d = [p.clone() for p in d.parameters()]
    image, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    mask[..., :16, :16] = 1
    terms = training_step(state, LaMaLoss(d), image, mask, 5.0)
    assert {"l1", "adversarial", "feature_matching", "d_real", "d_fake", "d_r1"} <= set(terms)
    assert all(torch.equal(a, b) for a, b in zip(before_g, g.parameters()))  # step size 0
    assert all(not torch.equal(a, b) for a, b in zip(before_d, d.parameters()))
    # the discriminator's gradients come from its own loss alone: clipped to norm 5
    norm = torch.cat([p.grad.flatten() for p in d.parameters()]).norm()
    assert 0 < norm <= 5.001


def test_batches_depend_on_seed_and_step_alone():
    config = TrainConfig(stages=((0.0, 16, 3), (0.5, 24, 2)), steps=10)
    straight = training.batches(config, None)
    sequence = [next(straight) for _ in range(8)]
    later = next(training.batches(config, None, 7))
    assert all(torch.equal(a, b) for a, b in zip(sequence[7], later))
    assert sequence[0][0].shape == (3, 3, 16, 16) and sequence[7][0].shape == (2, 3, 24, 24)
    assert not torch.equal(sequence[0][0], sequence[1][0])
    assert set(sequence[0][1].unique().tolist()) == {0.0, 1.0}


def test_photographs_and_scenes_share_a_batch(tmp_path):
    for i in range(3):
        array = np.full((40, 40, 3), 100 + 20 * i, np.uint8)
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    photos = training.folders.Photos(tmp_path)
    config = TrainConfig(photos=str(tmp_path), scene_share=0.5, stages=((0.0, 16, 8),))
    image, _ = next(training.batches(config, photos))
    flat = image.std((2, 3)).amax(1) < 1e-3  # the photographs are of one colour
    assert flat[4:].all() and not flat[:4].all()


def test_settling_makes_evaluation_equal_training_mode():
    torch.manual_seed(0)
    generator = build_generator("tiny")
    image, mask = torch.rand(6, 3, 32, 32), torch.zeros(6, 1, 32, 32)
    mask[..., 4:20, 10:30] = 1

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


def test_schedule():
    config = TrainConfig(steps=100, warmup=10, decay_from=0.5)
    assert config.speed(0) == pytest.approx(0.1) and config.speed(30) == 1
    assert config.speed(75) == pytest.approx(0.5) and config.speed(100) == 0


def test_bad_settings_and_folders_complain_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="stages"):
        TrainConfig(stages=((0.5, 64, 8),))
    with pytest.raises(ValueError, match="scene_share"):
        TrainConfig(scene_share=1.5)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(TrainConfig(photos=str(tmp_path / "nowhere")), tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no feature network 'vgg'"):
        train(TrainConfig(features="vgg"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, monkeypatch):
    nan = {"hole_l1": torch.tensor(float("nan"))}

    def broken(state, *args):
        state.step += 1
        return nan

    monkeypatch.setattr(training, "training_step", broken)
    config = TrainConfig(generator="tiny", stages=((0.0, 32, 2),), steps=40)
    with pytest.raises(FloatingPointError, match="lower lr"):
        train(config, tmp_path, progress=False)


def test_the_log_is_json_lines(tmp_path):
    options = SMALL | {"steps": 20, "features": "segmentation-dilated"}
    config = TrainConfig(generator="tiny", **options)
    train(config, tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20]
    assert 0 < lines[0]["hole_l1"] < 1 and lines[0]["l1"] > 0 and lines[0]["perceptual"] > 0


def test_a_start_that_does_not_fit_is_named(tmp_path):
    other = build_generator("tiny", width=4)
    weights.save(other, tmp_path / "other.safetensors")
    config = TrainConfig(generator="tiny", start=str(tmp_path / "other.safetensors"), **SMALL)
    with pytest.raises(ValueError, match="other.safetensors"):
        train(config, tmp_path / "run", progress=False)


def test_nothing_that_is_not_a_number_is_saved(tmp_path):
    config = TrainConfig(generator="tiny", lr=1e30, clip=1e30, **SMALL)
    with pytest.raises(FloatingPointError):
        train(config, tmp_path, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()
