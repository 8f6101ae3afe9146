"""Every check of notebook 07: right and wrong answers."""

import numpy as np
import pytest
from check_suite import check_suite
from scipy import stats

from lama_ref import checks
from lama_ref.course import study
from lama_ref.evaluation import distances, metrics


# --- right answers ----------------------------------------------------------------------------
def seam_error(result, image, mask, *, axes=(1, 2), sign=-1, border=True, each=False, square=False):
    values = []
    for y, x, m in zip(result.astype(float), image, mask):
        excess, pairs, per_axis = 0.0, 0, []
        for axis in axes:
            across = np.diff(m, axis=axis - 1) if border else np.diff(m, axis=axis - 1) | True
            one, two = (np.abs(np.diff(v, axis=axis)) ** (1 + square) for v in (y, x))
            step = ((one + sign * two).mean(0) * across).sum()
            excess, pairs = excess + step, pairs + across.sum()
            per_axis.append(step / max(across.sum(), 1))
        values.append(np.mean(per_axis) if each else excess / max(pairs, 1))
    return np.array(values)


def share_interval(k, n, level, *, edges=True, sides=2):
    tail = (1 - level) / sides

    def solve(f):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if f(middle) else (low, middle)
        return low

    lower = solve(lambda t: stats.binom.sf(k - 1, n, t) < tail)
    upper = solve(lambda t: stats.binom.cdf(k, n, t) > tail)
    return (0.0 if edges and k == 0 else lower), (1.0 if edges and k == n else upper)


def normal_interval(k, n, level):
    p, z = k / n, stats.norm.ppf((1 + level) / 2)
    half = z * np.sqrt(p * (1 - p) / n)
    return p - half, p + half


def ratio_interval(a, b, rng, *, paired=True, level=0.95, replace=True, ratios=False, draws=4000):
    values = []
    for _ in range(draws):
        i = rng.choice(len(a), len(a), replace=replace)
        j = i if paired else rng.integers(0, len(a), len(a))
        values.append((a[i] / b[i]).mean() if ratios else a[i].mean() / b[j].mean())
    point = (a / b).mean() if ratios else a.mean() / b.mean()
    return point, *np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


def kernel(x, y, *, diagonal=False, root=False, power=3, divide=True, paired=False, n_only=False):
    d = x.shape[1] if divide else 1
    (n, m), k = (len(x), len(y)), lambda a, b: (a @ b.T / d + 1) ** power
    within = 0.0
    for values in (k(x, x), k(y, y)):
        size = len(values)
        rest = values.sum() - (0 if diagonal else np.trace(values))
        within += rest / (size**2 if diagonal or n_only else size * (size - 1))
    cross = k(x, y)
    if paired and n == m:
        cross = cross[~np.eye(n, dtype=bool)]
    value = within - 2 * cross.mean()
    return np.sqrt(max(value, 0)) if root else value


def roughness(result, image, mask):
    """Right: the amount of detail in the hole, against that of the truth."""
    amounts = []
    for pictures in (result, image):
        slopes = np.gradient(pictures.astype(float), axis=(2, 3))
        amounts.append((sum(np.abs(s).mean(1) for s in slopes) * mask).sum((1, 2)))
    return np.abs(np.log((amounts[0] + 1) / (amounts[1] + 1)))


RIGHT = {
    "seam_error": seam_error,
    "share_interval": share_interval,
    "ratio_interval": ratio_interval,
    "unbiased_kernel": kernel,
    "own_metric": roughness,
}


def exact(k, n, level):
    return tuple(stats.binomtest(k, n).proportion_ci(level, "exact"))


def by_counts(a, b, rng):
    counts = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), 2000)
    low, high = np.quantile(counts @ a / (counts @ b), [0.025, 0.975])
    return a.mean() / b.mean(), low, high


ALSO_RIGHT = [
    ("share_interval", exact),
    ("ratio_interval", by_counts),
    ("unbiased_kernel", lambda x, y: np.float64(kernel(x, y))),
]


@pytest.mark.parametrize("seed", range(4))
def test_a_right_bootstrap_passes_whatever_the_chance(seed):
    checks.ratio_interval(lambda a, b, rng: by_counts(a, b, rng.spawn(seed + 1)[-1]))


