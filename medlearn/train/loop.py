"""The training loop: from cases to a run folder."""

import copy
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from ..checkpoint import save_checkpoint
from ..inference import autocast, choose_device
from ..io.files import replacing, write_text
from ..nn import dice_ce_loss
from ..plots import plot_curves
from ..preprocess import Preprocess
from ..volume import Case
from .config import TrainConfig
from .data import Validation, fit_preprocess, load_slices
from .plan import make_plan, open_folder
from .precision import choose_arithmetic
from .progress import Bar, Clock, interrupt_flag
from .run import CONFIG_FILE, CURVES_FILE, HISTORY_FILE, LOG_FILE, MODEL_FILE, STATE_FILE, Run
from .sampler import generator

_log = logging.getLogger("medlearn.train")

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def segmentation_objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Dice plus cross-entropy of the model's logits: the default of `fit`."""
    return dice_ce_loss(model(images), labels)


def fit(
    model: nn.Module,
    cases: Sequence[Case],
    *,
    held_out: Sequence[Case] = (),
    config: TrainConfig | None = None,
    objective: Objective = segmentation_objective,
    out: str | Path,
    resume: bool = False,
    progress: bool = True,
    on_validation: Callable[[nn.Module, Preprocess, float], None] | None = None,
) -> Run:
    """Train a segmentation network on the slices of `cases`.

    Parameters
    ----------
    model : nn.Module
        With a ``config`` that `medlearn.nn.build` understands; trained in place.
    cases, held_out : sequence of Case
        With masks of labels 0 ... K. Held-out cases are never trained on; their Dice is written down as training goes
        on. It chooses nothing: the weights that are kept are the averaged ones of the last step.
    config : TrainConfig, optional
    objective : callable
        ``objective(model, images, labels) -> loss`` with images (B, C, H, W) and labels (B, H, W).
    out : path
        Folder of the run. An existing one is refused unless `resume`.
    resume : bool
        Go on where a stopped run in `out` was, with the same cases and settings.
    progress : bool
        Show a line with loss, Dice and the time left, in a terminal or a notebook.
    on_validation : callable, optional
        ``on_validation(model, preprocess, share)`` is called with the averaged model (do not change it) after each
        prediction of the held-out cases; `share` of the budget, 0 ... 1, is then used.

    Returns
    -------
    Run
        Also after Ctrl-C, which ends training after the current step and keeps what was learned; `Run.complete` is
        then False.

    Raises
    ------
    FileExistsError, FileNotFoundError
        If `out` exists, or, with `resume`, holds nothing to go on from.
    BadCasesError
        If a case has no mask.
    ValueError
        If model, cases, settings, or the run to be resumed do not fit together.
    FloatingPointError
        If the loss is no longer finite; the weights saved before stay in the folder.
    """
    config = config or TrainConfig()
    out = Path(out)
    plan = make_plan(model, cases, held_out, config)
    device = choose_device(config.device)
    settled = open_folder(out, plan, resume)
    with _log_to(out / LOG_FILE), _keep_random_state():
        preprocess = fit_preprocess(model, cases, config, tuple(plan["labels"]))
        sampler = load_slices(cases, preprocess, config, device)
        validation = Validation(held_out, preprocess)
        model.to(device)
        if not settled:
            example, _ = sampler.gather(torch.arange(config.batch_size) % len(sampler))
            settled = choose_arithmetic(model, example, config.precision)
            plan |= {"precision": settled[0], "memory_format": str(settled[1]), "device": str(device)}
        training = Training(model, sampler, preprocess, validation, config, objective, *settled)
        if resume:
            training.load(out / STATE_FILE)
        write_text(out / CONFIG_FILE, json.dumps({**plan, "complete": False}, indent=2))
        complete = training.run(out, progress, on_validation)
        write_text(out / CONFIG_FILE, json.dumps({**plan, "complete": complete}, indent=2))
    return Run(out)


