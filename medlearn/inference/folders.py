"""Many images: one after the other, in several processes, or on the machines of a cluster."""

import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import signature
from multiprocessing import get_context
from pathlib import Path
from threading import Lock

import torch
from tqdm import tqdm

from .._watched import watched
from ..datasets import cases
from ..io import load, save, stem, suffix
from ..io._dicom_header import is_dicom_file
from ..io.itk import FORMATS
from ..volume import Volume
from .images import predict, to_labels
from .uncertainty import predict_uncertainty, with_dropout

_log = logging.getLogger(__name__)
_OPENING = Lock()


@dataclass(frozen=True)
class PredictedFolder:
    """What `predict_folder` has done.

    Attributes
    ----------
    files : dict of str to Path
        The segmentation of each case that worked, in the order of the ids.
    failed : dict of str to str
        Why the others did not.
    """

    files: dict[str, Path]
    failed: dict[str, str]


def image_suffixes(data: str | Path) -> dict[str, str]:
    """Ids of the images in `data`, in order, each with the extension of its file; see `predict_folder`."""
    if _is_one_image(data):
        return {stem(data): suffix(data)}
    found = cases(data)
    return {case_id: found.suffixes[case_id] for case_id in found.ids}


def predict_folder(
    run,
    data: str | Path,
    out: str | Path,
    *,
    ids: Sequence[str] | None = None,
    executor: Executor | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    progress: bool = True,
    **options,
) -> PredictedFolder:
    """Segment every image of a folder and write ``<id>_segmentation`` files, each whole or not at all.

    A case that cannot be read or predicted is noted, and the others go on.

    Parameters
    ----------
    run : Run or sequence of Run
        Several are averaged.
    data : str or path
        What `medlearn.cases` takes, or one image file, or a folder with one DICOM series. Masks are ignored.
    out : path
        A folder; it is made where it does not exist.
    ids : sequence of str, optional
        Only these cases.
    executor : concurrent.futures.Executor, optional
        Where the cases are predicted: `process_pool`, or ``Client(...).get_executor()`` of dask.distributed for the
        machines of a cluster, which must see `run`, `data` and `out` under the same names. Each process reads the run
        once. By default one case follows the other in this process.
    probabilities : bool
        Also write ``<id>_probabilities.mha``.
    uncertainty : bool
        Also write ``<id>_uncertainty.mha``; see `predict_uncertainty`. Labels then follow its mean probabilities.
    progress : bool
        Show a line with the number of cases done, in a terminal or a notebook.
    **options
        Of `predict`: overlap, flip, device, batch_size, precision; with `uncertainty` also n_samples and seed.

    Returns
    -------
    PredictedFolder

    Raises
    ------
    FileNotFoundError
        If there is no such data.
    ValueError
        If `ids` has one that `data` has not, or if `uncertainty` is wanted of one run without dropout.
    """
    suffixes = image_suffixes(data)
    ids = list(suffixes) if ids is None else list(ids)
    if unknown := sorted(set(ids) - set(suffixes)):
        raise ValueError(f"ids must be among the images of {data}; it has no {', '.join(unknown)}")
    runs = list(run) if isinstance(run, Sequence) else [run]
    signature(predict_uncertainty if uncertainty else predict).bind(runs, None, **options)  # or every case would fail
    if uncertainty and len(runs) == 1:
        with_dropout(runs[0].model, seed=0)
    out = Path(out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    job = _Job(
        runs=tuple(replace(one, folder=one.folder.absolute()) for one in runs),  # anew: without the network they hold
        data=str(Path(data).absolute()) if Path(data).exists() else str(data),
        out=out,
        probabilities=probabilities,
        uncertainty=uncertainty,
        options=options,
    )
    files, failed = {}, {}
    outcomes = _one_by_one(job, ids, suffixes) if executor is None else _together(executor, job, ids, suffixes)
    hidden = not (progress and watched())
    for case_id, written, problem in tqdm(outcomes, total=len(ids), unit="case", disable=hidden):
        if problem is None:
            files[case_id] = written
            _log.info("wrote %s", written)
        else:
            failed[case_id] = problem
            _log.warning("%s: %s", case_id, problem)
    return PredictedFolder(*({i: found[i] for i in ids if i in found} for found in (files, failed)))


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that share the processors: each gets its part of torch's threads, so that they do not wait in turn.

    They are started anew (spawned): a forked copy of a process with threads, or with a GPU in use, hangs.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; got {workers}")
    threads = max(1, torch.get_num_threads() // workers)
    return ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads,))