# --- wrong answers ----------------------------------------------------------------------------
def spoil(result, image, mask):
    values = seam_error(result, image, mask)
    result[:] = 0
    return values


WRONG = [
    ("seam_error", lambda *a: seam_error(*a, axes=(1,)), "a grey box"),
    ("seam_error", lambda *a: seam_error(*a, sign=0), "a grey box"),
    ("seam_error", lambda *a: seam_error(*a, border=False), "a grey box"),
    ("seam_error", lambda *a: seam_error(*a, each=True), "largest difference"),
    ("seam_error", lambda *a: seam_error(*a, square=True), "a grey box"),
    ("seam_error", lambda *a: np.abs(seam_error(*a)), "largest difference"),
    ("seam_error", lambda *a: seam_error(*a).mean(), r"shape \(\), expected \(1,\)"),
    ("seam_error", metrics.ring_colour, "largest difference"),
    ("seam_error", spoil, "changed its input"),
    ("seam_error", metrics.seam_gradient, "hides nothing"),
    ("seam_error", lambda *a: None, "None"),
    ("share_interval", normal_interval, "12 of 20 at level 0.95: lower end"),
    ("share_interval", lambda *a: share_interval(*a, sides=1), "12 of 20"),
    ("share_interval", lambda k, n, level: share_interval(k, n, 0.95), "5 of 60 at level 0.9"),
    ("share_interval", lambda *a: share_interval(*a)[::-1], "lower end"),
    ("share_interval", lambda k, n, p: stats.beta.interval(p, k, n - k + 1), "upper end"),
    ("share_interval", lambda k, n, p: stats.beta.interval(p, k + 0.5, n - k + 0.5), "lower end"),
    (
        "share_interval",
        lambda k, n, p: tuple(stats.binomtest(k, n).proportion_ci(p, "wilson")),
        "lower end",
    ),
    (
        "share_interval",
        lambda k, n, p: (stats.beta.ppf((1 - p) / 2, k, n - k + 1), exact(k, n, p)[1]),
        "0 of 20 at level 0.95: NaN",
    ),
    ("share_interval", lambda k, n, p: k / n, "expected 2 numbers"),
    ("share_interval", lambda *a: None, "None"),
    ("ratio_interval", lambda *a: ratio_interval(*a, paired=False), "60 pictures.*end"),
    ("ratio_interval", lambda *a: ratio_interval(*a, level=0.9), "60 pictures.*end"),
    ("ratio_interval", lambda *a: ratio_interval(*a, ratios=True), "mean of a over mean of b"),
    ("ratio_interval", lambda *a: ratio_interval(*a, replace=False), "end"),
    ("ratio_interval", lambda a, b, r: ratio_interval(b, a, r), "mean of a over mean of b"),
    ("ratio_interval", lambda a, b, r: ratio_interval(a, b, r)[1:], "expected 3 numbers"),
    (
        "ratio_interval",
        lambda a, b, r: ratio_interval(a, b, np.random.default_rng()),
        "the same rng gives another interval",
    ),
    ("ratio_interval", lambda *a: None, "None"),
    ("ratio_interval", metrics.paired_bootstrap, "TypeError|mean of a over mean of b"),
    ("unbiased_kernel", lambda *a: kernel(*a, diagonal=True), "3 and 2 points"),
    ("unbiased_kernel", lambda *a: kernel(*a, n_only=True), "3 and 2 points"),
    ("unbiased_kernel", lambda *a: kernel(*a, root=True), "3 and 2 points"),
    ("unbiased_kernel", lambda *a: kernel(*a, power=2), "3 and 2 points"),
    ("unbiased_kernel", lambda *a: kernel(*a, divide=False), "20 and 20"),
    ("unbiased_kernel", lambda *a: kernel(*a, paired=True), "20 and 20"),
    ("unbiased_kernel", lambda x, y: kernel(x[: len(y)], y), "3 and 2 points"),
    ("unbiased_kernel", lambda x, y: (kernel(x, y), 0), "expected one number"),
    ("unbiased_kernel", lambda *a: None, "None"),
    ("unbiased_kernel", distances.kernel_distance, "kernel_distance|one number|ValueError"),
    ("unbiased_kernel", lambda *a: distances.kernel_distance(*a)[0], "ValueError|20 and 20"),
    ("own_metric", metrics.hole_l1, "minus grey"),
    ("own_metric", lambda *a: -metrics.hole_ssim(*a), "minus grey"),
    ("own_metric", lambda *a: -metrics.hole_psnr(*a), "minus grey"),
    ("own_metric", lambda y, x, m: -(y * m[:, None]).std((1, 2, 3)), "judged worse|minus noise"),
    ("own_metric", lambda *a: -roughness(*a), "judged worse"),
    ("own_metric", lambda *a: roughness(*a) - roughness(*a).mean(), "alone and among others"),
    ("own_metric", lambda *a: roughness(*a).mean(), "one a picture"),
]