class Training:
    """Everything that changes while a network is trained, and one step of it."""

    def __init__(self, model, sampler, preprocess, validation, config, objective, precision, memory_format):
        self.model = model.to(memory_format=memory_format).train()
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True)
        self._averaged, self._trained = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
        self.sampler, self.preprocess, self.validation = sampler, preprocess, validation
        self.config, self.objective = config, objective
        self.precision, self.memory_format = precision, memory_format
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.clock = Clock()
        self.step, self.history = 0, []
        self.loss_sum, self.loss_count = torch.zeros((), device=self.device), 0
        self.steps_per_epoch = math.ceil(len(sampler) / config.batch_size)

    @property
    def share(self) -> float:
        """How much of the budget is used, 0 ... 1; it drives the learning rate and ends the training."""
        if self.config.epochs is not None:
            return self.step / math.ceil(self.config.epochs * self.steps_per_epoch)
        return self.clock.elapsed / max(60 * self.config.minutes - self._reserve, 1e-9)

    @property
    def _reserve(self) -> float:
        """Seconds to keep for the last prediction of the held-out cases, so that the budget holds with it."""
        if not self.step:
            return 0.0
        step = self.clock.elapsed / self.step
        validation = self.validation.seconds
        if validation is None:  # not measured yet; the forward pass costs about a third of a step
            validation = 0.5 * step * self.validation.n_slices / self.config.batch_size
        return step + 1.2 * validation

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end of the budget."""
        if self.config.minutes is not None:
            return max(60 * self.config.minutes - self.clock.elapsed, 0.0)
        return self.clock.elapsed * (1 / self.share - 1) if self.share else float("nan")

    @property
    def score(self) -> float | None:
        """Latest Dice of the held-out cases."""
        return next((row["val_dice"] for row in reversed(self.history) if row["val_dice"] is not None), None)

    def run(self, out: Path, progress: bool, on_validation) -> bool:
        """Step until the budget is used (returns True) or somebody presses Ctrl-C (False)."""
        self.clock.start(self.clock.elapsed)
        saved, bar = self.clock.elapsed, Bar(progress)
        validated = math.floor(self.share * self.config.validations)
        with interrupt_flag() as interrupted:
            while (share := self.share) < 1 and not interrupted.is_set():
                self.one_step(share)
                bar.show(share, self.seconds_left, self.loss_sum / self.loss_count, self.score)
                if self.step % self.steps_per_epoch == 0:
                    self.end_epoch()
                    if (reached := math.floor(self.share * self.config.validations)) > validated and self.share < 1:
                        self.validate(on_validation)
                        validated = reached
                    self.write_history(out)
                if self.clock.elapsed - saved > 60 * self.config.checkpoint_minutes:
                    self.save(out)
                    saved = self.clock.elapsed
            complete = not interrupted.is_set()
            if complete:
                self.end_epoch()
                self.validate(on_validation)
            else:
                _log.info("interrupted at step %d; resume goes on from there", self.step)
            self.save(out)
        if self.history:
            bar.show(self.share, 0.0, self.history[-1]["train_loss"], self.score, last=True)
        bar.close()
        _log.info("%d steps in %.1f s, %.1f slices per second", self.step, self.clock.elapsed, self.slices_per_second)
        return complete

    @property
    def slices_per_second(self) -> float:
        """Slices trained on per second of the clock, validation included."""
        return self.step * self.config.batch_size / max(self.clock.elapsed, 1e-9)

    def one_step(self, share: float) -> None:
        """Draw a batch, change it, and move the weights. Nothing in here waits for the device."""
        config = self.config
        rate = config.learning_rate * min(1.0, share / 0.03 + 1e-3) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, labels = self.draw_batch()
        torch.manual_seed(generator(config.seed, self.step, "dropout").initial_seed())
        with autocast(self.device, self.precision):
            loss = self.objective(self.model, images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.loss_sum += loss.detach()
        self.loss_count += 1
        self._average()

    def draw_batch(self) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B, H, W) of the current step, augmented, on the device."""
        config = self.config
        shape, spacing = self.preprocess.canvas, self.preprocess.spacing
        n_random = config.augment.n_random(shape, spacing) if config.augment else 0
        random = torch.rand(config.batch_size, 3 + n_random, generator=generator(config.seed, self.step))
        images, labels = self.sampler.gather(self.sampler.draw(random[:, :3]))
        if config.augment:
            random = random[:, 3:].to(self.device, non_blocking=True)
            images, labels = config.augment(images, labels, random, spacing)
        return images.contiguous(memory_format=self.memory_format), labels

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the trained ones; quickly at first, because early weights know nothing."""
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)

    def end_epoch(self) -> None:
        """Add a row to the history; stop if the loss is no longer a number."""
        if not self.loss_count:
            return
        loss = float(self.loss_sum) / self.loss_count
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} before step {self.step}; try a smaller learning_rate or precision='fp32'"
            )
        row = {
            "epoch": math.ceil(self.step / self.steps_per_epoch),
            "step": self.step,
            "seconds": round(self.clock.elapsed, 2),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": loss,
            "val_dice": None,
        }
        self.history.append(row)
        self.loss_sum.zero_()
        self.loss_count = 0

    def validate(self, on_validation) -> None:
        """Predict the held-out cases with the averaged weights and write their mean Dice into the history."""
        if self.validation.n_slices:
            score = self.validation.dice(self.ema, self.precision)
            self.history[-1]["val_dice"] = score
            loss = self.history[-1]["train_loss"]
            _log.info("%3.0f %%: loss %.4f, held-out Dice %.4f", 100 * min(self.share, 1), loss, score)
        if on_validation is not None:
            on_validation(self.ema, self.preprocess, min(self.share, 1.0))

    def write_history(self, out: Path) -> pd.DataFrame:
        """Write ``history.csv``, one row per epoch, and return it."""
        columns = ["epoch", "step", "seconds", "learning_rate", "train_loss", "val_dice"]
        history = pd.DataFrame(self.history, columns=columns)
        write_text(out / HISTORY_FILE, history.to_csv(index=False))
        return history

    def save(self, out: Path) -> None:
        """Write the averaged weights, the history with its curves, and all that `load` needs."""
        save_checkpoint(out / MODEL_FILE, self.ema, self.preprocess)
        with replacing(out / CURVES_FILE) as temporary:
            plot_curves(self.write_history(out)).savefig(temporary, dpi=120, format="png")
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.clock.elapsed,
            "history": self.history,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }
        temporary = out / f".{STATE_FILE}.part"
        torch.save(state, temporary)
        temporary.replace(out / STATE_FILE)

    def load(self, path: Path) -> None:
        """Go back to where `save` was called."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name in ("model", "ema", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.history = state["step"], state["history"]
        self.loss_sum, self.loss_count = state["loss_sum"].to(self.device), state["loss_count"]
        self.clock.start(state["seconds"])
        _log.info("resumed at step %d, after %.1f s", self.step, state["seconds"])


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    before = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.setLevel(before)
        _log.removeHandler(handler)
        handler.close()


@contextmanager
def _keep_random_state() -> Iterator[None]:
    """Training seeds torch's generator at every step; the caller's draws go on as if nothing had happened."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)
