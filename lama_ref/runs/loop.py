"""A run: the loop around the training step, made to be interrupted.

A run is a folder. ``config.json`` says what is trained, ``log.jsonl`` how it goes,
``panels/`` shows it, ``checkpoint.pt`` holds all that is needed to continue: both networks, their
optimisers, the moving average, torch's random state and the position in the data. A run that was
killed at any moment and continued gives, with the same number of threads, the same bits as one
that was not.

Several processes: ``torchrun --nproc_per_node 2 -m lama_ref train FOLDER``. Each takes every n-th
sample of the batch. BatchNorm normalises by what its own process sees, as was published, and the
first process's statistics are saved.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from . import disk
from .assemble import build_loss, build_state
from .batches import Batches
from .processes import processes, stop_signal
from .recipes import TrainConfig, fitting, from_dict

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
    progress: bool = True,
    on_log: Callable[[dict], object] | None = None,
) -> Path:
    """Train, or continue the run in ``folder``; returns the path of the final weights.

    Args:
        config: what to train; for a continued run the same, but for the settings in ``FREE``.
        folder: of the run.
        progress: show a bar with steps per second and the time left.
        on_log: is called with each line of the log.

    Raises:
        FileNotFoundError, ValueError: data, start or settings that do not fit.
        FloatingPointError: the loss is not a number any more; the last checkpoint is kept.
        OSError: a file cannot be written (the last checkpoint is kept), or another process is
            training in this folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step was finished and saved.
    """
    folder = Path(folder)
    with processes(config.device) as (rank, world):
        with disk.locked(folder) if rank == 0 else nullcontext():
            run = Run(config, folder, rank, world)
            return run.go(progress and rank == 0, on_log if rank == 0 else None)


class Run:
    """A run in its folder; see :func:`train`. Only the first of several processes writes."""

    def __init__(self, config: TrainConfig, folder: Path, rank: int = 0, world: int = 1) -> None:
        for _, _, n in config.stages:
            if n % world:
                raise ValueError(f"a batch of {n} cannot be shared by {world} processes")
        if config.minutes and world > 1:
            raise ValueError("minutes is for one process: the clocks of several differ; use steps")
        self.config, self.folder, self.rank, self.world = config, folder, rank, world
        self.device = runtime.device(config.device)
        saved = disk.load_checkpoint(folder)
        self.data = Batches(config, rank, world)  # data, panels, start and features complain
        if rank == 0:  # here, before anything is written
            panels.pictures(config.panels, 64)
        if saved is not None and config.minutes:  # how many fit is known already
            config = self.config = replace(config, steps=json.loads(saved["config"])["steps"])
        if saved is not None:
            _check_same(folder, config, self.data.mixture.digest(), saved)
        networks = disk.networks(saved) if saved else None
        self.state = build_state(config, self.device, world, networks)
        self.loss = build_loss(config, self.state, self.device)
        #: the terms since the last line of the log, as (sum, steps) by name; seconds in all, ...
        self.progress: dict[str, Any] = dict(sums={}, seconds=0.0, waited=0.0, skipped=0)
        if saved is not None:
            self.state.load_state_dict(saved)
            torch.set_rng_state(saved["random"]["torch"])
            for device, state in enumerate(saved["random"]["cuda"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(state, device)
            self.progress = saved["progress"]
        if rank == 0:
            disk.tidy(folder)
            write_json(folder / "config.json", asdict(config))
            disk.cut_log(folder / "log.jsonl", self.state.step)

    def go(self, bar: bool = True, on_log: Callable[[dict], object] | None = None) -> Path:
        """All steps that are left, then the weights."""
        from tqdm import tqdm

        config, state, progress = self.config, self.state, self.progress
        everywhere = max(config.weights.l1_known, config.weights.l1_hole)
        l1_alone = LaMaLoss(None, weights=LossWeights(everywhere, everywhere))
        data = self.data.loader(state.step, self.device)
        marks = [time.perf_counter()]
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
                last = state.step == config.steps
                if state.step % config.log_every == 0 or last:
                    line = self._log()
                    shown.set_postfix(hole_l1=f"{line['hole_l1']:.3f}")
                    if on_log is not None:
                        on_log(line)
                if config.minutes and state.step in (config.log_every, 2 * config.log_every):
                    marks.append(time.perf_counter())  # after a log: nothing is left to wait for
                    config = self.config = fitting(config, marks)
                    shown.total = config.steps
                stopped = self._stopped(told.is_set())
                if state.step % config.save_every == 0 or last or stopped:
                    self._save()
                if state.step % config.panel_every == 0 and self.rank == 0:
                    self._panel()
                if stopped and not last:
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
        image, mask, skipped = next(data)
        self.progress["skipped"] += skipped
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
                "random": {  # of numpy's and Python's nothing is drawn in training
                    "torch": torch.get_rng_state(),
                    "cuda": torch.cuda.get_rng_state_all(),
                },
                "config": json.dumps(asdict(self.config)),
                "networks": json.dumps(format.layout(*networks)),
                "data": self.data.mixture.digest(),
            }
            disk.save_checkpoint(self.folder, saved)

    def _settled(self, data: Iterator, batches: int) -> Generator:
        """A copy of what would be saved, its BatchNorm statistics averaged anew."""
        average: Any = self.state.average
        network = unwrap(self.state.generator) if average is None else average
        with torch.random.fork_rng([]):  # to build one draws weights
            g = Generator(network.config)
        g.load_state_dict(network.state_dict())
        g.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore
        if batches and not self.config.freeze_batchnorm:
            settle_batchnorm(g, (self._next(data) for _ in range(batches)), batches)
        return g.requires_grad_(False).eval()

    def _panel(self) -> None:
        n, end = min(8, self.config.settle), len(self.data)
        g = self._settled(((*self.data[end - 1 - i][:2], 0) for i in range(n)), n)
        size = max(size for _, size, _ in self.config.stages)
        path = self.folder / "panels" / f"{self.state.step:07}.jpg"
        panels.write(path, g, self.config.panels, self.config.masks, size)

    def _finish(self, data: Iterator) -> Path:
        """Write weights, the networks to go on training from, and a model card."""
        path, config = self.folder / "weights.safetensors", self.config
        if self.rank == 0:
            settled = self._settled(data, config.settle)
            format.save(settled, path)
            networks = (unwrap(self.state.generator), unwrap(self.state.discriminator))
            format.save_training(self.folder / "training.safetensors", *networks)
            licence = "that of lama_ref, Apache-2.0, as far as it can grant it"
            if config.start:
                licence = f"begun from {config.start}: what holds for that, see its card"
            disk.write_card(
                path,
                settled,
                training=asdict(config),
                data=str(self.data.mixture),
                seconds=round(self.progress["seconds"]),
                device=f"{self.device}, {torch.get_num_threads()} threads",
                licence=f"{licence}; training pictures have terms of their own",
            )
        return path
