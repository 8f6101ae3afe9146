"""Published LaMa checkpoints: read them safely and build the networks that they fit.

    generator = load_generator("big-lama/models/best.ckpt")

The published layout is this package's own, so nothing is translated: the loaders find the prefix
under which a network lies in the checkpoint, read its architecture off keys and shapes, and
compare every key and shape before they copy a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..discriminator import Discriminator
from ..ffc import split_channels
from ..generator import Generator, GeneratorConfig, resolve_config
from ..perceptual import ResNet50
from .checkpoints import read_checkpoint as read_checkpoint

Network = TypeVar("Network", bound=nn.Module)
Source = Mapping[str, Tensor] | str | Path
_FIRST_CONV = r"model\.1\.(ffc\.convl2[lg]\.)?weight"


def load_generator(source: Source, **overrides) -> Generator:
    """The generator of a checkpoint, in evaluation mode, with float32 weights.

    Args:
        source: state dict, or a file for :func:`read_checkpoint`. Its keys may have any prefix,
            such as ``generator.``; what lies under other prefixes is ignored.
        **overrides: fields of :class:`GeneratorConfig` that replace what the keys tell, such as
            ``output="tanh"``: the activation leaves no trace in them.

    Raises:
        ValueError: no generator found, or one that does not fit (lists keys and shapes).
    """
    state = _generator_state(source)
    config = resolve_config(infer_config(state), **overrides)
    with torch.device("meta"):
        generator = Generator(config)
    return _fill(generator, state, f"a generator with {config}")


def load_discriminator(source: Source) -> Discriminator:
    """The patch discriminator of a checkpoint; see :func:`load_generator`."""
    state = _strip(source, "discriminator", r"model0\.0\.weight", r"model\d+\.\d\.", c_in=3)
    width = len(state["model0.0.weight"])
    layers = max(1, *(int(key[5:].split(".")[0]) - 1 for key in state))
    last = state.get(f"model{layers}.0.weight")
    max_width = _limit(width * 2**layers, 0 if last is None else len(last), 512)
    with torch.device("meta"):
        discriminator = Discriminator(width, layers, max_width)
    return _fill(discriminator, state, f"a discriminator of width {width}, {layers} layers")


def load_hrf_encoder(source: Source, *, dilated: bool = True) -> ResNet50:
    """The network of the published perceptual loss, in evaluation mode.

    Args:
        source: state dict, or a file for :func:`read_checkpoint`: the ADE20K encoder's own
            (``encoder_epoch_20.pth``), ImageNet weights of the same authors
            (``resnet50-imagenet.pth``; their classifier is left out), or a training checkpoint,
            where it lies under ``loss_resnet_pl.impl.``.
        dilated: as published. Dilation leaves no trace in the weights, so the same ones give
            the plain network of the paper's Table 3 with ``dilated=False``.

    Returns:
        Module: image (B, 3, H, W) in [0, 1], which it normalises itself -> four feature maps.

    Raises:
        ValueError: no such network found, or one that does not fit (lists keys and shapes).
    """
    state = _strip(source, "encoder", r"conv1\.weight", r"(conv|bn)\d\.|layer\d\.", c_in=3)
    with torch.device("meta"):
        encoder = ResNet50(dilated)
    return _fill(encoder, state, "ResNet50 with a stem of three convolutions")


def infer_config(source: Source) -> GeneratorConfig:
    """Read a generator's architecture off the keys and shapes of its state dict.

    The number of dilations fixes them as 1, 2, 4, ...; without residual blocks their options
    cannot be seen, and the output activation never: these are taken to be the published ones.
    """
    shapes = {key: tuple(value.shape) for key, value in _generator_state(source).items()}

    def channels(key: str) -> int:
        return shapes.get(key, (0,))[0]

    blocks = {int(k.split(".")[1]) for k in shapes if re.match(r"model\.\d+\.conv(1|_block)\.", k)}
    first_block = f"model.{min(blocks, default=0)}."
    fourier = any(".ffc." in key for key in shapes)
    step = 1 if fourier else 3  # modules of a downsampling: one block, or conv, BN and ReLU
    if blocks:  # pad, first convolution, downsamplings, blocks
        downsamplings = (min(blocks) - 1) // step - 1
    elif fourier:
        downsamplings = len({key.split(".")[1] for key in shapes if ".ffc." in key}) - 1
    else:  # as many upsamplings, and a convolution at either end
        downsamplings = sum(len(s) == 4 for s in shapes.values()) // 2 - 1

    width = sum(channels(key) for key in shapes if re.fullmatch(_FIRST_CONV, key))
    last = f"model.{1 + step * downsamplings}."  # the last downsampling
    if fourier:
        halves = channels(f"{last}ffc.convl2l.weight"), channels(f"{last}ffc.convl2g.weight")
    else:
        halves = channels(f"{last}weight"), 0
    unit = shapes.get(f"{first_block}conv1.ffc.convg2g.fu.conv_layer.weight", (0, 0))
    dilations = sum(key.startswith(f"{first_block}conv_block.0.convs.") for key in shapes) // 2
    return GeneratorConfig(
        kind="fourier" if fourier else "dilated" if dilations else "regular",
        blocks=max(blocks) - min(blocks) + 1 if blocks else 0,
        width=width,
        downsamplings=downsamplings,
        max_width=_limit(width * 2 ** max(0, downsamplings), sum(halves), 1024),
        ratio=_ratio(*halves) if fourier else 0.75,
        lfu=any(".convg2g.lfu." in key for key in shapes),
        gated=any(".ffc.gate." in key for key in shapes),
        position=unit[1] == unit[0] + 2,
        squeeze_excitation=any(".fu.se." in key for key in shapes),
        dilations=tuple(2**i for i in range(dilations or 4)),
    )


def _limit(doubled: int, actual: int, default: int) -> int:
    """The limit under which repeated doubling to ``doubled`` gave ``actual`` channels."""
    return actual if 0 < actual < doubled else max(default, doubled)


def _ratio(local: int, glob: int) -> float:
    """A ratio that splits the channels as they are split, a round one if there is one."""
    channels = max(1, local + glob)
    for ratio in (0.75, 0.5, 0.25, 0.0, 1.0, glob / channels):
        if split_channels(channels, ratio) == (local, glob):
            return ratio
    return (glob + 0.5) / channels  # glob / channels was rounded down below it


# --------------------------------------------------------------------------- keys and shapes
def _generator_state(source: Source) -> dict[str, Tensor]:
    return _strip(source, "generator", _FIRST_CONV, r"model\.\d+\.", c_in=4)


def _strip(source: Source, what: str, first: str, inside: str, c_in: int) -> dict[str, Tensor]:
    """One network's part of a checkpoint, without prefix.

    Args:
        source: state dict or file.
        what: "generator", "discriminator" (the published prefixes) or "encoder".
        first, c_in: pattern of the first convolution's key, and its input channels.
        inside: pattern of the beginning of all its keys.
    """
    if isinstance(source, (str, Path)):
        source = read_checkpoint(source)
    if not isinstance(source, Mapping):
        raise TypeError(f"expected a state dict or the path of a file, not {type(source).__name__}")
    nested = source.get("state_dict")
    source = nested if isinstance(nested, Mapping) else source
    state = {str(key): value for key, value in source.items() if isinstance(value, Tensor)}
    prefixes = {
        match[1]
        for key, value in state.items()
        if (match := re.fullmatch(rf"((?:.+\.)?){first}", key))
        if value.ndim == 4 and value.shape[1] == c_in
    }
    if not prefixes:
        raise ValueError(
            f"no LaMa {what} in these {len(state)} tensors: none is named like a first convolution "
            f"({first}) with {c_in} input channels. The names begin {list(state)[:5]}"
        )
    prefix = min(
        prefixes, key=lambda p: (p not in ("", f"{what}."), not p.endswith(f".{what}."), len(p), p)
    )
    cut = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    return {key: value for key, value in cut.items() if re.match(inside, key)}


def _fill(network: Network, state: Mapping[str, Tensor], what: str) -> Network:
    """Give a network on the meta device copies of the tensors of ``state``, if all of them fit."""
    own = network.state_dict()
    shapes = {key: (tuple(state[key].shape), tuple(own[key].shape)) for key in own if key in state}
    problems = {
        # a counter that only momentum=None uses, and that old checkpoints lack
        "missing": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "unexpected": [k for k in state if k not in own],
        "of another shape": [
            f"{k}: expected {want}, got {got}" for k, (got, want) in shapes.items() if want != got
        ],
    }
    if any(problems.values()):
        lines = [f"the checkpoint does not fit {what}"]
        for problem, entries in problems.items():
            if entries:
                lines += [f"{len(entries)} {problem}:", *(f"  {entry}" for entry in entries[:10])]
            if len(entries) > 10:
                lines.append(f"  ... and {len(entries) - 10} more")
        raise ValueError("\n".join(lines))
    copies = {
        key: state[key].detach().to(value.dtype).clone(memory_format=torch.contiguous_format)
        if key in state
        else torch.zeros(value.shape, dtype=value.dtype)
        for key, value in own.items()
    }
    network.load_state_dict(copies, assign=True)
    return network.eval()
