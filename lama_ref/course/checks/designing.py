"""Checks of notebook 10: design your own FFC."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...spectral import transforms
from ...spectral.contract import impulse, spectral_contract
from ...spectral.kit import Spectrum, Transform
from ...spectral.variants import VARIANTS
from .core import compare, exercise, expect, normal, returned, tensor

__all__ = ["low_pass", "magnitudes", "one_axis", "own_variant"]

_SIZES = ((8, 8), (7, 9), (5, 12))


@exercise("10.1")
def magnitudes(answer: Callable[[Spectrum], Tensor]) -> None:
    """|z| of every coefficient of every transform: (B, C, Hk, Wk)."""
    for name, make in transforms.TRANSFORMS.items():
        for size in _SIZES:
            spectrum = make()(normal(2, 3, *size))
            before = spectrum.values.clone()
            got = tensor(answer(spectrum), f"{name} of {size} pixels")
            expected = spectrum.values.square().sum(2).sqrt()
            compare(got, expected, f"{name} of {size} pixels")
            compare(spectrum.values, before, f"{name}: the spectrum that you were given")


@exercise("10.2")
def low_pass(answer: Callable[[Spectrum, float], Spectrum]) -> None:
    """Coefficients at frequencies of at most ``cutoff`` cycles per pixel stay, others are 0."""
    for name in ("fft", "dct", "hartley"):
        for size in _SIZES:
            for cutoff in (0.0, 0.2, 0.4, 1.0):
                spectrum = transforms.TRANSFORMS[name]()(normal(1, 2, *size))
                before, what = spectrum.values.clone(), f"{name} of {size} pixels, cutoff {cutoff}"
                got = answer(spectrum, cutoff)
                returned(got, what)
                expect(
                    isinstance(got, Spectrum),
                    f"{what}: return a Spectrum, as dataclasses.replace gives it, not a "
                    f"{type(got).__name__}",
                )
                keep = (spectrum.ky**2 + spectrum.kx**2).sqrt() <= cutoff + 1e-9
                compare(got.values, before * keep, what)
                compare(spectrum.values, before, f"{what}: the spectrum that you were given")


@exercise("10.3")
def one_axis(answer: Callable[[], Transform]) -> None:
    """A transform of the kit: orthonormal real FFT along the width alone."""
    for size in (*_SIZES, (3, 1), (1, 6)):
        x, what = normal(2, 3, *size), f"{size} pixels"
        transform = answer()
        expect(isinstance(transform, Transform), f"derive from Transform, not {type(transform)}")
        expect(transform.parts == 2, f"parts is {transform.parts}: real and imaginary are 2")
        spectrum = transform(x)
        returned(spectrum, f"{what}: forward")
        expect(isinstance(spectrum, Spectrum), f"{what}: forward must return a Spectrum")
        expect(not spectrum.values.is_complex(), f"{what}: values must be real, in two parts")
        z = torch.fft.rfft(x, norm="ortho")
        compare(spectrum.values, torch.stack([z.real, z.imag], 2), f"{what}: values")
        compare(
            spectrum.kx.broadcast_to(1, z.shape[-1]),
            torch.fft.rfftfreq(size[1], dtype=x.dtype)[None],
            f"{what}: kx, in cycles per pixel",
        )
        compare(
            spectrum.energy(), x.square().sum(), f"{what}: the energy (do the weights count twice?)"
        )
        compare(transform.inverse(spectrum), x, f"{what}: inverse")
        louder = replace(spectrum, values=2 * spectrum.values)
        compare(transform.inverse(louder), 2 * x, f"{what}: inverse of the doubled spectrum")


@exercise("10.4")
def own_variant(answer: Callable) -> None:
    """A factory of your own: keeps the contract, reaches far, is none of those that ship."""
    expect(
        not any(answer is factory for factory in VARIANTS.values() if _shipped(factory)),
        "this is a variant that ships: register one of your own",
    )
    answer(6, 6, stride=1, groups=1)  # what it raises is the student's to read
    card = spectral_contract(answer, verbose=False)
    failed = [f"{what}: {finding}" for what, verdict, finding in card.lines if verdict == "fails"]
    expect(not failed, f"the contract is not kept. {'; '.join(failed)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        answers = impulse(answer)
    reach = (answers > 1e-7 * answers.max()).float().mean().item()
    expect(
        reach > 0.4,
        f"one pixel reaches {reach:.0%} of the map: that is a local layer; let the coefficients "
        "act on the whole map",
    )
    print(card)


def _shipped(factory: Callable) -> bool:
    return getattr(factory, "__module__", "").startswith("lama_ref.")