@dataclass(frozen=True)
class _Job:
    """What all cases have in common; small, since it travels with every one. Two are equal if `key` is."""

    runs: tuple = field(compare=False)
    data: str = field(compare=False)
    out: Path = field(compare=False)
    probabilities: bool = field(compare=False)
    uncertainty: bool = field(compare=False)
    options: dict = field(compare=False)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


def _one_by_one(
    job: _Job, ids: Sequence[str], suffixes: dict[str, str]
) -> Iterator[tuple[str, Path | None, str | None]]:
    return (_predict_case(job, case_id, suffixes[case_id]) for case_id in ids)


def _together(executor: Executor, job: _Job, ids: Sequence[str], suffixes: dict[str, str]):
    """Outcomes in the order in which they come; a case whose worker died is one that failed."""
    futures: dict[Future, str] = {}
    try:
        for case_id in ids:
            try:
                futures[executor.submit(_predict_case, job, case_id, suffixes[case_id])] = case_id
            except RuntimeError as error:  # the pool broke already, or takes no more
                yield case_id, None, _describe(error)
        for future in as_completed(futures):
            try:
                yield future.result()
            except Exception as error:  # the pool broke, a machine was lost: not the end of the other cases
                yield futures[future], None, _describe(error)
    finally:
        for future in futures:
            future.cancel()  # after Ctrl-C; nothing to do otherwise


def _predict_case(job: _Job, case_id: str, ending: str) -> tuple[str, Path | None, str | None]:
    """Id, file and problem. Problems travel as text, since not every exception survives the way between processes."""
    try:
        runs, read = _opened(job)
        image = read(case_id)
        uncertainty = None
        if job.uncertainty:
            probabilities, uncertainty, _ = predict_uncertainty(runs, image, **job.options)
        else:
            probabilities = predict(runs, image, **job.options)
        if job.probabilities:
            save(probabilities, job.out / f"{case_id}_probabilities.mha")
        if uncertainty is not None:
            save(uncertainty, job.out / f"{case_id}_uncertainty.mha")
        name = f"{case_id}_segmentation{_extension(ending, probabilities)}"
        return case_id, save(to_labels(probabilities, **runs[0].postprocess), job.out / name), None
    except Exception as error:  # one bad case must not end the others
        return case_id, None, _describe(error)


def _describe(error: Exception) -> str:
    """The message; where it is not one of ours, with the name of the error."""
    return str(error) if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {error}"


def _opened(job: _Job):
    with _OPENING:  # or every thread would read the networks
        return _open(job)


@lru_cache(maxsize=1)
def _open(job: _Job):
    """The runs with their networks, and how to read an image: once in each process."""
    for run in job.runs:
        run.model  # noqa: B018 (reads it)
    if _is_one_image(job.data):
        return job.runs, lambda case_id: load(job.data)
    return job.runs, cases(job.data).read_image


def _is_one_image(data: str | Path) -> bool:
    path = Path(data)
    return path.is_file() or (path.is_dir() and any(is_dicom_file(file) for file in path.iterdir() if file.is_file()))


def _extension(ending: str, volume: Volume) -> str:
    """That of the input, where labels can be written in its format."""
    writable = ending in FORMATS and not FORMATS[ending].lossy
    return ending if writable or ending == ".vti" else ".png" if volume.axes.startswith("yx") else ".nii.gz"
