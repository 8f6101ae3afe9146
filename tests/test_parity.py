"""The networks are the published ones: same keys in the same order, same numbers.

Expected values were computed once with the published code, on a CPU in float32, with weights
that are functions of their keys (``golden_weights.py``). The last test prints all comparisons.
"""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from golden_weights import (
    facts,
    fill_normal,
    fill_uniform,
    image,
    image_and_mask,
    input_with_centre_hole,
    input_with_scattered_holes,
    keys,
    outputs,
    statistics,
)

from lama_ref import ffc
from lama_ref.discriminator import build_discriminator
from lama_ref.generator import GeneratorConfig, MultiDilatedConv, build_generator

TOLERANCE = 3e-5
TRAIN_TOLERANCE = 1e-3  # batch statistics of few values amplify rounding

TINY = {  # config, then seed and shape of the input
    "fourier_tiny": (GeneratorConfig(width=8, blocks=2), (1, 2, 48, 72)),
    "regular_tiny": (GeneratorConfig(kind="regular", width=8, blocks=2), (4, 1, 48, 72)),
    "dilated_tiny": (GeneratorConfig(kind="dilated", width=8, blocks=2), (5, 1, 80, 96)),
}
PRESETS = {  # name in the golden files (None: counts only), parameters, buffer elements, keys
    "lama-fourier": ("fourier_base", 27_048_835, 42_064, 521),
    "big-lama": ("big_lama", 50_975_875, 81_304, 989),
    "lama-fourier-shallow": (None, 19_073_155, 28_984, 365),
    "lama-regular": ("regular_base", 45_617_731, 21_273, 177),
    "lama-regular-deep": (None, 73_947_715, 33_573, 261),
    "lama-dilated": ("dilated_base", 45_645_379, 21_273, 285),
}
# Inputs of seed 0, two images. "raw" is the output before the sigmoid, "train" the same with
# batch statistics. Then mean, standard deviation, first, middle and last value.
NETWORKS = {
    "lama-fourier": [
        ("raw", (64, 64), 0.03302223, 0.07525502, 0.0895207, 0.0884085, -0.0291499),
        ("sigmoid", (64, 64), 0.50824457, 0.01878649, 0.5223652, 0.5220878, 0.4927130),
        ("raw", (72, 104), 0.03281998, 0.07534630, 0.1018578, 0.1017102, -0.0292175),
        ("train", (64, 64), -0.01244350, 0.51327337, 1.4093740, 0.7027035, -0.0913199),
    ],
    "big-lama": [
        ("raw", (64, 64), -0.02560529, 0.28224341, -0.4300694, -0.4266041, -0.1597320),
        ("raw", (72, 104), -0.02674981, 0.28648071, -0.4705649, -0.4712512, -0.1599060),
        ("train", (64, 64), -0.00712671, 0.44188845, -0.6342580, -1.3120009, -0.1695013),
    ],
    "lama-regular": [
        ("raw", (64, 64), 0.09220393, 0.06909894, 0.0520651, 0.0545439, 0.1965355),
        ("raw", (72, 104), 0.09214559, 0.06920788, 0.0522499, 0.0530938, 0.1979473),
        ("train", (64, 64), -0.08922030, 0.57377836, -0.0767459, -0.3056495, 0.3837110),
    ],
    "lama-regular-deep": [
        ("raw", (64, 64), 0.01328310, 0.08746327, 0.1392847, 0.1396620, -0.0656505),
        ("train", (64, 64), -0.01971889, 0.45864761, -0.6926129, -0.0675240, -0.4749797),
    ],
    "lama-dilated": [
        ("raw", (80, 80), -0.12071770, 0.78857645, -1.0633918, -1.0248286, 0.5654793),
        ("raw", (72, 104), -0.12049070, 0.79217819, -0.9977524, -1.0107864, 0.5935944),
        ("train", (80, 80), -0.08923994, 0.57290946, 0.3486555, -0.6394299, 0.3718694),
    ],
}
FOURIER_MEANS = {  # LaMa-Fourier, 64 x 64: means of local and global half after modules 1 to 6
    1: (0.13697717,),
    2: (0.08916853,),
    3: (0.06216757,),
    4: (0.06271182, 0.06797364),
    5: (0.13903441, 0.14848550),
    6: (0.22709209, 0.23471809),
}
DISCRIMINATOR = {  # logits, image alone
    "eval": (0.02979269, 0.06304275, -0.0370665, -0.0369239, -0.0596354),
    "train": (-0.09131136, 0.39469599, 0.0267680, -0.0096407, -0.4289873),
}
DISCRIMINATOR_MEANS = (0.07080013, 0.09001474, 0.06579592, 0.06058406, 0.05530795)  # features

