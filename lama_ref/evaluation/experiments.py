"""The paper's tables and figures in miniature: data, models, steps, seeds, metrics, claims.

Nothing is computed here; :mod:`.reproduce` runs what is declared. Networks are trained on
procedural scenes with crops of 64 px and looked at on held-out ones, so that a table takes an hour
or two of one CPU core instead of months of GPUs. What the paper found at its scale is cited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..runs.recipes import PRESETS, TrainConfig

PHOTOGRAPHS = "photographs"  # stands for the folder that the user names
Place = tuple[str, str, int]  # data, masks, size


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper as a sum of measured values that should be below zero.

    (Above zero for metrics of which more is better.) "a beats b" is a - b.

    Attributes:
        terms: (factor, arm, (data, masks, size)).
        expected: the sign that the paper found: -1 better, 1 worse.
    """

    text: str
    metric: str
    terms: tuple[tuple[int, str, Place], ...]
    expected: int = -1


def beats(a: str, b: str, metric: str, masks="wide", size=64, data="scenes", text="") -> Claim:
    """Arm a is better than arm b."""
    place = (data, masks, size)
    shown = text or f"{a} beats {b}"
    where = "" if data == "scenes" else f", {data}"
    return Claim(f"{shown} ({masks}, {size} px{where})", metric, ((1, a, place), (-1, b, place)))


