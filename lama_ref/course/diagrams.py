"""Four diagrams of LaMa, drawn in code: tall and in few words, so that a telephone shows them.

Colour says nothing that shape does not: data are rounded and thin, layers are rectangles, what
works on a spectrum is hatched at its edge, and gradients are dashed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .plots import COLOURS, masked, style

INCHES = 6.4  # 100 units wide, at 160 dpi: 1,024 pixels, of which a telephone shows 390
BLUE, ORANGE, GREEN = COLOURS[:3]
ROUND = {"layer": 0.01, "data": 1.6, "frame": 0.01}
Point = tuple[float, float]


class _Canvas:
    """A page 100 units wide, y downward, on which things are placed by their centres."""

    def __init__(self, height: float):
        import matplotlib.pyplot as plt
        from matplotlib import patches, path

        style()
        size = (INCHES, INCHES * height / 100)
        self.figure = plt.figure(figsize=size, dpi=160, facecolor="white")
        self.figure.set_layout_engine("none")  # whatever the style says
        self.axis = self.figure.add_axes((0, 0, 1, 1), xlim=(0, 100), ylim=(height, 0))
        self.axis.axis("off")
        self._patches, self._path = patches, path.Path

    def text(self, x: float, y: float, words: str, size: float = 11, **options) -> None:
        options = {"ha": "center", "va": "center_baseline", "zorder": 5} | options
        self.axis.text(x, y, words, size=size, linespacing=1.15, **options)

    def box(self, x: float, y: float, words: str, width: float, height: float = 8, **look) -> None:
        """``look``: kind ("layer", "data", "frame"), colour, line, dashes, edge, size, weight."""
        colour, kind, edge = look.get("colour"), look.get("kind", "layer"), look.get("edge")
        framed = {"edgecolor": colour, "zorder": 1} if kind == "frame" else {"zorder": 3}
        options = {"edgecolor": "black", "linestyle": look.get("dashes", "-")} | framed
        options["linewidth"] = look.get("line", 1 if kind == "data" else 1.6)
        options["facecolor"] = _tint(colour, 0.08 if kind == "frame" else 0.22)
        corner, style = (x - width / 2, y - height / 2), f"round,pad=0,rounding_size={ROUND[kind]}"
        drawn = self._patches.FancyBboxPatch(corner, width, height, boxstyle=style, **options)
        self.axis.add_patch(drawn)
        if edge:  # a hatched strip: this works on a spectrum
            strip = {"hatch": edge, "facecolor": "white", "zorder": 4}
            self.axis.add_patch(self._patches.Rectangle(corner, 3, height, **strip))
        weight = look.get("weight", "normal")
        self.text(x + (1.5 if edge else 0), y, words, look.get("size", 11), weight=weight)

    def arrow(self, *points: Point, dashed: bool = False, head: bool = True, colour="black"):
        """A line through the points with a head at its end; gradients are dashed."""
        options = {"color": COLOURS[5], "linestyle": (0, (3, 2))} if dashed else {"color": colour}
        options |= {"arrowstyle": "-|>,head_length=4.5,head_width=2.2" if head else "-"}
        options |= {"linewidth": 1.6, "shrinkA": 0, "shrinkB": 0, "zorder": 2}
        self.axis.add_patch(self._patches.FancyArrowPatch(path=self._path(points), **options))

    def plus(self, x: float, y: float) -> None:
        options = {"facecolor": "white", "edgecolor": "black", "linewidth": 1.6, "zorder": 3}
        self.axis.add_patch(self._patches.Circle((x, y), 2.2, **options))
        self.text(x, y, "+", 13)

    def picture(self, x: float, y: float, array: np.ndarray, side: float) -> None:
        corners = (x - side / 2, x + side / 2, y + side / 2, y - side / 2)
        self.axis.imshow(array, cmap="gray", extent=corners, zorder=3, aspect="auto")
        outline = {"fill": False, "linewidth": 1.2, "zorder": 4}
        self.axis.add_patch(
            self._patches.Rectangle((corners[0], corners[3]), side, side, **outline)
        )


def _tint(colour: str | None, strength: float) -> Sequence[float]:
    from matplotlib.colors import to_rgb

    return [1 - strength * (1 - c) for c in to_rgb(colour)] if colour else (1, 1, 1)


def fourier_convolution():
    """The four paths of a fast Fourier convolution, and the spectral transform in the large."""
    c = _Canvas(164)
    for x, name, share in ((26, "local", "¼"), (74, "global", "¾")):
        c.box(x, 6, f"{name}: {share} of the channels", 44, kind="data", weight="bold")
        c.box(x, 44, "add, BatchNorm, ReLU", 44)
        c.box(x, 57, name, 44, kind="data", weight="bold")
        c.arrow((x, 48), (x, 53))
    for x, end, path in ((14, 14, "l → l"), (38, 62, "l → g"), (62, 38, "g → l"), (86, 86, "")):
        c.arrow((x, 10), (x, 16))
        if path:
            c.box(x, 21, f"{path}\n3×3 conv", 20, 10, colour=BLUE)
        c.arrow((x, 26), (end, 40))
    c.box(86, 21, "g → g\nspectral", 20, 10, colour=ORANGE, edge="////", size=10.5)
    c.arrow((96, 21), (98.5, 21), (98.5, 65), head=False, colour=ORANGE)

    c.box(50, 113.5, "", 97, 97, kind="frame", colour=ORANGE)
    c.text(5, 69, "Inside g → g: the spectral transform", 12, ha="left", weight="bold")
    c.box(54, 115.5, "", 80, 51, kind="frame", colour=ORANGE)
    c.text(17, 94, "Fourier unit", 12, ha="left", weight="bold")
    c.box(42, 79, "1×1 conv, BatchNorm, ReLU", 54, colour=BLUE)
    c.box(42, 102, "rfft2", 46, colour=ORANGE)
    c.box(42, 117, "1×1 conv,\nBatchNorm, ReLU", 46, 10, colour=ORANGE, edge="////")
    c.box(42, 132, "irfft2", 46, colour=ORANGE)
    c.plus(42, 146)
    c.box(42, 154, "1×1 conv", 54, colour=BLUE)
    for start, end in ((83, 98), (106, 112), (122, 128), (136, 143.8), (148.2, 150)):
        c.arrow((42, start), (42, end), head=end != 150)
    c.arrow((42, 86.5), (8.5, 86.5), (8.5, 146), (39.8, 146))
    wave, spectrum = _wave()
    c.picture(81, 101, wave, 16)
    c.text(81, 111.5, "map, H × W", 10)
    c.picture(81, 123, spectrum, 16)
    c.text(81, 135, "spectrum: each value\nhas seen every pixel", 10)
    c.text(83, 79, "halves the\nchannels", 10)
    c.text(83, 154, "restores the\nchannels", 10)
    return c.figure


def _wave() -> tuple[np.ndarray, np.ndarray]:
    """Two waves as a map of 48 x 48 values, and the size of its half spectrum, stretched."""
    y, x = np.mgrid[:48, :48] * (2 * np.pi / 48)
    wave = np.sin(4 * x + 2 * y) + 0.6 * np.sin(9 * x - 5 * y)
    size = np.fft.fftshift(np.abs(np.fft.rfft2(wave)), axes=0)[12:36, :16]
    return wave, -np.repeat(np.sqrt(size), 2, 1)  # a dark dot for each wave


def generator():
    """LaMa-Fourier: the layers from top to bottom, and the size of what each gives."""
    c = _Canvas(170)
    down, up, half = "3×3 conv, stride 2", "3×3 up-conv, ×2", "128 local + 384 global"
    rows: list[tuple] = [  # y, words, width, what it gives, remark, look
        (6, "masked picture, mask", 56, "4 × 256 × 256", "channels × H × W", {"kind": "data"}),
        (18, "7×7 conv", 56, "64 × 256 × 256", "then BatchNorm, ReLU", {"colour": BLUE}),
        (30, down, 48, "128 × 128 × 128", "", {"colour": BLUE}),
        (42, down, 41, "256 × 64 × 64", "", {"colour": BLUE}),
        (54, down, 35, "512 × 32 × 32", half, {"colour": BLUE}),
        (74, "FFC", 26, "512 × 32 × 32", "", {"colour": ORANGE, "edge": "////"}),
        (86, "FFC", 26, "512 × 32 × 32", "", {"colour": ORANGE, "edge": "////"}),
        (116, up, 41, "256 × 64 × 64", "takes both halves", {"colour": BLUE}),
        (128, up, 48, "128 × 128 × 128", "", {"colour": BLUE}),
        (140, up, 56, "64 × 256 × 256", "", {"colour": BLUE}),
        (152, "7×7 conv, sigmoid", 56, "3 × 256 × 256", "no BatchNorm, no ReLU", {"colour": BLUE}),
        (164, r"prediction $\hat{x}$", 56, "3 × 256 × 256", "", {"kind": "data"}),
    ]
    c.box(50, 84.5, "", 97, 39, kind="frame", colour=ORANGE)
    above = 0.0
    for y, words, width, maps, remark, look in rows:
        c.box(31, y, words, width, **look)
        if above:
            c.arrow((31, above), (31, y - 4))
        c.text(62, y - (2 if remark else 0), maps, 11, ha="left", weight="bold")
        c.text(62, y + 2.2, remark, 10, ha="left")
        above = 99.2 if y == 86 else y + 4  # from the sum
    c.arrow((31, 90), (31, 94.8))
    c.arrow((31, 66.5), (8, 66.5), (8, 97), (28.8, 97))
    c.plus(31, 97)
    c.text(62, 97, "9 such residual blocks\n(18 in Big LaMa)", 11, ha="left", weight="bold")
    return c.figure


LEARNS = {"colour": GREEN, "line": 3, "weight": "bold"}
RESTS = {"dashes": (0, (1.5, 1.5)), "size": 10.5}
THREE = (18, 50, 82)


def training_step():
    """The two players take turns: what each sees, what moves it, and where gradients flow."""
    c = _Canvas(171)
    c.box(50, 46, "", 97, 89, kind="frame", colour=GREEN)
    c.text(5, 6, "1  The generator's turn", 12, ha="left", weight="bold")
    c.box(50, 15, "masked picture, mask", 50, kind="data")
    c.box(50, 29, "generator $f$ learns", 50, **LEARNS)
    c.box(50, 43, r"prediction $\hat{x}$, compared with the picture $x$", 93, kind="data")
    c.box(50, 61, "perceptual\nnetwork φ", 29, 10, **RESTS)
    c.box(82, 61, "discriminator\n$D$", 29, 10, **RESTS)
    words = (
        "L1 on known\npixels, × 10",
        "perceptual\nα = 30",
        "adversarial, κ = 10\nfeature matching,\nβ = 100",
    )
    for x, loss in zip(THREE, words):
        c.box(x, 81, loss, 29, 14, size=10)
        for start, end in ((47, 74),) if x == 18 else ((47, 56), (66, 74)):
            c.arrow((x - 4, start), (x - 4, end))
            c.arrow((x + 4, end), (x + 4, start), dashed=True)
    c.arrow((50, 19), (50, 25))
    c.arrow((46, 33), (46, 39))
    c.arrow((54, 39), (54, 33), dashed=True)

    c.box(50, 127, "", 97, 63, kind="frame", colour=GREEN)
    c.text(5, 101, "2  The discriminator's turn", 12, ha="left", weight="bold")
    c.box(25, 110, "picture $x$", 43, kind="data")
    c.box(75, 110, r"$\hat{x}$, without gradients", 43, kind="data")
    c.box(50, 126, "discriminator $D$ learns", 93, **LEARNS)
    c.arrow((25, 114), (25, 122))
    c.arrow((75, 114), (75, 122))
    words = (
        "$x$ is real\n(all patches)",
        "R1: $D$ stays\nflat at $x$\nγ = 0.001",
        "$\\hat{x}$: hole fake,\nrest real",
    )
    for x, loss in zip(THREE, words):
        c.box(x, 149, loss, 29, 14, size=10)
        c.arrow((x - 4, 130), (x - 4, 142))
        c.arrow((x + 4, 142), (x + 4, 130), dashed=True)
    c.arrow((5, 166), (15, 166))
    c.text(17, 166, "values", 10, ha="left")
    c.arrow((34, 166), (44, 166), dashed=True)
    c.text(46, 166, "gradients", 10, ha="left")
    c.box(75, 166, "stands still", 24, 6, **RESTS)
    return c.figure


def lama(seed: int = 20):
    """The whole of LaMa on a scene that the training never saw, filled by the shipped weights."""
    from .. import inference, masks
    from ..evaluation import held_out

    image = held_out.pictures("periodic", 128, 1, 1_000_000 + seed)[0].transpose(1, 2, 0)
    mask = masks.sample("wide", (128, 128), 1, np.random.default_rng(seed), share=(0.2, 0.35))[0]
    hidden = masked(image, mask, (0, 0, 0))
    network = inference.Inpainter("mini-fourier")
    batch = (torch.from_numpy(a)[None] for a in (image.transpose(2, 0, 1), np.float32(mask[None])))
    filled = network.predict(*batch)[0].permute(1, 2, 0).numpy()
    c = _Canvas(177)
    for x, y, array, words in (
        (20, 16, image, "picture $x$"),
        (80, 16, mask * 1.0, "random mask $m$"),
        (50, 51, hidden, "masked picture"),
        (20, 110, filled, r"prediction $\hat{x}$"),
        (80, 110, np.where(mask[..., None], filled, image), "result"),
    ):
        c.picture(x, y, array, 26)
        c.text(x, y + 16, words, weight="bold")
    c.arrow((20, 34), (20, 51), (36.5, 51))
    c.arrow((80, 34), (80, 80))
    c.arrow((80, 51), (63.5, 51))
    c.arrow((50, 70), (50, 80))
    c.box(
        50,
        85,
        "generator $f$: fast Fourier convolutions",
        92,
        10,
        colour=ORANGE,
        edge="////",
        weight="bold",
    )
    c.arrow((20, 90), (20, 96.5))
    c.arrow((33.5, 110), (66.5, 110))
    c.text(50, 106, "in the hole", 10)
    c.text(50, 114, "(around it: $x$)", 10)
    c.arrow((20, 129), (20, 134))
    c.box(50, 151, "", 92, 34, kind="frame", colour=GREEN)
    c.text(50, 140, r"in training, three judges compare $\hat{x}$ with $x$", 12, weight="bold")
    for x, words in zip(
        THREE, ("L1 of the\nknown pixels", "perceptual\nnetwork φ", "discriminator\n$D$")
    ):
        c.box(20 + (x - 18) * 60 / 64, 155, words, 27, 14)
    c.arrow((4, 151), (1.6, 151), (1.6, 85), (4, 85), dashed=True)
    c.text(21, 172, "dashed: gradients train $f$", 10)
    return c.figure