UNIT, TRANSFORM, LAYER = ffc.FourierUnit, ffc.SpectralTransform, ffc.FFC
OPERATORS = {  # how to build it, its input; mean, standard deviation, first, last per output
    "Fourier unit": (lambda: UNIT(16, 16), "x", [(0.02408046, 0.48331213, 1.7051708, 0.8858726)]),
    "Fourier unit 16 to 12, 2 groups": (
        lambda: UNIT(16, 12, groups=2),
        "x",
        [(0.02533708, 0.45287973, 1.1149218, 0.2279486)],
    ),
    "Fourier unit, position": (
        lambda: UNIT(16, 16, position=True),
        "x",
        [(0.01929445, 0.45171476, 1.7128590, 0.1926178)],
    ),
    "Fourier unit, squeeze-excitation": (
        lambda: UNIT(16, 16, squeeze_excitation=True),
        "x",
        [(0.01503290, 0.27072007, 0.5958004, 0.4865640)],
    ),
    "Fourier unit, scale 0.5": (
        lambda: UNIT(16, 16, scale=0.5),
        "x",
        [(0.02967748, 0.18994197, 0.2463645, 0.3565122)],
    ),
    "Fourier unit, norm backward": (
        lambda: UNIT(16, 16, norm="backward"),
        "x",
        [(0.02094432, 0.46449394, 2.2762604, 0.6928428)],
    ),
    "spectral transform": (
        lambda: TRANSFORM(16, 16),
        "x8",
        [(-0.04981427, 0.36981623, 0.3690624, 0.2007044)],
    ),
    "spectral transform, LFU": (
        lambda: TRANSFORM(16, 16, lfu=True),
        "x8",
        [(-0.05433899, 0.40244726, 0.4261153, 0.2663387)],
    ),
    "spectral transform, LFU, stride 2": (
        lambda: TRANSFORM(16, 16, lfu=True, stride=2),
        "x8",
        [(-0.02409509, 0.21918603, 0.0389099, -0.0292211)],
    ),
    "FFC": (
        lambda: LAYER(16, 20, padding=1),
        "halves",
        [
            (0.05958768, 0.96004511, 0.7695886, 0.3275169),
            (-0.02480666, 0.86012047, -0.7648548, 0.7450172),
        ],
    ),
    "FFC, gated": (
        lambda: LAYER(16, 20, padding=1, gated=True),
        "halves",
        [
            (0.02146677, 0.78529334, 0.4545374, 0.1870746),
            (-0.03893199, 0.55874772, -0.4817480, 0.3162408),
        ],
    ),
    "FFC, stride 2": (
        lambda: LAYER(16, 20, padding=1, stride=2),
        "halves",
        [
            (0.02297831, 1.04110582, 0.7695886, -0.3317694),
            (0.04812687, 0.82460560, -0.7268310, 0.7816687),
        ],
    ),
}
DILATED = (0.06879716, 1.39543907, 0.4978890)
"""Four dilated convolutions, 16 to 24 channels, "cat_in": mean, standard deviation, first."""