def loses_less(a: str, b: str, metric: str, first: Place, last: Place) -> Claim:
    """Arm a loses less than arm b from the first place to the last."""
    text = f"{a} loses less than {b} from {first[2]} to {last[2]} px ({first[0]})"
    terms = ((1, a, last), (-1, a, first), (-1, b, last), (1, b, first))
    return Claim(text, metric, terms)


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        title: the question.
        arms: what is compared, by label: one of :data:`RUNS`, weights or a classical method.
        data: kinds of held-out pictures, as ``lama-ref evaluate --data`` takes them.
        n: pictures of each kind, at most.
        cited: what the paper has. Not measured here.
        remarks: what differs from the paper, and what to beware of.
    """

    title: str
    arms: dict[str, str]
    claims: tuple[Claim, ...]
    cited: str
    remarks: str
    masks: tuple[str, ...] = ("wide",)
    sizes: tuple[int, ...] = (64, 128)
    data: tuple[str, ...] = ("scenes",)
    n: int = 50
    metrics: tuple[str, ...] = ("hole-l1", "swd")


_REGULAR = PRESETS["trio-regular"]
_LOSSES = replace(_REGULAR, steps=1000, l1_until=0.5)  # half of it with all losses
_PRETEXTS = ("segmentation-dilated", "classification-dilated", "classification-regular")
RUNS: dict[str, TrainConfig] = (
    {kind: PRESETS[f"trio-{kind}"] for kind in ("fourier", "dilated", "regular")}
    | {kind: PRESETS[f"trio-{kind}"] for kind in ("fourier-shallow", "regular-deep")}
    | {"regular-narrow": replace(_REGULAR, masks="train-narrow")}
    | {name: replace(_LOSSES, features=name) for name in _PRETEXTS}
    | {"none": replace(_LOSSES, features=None, weights=replace(_LOSSES.weights, perceptual=0))}
)
"""What is trained, by name; experiments share runs."""

_TRIO = ("fourier", "dilated", "regular")
_TILTS = ("perspective:0", "perspective:0.5", "perspective:1", "perspective:1.5")
_PAIR = ("hole-l1", "swd")


def _themselves(*names: str) -> dict[str, str]:
    return {name: name for name in names}


EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment(
        "Table 1: does a trained network beat methods that are not?",
        _themselves("mini-fourier", "telea", "navier-stokes", "biharmonic", "mean"),
        tuple(
            beats("mini-fourier", rival, metric, masks, 256, data)
            for data in ("scenes", PHOTOGRAPHS)
            for masks in ("narrow", "wide", "segmentation")
            for metric in _PAIR
            for rival in ("telea", "navier-stokes", "biharmonic")
        ),
        "FID / LPIPS on Places at 512 px, narrow, wide, segmentation masks: LaMa-Fourier (27 M "
        "parameters) 0.63 / 0.090, 2.21 / 0.135, 5.35 / 0.058; CoModGAN (109 M) 0.82 / 0.111, 1.82 "
        "/ 0.147, 6.40 / 0.066; MADF (85 M) 0.57 / 0.085, 3.76 / 0.139, 6.51 / 0.061; AOT GAN (15 "
        "M) 0.79 / 0.091, 5.94 / 0.149, 7.34 / 0.063; RegionWise (47 M) 0.90 / 0.102, 4.75 / "
        "0.149, 7.58 / 0.066; DeepFill v2 (4 M) 1.06 / 0.104, 5.20 / 0.155, 9.17 / 0.068; "
        "EdgeConnect (22 M) 1.33 / 0.111, 8.37 / 0.160, 9.44 / 0.073",
        "The paper's rivals are trained networks; here they are classical methods, and ours is the "
        "shipped mini-fourier (3.6 hours of one to two CPU cores): one set of weights, so the "
        "intervals are over pictures alone.",
        masks=("narrow", "wide", "segmentation"),
        sizes=(256,),
        data=("scenes", PHOTOGRAPHS),
    ),
    "table2": Experiment(
        "Table 2: what do Fourier convolutions and depth buy?",
        _themselves(*_TRIO, "fourier-shallow", "regular-deep"),
        tuple(
            beats(a, b, metric, masks, text=text)
            for masks in ("narrow", "wide")
            for metric in _PAIR
            for a, b, text in (
                ("fourier", "regular", ""),
                ("fourier", "dilated", ""),
                ("regular-deep", "regular", "regular gains by depth"),
                ("fourier-shallow", "regular-deep", ""),
            )
            if masks == "wide" or b == "dilated"  # behind narrow ones the paper has no such gain
        )
        + tuple(
            Claim(
                f"fourier's lead over regular grows from narrow to wide masks ({size} px)",
                metric,
                tuple(
                    (sign * side, arm, ("scenes", masks, size))
                    for side, masks in ((1, "wide"), (-1, "narrow"))
                    for sign, arm in ((1, "fourier"), (-1, "regular"))
                ),
            )
            for metric in _PAIR
            for size in (64, 128)
        ),
        "FID / LPIPS on Places at 512 px, narrow, wide masks: base Fourier (27 M) 0.63 / 0.090, "
        "2.21 / 0.135; base dilated (46 M) 0.66 / 0.089, 2.30 / 0.136; base regular (46 M) 0.60 / "
        "0.089, 3.51 / 0.139; shallow Fourier (19 M) 0.72 / 0.094, 2.31 / 0.138; deep "
        "regular (74 M) 0.63 / 0.090, 2.62 / 0.137",
        "Equal steps, not equal time. Six residual blocks (shallow 4, deep 10) where the paper has "
        "9 (6, 15).",
        masks=("narrow", "wide"),
        sizes=(64, 128),
    ),
    "table3": Experiment(
        "Table 3: which network should look at the picture, and is one needed?",
        _themselves(*_PRETEXTS, "none"),
        tuple(
            beats(a, b, metric, "segmentation", size, text=text)
            for metric in ("swd", "hole-l1", "kernel-segmentation")
            for size in (64, 128)
            for a, b, text in (
                ("segmentation-dilated", "none", "a perceptual loss helps"),
                ("segmentation-dilated", "classification-dilated", "segmentation helps more"),
                ("classification-dilated", "classification-regular", "a wide field helps"),
            )
        ),
        "FID / LPIPS of LaMa-Regular, segmentation masks: segmentation, dilated ResNet50 5.69 / "
        "0.059; classification, dilated ResNet50 5.87 / 0.059; classification, plain ResNet50 6.00 "
        "/ 0.061; VGG19 6.29 / 0.063; no perceptual loss 6.46 / 0.065",
        "1,000 steps, the second half with all losses. The three terms have equal weight; on one "
        "trained network they came to 3.5, 3.8 and 3.1. kernel-segmentation compares features of "
        "the very network that one arm was trained with and is kind to it. Six seeds are recorded: "
        "three left 12 of 18 claims undecided, so three more of every arm were trained, once.",
        masks=("segmentation",),
        metrics=("hole-l1", "swd", "kernel-segmentation"),
    ),
    "table4": Experiment(
        "Table 4: should one train with narrow or with wide masks?",
        {"wide": "regular", "narrow": "regular-narrow"},
        tuple(
            beats("wide", "narrow", metric, masks, size, text="training with wide masks is better")
            for masks in ("narrow", "wide")
            for metric in _PAIR
            for size in (64, 128)
        ),
        "FID of LaMa-Regular on narrow, wide masks: trained with narrow 0.68, 5.41; trained with "
        "wide 0.60, 3.51. LPIPS on narrow: 0.091, 0.089",
        "One network; the paper shows it for four methods.",
        masks=("narrow", "wide"),
    ),
    "figure4": Experiment(
        "Figure 4: who continues a periodic structure?",
        _themselves(*_TRIO, "telea", "navier-stokes"),
        tuple(
            beats("fourier", rival, "hole-correlation", "wide", size, "periodic")
            for size in (64, 128, 256)
            for rival in ("regular", "dilated", "telea", "navier-stokes")
        ),
        "side-by-side pictures; the text says that Fourier convolutions continue complex periodic "
        "structures where ordinary ones fail",
        "Held-out patterns without light, grain or perspective, so that what is known determines "
        "what is hidden. The score is the correlation of hidden pixels: 1 is continued in step, 0 "
        "flat or out of step.",
        sizes=(64, 128, 256),
        data=("periodic",),
        metrics=("hole-correlation", "hole-l1"),
    ),
    "figure5": Experiment(
        "Figure 5: trained on small crops, do they fill large photographs?",
        _themselves(*_TRIO, "telea", "navier-stokes"),
        tuple(
            loses_less("fourier", b, m, (PHOTOGRAPHS, "wide", 64), (PHOTOGRAPHS, "wide", 512))
            for m in _PAIR
            for b in ("regular", "dilated")
        )
        + tuple(
            beats("fourier", b, m, "wide", 512, PHOTOGRAPHS)
            for m in _PAIR
            for b in ("regular", "dilated")
        ),
        "pictures of LaMa-Regular, LaMa-Dilated and LaMa-Fourier filling photographs far larger "
        "than the 256 px crops of their training: the Fourier network stays consistent longest",
        "Trained on scenes alone: the photographs (buildings, as in Urban100) are also of another "
        "kind than the training pictures.",
        sizes=(64, 128, 256, 512),
        data=(PHOTOGRAPHS,),
    ),
    "figure6": Experiment(
        "Figure 6: how fast does the error grow with resolution?",
        _themselves(*_TRIO, "telea", "navier-stokes"),
        tuple(
            loses_less("fourier", b, m, ("scenes", "wide", 64), ("scenes", "wide", size))
            for m in _PAIR
            for size in (256, 512)
            for b in ("regular", "dilated")
        )
        + tuple(beats("fourier", b, m, "wide", 512) for m in _PAIR for b in ("regular", "dilated")),
        "curves of FID over resolution, 256 to 1536 px: the Fourier network's rises least (the "
        "points are given in a picture only)",
        "The same scenes rendered at 1 to 8 times the training size, masks of the same presets.",
        sizes=(64, 128, 256, 512),
    ),
    "limits": Experiment(
        "Where it fails: strong perspective",
        _themselves(*_TRIO),
        tuple(
            Claim(
                f"{arm} continues patterns less well under strong perspective ({size} px)",
                "hole-correlation",
                ((1, arm, (_TILTS[-1], "wide", size)), (-1, arm, (_TILTS[0], "wide", size))),
                expected=1,
            )
            for size in (64, 128)
            for arm in _TRIO
        ),
        "the paper says that LaMa struggles with strong perspective; no number is given",
        "Patterns on a plane tilted by S: the period changes by the factor (1 + S/2) / (1 - S/2) "
        "across the picture, 7 at S = 1.5. Training scenes have tilts to 0.2.",
        data=_TILTS,
        metrics=("hole-correlation", "hole-l1"),
    ),
}
