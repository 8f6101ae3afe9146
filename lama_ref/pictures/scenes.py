"""Procedural photographs with exact labels, at any resolution and any field of view.

A `Scene` is a value: a few dozen numbers that say which surfaces are seen, how they lie, and in
which light. It can be rendered at 64 or at 1024 pixels (the same picture), or with a wider view
(more of the same world through the same camera).

World coordinates: the short side of a picture at ``view=1`` is one unit, (0, 0) is the centre,
x points right and y down. A surface maps them to its own coordinates, in which its pattern has
period 1 both ways:   (u, v) = M (x, y) / w + offset,   w = 1 + tilt . (x, y)   (a homography).

Edges are anti-aliased without supersampling: patterns are made of periodic bands, and the mean
of a band over a pixel's footprint is a difference of the band's integral.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FAMILIES = dict(plain=2, brick=4, tiles=3, windows=3, fence=2, stripes=3, checker=3)  # odds
LABELS = tuple(
    "plain, brick, mortar, tile, grout, wall, window frame, window pane, fence, gap, light stripe, "
    "dark stripe, light checker, dark checker, disc, box, polygon".split(", ")
)
THINGS = tuple(LABELS.index(name) for name in ("disc", "box", "polygon"))  # foreground objects

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Size = int | tuple[int, int]  # a side, or (height, width)


@dataclass(frozen=True)
class Surface:
    """One patterned plane: its family, how it lies, its proportions and its colours."""

    family: str
    matrix: tuple[float, ...]  # M, row by row: periods per world unit
    offset: tuple[float, ...]
    tilt: tuple[float, ...]  # perspective; 0 is a plane parallel to the picture
    shape: tuple[float, ...]  # proportions: see `_pattern`
    colours: tuple[tuple[float, ...], ...]
    jitter: float  # the brightness of single bricks, tiles, ... varies by +-jitter
    seed: int


@dataclass(frozen=True)
class Thing:
    """A convex region: where it is and the surface that it shows."""

    kind: str  # "disc", "box", "polygon"; or "half", the half plane right of the turned y axis
    centre: tuple[float, ...]
    radii: tuple[float, ...]  # half axes
    angle: float
    corners: tuple[tuple[float, ...], ...]  # on the unit circle; only of boxes and polygons
    surface: Surface


@dataclass(frozen=True)
class Scene:
    """Everything that one picture shows. Equal scenes render to equal bytes."""

    ground: Surface
    things: tuple[Thing, ...]  # from back to front; a half plane, if there is one, is first
    light: tuple[float, ...]  # amplitude, wave vector (x, y), phase
    noise: float  # standard deviation of the grain
    seed: int

    def render(self, size: Size, view: float = 1.0) -> tuple[Array, Labels]:
        """Draws the scene.

        Args:
            size: side in pixels, or (height, width).
            view: world units along the short side; ``view=2`` shows twice the width and height.

        Returns:
            image (3, H, W) float32 RGB in [0, 1], and labels (H, W) uint8, indices into `LABELS`
            of what lies at the centre of each pixel.

        Raises:
            ValueError: size below 1, or view not positive.
        """
        height, width = _checked_size(size)
        if not (np.isfinite(view) and view > 0):
            raise ValueError(f"view is {view}; expected a positive number: 1 is the normal view")
        pixel = view / min(height, width)
        x = ((np.arange(width, dtype=np.float32) - (width - 1) / 2) * pixel)[None, :]
        y = ((np.arange(height, dtype=np.float32) - (height - 1) / 2) * pixel)[:, None]
        image, labels = _draw(self.ground, x, y, pixel)
        for thing in self.things:
            _place(thing, image, labels, x, y, pixel)
        amplitude, kx, ky, phase = self.light
        image *= 1 + amplitude * np.sin(kx * x + ky * y + phase)
        grain = np.random.Generator(np.random.SFC64(self.seed))
        image += self.noise * grain.standard_normal((height, width), dtype=np.float32)
        return np.clip(image, 0, 1, out=image), labels


def batch(n: int, size: Size, rng: np.random.Generator, view: float = 1.0) -> tuple[Array, Labels]:
    """Samples and renders n scenes: images (n, 3, H, W) float32 in [0, 1], labels (n, H, W).

    Raises ValueError if n is below 0, size below 1, or view not positive.
    """
    if n < 0:
        raise ValueError(f"n is {n}; expected 0 or more: the number of scenes in the batch")
    height, width = _checked_size(size)
    images = np.empty((n, 3, height, width), np.float32)
    labels = np.empty((n, height, width), np.uint8)
    for i in range(n):
        images[i], labels[i] = sample_scene(rng).render((height, width), view)
    return images, labels


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draws a random scene; the same state of rng gives the same scene."""
    uniform, things = rng.uniform, []
    if rng.random() < 0.4:  # two grounds: often wall above floor, or at any angle
        angle = rng.normal(np.pi / 2, 0.15) if rng.random() < 0.5 else uniform(0, 2 * np.pi)
        centre = _floats(*uniform(-0.25, 0.25, 2))
        things = [Thing("half", centre, (np.inf, np.inf), float(angle), (), _sample_surface(rng))]
    count = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3)[rng.integers(10)]
    things += [_sample_thing(rng) for _ in range(count)]
    wave, turn, phase = 2 * np.pi / uniform(1.5, 5), *uniform(0, 2 * np.pi, 2)
    light = _floats(uniform(0, 0.3), wave * np.cos(turn), wave * np.sin(turn), phase)
    ground, noise = _sample_surface(rng), float(uniform(0, 0.02))
    return Scene(ground, tuple(things), light, noise, seed=int(rng.integers(2**31)))