class Comparison(list):
    """Rows of the printed table; ``check`` adds one and says whether it is within tolerance."""

    def check(self, name, quantity, expected, got, tolerance=TOLERANCE, scale=0.0):
        """Difference relative to the expected value, or to the ``scale`` of its tensor."""
        difference = abs(got - expected) / max(abs(expected), scale)
        self.append((name, quantity, expected, got, difference))
        return difference <= tolerance

    def check_statistics(self, name, x, tolerance=TOLERANCE, **expected):
        got = statistics(x)
        within = {
            quantity: self.check(name, quantity, value, got[quantity], tolerance, expected["std"])
            for quantity, value in expected.items()
        }
        assert all(within.values()), (name, {q: (expected[q], got[q]) for q in expected})

    def check_all(self, name, expected, got):
        """Every value of a tensor, relative to its standard deviation; the worst is listed."""
        assert got.shape == expected.shape
        difference = (got - expected).abs().double() / expected.abs().clamp(min=expected.std())
        worst = difference.argmax()
        self.append(
            (
                name,
                f"worst of {got.numel()}",
                expected.flatten()[worst].item(),
                got.flatten()[worst].item(),
                difference.max().item(),
            )
        )
        assert difference.max() <= TOLERANCE, self[-1]


@pytest.fixture(scope="session")
def rows():
    return Comparison()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def on_meta(build, *args, **options):
    with torch.device("meta"):
        return build(*args, **options)


# --- keys and counts --------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_the_published_keys_and_counts(preset):
    golden, parameters, buffers, n_keys = PRESETS[preset]
    generator = on_meta(build_generator, preset)
    shapes = {key: list(value.shape) for key, value in generator.state_dict().items()}
    assert sum(p.numel() for p in generator.parameters()) == parameters
    assert sum(b.numel() for b in generator.buffers()) == buffers
    assert len(shapes) == n_keys
    if golden:
        assert facts()[golden]["params"] == parameters
        assert list(shapes.items()) == list(keys()[golden].items())  # the order, too


@pytest.mark.parametrize("name", TINY)
def test_tiny_generator_has_the_published_keys_and_counts(name):
    generator = on_meta(build_generator, TINY[name][0])
    assert sum(p.numel() for p in generator.parameters()) == facts()[name]["params"]
    shapes = {key: list(value.shape) for key, value in generator.state_dict().items()}
    assert list(shapes.items()) == list(keys()[name].items())


@pytest.mark.parametrize("name, width", [("disc", 8), ("disc_full", 64)])
def test_discriminator_has_the_published_keys_and_counts(name, width):
    discriminator = on_meta(build_discriminator, width)
    assert sum(p.numel() for p in discriminator.parameters()) == facts()[name]["params"]
    shapes = {key: list(value.shape) for key, value in discriminator.state_dict().items()}
    assert list(shapes.items()) == list(keys()[name].items())
    if width == 64:
        assert sum(b.numel() for b in discriminator.buffers()) == 2820


# --- operators --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operator_inputs():
    rs = np.random.RandomState(5)
    shapes = {"x": (16, 8, 10), "x8": (16, 8, 8), "local": (4, 8, 8), "global": (12, 8, 8)}
    drawn = {
        name: torch.from_numpy(rs.standard_normal((2, *shape))).float()
        for name, shape in shapes.items()
    }
    return {**drawn, "halves": (drawn["local"], drawn["global"])}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(name, operator_inputs, rows):
    build, given, expected = OPERATORS[name]
    out = fill_normal(on_meta(build))(operator_inputs[given])
    halves = [out] if isinstance(out, torch.Tensor) else list(out)
    assert len(halves) == len(expected)
    for half, values, suffix in zip(halves, expected, (" local", " global")):
        label = name + suffix if len(halves) == 2 else name
        rows.check_statistics(label, half, **dict(zip(("mean", "std", "first", "last"), values)))


def test_multi_dilated_convolution(rows):
    x = torch.from_numpy(np.random.RandomState(3).standard_normal((1, 16, 20, 20))).float()
    out = fill_normal(on_meta(MultiDilatedConv, 16, 24))(x)
    expected = dict(zip(("mean", "std", "first"), DILATED))
    rows.check_statistics("dilated convolutions, cat_in", out, **expected)


# --- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_tiny_generator(name, rows):
    config, (seed, *shape) = TINY[name]
    generator = fill_uniform(on_meta(build_generator, config))
    rows.check_all(name, outputs()[name], generator(input_with_centre_hole(seed, *shape)))


