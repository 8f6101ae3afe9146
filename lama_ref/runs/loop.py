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
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from .. import runtime
from ..generator import Generator
from ..losses import LaMaLoss, LossWeights, chance_level, patch_labels
from ..pictures import panels
from ..training import settle_batchnorm, training_step, unwrap
from ..weights import format
from ..weights.files import write_json
from ..weights.format import layout, save_training
from . import disk
from .assemble import build_loss, build_state, without_sync
from .batches import Batches
from .processes import processes, stop_signal
from .recipes import TrainConfig, from_dict

FREE = ("save_every", "panel_every", "panels", "workers", "device")
"""Settings that may differ when a run is continued: they do not touch what is learned."""


def _check_same(folder: Path, config: TrainConfig, data: str, saved: dict) -> None:
    """ValueError if a run is to be continued with settings that change what is learned."""
    now, then = asdict(config), asdict(from_dict(json.loads(saved["config"])))  # of any version
    moved = ("data",) if saved.get("data") == data else ()  # the same files in another place
    changed = [k for k in now if k not in (*FREE, *moved) and now[k] != then[k]]
    if changed:
        was = ", ".join(f"{k}={then[k]!r} (now {now[k]!r})" for k in changed)
        raise ValueError(
            f"{folder} holds a run with {was}: to carry on with other settings, take a new "
            f"folder and --start {folder}"
        )


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
        OSError: a file cannot be written (the last checkpoint is kept), or another process is
            training in this folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step was finished and saved.
    """
    if resume not in ("auto", "never"):
        raise ValueError(f"resume must be 'auto' or 'never', not {resume!r}")
    folder = Path(folder)
    with processes(config.device) as (rank, world, local):
        with disk.locked(folder) if rank == 0 else nullcontext():
            run = Run(config, folder, resume, rank, world, local)
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
        saved = disk.load_checkpoint(folder)
        if saved is not None and resume == "never":
            raise ValueError(f"{folder} holds a run already: continue it, or take another folder")
        self.data = Batches(config, rank, world)  # data, panels, start and features complain
        if rank == 0:  # here, before anything is written
            panels.pictures(config.panels, 64)
        if saved is not None:
            _check_same(folder, config, self.data.mixture.digest(), saved)
        networks = disk.networks(saved) if saved else None
        self.state = build_state(config, self.device, world, networks)
        self.loss = build_loss(config, self.state, self.device)
        #: the terms since the last line of the log, as (sum, steps) by name; seconds in all, ...
        self.progress: dict[str, Any] = dict(sums={}, seconds=0.0, waited=0.0, skipped=0)
        if saved is not None:
            self.state.load_state_dict(saved)
            disk.set_random_states(saved["random"])
            self.progress = saved["progress"]
        if rank == 0:
            disk.tidy(folder)
            write_json(folder / "config.json", asdict(config))
            self.tensorboard = disk.tensorboard(folder, self.state.step)
            disk.cut_log(folder / "log.jsonl", self.state.step)

    def go(self, bar: bool = True, on_log: Callable[[dict], object] | None = None) -> Path:
        """All steps that are left, then the weights."""
        from tqdm import tqdm

        config, state, progress = self.config, self.state, self.progress
        w = config.weights
        everywhere = max(w.l1_known, w.l1_hole)
        l1_alone = LaMaLoss(None, weights=LossWeights(everywhere, everywhere))
        workers = config.workers
        if workers is None:
            workers = 0 if self.device.type == "cpu" else min(12, (os.cpu_count() or 2) - 1)
        data = self.data.loader(state.step, workers, self.device)
        with (
            stop_signal() as told,
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
                stopped = self._stopped(told.is_set())
                last = stopped or state.step == config.steps
                if state.step % config.save_every == 0 or last:
                    self._save()
                if state.step % config.panel_every == 0 and self.rank == 0:
                    self._panel()
                if stopped and state.step < config.steps:
                    raise KeyboardInterrupt(
                        f"stopped at step {state.step}; the same command continues"
                    )
        return self._finish(data)

    def _stopped(self, told: bool) -> bool:
        """Whether any process was told to stop: they stop together, or some would wait for ever."""
        if self.world == 1:
            return told
        if self.device.type == "cuda" and self.state.step % self.config.log_every:
            return False  # to ask means to wait for the GPU
        told_any = torch.tensor(float(told), device=self.device)
        dist.all_reduce(told_any)
        return bool(told_any)

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
            grids = unwrap(self.state.discriminator).grids(*mask.shape[-2:])
            for i, size in enumerate(grids):
                terms[f"fake_patches_{i}"] = patch_labels(mask, size, self.loss.labels).mean()
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
                f"{', '.join(broken)} not a number at step {self.state.step}: begin a new run from "
                f"the last checkpoint, if there is one, with --start {self.folder} and a lower lr "
                f"(it was {self.config.lr}) or precision float32"
            )
        return values

    def _log(self) -> dict:
        progress, state, config = self.progress, self.state, self.config
        means = self._means()
        shares = [means.pop(name) for name in list(means) if name.startswith("fake_patches")]
        if shares:
            means["d_chance"] = sum(chance_level(min(1.0, p)) for p in shares) / len(shares)
        line = {"step": state.step, "crop": config.stage(state.step - 1)[0]}
        line |= {"lr": config.lr * config.speed(state.step - 1)}
        line |= {k: round(v, 5) for k, v in means.items()}
        line |= {"seconds": round(progress["seconds"], 3), "skipped": progress["skipped"]}
        line |= {"data_share": round(progress["waited"] / progress["seconds"], 3)}
        progress["sums"] = {}
        if self.rank == 0:
            disk.append(self.folder / "log.jsonl", json.dumps(line))
            for name, value in line.items():
                if self.tensorboard is not None and name != "step":
                    self.tensorboard.add_scalar(name, value, state.step)
        return line

    def _save(self) -> None:
        if sums := self.progress["sums"]:
            means = self._means()  # nothing that is not a number is ever saved
            if self.world > 1:  # one checkpoint for all
                self.progress["sums"] = {k: (means[k] * n, n) for k, (_, n) in sums.items()}
        if self.rank == 0:
            saved = self.state.state_dict() | {"progress": self.progress}
            networks = unwrap(self.state.generator), unwrap(self.state.discriminator)
            saved |= {
                "random": disk.random_states(),
                "config": json.dumps(asdict(self.config)),
                "networks": json.dumps(layout(*networks)),
                "data": self.data.mixture.digest(),
            }
            disk.save_checkpoint(self.folder, saved)

    def _settled(self, data: Iterator, batches: int) -> Generator:
        """A copy of what would be saved, its BatchNorm statistics averaged anew."""
        g: Any = self.state.average
        g = without_sync(copy.deepcopy(unwrap(self.state.generator) if g is None else g))
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
            format.save(settled, path)
            networks = (unwrap(self.state.generator), unwrap(self.state.discriminator))
            save_training(self.folder / "training.safetensors", *networks)
            about = asdict(self.config), str(self.data.mixture), self.progress["seconds"]
            disk.write_card(path, settled, *about, device=str(self.device))
        return path
