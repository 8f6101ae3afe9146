"""Every check of notebook 06: right and wrong answers."""

import copy
from dataclasses import replace

import torch
from check_suite import check_suite


# --- right answers ----------------------------------------------------------------------------
def step_size(step, steps, warmup, decay_from, lr, *, first=1, to_zero=True, product=False):
    up = min(1.0, (step + first) / warmup)
    left = steps - step if to_zero else steps - step - 1
    falling = (1 - decay_from) * steps
    down = min(1.0, left / falling) if falling else 1.0
    return lr * (up * down if product else min(up, down))


def in_pieces(network, loss, image, pieces, *, clear=True, weigh=True, mean=True, whole=False):
    if clear:
        network.zero_grad()
    parts = [image] if whole else image.chunk(pieces)
    for part in parts:
        weight = len(part) / len(image) if weigh else 1 / len(parts)
        (loss(network, part) * (weight if mean else 1)).backward()
    return [p.grad.clone() for p in network.parameters()]


def checkpoint(network, adam, rng, saved=None, *, copied=True, parts="nbar", numpy=False):
    if saved is None:
        saved = {"network": network.state_dict(), "adam": adam.state_dict()}
        saved["rng"] = rng.get_state()
        if numpy:
            saved["rng"] = saved["rng"].numpy()
        return copy.deepcopy(saved) if copied else saved
    buffers = dict(network.named_buffers())
    own = {k: v for k, v in saved["network"].items() if ("b" if k in buffers else "n") in parts}
    network.load_state_dict(own, strict=False)
    if "a" in parts:
        adam.load_state_dict(saved["adam"])
    if "r" in parts:
        rng.set_state(saved["rng"])
    return saved


def recipe(config, **changes):
    return replace(config, **({"lr": 1e-3} | changes))


RIGHT = {
    "step_size": step_size,
    "gradient_in_pieces": in_pieces,
    "checkpoint": checkpoint,
    "recipe": recipe,
}


def through_autograd(network, loss, image, pieces):
    total = [torch.zeros_like(p) for p in network.parameters()]
    for part in image.chunk(pieces):
        found = torch.autograd.grad(loss(network, part), tuple(network.parameters()))
        total = [t + g * len(part) / len(image) for t, g in zip(total, found)]
    return total


def as_scalar(*arguments):
    return torch.tensor(step_size(*arguments), dtype=torch.float64)


ALSO_RIGHT = [("gradient_in_pieces", through_autograd), ("step_size", as_scalar)]


# --- wrong answers ----------------------------------------------------------------------------
def changed(function, **changes):
    return lambda *arguments: function(*arguments, **changes)


WRONG = [
    ("step_size", changed(step_size, first=0), r"step 0 of 100, warm-up 10"),
    ("step_size", changed(step_size, to_zero=False), r"step 9\d? of 100|step 60 of 100|step 99"),
    ("step_size", changed(step_size, product=True), r"warm-up 30, decay from 0: share of lr"),
    ("step_size", lambda step, steps, warmup, decay, lr: lr, r"step 0 of 100.*expected 0.1"),
    ("step_size", lambda *_: None, "returned None"),
    ("step_size", lambda s, n, w, d, lr: step_size(s, n, w, d, 1.0), "share of lr"),
    ("gradient_in_pieces", changed(in_pieces, clear=False), "still in .grad"),
    ("gradient_in_pieces", changed(in_pieces, weigh=False), "5 pictures in 2.*counts less"),
    ("gradient_in_pieces", changed(in_pieces, mean=False), "2 times too large"),
    ("gradient_in_pieces", changed(in_pieces, whole=True), "6 pictures at once.*is for 3"),
    ("gradient_in_pieces", lambda n, loss, x, k: in_pieces(n, loss, x[:-1], k), "saw 5 pictures"),
    ("gradient_in_pieces", lambda n, loss, x, k: in_pieces(n, loss, x, k)[0], "a list of 4"),
    ("checkpoint", changed(checkpoint, copied=False), "refers to tensors"),
    ("checkpoint", changed(checkpoint, parts="nbr"), "Adam's .* was not restored"),
    ("checkpoint", changed(checkpoint, parts="nba"), "random generator was not restored"),
    ("checkpoint", changed(checkpoint, parts="nar"), "BatchNorm's statistics.* was not restored"),
    ("checkpoint", changed(checkpoint, parts="bar"), "parameter 0.weight was not restored"),
    ("checkpoint", changed(checkpoint, numpy=True), "tensors and plain values only"),
    ("checkpoint", lambda *_: None, "return a dict, not NoneType"),
    ("recipe", changed(recipe, steps=80), "steps is the budget: leave it at 40, not 80"),
    ("recipe", changed(recipe, stages=((0.0, 64, 4),)), "stages is the budget"),
    ("recipe", lambda config: {"lr": 0.1}, "return a TrainConfig.*not dict"),
    ("recipe", lambda config: config, "this is the given recipe"),
    ("recipe", changed(recipe, lr=2e-3, save_every=10), "this is the given recipe"),
    ("recipe", changed(recipe, lr=2e-3, log_every=10), "by -?0.0000 on average"),
    ("recipe", changed(recipe, lr=0.0), "0.003 is asked for"),
    ("recipe", changed(recipe, lr=1e10), "0.003 is asked for|broke off: .*not a number"),
]

TestChecks = check_suite("6", RIGHT, ALSO_RIGHT, WRONG, slow=["recipe"])
