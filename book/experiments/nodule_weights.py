"""Make the four networks of chapter 1 that come with the library, and measure them on patients that none of them saw.

Segmentation is learned first, from random weights. The other three begin with its backbone.

    python book/experiments/nodule_weights.py medlearn/weights     about ten minutes on one core
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from medlearn import tasks

TRAINING, UNSEEN = range(300), range(2000, 2050)
EPOCHS = {"segmentation": 36, "detection": 12, "classification": 10, "localization": 12}


def main(folder: str) -> None:
    """Train every task, write its weights into `folder`, print what it reaches."""
    training, unseen = tasks.lung_slices(TRAINING), tasks.lung_slices(UNSEEN)
    print(len(training), "slices to learn from,", len(unseen), "to measure on")
    start = None
    for task, epochs in EPOCHS.items():
        with tempfile.TemporaryDirectory() as workplace:
            config = replace(tasks.CONFIG, epochs=epochs)
            run = tasks.train(task, training, start=start, config=config, out=Path(workplace) / "run")
            model, preprocess = run.model, run.preprocess
        tasks.save_half(Path(folder) / f"nodule-{task}.safetensors", model, preprocess)
        start = start or model
        answers = tasks.answer(model, preprocess, [case.image for case in unseen])
        print(task, tasks.measure(task, answers, unseen))


if __name__ == "__main__":
    main(*sys.argv[1:])