def sample_pattern(rng: np.random.Generator) -> Scene:
    """One pattern all over, without tilt, light, grain or jitter: what is seen tells the rest."""
    one = sample_scene(rng)
    while one.ground.family == "plain":
        one = sample_scene(rng)
    ground = replace(one.ground, tilt=(0.0, 0.0), jitter=0.0)
    return replace(one, ground=ground, things=(), light=(0.0, *one.light[1:]), noise=0.0)


def _sample_surface(rng: np.random.Generator, family: str | None = None) -> Surface:
    uniform, r = rng.uniform, rng.random(4)
    odds = [name for name, n in FAMILIES.items() for _ in range(n)]
    family = family or odds[rng.integers(len(odds))]
    joint, flag = 0.06 + 0.14 * r[0], float(r[1] < 0.5)
    # periods (times 3 to 12), width of a period over its height, proportions of the pattern
    density, aspect, shape = {
        "plain": (0.1, 1, ()),
        "brick": (0.8, 1.6 + 1.2 * r[2], (joint / 2, joint, (3, 2, 2, 0)[int(4 * r[3])] / 6)),
        "tiles": (1, 1, (joint, flag)),
        "windows": (0.7, 1, (0.22 + 0.14 * r[0], 0.25 + 0.15 * r[2], 0.04 + 0.04 * r[3], flag)),
        "fence": (0.65, 0.2 + 0.2 * r[2], (0.25 + 0.17 * r[0], 0.05 + 0.07 * r[3])),
        "stripes": (1, 1, (0.25 + 0.5 * r[0],)),
        "checker": (0.7, 1, ()),
    }[family]
    cells, aspect = density * 3 * 4 ** rng.random(), aspect * np.exp(rng.normal(0, 0.15))
    across, down = cells / np.sqrt(aspect), cells * np.sqrt(aspect)
    angle = rng.normal(0, 0.12) if rng.random() < 0.6 else uniform(-np.pi, np.pi)
    cos, sin, shear = np.cos(angle), np.sin(angle), rng.normal(0, 0.1)
    matrix = np.array([[across, across * shear], [0, down]]) @ [[cos, sin], [-sin, cos]]
    offset, tilt = _floats(*rng.random(2)), _floats(*uniform(-0.14, 0.14, 2))
    colours, jitter = _sample_colours(rng, family), uniform(0, 0.15) * (rng.random() < 0.6)
    lie = (_floats(*matrix.ravel()), offset, tilt)
    return Surface(family, *lie, _floats(*shape), colours, float(jitter), int(rng.integers(2**31)))


def _sample_colours(rng: np.random.Generator, family: str) -> tuple[tuple[float, ...], ...]:
    """Two or three colours of independent R, G, B, each clearly unlike the one before it."""
    luminance = np.array((0.299, 0.587, 0.114))
    colours = [rng.uniform(0.03, 0.97, 3)]
    while len(colours) < (3 if family in ("windows", "tiles") else 2):
        colour = rng.uniform(0.03, 0.97, 3)
        change = colour - colours[-1]
        if np.abs(change).max() > 0.3 and abs(change @ luminance) > 0.1:
            colours.append(colour)
    if family in ("stripes", "checker"):  # whose labels say which is lighter
        colours.sort(key=lambda colour: -(colour @ luminance))
    return tuple(_floats(*colour) for colour in colours)


