"""Training throughput against MONAI, in slices per second: the network alone, the data path alone, and both together.

MONAI is used as its tutorials do: ``BasicUNet``, ``CacheDataset`` with dictionary transforms per sample, a
``DataLoader`` with the worker count that was fastest here. Both train on the same pre-processed slices of one channel,
in the same precision, with equally many parameters (within 2 %), and are measured in turns.

    python benchmarks/train_step.py [DATA] [--rounds 7] [--device cpu]
"""

import argparse
import itertools
import statistics
import time
import warnings

import monai
import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

import medlearn as ml
from medlearn.inference import autocast, choose_device
from medlearn.nn import dice_ce_loss
from medlearn.train.data import Validation
from medlearn.train.loop import Training
from medlearn.train.precision import choose_arithmetic
from medlearn.train.sampler import SliceSampler

BATCH = 16
AUGMENT = ml.Augment()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="phantom:20", help="folder of cases, or phantom:N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = choose_device(options.device)

    ours, sampler = make_ours(ml.cases(options.data), device)
    theirs = Monai(sampler, device, ours.precision)
    n_ours, n_theirs = (sum(p.numel() for p in m.parameters()) for m in (ours.model, theirs.model))
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, MONAI {monai.__version__}")
    print(f"{len(sampler)} slices of {'×'.join(map(str, sampler.images.shape[1:]))}, batch {BATCH}, {ours.precision}")
    print(f"parameters: ours {n_ours:,}, MONAI {n_theirs:,}\n")

    images, labels = ours.draw_batch()
    rows = {
        "network alone": (lambda: step(ours, images, labels), lambda: theirs.step(images.contiguous(), labels)),
        "data path alone": (ours.draw_batch, theirs.batch),
        "end to end": (lambda: ours.one_step(0.5), lambda: theirs.step(*theirs.batch())),
    }
    print(f"{'slices per second':18} {'ours':>8} {'MONAI':>8} {'ratio':>6}")
    for name, (a, b) in rows.items():
        workers = None if name == "network alone" else theirs.with_best_workers(b)
        a, b = measure(a, b, options.rounds, device)
        note = "" if workers is None else f"   MONAI with {workers} worker(s)"
        print(f"{name:18} {BATCH / a:8.1f} {BATCH / b:8.1f} {b / a:6.2f}{note}")


def make_ours(cases, device):
    """The training of `medlearn.fit`, without its loop."""
    config = ml.TrainConfig(epochs=1, batch_size=BATCH, augment=AUGMENT, foreground=0.0)
    recipe = ml.Preprocess.fit(case.image for case in cases)
    images, masks = zip(*((recipe.image(c.image), recipe.mask(c.mask)) for c in cases), strict=True)
    sampler = SliceSampler(images, masks, adjacent_slices=0, foreground=0.0, device=device)
    torch.manual_seed(0)
    model = ml.UNet(widths=(16, 32, 64, 128, 256)).to(device)
    arithmetic = choose_arithmetic(model, sampler.gather(torch.arange(BATCH))[0], "auto")
    objective = lambda model, images, labels: dice_ce_loss(model(images), labels)  # noqa: E731
    return Training(model, sampler, recipe, Validation((), recipe), config, objective, *arithmetic), sampler


def step(training, images, labels):
    """One step of ours on a batch that is already there, without weight averaging, as MONAI's."""
    with autocast(training.device, training.precision):
        loss = training.objective(training.model, images, labels)
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    training.optimizer.step()


class Monai:
    """The same training written with MONAI."""

    def __init__(self, sampler, device, precision):
        torch.manual_seed(0)
        self.device, self.precision = device, precision
        # 240 instead of 256 channels at the bottom: then it has as many parameters as ours
        self.model = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(16, 32, 64, 128, 240, 16))
        self.model.to(device)
        self.loss = DiceCELoss(sigmoid=True, batch=True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        items = [
            {"image": image[None].float(), "label": label[None].float()}
            for image, label in zip(sampler.images.cpu(), sampler.labels.cpu(), strict=True)
        ]
        self.dataset = CacheDataset(items, transform=self.transforms(sampler.images.shape[1:]), progress=False)
        self.batches = None

    @staticmethod
    def transforms(size):
        """What `AUGMENT` does, as MONAI's transforms per sample."""
        a, both = AUGMENT, ["image", "label"]
        shift = [a.translation_mm / 0.5] * 2
        return Compose(
            [
                RandFlipd(both, prob=a.flip, spatial_axis=1),
                RandAffined(
                    both,
                    prob=1.0,
                    rotate_range=a.rotation_deg * torch.pi / 180,
                    translate_range=shift,
                    scale_range=(a.scale, a.scale),
                    shear_range=(a.shear, 0.0),
                    mode=("bilinear", "nearest"),
                    padding_mode=("border", "zeros"),
                    spatial_size=tuple(size),
                ),
                RandAdjustContrastd("image", prob=1.0, gamma=(1 / (1 + a.gamma), 1 + a.gamma)),
                RandScaleIntensityd("image", prob=1.0, factors=a.contrast),
                RandShiftIntensityd("image", prob=1.0, offsets=a.brightness),
                RandBiasFieldd("image", prob=1.0, degree=3, coeff_range=(0.0, a.bias / 3)),
            ]
        )

    def loader(self, workers):
        """Batches without end."""
        loader = DataLoader(
            self.dataset,
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            drop_last=True,
        )
        return itertools.chain.from_iterable(itertools.repeat(loader))

    def with_best_workers(self, function):
        """Settle on the number of workers for which `function` is fastest, and return it."""
        seconds = {}
        for workers in (0, 1, 2):
            self.batches = self.loader(workers)
            seconds[workers] = timed(function, self.device)
        best = min(seconds, key=seconds.get)
        self.batches = self.loader(best)
        return best

    def batch(self):
        batch = next(self.batches)
        return batch["image"].as_tensor().to(self.device), batch["label"].as_tensor().to(self.device)[:, 0]

    def step(self, images, labels):
        with autocast(self.device, self.precision):
            logits = self.model(images)
        loss = self.loss(logits.float(), labels[:, None].float())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def timed(function, device, calls=10):
    """Seconds per call. Workers fetch ahead: what they have in store is used up before the clock starts."""
    for _ in range(6):
        function()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def measure(ours, theirs, rounds, device):
    """Median seconds per call of both, taken in turns; a pause after each lets worker processes fall silent."""
    times = ([], [])
    for _, (function, result) in itertools.product(range(rounds), zip((ours, theirs), times, strict=True)):
        result.append(timed(function, device))
        time.sleep(1)
    return [statistics.median(t) for t in times]


if __name__ == "__main__":
    main()