def test_tiny_discriminator(rows):
    golden = facts()["disc"]
    scores, features = fill_uniform(on_meta(build_discriminator, 8))(image(10, 2, 3, 64, 64))
    rows.check_all("disc", outputs()["disc_scores"], scores)
    assert [list(f.shape) for f in features] == golden["feat_shapes"]
    for i, (feature, mean, std) in enumerate(
        zip(features, golden["feat_mean"], golden["feat_std"])
    ):
        rows.check_statistics(f"disc, feature {i}", feature, mean=mean, std=std)


def test_input_of_the_networks():
    picture, mask = image_and_mask(0, 2, 64, 64)
    assert picture.mean().item() == pytest.approx(0.49649658, abs=1e-8)
    assert picture.flatten()[0].item() == pytest.approx(0.5488135, abs=1e-7)
    assert mask.sum().item() == 2444


@pytest.mark.parametrize("preset", NETWORKS)
def test_full_generator(preset, rows):
    generator = fill_normal(on_meta(build_generator, preset))
    if preset == "lama-fourier":
        check_inside(generator, rows)
    for mode, size, *values in NETWORKS[preset]:  # training comes last: it moves the statistics
        generator.train(mode == "train")
        network = generator if mode == "sigmoid" else generator.model[:-1]
        out = network(input_with_scattered_holes(0, 2, *size))
        rows.check_statistics(
            f"{preset} {mode} {size[0]}x{size[1]}",
            out,
            TRAIN_TOLERANCE if mode == "train" else TOLERANCE,
            **dict(zip(("mean", "std", "first", "mid", "last"), values)),
        )


def check_inside(generator, rows):
    """Means after the first modules of LaMa-Fourier."""
    x = input_with_scattered_holes(0, 2, 64, 64)
    for index, module in enumerate(generator.model[: max(FOURIER_MEANS) + 1]):
        x = module(x)
        halves = [x] if isinstance(x, torch.Tensor) else [half for half in x if half is not None]
        expected = FOURIER_MEANS.get(index, ())
        assert index == 0 or len(halves) == len(expected)
        for half, mean, suffix in zip(halves, expected, ("local", "global")):
            label = f"lama-fourier module {index} {suffix}"
            assert rows.check(label, "mean", mean, half.double().mean().item()), label


def test_full_discriminator(rows):
    discriminator = fill_normal(on_meta(build_discriminator))
    picture, _ = image_and_mask(0, 2, 64, 64)
    _, features = discriminator(picture)
    for i, (feature, mean) in enumerate(zip(features, DISCRIMINATOR_MEANS)):
        label = f"discriminator, feature {i}"
        assert rows.check(label, "mean", mean, feature.double().mean().item()), label
    for mode, values in DISCRIMINATOR.items():
        logits, _ = discriminator.train(mode == "train")(picture)
        assert logits.shape == (2, 1, 7, 7)
        rows.check_statistics(
            f"discriminator {mode}",
            logits,
            TRAIN_TOLERANCE if mode == "train" else TOLERANCE,
            **dict(zip(("mean", "std", "first", "mid", "last"), values)),
        )


def parity_table(rows: Iterable[tuple[str, str, float, float, float]]) -> str:
    """A table to print of (network, quantity, expected, computed, difference)."""
    cells = [("network", "quantity", "expected", "computed", "difference")]
    cells += [(a, b, f"{x:.8g}", f"{y:.8g}", f"{d:.1e}") for a, b, x, y, d in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        "  ".join([a.ljust(widths[0]), b.ljust(widths[1]), *map(str.rjust, rest, widths[2:])])
        for a, b, *rest in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def test_parity_table(rows, capsys):
    """Prints the worst value of each comparison above (of those that were run)."""
    worst = {row[0]: row for row in sorted(rows, key=lambda row: row[-1])}
    table = parity_table([worst[name] for name in dict.fromkeys(row[0] for row in rows)])
    with capsys.disabled():
        print(f"\n\n{table}\n\n{len(rows)} values compared")
        for mode, is_train in (("evaluation", False), ("training", True)):
            differences = [row[-1] for row in rows if (" train" in row[0]) == is_train]
            print(f"largest difference in {mode} mode: {max(differences, default=0):.1e}")
    assert len(table.splitlines()) == len(worst) + 2