def _sample_thing(rng: np.random.Generator) -> Thing:
    kind = ("disc", "box", "polygon")[rng.integers(3)]
    m = {"disc": 0, "box": 4, "polygon": int(rng.integers(3, 8))}[kind]
    turns = np.arange(m) + (rng.uniform(0, 0.6, m) if kind == "polygon" else 0.5)
    corners = tuple(_floats(np.cos(t), np.sin(t)) for t in 2 * np.pi / max(m, 1) * turns)
    centre, radii = _floats(*rng.uniform(-0.42, 0.42, 2)), _floats(*rng.uniform(0.08, 0.26, 2))
    surface = _sample_surface(rng, ("plain", "plain", "stripes", "checker")[rng.integers(4)])
    return Thing(kind, centre, radii, float(rng.uniform(0, 2 * np.pi)), corners, surface)


def _floats(*values: float) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _draw(surface: Surface, x: Array, y: Array, pixel: float) -> tuple[Array, Labels]:
    """Colours (3, h, w) and labels (h, w) of a surface at world points x (1, w), y (h, 1)."""
    (a, b, c, d), (px, py) = surface.matrix, surface.tilt
    shrink = 1 / np.maximum(1 + px * x + py * y, np.float32(0.25))  # stops short of the horizon
    u, v = (a * x + b * y) * shrink, (c * x + d * y) * shrink
    # footprint of a pixel along u: pixel |grad u|, its two edges' root sum of squares
    du = np.sqrt((a - px * u) ** 2 + (b - py * u) ** 2) * (pixel * shrink)
    dv = np.sqrt((c - px * v) ** 2 + (d - py * v) ** 2) * (pixel * shrink)
    u, v = u + np.float32(surface.offset[0]), v + np.float32(surface.offset[1])
    weights, labels = _pattern(surface, u, v, du, dv)
    # image = colours^T weights: (3, K) @ (K, h w)
    image = np.array(surface.colours, np.float32).T @ np.stack(weights).reshape(len(weights), -1)
    return image.reshape(3, *u.shape), labels


def _pattern(s: Surface, u: Array, v: Array, du: Array, dv: Array) -> tuple[list[Array], Labels]:
    """The share of each colour in each pixel, and the labels."""
    if s.family == "plain":
        blend = 0.25 + 0.25 * np.sin(2 * np.pi * u, dtype=np.float32)
        return [1 - blend, blend], _choose(blend > -1, "plain", "plain")
    if s.family == "brick":
        joint_u, joint_v, bond = s.shape
        u = u + np.float32(bond) * np.floor(v)
        brick, inside = _cell(u, v, du, dv, joint_u / 2, joint_v / 2)
        return [brick * _shade(s, u, v), 1 - brick], _choose(inside, "brick", "mortar")
    if s.family == "tiles":
        joint, two = s.shape
        tile, inside = _cell(u, v, du, dv, joint / 2, joint / 2)
        shaded, odd = tile * _shade(s, u, v), two * ((np.floor(u) + np.floor(v)) % 2)
        return [shaded * (1 - odd), 1 - tile, shaded * odd], _choose(inside, "tile", "grout")
    if s.family == "windows":
        half_u, half_v, frame, bars = s.shape
        window, inside = _cell(u, v, du, dv, 0.5 - half_u, 0.5 - half_v)
        pane, pane_in = _cell(u, v, du, dv, 0.5 - half_u + frame, 0.5 - half_v + frame)
        for t, dt in ((u, du), (v, dv)) if bars else ():
            bar, bar_in = _band(t, dt, 0.5 - frame / 2, 0.5 + frame / 2)
            pane, pane_in = pane * (1 - bar), pane_in & ~bar_in
        labels = _choose(inside, "window frame", "wall")
        labels[pane_in] = LABELS.index("window pane")
        return [1 - window, window - pane, pane * _shade(s, u, v)], labels
    if s.family == "fence":
        half_picket, half_rail = s.shape
        picket, picket_in = _band(u, du, 0.5 - half_picket, 0.5 + half_picket)
        rail, rail_in = _band(v, dv, 0.5 - half_rail, 0.5 + half_rail)
        rail = rail * (1 - picket)  # passes behind the pickets, a little darker
        wood = picket * _shade(s, u, 0 * v) + 0.75 * rail
        return [wood, 1 - picket - rail], _choose(picket_in | rail_in, "fence", "gap")
    if s.family == "stripes":
        light, inside = _band(u, du, 0, s.shape[0])
        return [light, 1 - light], _choose(inside, "light stripe", "dark stripe")
    (across, across_in), (down, down_in) = _band(u, du, 0, 0.5), _band(v, dv, 0, 0.5)
    light = across * down + (1 - across) * (1 - down)
    return [light, 1 - light], _choose(across_in == down_in, "light checker", "dark checker")


