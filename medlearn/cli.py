"""The command line: ``medlearn lab | doctor | info | convert | series | deidentify | train | predict | evaluate |
submit``.
"""

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from . import __version__

_DATA = (
    "a folder of images with their masks beside them (Case07.mhd, Case07_segmentation.mhd), or 'phantom' for the "
    "built-in prostate phantom, or 'phantom:N' for N cases of it"
)

_TRAIN_SETTINGS = (  # options of train that are settings of TrainConfig
    *("minutes", "epochs", "batch_size", "samples_per_epoch", "optimizer", "learning_rate", "schedule", "loss"),
    *("dice_batch", "largest_component", "compile", "checkpoint_minutes", "tensorboard"),
    *("device", "precision", "seed"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status: 0 done, 1 partly done, 2 wrong input, 130 interrupted."""
    warnings.formatwarning = lambda message, *_, **__: f"medlearn: {message}\n"
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command is _lab:
        options.jupyter = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return options.command(options) or 0
    except (OSError, ValueError, ArithmeticError) as error:
        print(f"medlearn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medlearn: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medlearn",
        description="Deep learning for medical images: the course and its tools. Not a medical device.",
        epilog="'medlearn COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"medlearn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, function, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(command=function)
        return command

    lab = add("lab", _lab, "open the course in JupyterLab")
    lab.add_argument(
        "--folder", type=Path, default=Path("work"), help="where your copies of the notebooks lie (default: work)"
    )
    lab.epilog = "Other arguments go to JupyterLab, such as --no-browser --port 8899."

    add("doctor", _doctor, "check versions, accelerator, widgets, disk and data, and name a remedy for each problem")

    info = add("info", _info, "show geometry and header of an image file without reading its voxels")
    info.add_argument("path", type=Path, metavar="PATH")
    info.add_argument("--json", action="store_true", help="print JSON")

    convert = add("convert", _convert, "write an image in another format; refuses what the new format would lose")
    convert.add_argument("source", type=Path, metavar="SRC")
    convert.add_argument(
        "target", type=Path, metavar="DST", help="its extension chooses the format: .mhd, .nrrd, .nii.gz, .gipl ..."
    )

    convert.add_argument("--series", metavar="UID", help="which series of a DICOM folder; 'medlearn series' lists them")

    series = add("series", _series, "list the DICOM series of a folder, a file or a zip archive")
    series.add_argument("folder", type=Path, metavar="FOLDER")

    deidentify = add("deidentify", _deidentify, "copy DICOM files without what identifies the patient")
    deidentify.add_argument("source", type=Path, metavar="SRC")
    deidentify.add_argument("target", type=Path, metavar="DST", help="a new folder")

    _add_train(add("train", _train, "train a segmentation network on a folder of cases"))

    _add_predict(add("predict", _predict, "segment images with a trained network"))

    evaluate = add("evaluate", _evaluate, "compare predictions with reference masks, case by case")
    evaluate.add_argument("predictions", type=Path, metavar="PRED_FOLDER", help="folder that 'medlearn predict' wrote")
    evaluate.add_argument("references", metavar="REFERENCE_FOLDER", help=_DATA)
    evaluate.add_argument(
        "--out", type=Path, required=True, help="folder for report.html, report.txt, report.json and cases.csv"
    )
    evaluate.add_argument(
        "--parts", action="store_true", help="also measure base, middle and apex of a gland in axial slices"
    )
    evaluate.add_argument(
        "--compare", type=Path, metavar="REPORT", help="compare with another run: the folder of its report"
    )

    submit = add("submit", _submit, "write predicted masks as the archive that the PROMISE12 challenge takes")
    submit.add_argument("predictions", type=Path, metavar="PRED_FOLDER", help="folder that 'medlearn predict' wrote")
    submit.add_argument("--out", type=Path, required=True, metavar="ZIP", help="the archive; must not exist yet")
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("data", metavar="DATA", help=_DATA)
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run; must not exist yet")
    train.add_argument(
        "--preset",
        default="unet2d",
        help="unet2d: a 2-D U-Net that sees a slice, its two neighbors and how high it lies in the scan (default); "
        "unet2d-organ: the same for an organ of which there is one, smoothed across the slices and reduced to its "
        "largest part; unet2d-small: with half the channels, on pixels of 1.25 mm; "
        "unet3d: a 3-D U-Net on windows, for a GPU; promise12-improved: the network of rank 8 in PROMISE12, "
        "re-created without its mistakes, for a GPU",
    )
    budget = train.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, metavar="M", help="train for M minutes of wall-clock time (default: 10)"
    )
    budget.add_argument("--epochs", type=int, metavar="N", help="train for N passes over the slices")
    held_out = train.add_mutually_exclusive_group()
    held_out.add_argument(
        "--fold", type=int, metavar="K", help="hold out every case whose position, modulo --folds, is K"
    )
    held_out.add_argument("--val", metavar="ID,ID", help="hold out these cases")
    held_out.add_argument(
        "--cross-validate",
        action="store_true",
        help="train once for every fold (each with the whole budget) into RUN/fold0, RUN/fold1 ..., predict every case "
        "with the network that has not seen it into RUN/predictions, and sum up in RUN/report",
    )
    train.add_argument("--folds", type=int, default=5, help="number of folds (default: 5)")
    train.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUE[,VALUE]",
        help="labels to learn, such as gland=1,2; all in the masks by default",
    )
    settings = train.add_argument_group("settings; without them the preset's hold")
    settings.add_argument("--batch-size", type=int, metavar="N", help="slices or windows per step")
    settings.add_argument("--samples-per-epoch", type=int, metavar="N", help="how many are drawn in an epoch")
    settings.add_argument("--optimizer", help="adamw, adam, sgd")
    settings.add_argument("--learning-rate", type=float, metavar="R", help="highest rate of the schedule")
    settings.add_argument("--schedule", help="cosine, poly, one-cycle")
    settings.add_argument("--loss", help="dice_ce, dice, cross_entropy")
    settings.add_argument(
        "--dice-batch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="one Dice for a whole batch, or one for each slice",
    )
    settings.add_argument(
        "--largest-component",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="keep only the largest connected part of each predicted label",
    )
    settings.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=None, help="torch.compile (default: on CUDA)"
    )
    settings.add_argument(
        "--checkpoint-minutes", type=float, metavar="M", help="save what --resume needs every M minutes (default: 2)"
    )
    train.add_argument("--tensorboard", action="store_true", default=None, help="also write curves for TensorBoard")
    train.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    train.add_argument("--precision", help="auto, fp32, bf16, fp16 (default: auto, the fastest one by timing)")
    train.add_argument("--seed", type=int, help="of everything random (default: 0)")
    train.add_argument("--resume", action="store_true", help="go on with the stopped run in RUN")
    train.add_argument("--skip-bad", action="store_true", help="go on without the cases that cannot be used")
    train.epilog = (
        "With several devices: torchrun --nproc-per-node N -m medlearn train ... shares every batch among N processes; "
        "with --max-restarts R it goes on from the last saved state when a process fails."
    )


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder that 'medlearn train' wrote; the probabilities of several are averaged",
    )
    predict.add_argument(
        "data",
        metavar="IMAGE_OR_FOLDER",
        help=f"one image file, a folder with one DICOM series, or {_DATA}; masks are ignored",
    )
    predict.add_argument(
        "--out", type=Path, required=True, help="folder for <id>_segmentation files and predictions.json"
    )
    predict.add_argument(
        "--ensemble", action="store_true", help="average the folds that 'medlearn train --cross-validate' put into RUN"
    )
    predict.add_argument("--held-out", action="store_true", help="only the cases that the training held out")
    predict.add_argument("--probabilities", action="store_true", help="also write <id>_probabilities.mha")
    predict.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write <id>_uncertainty.mha (entropy in bits): of several runs, or of one whose network has dropout",
    )
    predict.add_argument(
        "--overlap", type=float, default=0.5, help="of the windows of a network for volumes, 0 to below 1 (default: .5)"
    )
    predict.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="average with the mirrored image (default: if training exchanged left and right)",
    )
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    predict.add_argument("--precision", default="fp32", help="fp32, bf16, fp16 (default: fp32)")
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, metavar="N", help="predict in N processes (default: 1)")
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="predict on the machines of a dask.distributed cluster, such as tcp://host:8786; they must see RUN, the "
        "images and --out under the same names",
    )


def _lab(options) -> int:
    from .lab import open_lab

    return open_lab(options.folder, options.jupyter)


def _doctor(options) -> int:
    from .doctor import examine

    findings = examine()
    for finding in findings:
        print(finding)
    return int(any(finding.remedy for finding in findings))


def _info(options) -> None:
    from .io import describe

    description = describe(options.path)
    if options.json:
        facts = {field.name: getattr(description, field.name) for field in fields(description)}
        print(json.dumps(facts, indent=2, default=_plain))
    else:
        print(description)


def _plain(value):
    """Arrays and mappings as JSON knows them; everything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def _convert(options) -> None:
    from .io import load, save

    target = save(load(options.source, series_uid=options.series), options.target)
    print(f"wrote {target}")


def _series(options) -> None:
    from .io import dicom

    table = dicom.list_series(options.folder)
    for row in table.to_dict("records"):
        shape, spacing = ("×".join(f"{n:g}" for n in row[key] or ()) for key in ("shape", "spacing"))
        print(f"{row['uid']}\n    {row['modality']}  {row['description']}  {row['n_slices']} image(s)", end="")
        print(f"  {shape or '?'} voxels of {spacing or '?'} mm")
        if row["problems"]:
            print(f"    problem: {row['problems']}")


def _deidentify(options) -> None:
    from .io import dicom

    print(dicom.deidentify(options.source, options.target))


def _train(options) -> int:
    from .train.distributed import process_group

    with process_group():
        return _train_alone_or_together(options)


def _train_alone_or_together(options) -> int:
    import torch
    from tqdm.contrib.logging import logging_redirect_tqdm

    from .datasets import cases
    from .errors import check_choice
    from .nn import build
    from .train import TrainConfig, cross_validate, fit
    from .train.config import PRESETS
    from .train.distributed import rank
    from .train.run import read_config

    main = rank() == 0  # under torchrun, one of several processes talks
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("medlearn").setLevel(logging.INFO if main else logging.WARNING)
    check_choice("--preset", options.preset, PRESETS)
    preset = PRESETS[options.preset]
    stored = read_config(options.out / "fold0" if options.cross_validate else options.out) if options.resume else None

    labels = _parse_labels(options.labels) or (stored and stored["labels"])
    everything = cases(options.data, labels=labels)
    held_out = _held_out(everything.ids, options)
    if stored and not held_out and not options.cross_validate:
        held_out = stored["held_out_cases"]
    usable = everything.check(skip_bad=options.skip_bad)
    if main and (left_out := sorted(set(everything.ids) - set(usable.ids))):
        print(f"left out: {', '.join(left_out)}", file=sys.stderr)
    held_out = [i for i in held_out if i in usable.ids]
    if main and not (held_out or options.cross_validate):
        print(
            "no case is held out: nothing will tell how well the network does on new cases (--fold, --val)",
            file=sys.stderr,
        )

    given = {key: getattr(options, key) for key in _TRAIN_SETTINGS}
    given = {key: value for key, value in given.items() if value is not None}
    if stored:
        config = TrainConfig.from_dict({**stored["train"], **given})
        model_config = stored["model"]
    else:
        config = TrainConfig(**{**preset["train"], **given})
        n_labels = len(usable.labels)
        channels = {"in_channels": config.n_channels, "out_channels": 1 if n_labels == 1 else n_labels + 1}
        model_config = {**preset["model"], **channels}

    def new_model() -> torch.nn.Module:
        torch.manual_seed(config.seed)
        return build(model_config)

    common = {"config": config, "out": options.out, "resume": options.resume}
    with logging_redirect_tqdm():  # log lines above the progress line, not through it
        if options.cross_validate:
            runs = cross_validate(new_model, usable, folds=options.folds, **common)
        else:
            runs = [fit(new_model(), usable.without(held_out), held_out=usable.select(held_out), **common)]
    complete = all(run.complete for run in runs)
    if main and options.cross_validate and complete:
        _report_folds(runs, options)
    if main:
        print(f"{options.out}: {'trained' if complete else 'interrupted; --resume goes on from here'}")
    return 0 if complete else 130


def _report_folds(runs, options) -> None:
    """Predict every case with the network that has not seen it, compare with the references, and print the summary."""
    from .datasets import cases
    from .inference import predict_folder
    from .report import Predictions, evaluate_cases, format_report, worst_cases, write_report

    data, folder, files = cases(options.data), options.out / "predictions", {}
    for run in runs:
        ids = run.config["held_out_cases"]
        predicted = predict_folder(run, options.data, folder, ids=ids, device=options.device or "auto")
        if predicted.failed:
            raise ValueError("; ".join(f"{case_id}: {problem}" for case_id, problem in predicted.failed.items()))
        files |= {case_id: path.name for case_id, path in predicted.files.items()}
    predictions = Predictions(
        folder=folder,
        requested=sorted(files),
        files=dict(sorted(files.items())),
        labels=runs[0].config["labels"],
        run=str(options.out),  # no training_cases: each was held out by the network that predicted it
    )
    predictions.save()
    table = evaluate_cases(predictions, data)
    write_report(table, options.out / "report", worst=worst_cases(table, predictions, data))
    print(format_report(table))


def _parse_labels(texts: list[str] | None) -> dict[str, list[int]] | None:
    labels = {}
    for text in texts or []:
        name, equals, values = text.partition("=")
        try:
            labels[name] = [int(value) for value in values.split(",")]
        except ValueError:
            equals = ""
        if not (name and equals):
            raise ValueError(f"--labels wants NAME=VALUE[,VALUE] such as gland=1,2; got {text!r}")
    return labels or None


def _held_out(ids: tuple[str, ...], options) -> list[str]:
    from .train.cross_validation import fold_ids

    if options.val:
        wanted = options.val.split(",")
        if unknown := sorted(set(wanted) - set(ids)):
            raise ValueError(f"--val names unknown cases: {', '.join(unknown)}; the set has {', '.join(ids)}")
        return wanted
    if options.fold is None:
        return []
    return fold_ids(ids, options.fold, options.folds)


def _predict(options) -> int:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from .errors import check_choice
    from .inference import choose_device, image_suffixes, predict_folder
    from .inference.windows import check_overlap
    from .report import Predictions

    logging.basicConfig(format="medlearn: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("medlearn").setLevel(logging.INFO)
    check_choice("--precision", options.precision, ("fp32", "bf16", "fp16"))
    check_overlap(options.overlap)
    if not options.scheduler:  # its workers have devices of their own
        choose_device(options.device)
    runs = _runs(options.runs, options.ensemble)
    ids = list(image_suffixes(options.data))
    if options.held_out:
        ids = _held_out_of(runs, ids, options)
    with _executor(options) as executor, logging_redirect_tqdm():
        predicted = predict_folder(
            runs,
            options.data,
            options.out,
            ids=ids,
            executor=executor,
            probabilities=options.probabilities,
            uncertainty=options.uncertainty,
            overlap=options.overlap,
            flip=options.flip,
            device=options.device,
            precision=options.precision,
        )
    Predictions(
        folder=options.out,
        requested=ids,
        files={case_id: path.name for case_id, path in predicted.files.items()},
        labels=runs[0].config["labels"],
        training_cases=sorted({case_id for run in runs for case_id in run.config["training_cases"]}),
        run=", ".join(str(run.folder) for run in runs),
    ).save()
    print(f"{options.out}: {len(predicted.files)} of {len(ids)} case(s) predicted")
    return int(bool(predicted.failed))


def _runs(folders: list[Path], ensemble: bool) -> list:
    """The runs that lie there; with `ensemble` the folds of those that are cross-validations."""
    from .train import Run
    from .train.run import CONFIG_FILE

    chosen = []
    for folder in folders:
        folds = sorted(path.parent for path in folder.glob(f"fold*/{CONFIG_FILE}"))
        if folds and not ensemble:
            raise ValueError(f"{folder} holds {len(folds)} folds: --ensemble averages them, {folds[0]} names one")
        if ensemble and not folds:
            raise FileNotFoundError(f"--ensemble averages the folds of a cross-validation; {folder} holds no fold0 ...")
        chosen += folds or [folder]
    runs = [Run(folder) for folder in chosen]
    if any(run.config["labels"] != runs[0].config["labels"] for run in runs):
        raise ValueError(f"these runs learned different labels and cannot be averaged: {', '.join(map(str, chosen))}")
    return runs


def _held_out_of(runs, ids: list[str], options) -> list[str]:
    """The cases that none of the runs was trained on."""
    wanted = set.intersection(*(set(run.config["held_out_cases"]) for run in runs))
    names = ", ".join(str(run.folder) for run in runs)
    if not wanted:
        raise ValueError(f"{names} held no case out; leave --held-out away to predict every image")
    if missing := sorted(wanted - set(ids)):
        raise FileNotFoundError(f"{options.data} lacks held-out cases of the run: {', '.join(missing)}")
    return sorted(wanted)


@contextmanager
def _executor(options):
    """What --scheduler or --workers asks for; None to predict in this process."""
    from .inference import process_pool

    if options.scheduler:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError("--scheduler needs dask.distributed: pip install distributed") from error
        with Client(options.scheduler) as client:
            yield client.get_executor()
    elif options.workers != 1:
        with process_pool(options.workers) as pool:
            yield pool
    else:
        yield None


def _evaluate(options) -> None:
    from .datasets import cases
    from .report import (
        Predictions,
        compare_tables,
        evaluate_cases,
        format_report,
        read_table,
        worst_cases,
        write_report,
    )

    other = read_table(options.compare) if options.compare else None
    predictions, references = Predictions.open(options.predictions), cases(options.references)
    table = evaluate_cases(predictions, references, parts=options.parts)
    comparison = None if other is None else compare_tables(table, other)
    write_report(table, options.out, worst=worst_cases(table, predictions, references), comparison=comparison)
    print(format_report(table, comparison))
    print(f"wrote {options.out / 'report.html'}")


def _submit(options) -> None:
    from .promise12 import submission
    from .report import Predictions

    predictions = Predictions.open(options.predictions)
    files = {case_id: predictions.folder / name for case_id, name in predictions.files.items()}
    target = submission(files, options.out, expected=predictions.requested)
    print(f"wrote {target}: {len(files)} case(s)")