TestChecks = check_suite("7", RIGHT, ALSO_RIGHT, WRONG)


# --- the study --------------------------------------------------------------------------------
def pictures(n, level):
    return [np.full((8, 8, 3), level + i / 100, np.float32) for i in range(n)]


def test_schedule_shows_each_pair_once_and_balances_the_sides():
    orders = set()
    for seed in range(20):
        for n in (1, 7, 24):
            trials = study.schedule(n, np.random.default_rng(seed))
            assert sorted(pair for pair, _ in trials) == list(range(n))
            assert abs(sum(side == "left" for _, side in trials) - n / 2) <= 0.5
            orders.add(tuple(trials))
    assert len(orders) > 40
    first = [study.schedule(1, np.random.default_rng(s))[0][1] for s in range(40)]
    assert {"left", "right"} == set(first)


def test_forced_choice_counts_the_method_and_not_the_side():
    light, dark = pictures(24, 0.7), pictures(24, 0.1)
    seen = []

    def lighter(left, right, pair):
        seen.append((pair, left.mean() > right.mean()))
        assert abs(min(left.mean(), right.mean()) - 0.1 - pair / 100) < 1e-6
        return "left" if left.mean() > right.mean() else "right"

    rng = np.random.default_rng
    assert study.forced_choice(light, dark, lighter, rng(0)).chosen == 24
    assert study.forced_choice(dark, light, lighter, rng(0)).chosen == 0
    assert study.forced_choice(light, dark, lambda *a: "left", rng(0)).chosen == 12
    assert sorted(pair for pair, _ in seen[:24]) == list(range(24))
    with pytest.raises(ValueError, match="not 'both'"):
        study.forced_choice(light, dark, lambda *a: "both", rng(0))  # type: ignore
    with pytest.raises(ValueError, match="24 and 23"):
        study.forced_choice(light, dark[1:], lighter, rng(0))


def test_outcome_is_the_exact_binomial_interval():
    for k, n in ((0, 5), (12, 20), (20, 20)):
        one = study.Outcome(k, n)
        np.testing.assert_allclose((one.low, one.high), share_interval(k, n, 0.95), atol=1e-9)
    assert str(study.Outcome(12, 20)) == "12 of 20: 60% [36%, 81%], p = 0.5"
    for k, n in ((3, 2), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="choices of"):
            study.Outcome(k, n)


def test_panel_runs_the_same_study_blindly():
    light, dark = pictures(5, 0.7), pictures(5, 0.1)
    rng = np.random.default_rng
    panel = study.ChoicePanel(light, dark, rng(3), context=dark, names=("Light", "Dark"))
    for i, (_, side) in enumerate(study.schedule(5, rng(3))):
        assert panel.outcome is None and panel.message.value.startswith(f"trial {i + 1} of 5")
        assert not any(name in panel.message.value for name in ("Light", "Dark", "first"))
        assert panel.left.value != panel.right.value
        panel.buttons[side == "right"].click()
    assert panel.outcome == study.Outcome(5, 5) and all(b.disabled for b in panel.buttons)
    assert panel.message.value.startswith("Light rather than Dark: 5 of 5")
    panel.choose("left")  # a late click changes nothing
    assert panel.outcome == study.Outcome(5, 5)
    assert len(study.ChoicePanel(light, dark, rng(0)).children[0].children) == 2
