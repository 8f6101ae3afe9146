"""A run: the loop around the training step, made to be interrupted.

A run is a folder. ``config.json`` says what is trained, ``log.jsonl`` how it goes,
``panels/`` shows it, ``checkpoint.pt`` (and the one before, ``checkpoint.previous.pt``) holds all
that is needed to continue: both networks, their optimisers, the moving average, every random
state and the position in the data. A run that was killed at any moment and continued gives, with
the same number of threads, the same bits as one that was not.

Several processes: ``torchrun --nproc_per_node 2 -m lama_ref train FOLDER``. Each takes every n-th
sample of the batch. BatchNorm normalises by what its own process sees, as was published (unless
``sync_batchnorm``), and the first process's statistics are saved.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from . import runtime
from .data import panels, run_files
from .data import weights as weight_files
from .data.batches import Batches
from .discriminator import build_discriminator
from .generator import Generator, build_generator
from .losses import LaMaLoss, LossWeights, chance_level, patch_labels
from .perceptual import PerceptualLoss
from .training import TrainConfig, TrainState, settle_batchnorm, training_step, unwrap

FREE = ("save_every", "panel_every", "panels", "workers", "device")
"""Settings that may differ when a run is continued: they do not touch what is learned."""


# --------------------------------------------------------------------------- networks of a run
def build_state(config: TrainConfig, device: torch.device, world: int = 1) -> TrainState:
    """Networks, optimisers and moving average of a run before its first step.

    With several processes the networks are wrapped so that they average their gradients.
    """
    torch.manual_seed(config.seed)
    d = build_discriminator(config.discriminator_width) if config.adversarial else None
    if config.start is None:
        g = build_generator(config.generator)
    else:
        g, started = weight_files.load_training(config.start)
        d = d and (started or d)
    average = None if config.average is None else copy.deepcopy(g).eval().requires_grad_(False)
    for network in filter(None, (g, d, average)):
        network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore
    for network in filter(None, (g, d)):
        network.train()
        for module in network.modules():
            if config.freeze_batchnorm and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    adam = torch.optim.Adam(g.parameters(), config.lr)
    adam_d = d and torch.optim.Adam(d.parameters(), config.lr_discriminator)
    if world > 1:
        wrapped = _wrap(g, config, device), d and _wrap(d, config, device)
        return TrainState(wrapped[0], adam, wrapped[1], adam_d, average)
    return TrainState(g, adam, d, adam_d, average)


def _wrap(network: nn.Module, config: TrainConfig, device: torch.device) -> nn.Module:
    gpu = device.type == "cuda"
    if config.sync_batchnorm and gpu:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    devices = [device] if gpu else None
    return nn.parallel.DistributedDataParallel(network, devices, broadcast_buffers=False)


def build_loss(config: TrainConfig, state: TrainState, device: torch.device) -> LaMaLoss:
    """The loss of the run's main part."""
    perceptual = None
    if config.features and config.weights.perceptual:
        features = weight_files.load_encoder(config.features).to(device)
        perceptual = PerceptualLoss(features, batchnorm=config.features_batchnorm)
    return LaMaLoss(state.discriminator, perceptual, config.weights)


def _continue(folder: Path, config: TrainConfig, state: TrainState) -> dict | None:
    """Load the run's checkpoint into ``state``; what was logged so far, or None for a new run."""
    for leftover in folder.glob(".*.pt.*"):  # of a process that was killed while writing
        leftover.unlink(missing_ok=True)
    saved = run_files.load_checkpoint(folder)
    if saved is None:
        return None
    now, then = json.loads(json.dumps(asdict(config))), json.loads(saved["config"])
    changed = [k for k in now if k not in FREE and now[k] != then.get(k)]
    if changed:
        was = ", ".join(f"{k}={then.get(k)!r} (now {now[k]!r})" for k in changed)
        raise ValueError(
            f"{folder} holds a run with {was}: to carry on with other settings, take a new "
            f"folder and --start {folder}"
        )
    state.load_state_dict(saved)
    run_files.set_random_states(saved["random"])
    return saved["progress"]