def _band(t: Array, dt: Array, low: float, high: float) -> tuple[Array, Mask]:
    """The band low <= t mod 1 < high: its mean over t +- dt / 2, and whether it holds t."""
    ends = np.stack((t - dt / 2, t + dt / 2))
    whole, phase = np.floor(ends), t - np.floor(t)
    start, stop = whole * np.float32(high - low) + np.clip(ends - whole, low, high)
    return (stop - start) / dt, (phase >= low) & (phase < high)


def _cell(u: Array, v: Array, du: Array, dv: Array, gap_u: float, gap_v: float):
    """Each unit square less a gap along its sides: its mean, and whether it holds (u, v)."""
    across, across_in = _band(u, du, gap_u, 1 - gap_u)
    down, down_in = _band(v, dv, gap_v, 1 - gap_v)
    return across * down, across_in & down_in


def _shade(surface: Surface, u: Array, v: Array) -> Array:
    """Brightness of the cell that holds (u, v), in 1 +- jitter: a hash of its row and column."""
    h = np.floor(u).astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1)
    h += np.floor(v).astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)
    h += np.uint32(surface.seed)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)):
        h = (h ^ (h >> shift)) * np.uint32(factor)
    return 1 + np.float32(surface.jitter) * (h.astype(np.float32) * np.float32(2**-31) - 1)


def _choose(where: Mask, yes: str, no: str) -> Labels:
    return np.where(where, np.uint8(LABELS.index(yes)), np.uint8(LABELS.index(no)))


def _place(thing: Thing, image: Array, labels: Labels, x: Array, y: Array, pixel: float) -> None:
    """Draws a thing over image and labels, in place, within its bounding box."""
    (cx, cy), (rx, ry), reach = thing.centre, thing.radii, max(thing.radii) + pixel
    left, right = np.searchsorted(x[0], (cx - reach, cx + reach))
    top, bottom = np.searchsorted(y[:, 0], (cy - reach, cy + reach))
    x, y = x[:, left:right], y[top:bottom]
    cos, sin = np.float32(np.cos(thing.angle)), np.float32(np.sin(thing.angle))
    p = cos * (x - np.float32(cx)) + sin * (y - np.float32(cy))
    q = cos * (y - np.float32(cy)) - sin * (x - np.float32(cx))
    if thing.kind == "half":  # depth: distance to the edge, negative outside
        depth = p + 0 * q
    elif thing.corners:  # to the nearest edge
        corners = np.array(thing.corners) * thing.radii
        edges = np.roll(corners, -1, 0) - corners
        depth = np.float32(np.inf)
        for (px, py), (ex, ey) in zip(corners, edges / np.hypot(*edges.T)[:, None]):
            depth = np.minimum(depth, ex * (q - py) - ey * (p - px))
    else:  # (1 - r) / |grad r|, with r = |(p / rx, q / ry)|
        r = np.sqrt((p / rx) ** 2 + (q / ry) ** 2)
        depth = (1 - r) * r / np.sqrt((p / rx**2) ** 2 + (q / ry**2) ** 2 + 1e-6)
    colours, names = _draw(thing.surface, x, y, pixel)
    patch = image[:, top:bottom, left:right]
    patch += np.clip(depth / pixel + 0.5, 0, 1) * (colours - patch)
    names = names if thing.kind == "half" else np.uint8(LABELS.index(thing.kind))
    np.copyto(labels[top:bottom, left:right], names, where=depth > 0)


def _checked_size(size: Size) -> tuple[int, int]:
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or any(side != int(side) or side < 1 for side in pair):
        raise ValueError(f"size is {size}; expected a side or (height, width), each 1 or more")
    return int(pair[0]), int(pair[1])
