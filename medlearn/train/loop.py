"""The training loop: from cases to a run folder."""

import copy
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import pandas as pd
import torch
from torch import Tensor, nn

from ..augment import warp
from ..checkpoint import save_checkpoint
from ..errors import FileFormatError
from ..inference import autocast, with_position
from ..io.files import replacing, write_text
from ..plots import plot_curves
from ..preprocess import Preprocess
from ..volume import Case
from . import distributed
from .compile import compiled
from .config import TrainConfig
from .data import Validation, crop_size, fit_preprocess, load_cases
from .live import LiveCurves
from .objective import Objective, learning_rate, make_optimizer, segmentation_objective
from .plan import make_plan, open_folder
from .precision import choose_arithmetic
from .progress import Bar, Clock, interrupt_flag
from .run import CONFIG_FILE, CURVES_FILE, HISTORY_FILE, LOG_FILE, MODEL_FILE, STATE_FILE, Run
from .sampler import generator
from .tensorboard import Board

_log = logging.getLogger("medlearn.train")


def fit(
    model: nn.Module,
    cases: Sequence[Case],
    *,
    held_out: Sequence[Case] = (),
    config: TrainConfig | None = None,
    objective: Objective | None = None,
    out: str | Path,
    resume: bool | str = False,
    progress: bool = True,
    on_validation: Callable[[nn.Module, Preprocess, float], None] | None = None,
) -> Run:
    """Train a segmentation network on the slices or volumes of `cases`.

    Started by torchrun, all processes train together, each on its slice of every batch. `out` is then a folder that all
    of them see; only rank 0 writes into it, predicts the held-out cases and shows progress. Batch normalization takes
    its statistics from the slice of each process, and the running ones of rank 0 are kept. If torchrun starts the
    processes again because one failed (``--max-restarts``), they go on from the last saved state.

    Parameters
    ----------
    model : nn.Module
        With a ``config`` that `medlearn.nn.build` understands; trained in place. One for volumes (``ndim=3``) wants
        `TrainConfig.patch`.
    cases, held_out : sequence of Case
        With masks of labels 0 ... K. Held-out cases are never trained on; their Dice is written down as training goes
        on. It chooses nothing: the weights that are kept are the averaged ones of the last step.
    config : TrainConfig, optional
    objective : callable
        ``objective(model, images, labels) -> loss`` with images (B, C, [D,] H, W) and labels (B, [D,] H, W), whatever
        numbers up to 255 the masks hold; the loss is a mean over B. `TrainConfig.loss` where it is not given.
    out : path
        Folder of the run. An existing one is refused unless `resume`.
    resume : bool or "auto"
        Go on where a stopped run in `out` was, with the same cases and settings. "auto" begins a run where there is
        none yet.
    progress : bool
        Show a line with loss, Dice and the time left, in a terminal or a notebook; in a notebook also the curves, which
        grow as training goes on.
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
        If a case has no mask, or an image that nothing can be computed with.
    FileFormatError
        If the stored state of the run to be resumed is damaged.
    ValueError
        If model, cases, settings, or the run to be resumed do not fit together.
    FloatingPointError
        If the loss or the weights are no longer finite. The message names the step; the last averaged weights that were
        finite are in the folder.
    """
    config, own_objective = config or TrainConfig(), objective is not None
    objective = objective or partial(segmentation_objective, loss=config.loss, dice_batch=config.dice_batch)
    if distributed.restarted():
        resume = resume or "auto"
    out = Path(out)
    with distributed.process_group(), _keep_random_state():
        main = distributed.rank() == 0
        plan = make_plan(model, cases, held_out, config, own_objective=own_objective)
        device = distributed.own_device(config.device)
        stored = distributed.from_rank_0(lambda: open_folder(out, plan, resume))
        with _log_to(out / LOG_FILE) if main else nullcontext():
            preprocess = fit_preprocess(model, cases, config, tuple(plan["labels"]))
            crop = crop_size(model, config, preprocess)
            sampler = load_cases(cases, preprocess, config, device, crop=crop, any_labels=own_objective)
            validation = Validation(held_out if main else (), preprocess, config.postprocess)
            model.to(device)
            distributed.share_weights(model)
            settled = stored
            if not stored:
                example, _ = draw_samples(
                    sampler, config, torch.rand(config.batch_size, sampler.n_draw, generator=generator(0, 0))
                )
                settled = distributed.from_rank_0(lambda: choose_arithmetic(model, example, config.precision))
                plan |= {"precision": settled[0], "memory_format": str(settled[1]), "device": str(device)}
            training = Training(model, sampler, preprocess, validation, config, objective, *settled)
            if stored:
                training.load(out / STATE_FILE)
            if main:
                write_text(out / CONFIG_FILE, json.dumps({**plan, "complete": False}, indent=2))
            complete = training.run(out, progress, on_validation if main else None)
            if main:
                write_text(out / CONFIG_FILE, json.dumps({**plan, "complete": complete}, indent=2))
            distributed.agree(1.0, False)  # rank 0 has written everything
    return Run(out)