# --------------------------------------------------------------------------- the loop
def train(
    config: TrainConfig,
    folder: str | Path,
    *,
    resume: Literal["auto", "never"] = "auto",
    progress: bool = True,
    on_log: Callable[[dict], object] | None = None,
) -> Path:
    """Train, or continue the run in ``folder``; returns the path of the final weights.

    Args:
        config: what to train; for a continued run the same, but for the settings in ``FREE``.
        folder: of the run.
        resume: "auto" continues a run that is there, "never" refuses to.
        progress: show a bar with steps per second and the time left.
        on_log: is called with each line of the log.

    Raises:
        FileNotFoundError, ValueError: data, start or settings that do not fit.
        FloatingPointError: the loss is not a number any more; the last checkpoint is kept.
        OSError: a file cannot be written; the last checkpoint is kept.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step was finished and saved.
    """
    if resume not in ("auto", "never"):
        raise ValueError(f"resume must be 'auto' or 'never', not {resume!r}")
    with runtime.processes() as (rank, world, local):
        run = Run(config, Path(folder), resume, rank, world, local)
        return run.go(progress and rank == 0, on_log if rank == 0 else None)


class Run:
    """A run in its folder; see :func:`train`. Only the first of several processes writes."""

    def __init__(self, config, folder, resume="auto", rank=0, world=1, local=0):
        for _, _, n in config.stages:
            if n % world:
                raise ValueError(f"a batch of {n} cannot be shared by {world} processes")
        self.config, self.folder, self.rank, self.world = config, folder, rank, world
        self.device = runtime.device(config.device)
        if self.device.type == "cuda" and world > 1:
            self.device = torch.device("cuda", local)
        self.data = Batches(config, rank, world)  # data, start and features complain here,
        self.state = build_state(config, self.device, world)  # before anything is written
        self.loss = build_loss(config, self.state, self.device)
        if resume == "never" and any((folder / name).exists() for name in run_files.CHECKPOINTS):
            raise ValueError(f"{folder} holds a run already: continue it, or take another folder")
        folder.mkdir(parents=True, exist_ok=True)
        #: the terms since the last line of the log, as (sum, steps) by name; seconds in all, ...
        new: dict[str, Any] = dict(sums={}, seconds=0.0, waited=0.0, skipped=0)
        self.progress = _continue(folder, config, self.state) or new
        if rank == 0:
            weight_files.write_json(folder / "config.json", asdict(config))
            self.tensorboard = run_files.tensorboard(folder, self.state.step)
            run_files.cut_log(folder / "log.jsonl", self.state.step)

    def go(self, bar: bool = True, on_log: Callable[[dict], object] | None = None) -> Path:
        """All steps that are left, then the weights."""
        from tqdm import tqdm

        config, state, progress = self.config, self.state, self.progress
        w = config.weights
        l1_alone = LaMaLoss(None, weights=LossWeights(w.l1_known, l1_hole=w.l1_known))
        workers = config.workers
        if workers is None:
            workers = 0 if self.device.type == "cpu" else min(12, (os.cpu_count() or 2) - 1)
        data = self.data.loader(state.step, workers, self.device)
        with (
            runtime.stop_signal(self.world == 1) as stopped,
            tqdm(total=config.steps, initial=state.step, disable=not bar, unit="step") as shown,
        ):
            while state.step < config.steps:
                begun = time.perf_counter()
                image, mask = self._next(data)
                progress["waited"] += time.perf_counter() - begun
                loss = l1_alone if state.step < config.l1_until * config.steps else self.loss
                terms = training_step(state, loss, image, mask, config)
                self._count(terms, mask)
                progress["seconds"] += time.perf_counter() - begun
                shown.update()
                if state.step % config.log_every == 0 or state.step == config.steps:
                    line = self._log()
                    shown.set_postfix(hole_l1=f"{line['hole_l1']:.3f}")
                    if on_log is not None:
                        on_log(line)
                if state.step % config.panel_every == 0 and self.rank == 0:
                    self._panel()
                last = stopped.is_set() or state.step == config.steps
                if state.step % config.save_every == 0 or last:
                    self._save()
                if stopped.is_set() and state.step < config.steps:
                    raise KeyboardInterrupt(
                        f"stopped at step {state.step}; the same command continues"
                    )
        return self._finish(data)

    def _next(self, data: Iterator) -> tuple[Tensor, Tensor]:
        *batch, skipped = next(data)
        self.progress["skipped"] += skipped
        return self._move(*batch)

    def _move(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        image = image.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return image, mask.to(self.device, non_blocking=True)

    def _count(self, terms: dict[str, Tensor], mask: Tensor) -> None:
        """Add the terms of a step to the sums, on the device: nothing waits for a GPU."""
        if "d_fake" in terms:
            size = unwrap(self.state.discriminator).grid(*mask.shape[-2:])
            terms["fake_patches"] = patch_labels(mask, size).mean()
        sums = self.progress["sums"]
        for name, value in terms.items():
            total, n = sums.get(name, (0.0, 0))
            sums[name] = (total + value, n + 1)

    def _means(self) -> dict[str, float]:
        """Mean terms since the last line, over all processes; FloatingPointError if not finite."""
        sums = self.progress["sums"]
        means = torch.stack([torch.as_tensor(t, device=self.device) / n for t, n in sums.values()])
        if self.world > 1:
            dist.all_reduce(means)
            means /= self.world
        values = dict(zip(sums, means.tolist()))
        broken = [name for name, value in values.items() if not np.isfinite(value)]
        if broken:
            raise FloatingPointError(
                f"{', '.join(broken)} not a number at step {self.state.step}: lower lr "
                f"({self.config.lr}) or use precision float32; the last good state, if any, is in "
                f"{self.folder / run_files.CHECKPOINTS[0]}"
            )
        return values

    def _log(self) -> dict:
        progress, state, config = self.progress, self.state, self.config
        means = self._means()
        if "fake_patches" in means:
            means["d_chance"] = chance_level(min(1.0, means.pop("fake_patches")))
        line = {"step": state.step, "crop": config.stage(state.step - 1)[0]}
        line |= {"lr": config.lr * config.speed(state.step - 1)}
        line |= {k: round(v, 5) for k, v in means.items()}
        line |= {"seconds": round(progress["seconds"], 1), "skipped": progress["skipped"]}
        line |= {"data_share": round(progress["waited"] / progress["seconds"], 3)}
        progress["sums"] = {}
        if self.rank == 0:
            run_files.append(self.folder / "log.jsonl", json.dumps(line))
            for name, value in line.items():
                if self.tensorboard is not None and name != "step":
                    self.tensorboard.add_scalar(name, value, state.step)
        return line

    def _save(self) -> None:
        if self.progress["sums"]:
            self._means()  # nothing that is not a number is ever saved
        if self.rank == 0:
            saved = self.state.state_dict() | {"progress": self.progress}
            saved |= {
                "random": run_files.random_states(),
                "config": json.dumps(asdict(self.config)),
            }
            run_files.save_checkpoint(self.folder, saved)

    def _settled(self, data: Iterator, batches: int) -> Generator:
        """A copy of what would be saved, its BatchNorm statistics averaged anew."""
        g: Any = self.state.average
        g = copy.deepcopy(unwrap(self.state.generator) if g is None else g)
        g.requires_grad_(False)
        if batches and not self.config.freeze_batchnorm:
            settle_batchnorm(g, data, batches)
        return g.eval()

    def _panel(self) -> None:
        n = min(8, self.config.settle)
        last = (self.data[len(self.data) - 1 - i][:2] for i in range(n))
        g = self._settled((self._move(*batch) for batch in last), n)
        size = max(size for _, size, _ in self.config.stages)
        path = self.folder / "panels" / f"{self.state.step:07}.jpg"
        panels.write(path, g, self.config.panels, self.config.masks, size)

    def _finish(self, data: Iterator) -> Path:
        path = self.folder / "weights.safetensors"
        if self.rank == 0:
            rest = (self._next(data) for _ in range(self.config.settle))
            settled = self._settled(rest, self.config.settle)
            weight_files.save(settled, path)
            networks = (unwrap(self.state.generator), unwrap(self.state.discriminator))
            weight_files.save_training(self.folder / "training.safetensors", *networks)
            n = sum(p.numel() for p in settled.parameters())
            about = asdict(self.config), str(self.data.mixture), self.progress["seconds"]
            run_files.write_card(path, n, *about, device=str(self.device))
        return path
