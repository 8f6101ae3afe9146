"""What a run is put together from: networks, their optimisers, and the loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..discriminator import Discriminator, ProjectedDiscriminator, build_discriminator
from ..generator import build_generator
from ..losses import LaMaLoss
from ..perceptual import EfficientNetLite, Features, PerceptualLoss, Remembering
from ..training import TrainState, unwrap
from ..weights.format import Networks, settings
from ..weights.names import EFFICIENTNETS, RESULTS, load_efficientnet, load_encoder, load_training
from . import disk
from .recipes import TrainConfig


def build_state(
    config: TrainConfig, device: torch.device, world: int = 1, networks: Networks | None = None
) -> TrainState:
    """Networks, optimisers and moving average of a run before its first step.

    Args:
        device: where they go.
        world: number of processes; with several the networks average their gradients.
        networks: take these, instead of new ones or those of ``config.start``.

    Raises:
        FileNotFoundError, ValueError: ``config.start`` is not there, or does not fit.
    """
    torch.manual_seed(config.seed)
    d = new_discriminator(config) if config.adversarial else None
    if networks is None and config.start is not None:
        networks = load_start(config.start)
    g, started = networks or (build_generator(config.architecture), None)
    if d is not None and started is not None and _alike(d, started):
        d = started
    for _, size, _ in config.stages:
        if size % g.config.multiple:
            raise ValueError(f"crops of {size} px: this generator needs {g.config.multiple} n")
    average = None if config.average is None else copy.deepcopy(g).eval().requires_grad_(False)
    for network in filter(None, (g, d, average)):
        network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore
    for network in filter(None, (g, d)):
        network.train()
        for module in network.modules():
            if config.freeze_batchnorm and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    if world > 1:
        g, d = _wrap(g), d and _wrap(d)
    adam = torch.optim.Adam(g.parameters(), config.lr)
    adam_d = d and torch.optim.Adam(d.parameters(), config.lr_discriminator)
    return TrainState(g, adam, d, adam_d, average)


def load_start(start: str | Path) -> Networks:
    """What a run begins with: of an unfinished run's folder the last checkpoint, else as
    :func:`lama_ref.weights.names.load_training`.
    """
    folder = Path(start)
    if folder.is_dir() and not any((folder / file).exists() for file in RESULTS):
        if (saved := disk.load_checkpoint(folder)) is not None:
            return disk.networks(saved)
    return load_training(start)


def _wrap(network: nn.Module) -> nn.Module:
    """Let a network average its gradients with those of other processes."""
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)


def new_discriminator(config: TrainConfig) -> Discriminator | ProjectedDiscriminator:
    """That of the recipe, with fresh weights; a projected one is still without its features."""
    if config.discriminator == "patch":
        return build_discriminator(config.discriminator_width)
    channels = [EfficientNetLite.STAGES[stage - 1][3] for stage in config.discriminator_stages]
    return ProjectedDiscriminator(None, channels, config.discriminator_width)


def _alike(new: nn.Module, started: nn.Module) -> bool:
    """Whether a run can go on with the discriminator that it starts from."""
    if isinstance(new, ProjectedDiscriminator):
        return settings(new) == settings(started)
    return type(new) is type(started)


def build_loss(config: TrainConfig, state: TrainState, device: torch.device) -> LaMaLoss:
    """The loss of the run's main part; a projected discriminator gets its features here."""
    perceptual, d = None, unwrap(state.discriminator)
    if isinstance(d, ProjectedDiscriminator):
        both = sorted({*config.feature_stages, *config.discriminator_stages})
        if config.features not in EFFICIENTNETS:
            raise ValueError(
                "a projected discriminator looks through efficientnet-lite0 or -lite1, not "
                f"features={config.features!r}"
            )
        shared = Remembering(load_efficientnet(config.features, both).to(device))
        d.look_through(_some(shared, both, config.discriminator_stages))
        if config.weights.perceptual:
            perceptual = PerceptualLoss(_some(shared, both, config.feature_stages))
    elif config.features and config.weights.perceptual:
        features = load_encoder(config.features, config.feature_stages).to(device)
        perceptual = PerceptualLoss(features, batchnorm=config.features_batchnorm)
    return LaMaLoss(state.discriminator, perceptual, config.weights, config.mask_labels)


def _some(features: Features, stages: Sequence[int], wanted: Sequence[int]) -> Features:
    chosen = [stages.index(stage) for stage in wanted]
    return lambda image: [maps[i] for maps in [features(image)] for i in chosen]