class Training:
    """Everything that changes while a network is trained, and one step of it."""

    def __init__(self, model, sampler, preprocess, validation, config, objective, precision, memory_format):
        self.model = model.to(memory_format=memory_format).train()
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.fast_model = compiled(self.model, config.compile)
        pairs = zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True)
        self._averaged, self._trained = zip(*((a, b) for a, b in pairs if a.is_floating_point()), strict=True)
        self.sampler, self.preprocess, self.validation = sampler, preprocess, validation
        self.config, self.objective = config, objective
        self.precision, self.memory_format = precision, memory_format
        self.device = next(model.parameters()).device
        self.optimizer = make_optimizer(model.parameters(), config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.clock = Clock()
        self.step, self.history = 0, []
        self.board: Board | None = None
        self.loss_sum, self.loss_count = torch.zeros((), device=self.device), 0
        self.losses: list[Tensor] = []  # of the steps since the last look at them, on the device
        self.good: tuple[int, list[Tensor]] | None = None  # a step and its averaged weights, all finite
        self.own = distributed.own_slice(config.batch_size)
        self.parts = 1  # in how many parts this process computes its slice of a batch
        self.steps_per_epoch = math.ceil((config.samples_per_epoch or len(sampler)) / config.batch_size)

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
        main = distributed.rank() == 0
        self.clock.start(self.clock.elapsed)
        saved, bar, curves = self.clock.elapsed, Bar(progress and main), LiveCurves(progress and main)
        if self.config.tensorboard and main:
            self.board = Board(out / "tensorboard", after_step=self.step)
        validated = math.floor(self.share * self.config.validations)
        with interrupt_flag() as interrupted:
            while True:
                share, stopped = distributed.agree(self.share, interrupted.is_set())
                if (share >= 1 and self.step) or stopped:  # at least one step, however small the budget
                    break
                self.one_step(share)
                bar.show(share, self.seconds_left, self.loss_sum / self.loss_count, self.score)
                if self.step % self.steps_per_epoch == 0:
                    self.end_epoch(out)
                    if (reached := math.floor(self.share * self.config.validations)) > validated and self.share < 1:
                        self.validate(on_validation)
                        validated = reached
                    if main:
                        self.write_history(out)
                        curves.show(self.history)
                if main and self.clock.elapsed - saved > 60 * self.config.checkpoint_minutes:
                    self.save(out)
                    saved = self.clock.elapsed
            if stopped:
                _log.info("interrupted at step %d; resume goes on from there", self.step)
            else:
                self.end_epoch(out)
                self.validate(on_validation)
            if main:
                self.save(out)
        if self.history:
            bar.show(self.share, 0.0, self.history[-1]["train_loss"], self.score, last=True)
            curves.show(self.history, last=True)
        bar.close()
        _log.info("%d steps in %.1f s, %.1f slices per second", self.step, self.clock.elapsed, self.slices_per_second)
        return not stopped

    @property
    def slices_per_second(self) -> float:
        """Slices trained on per second of the clock, validation included."""
        return self.step * self.config.batch_size / max(self.clock.elapsed, 1e-9)

    def one_step(self, share: float) -> None:
        """Draw a batch, change it, and move the weights. Nothing in here waits for the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, share)
        loss = self.gradients(*self.draw_batch())
        loss = distributed.sum_gradients(self.model.parameters(), loss)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.loss_sum += loss
        self.loss_count += 1
        self.losses.append(loss)
        self._average()

    def draw_batch(self) -> tuple[Tensor, Tensor]:
        """Images (B, C, [D,] H, W) and labels (B, [D,] H, W) of the current step, augmented, on the device.

        Every process draws the random numbers of the whole batch, which costs little, and takes its own samples.
        """
        config, recipe, n_draw = self.config, self.preprocess, self.sampler.n_draw
        shape = self.sampler.crop or recipe.shape
        n_random = config.augment.n_random(shape, recipe.spacing) if config.augment else 0
        random = torch.rand(config.batch_size, n_draw + n_random, generator=generator(config.seed, self.step))[self.own]
        change = None
        if config.augment:
            own_random = random[:, n_draw:].to(self.device, non_blocking=True)
            change = partial(config.augment, random=own_random, spacing=recipe.spacing)
        images, labels = draw_samples(self.sampler, config, random[:, :n_draw], change)
        return images.contiguous(memory_format=self.memory_format), labels

    def gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute the gradients and return the loss, in twice as many parts whenever the device's memory is too small.

        A sample counts 1 / batch_size, so that sums over parts and processes are means over the batch.
        """
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                parts = zip(images.chunk(self.parts), labels.chunk(self.parts), strict=True)
                self._seed_dropout()
                return torch.stack([self._backward(*part) for part in parts]).sum()
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                if self.parts >= len(images):
                    raise ValueError(
                        f"the memory of {self.device} does not hold one sample of a step; take a smaller network, "
                        f"{'a smaller patch, ' if self.config.patch else ''}or a larger spacing"
                    ) from error
            self.parts *= 2  # out of the except clause, which keeps the tensors of the failed attempt alive
            torch.cuda.empty_cache()
            _log.warning(
                "step %d: the memory of %s is too small for %d samples at once; going on with %d at a time",
                self.step + 1,
                self.device,
                len(images),
                math.ceil(len(images) / self.parts),
            )

    def _backward(self, images: Tensor, labels: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            loss = self.objective(self.fast_model, images, labels)
        loss = loss * (len(images) / self.config.batch_size)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _seed_dropout(self) -> None:
        """By step and by the first sample of this process: processes must not drop the same channels."""
        purpose = f"dropout/{self.own.start}" if self.own.start else "dropout"
        torch.manual_seed(generator(self.config.seed, self.step, purpose).initial_seed())

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the trained ones; quickly at first, because early weights know nothing."""
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)

    def end_epoch(self, out: Path) -> None:
        """Add a row to the history; stop if loss or weights are no longer numbers."""
        if not self.loss_count:
            return
        self.check_finite(out)
        loss = float(self.loss_sum) / self.loss_count
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

    def check_finite(self, out: Path) -> None:
        """Remember the averaged weights if they and the losses are finite; else write the last good ones and stop.

        Once an epoch is enough, for weights that are not finite stay so; every look makes the loop wait for the device.
        """
        losses = torch.stack(self.losses) if self.losses else torch.zeros(1)
        norms = torch.stack(torch._foreach_norm(self._averaged))
        if losses.isfinite().all() and norms.isfinite().all():
            self.good = self.step, [tensor.clone() for tensor in self._averaged]
            self.losses.clear()
            return
        broken = (~losses.isfinite()).nonzero().flatten().tolist()
        if broken:
            what, step = f"the loss became {float(losses[broken[0]])}", self.step - len(losses) + broken[0] + 1
        else:
            what, step = "the weights are no longer finite", self.step
        kept = "no step before was known to be good"
        if self.good:
            good_step, weights = self.good
            kept = f"{out / MODEL_FILE} holds the weights of step {good_step}, the last that are known to be good"
            torch._foreach_copy_(self._averaged, weights)
            if distributed.rank() == 0:
                save_checkpoint(out / MODEL_FILE, self.ema, self.preprocess)
        raise FloatingPointError(
            f"{what} at step {step} (epoch {math.ceil(step / self.steps_per_epoch)}); {kept}; "
            "try a smaller learning_rate or precision='fp32'"
        )

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
        if self.board:
            self.board.update(self.history)
        return history

    def save(self, out: Path) -> None:
        """Write the averaged weights, the history with its curves, and all that `load` needs."""
        self.check_finite(out)
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
            "parts": self.parts,
        }
        temporary = out / f".{STATE_FILE}.part"
        torch.save(state, temporary)
        temporary.replace(out / STATE_FILE)

    def load(self, path: Path) -> None:
        """Go back to where `save` was called."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            for name in ("model", "ema", "optimizer", "scaler"):
                getattr(self, name).load_state_dict(state[name])
        except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError) as error:
            raise FileFormatError(f"{path} is damaged; the run cannot go on from it: {error}") from error
        self.step, self.history = state["step"], state["history"]
        self.loss_sum, self.loss_count = state["loss_sum"].to(self.device), state["loss_count"]
        self.parts = state.get("parts", 1)
        self.clock.start(state["seconds"])
        self.good = self.step, [tensor.clone() for tensor in self._averaged]  # only finite ones are saved
        _log.info("resumed at step %d, after %.1f s", self.step, state["seconds"])


def draw_samples(sampler, config: TrainConfig, random: Tensor, change=None) -> tuple[Tensor, Tensor]:
    """Images and labels that uniform numbers (B, n_draw) choose, changed by `change(images, labels)`, then cropped."""
    index = sampler.draw(random)
    images, labels = sampler.gather(index)
    crop = {"crop": sampler.crop, "center": sampler.centers(index, random)} if sampler.crop else {}
    if change:
        images, labels = change(images, labels, **crop)
    elif crop:
        images, labels = warp(images, labels, torch.eye(2, 3, device=images.device).expand(len(images), 2, 3), **crop)
    if config.slice_position:  # after the changes: a height is no gray value
        images = with_position(images, sampler.heights_of(index))
    return images, labels


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own for it; CPUs (Linux, Windows) and Apple's MPS have only words."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in words)


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
