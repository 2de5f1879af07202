"""Fetching open data sets: terms, mirrors, resumed downloads, hashes, and archives that are unpacked with suspicion.

Where data lie: in the folder that ``MEDLEARN_DATA`` names, else in the user's cache folder (pooch's convention)::

    <folder>/downloads/<data set>/<file>         an archive that was put there by hand, or is about to be unpacked
    <folder>/downloads/<data set>/<file>.part    a download that broke off; the next one goes on from there
    <folder>/<data set>/                         the unpacked data set; it gets this name when it is complete

``MEDLEARN_MIRROR`` names a server to ask first: ``<mirror>/<data set>/<file>``.
"""

import bz2
import errno
import gzip
import json
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import time
import tomllib
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from .._watched import watched
from ..errors import FileFormatError
from ..io.headers import looks_like

if TYPE_CHECKING:
    import pandas as pd
    import requests

REGISTRY = Path(__file__).with_name("registry.toml")

MAX_DOWNLOAD = 64 << 30  # bytes; no file of the registry comes near
MAX_RATIO = 20  # unpacked to packed bytes; images shrink to a half or a third, only bombs to a thousandth
SMALL = 64 << 20  # bytes that any archive may unpack to
MAX_FILES = 100_000
ATTEMPTS = 20  # a server that breaks off is asked again, as long as each answer brings more of the file
PAUSE_S = 1.0  # before it is asked again

_TEXTS = (".txt", ".TXT", ".md", ".pdf")
_CHUNK = 1 << 14  # bytes; a connection that breaks takes up to so many with it


class DownloadError(OSError):
    """A file could not be downloaded; the message says what to do by hand."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a data set.

    Attributes
    ----------
    name : str
    urls : tuple of str
        Mirrors, the best first.
    hash : str
        ``sha256:…`` or ``md5:…``; empty if nobody published one.
    bytes : int or None
        None if unknown.
    """

    name: str
    urls: tuple[str, ...]
    hash: str = ""
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DataSet:
    """An entry of the registry; `registry.toml` explains the fields."""

    name: str
    title: str
    home: str
    license: str
    redistribution: str
    citation: str
    layout: str
    notes: tuple[str, ...] = ()
    manual: str = ""
    files: tuple[RemoteFile, ...] = ()

    @property
    def terms(self) -> str:
        """What has to be accepted, in a few lines."""
        lines = [
            f"{self.name}: {self.title}",
            f"  From:           {self.home}",
            f"  Terms:          {self.license}",
            f"  Redistribution: {self.redistribution}",
            f"  Please cite:    {self.citation}",
            *(f"  Note:           {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def registry() -> dict[str, DataSet]:
    """Every known data set by name."""
    entries = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
    return {name: _data_set(name, entry) for name, entry in entries.items()}


def _data_set(name: str, entry: dict) -> DataSet:
    files = [RemoteFile(**{**file, "urls": tuple(file["urls"])}) for file in entry.pop("files", ())]
    return DataSet(name=name, files=tuple(files), notes=tuple(entry.pop("notes", ())), **entry)


def available(folder: str | os.PathLike | None = None) -> "pd.DataFrame":
    """List the data sets that can be fetched.

    Parameters
    ----------
    folder : path, optional
        Where data lie; by default `data_folder`.

    Returns
    -------
    DataFrame
        One row a data set, its name as index. Columns: title, license, redistribution, citation, layout, verified
        (``sha256`` or ``md5``: the hash that a download is compared with; ``no``: no hash is known; ``by hand``: no
        direct download), fetched (bool), home.
    """
    import pandas as pd

    rows = {
        name: {
            "title": entry.title,
            "license": entry.license,
            "redistribution": entry.redistribution,
            "citation": entry.citation,
            "layout": entry.layout,
            "verified": _verified(entry),
            "fetched": _is_there(data_folder(folder) / name),
            "home": entry.home,
        }
        for name, entry in registry().items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")


def _verified(entry: DataSet) -> str:
    if entry.manual:
        return "by hand"
    return "no" if any(not file.hash for file in entry.files) else entry.files[0].hash.partition(":")[0]


def data_folder(folder: str | os.PathLike | None = None) -> Path:
    """Where data sets lie: `folder`, else the environment variable ``MEDLEARN_DATA``, else the user's cache folder."""
    if folder := folder or os.environ.get("MEDLEARN_DATA"):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("medlearn"))


def fetched(name: str, *, folder: str | os.PathLike | None = None) -> Path:
    """Return the folder of a data set that was fetched.

    Raises
    ------
    FileNotFoundError
        If it was not; the message says how to fetch it.
    ValueError
        If no data set has this name.
    """
    entry = _find(name)
    target = data_folder(folder) / name
    if not _is_there(target):
        raise FileNotFoundError(
            f"the data set {name} is not in {data_folder(folder)} yet. `python data_download.py {name}` or "
            f"medlearn.datasets.fetch({name!r}) shows its terms and fetches it"
            f"{' (by hand: there is no direct download)' if entry.manual else ''}."
        )
    return target if entry.manual else _innermost(target)


def fetch(
    name: str,
    *,
    accept_terms: bool = False,
    accept_unverified: bool = False,
    folder: str | os.PathLike | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download and unpack a data set, unless it is there already.

    A download that broke off goes on where it stopped. A file gets its name when its hash has been verified, the folder
    of the data set when everything is unpacked.

    Parameters
    ----------
    name : str
        A name that `available` lists.
    accept_terms : bool
        You have read the terms of the data set and accept them. Without it they are shown, as an error.
    accept_unverified : bool
        Take a file whose hash nobody has published. Its hash is then printed. A file whose hash is known is always
        compared with it.
    folder : path, optional
        Where data lie; by default `data_folder`.
    timeout : float
        Seconds without a sign of life after which a server is given up.

    Returns
    -------
    Path
        The folder with the data, for `cases`.

    Raises
    ------
    ValueError
        If no data set has this name, if its terms are not accepted, or if the hash of a file is unknown.
    DownloadError
        If no server delivered a file, or there is no direct download; the message says what to do by hand.
    FileFormatError
        If an archive is damaged or hostile: names or links that lead out of the folder, too many or too large files.
    """
    entry = _find(name)
    home = data_folder(folder).resolve()
    target = home / name
    if _is_there(target):
        return fetched(name, folder=folder)
    if entry.manual:
        steps = entry.manual.format(folder=target)
        raise DownloadError(f"{entry.terms}\nThere is no direct download. By hand:\n{steps}")
    if not accept_terms:
        raise ValueError(
            f"{entry.terms}\nNothing was downloaded. If you accept these terms, say so: "
            f"medlearn.datasets.fetch({name!r}, accept_terms=True), or python data_download.py {name} --accept-terms"
        )
    if not accept_unverified and (unknown := [file.name for file in entry.files if not file.hash]):
        raise ValueError(
            f"{name} was not downloaded: nobody has published a hash of {', '.join(unknown)}, so nobody can tell "
            "whether the right file arrives. accept_unverified=True (--accept-unverified) takes it and prints its hash"
        )
    print(entry.terms)
    downloads = home / "downloads" / name
    downloads.mkdir(parents=True, exist_ok=True)
    with _lock(downloads / ".lock"):
        if not _is_there(target):  # else another process has fetched it meanwhile
            _fetch_files(entry, downloads, target, timeout)
    return fetched(name, folder=folder)


def _fetch_files(entry: DataSet, downloads: Path, target: Path, timeout: float) -> None:
    draft = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)  # left behind by a process that was killed
    sources, ours = [], []
    try:
        for file in entry.files:
            archive = downloads / file.name
            by_hand = archive.exists()
            url = _check_by_hand(archive, file) if by_hand else _download(entry, file, archive, timeout)
            ours += [archive] * (not by_hand)
            sources.append({"file": file.name, "from": url, "bytes": archive.stat().st_size, "hash": _hash(archive)})
            if not file.hash:
                print(f"{file.name} is unverified: {sources[-1]['bytes']:,} bytes from {url}, {sources[-1]['hash']}")
            unpack(archive, draft)
        _write_source(draft, entry, sources)
        if target.is_dir():
            target.rmdir()  # an empty one
        draft.rename(target)
    except FileFormatError:
        _remove(ours)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _remove(ours)


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def _write_source(folder: Path, entry: DataSet, sources: list[dict]) -> None:
    record = {"name": entry.name, "terms accepted": entry.license, "citation": entry.citation, "files": sources}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (folder / ".medlearn-source.json").write_text(text, encoding="utf-8")


def _find(name: str) -> DataSet:
    entries = registry()
    if name not in entries:
        raise ValueError(f"no data set is named {name!r}; there are {', '.join(entries)}")
    return entries[name]


def _is_there(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _innermost(folder: Path) -> Path:
    """Go down while there is nothing but one folder and texts: archives often hold everything in one folder."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix not in _TEXTS]
    return _innermost(visible[0]) if len(visible) == 1 and visible[0].is_dir() else folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Keep a second process out. The operating system takes the lock off when the process ends, however it ends."""
    with path.open("a+b") as file:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # other errors: a file system without locks
            raise DownloadError(f"another process is fetching the same data set ({path} is locked): wait") from None
        yield


# Download -------------------------------------------------------------------------------------------------------------


def _download(entry: DataSet, file: RemoteFile, archive: Path, timeout: float) -> str:
    """Try the mirrors one after another; return the address that delivered the right file."""
    import pooch
    import requests

    problems = {}
    urls = deque(_urls(entry, file))
    part = archive.with_name(archive.name + ".part")
    if not file.hash:
        part.unlink(missing_ok=True)  # without a hash nobody would notice that its two halves do not fit
    while urls:
        url = urls.popleft()
        get = _Download(part, file.bytes or MAX_DOWNLOAD, timeout)
        try:
            with _quiet_pooch():
                pooch.retrieve(url, file.hash or None, fname=archive.name, path=archive.parent, downloader=get)
            return url
        except requests.RequestException as error:
            problems[url] = _reason(error, timeout)
        except DownloadError as error:
            problems[url] = str(error)
        except ValueError as error:
            problems[url] = str(error)
            if "does not match" in problems[url]:  # pooch's word for a wrong hash; it has deleted the file
                problems[url] = f"the file is not the right one: its {file.hash.partition(':')[0]} hash differs"
                urls.extendleft([url] * get.resumed)  # perhaps only what was there before was wrong
    raise DownloadError(_what_to_do(entry, file, archive, problems))


def _urls(entry: DataSet, file: RemoteFile) -> list[str]:
    mirror = os.environ.get("MEDLEARN_MIRROR", "").rstrip("/")
    if mirror and not mirror.startswith(("http://", "https://")):
        raise ValueError(f"MEDLEARN_MIRROR must be an http:// or https:// address; got {mirror!r}")
    return [f"{mirror}/{entry.name}/{file.name}"] * bool(mirror) + list(file.urls)


class _Download:
    """A downloader for pooch that keeps what it has got in `part` and goes on from there.

    Attributes
    ----------
    resumed : bool
        The download went on with bytes from an earlier run or another server.
    """

    def __init__(self, part: Path, limit: int, timeout: float):
        self.part, self.limit, self.timeout = part, limit, timeout
        self.resumed = False

    def __call__(self, url: str, output_file: str, pooch, check_only: bool = False) -> None:
        import requests

        self.resumed = self._have() > 0
        for attempt in range(1, ATTEMPTS + 1):
            before = self._have()
            try:
                self._get(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if self._have() <= before or attempt == ATTEMPTS:
                    raise
                time.sleep(PAUSE_S)
        self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _get(self, url: str) -> None:
        import requests

        have = self._have()
        headers = {"Accept-Encoding": "identity", "User-Agent": "medlearn (pooch)"}  # Zenodo slows anonymous clients
        headers |= {"Range": f"bytes={have}-"} if have else {}
        timeouts = (min(self.timeout, 10), self.timeout)  # to connect, between two packets
        with requests.get(url, stream=True, headers=headers, timeout=timeouts) as answer:
            if have and _is_complete(answer, have):
                return
            if have and _does_not_continue(answer, have):
                self.part.unlink()
                return self._get(url)
            answer.raise_for_status()
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                raise DownloadError("it sends a web page instead of the file, perhaps a login or an error message")
            self._store(answer, have if answer.status_code == 206 else 0)

    def _store(self, answer: "requests.Response", start: int) -> None:
        import requests

        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        self._check_room(total, start)
        with self.part.open("ab" if start else "wb") as file, _progress(self.part.stem, start, total) as bar:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > self.limit:
                    break
        if self._have() > self.limit:
            self.part.unlink()
            raise DownloadError(f"it sends more than the {self.limit:,} bytes that were expected")
        if total is not None and self._have() != total:
            raise requests.ConnectionError(f"{self._have():,} of {total:,} bytes")

    def _check_room(self, total: int | None, start: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise DownloadError(
                f"{total - start:,} bytes are missing, but only {free:,} are free in {self.part.parent}. "
                "Make room, or name another folder with MEDLEARN_DATA"
            )


def _is_complete(answer: "requests.Response", have: int) -> bool:
    """The server has no more bytes, and names the size that is there."""
    return answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{have}"


def _does_not_continue(answer: "requests.Response", have: int) -> bool:
    wanted = f"bytes {have}-"
    return answer.status_code == 416 or (
        answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(wanted)
    )


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Pooch announces each download and each hash; the bar and the messages here say it already."""
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(before)


def _progress(name: str, start: int, total: int | None):
    from tqdm.auto import tqdm

    return tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, disable=not watched())


def _reason(error: "requests.RequestException", timeout: float) -> str:
    import requests

    if error.response is not None:
        return f"it answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no sign of life for {timeout:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection (SSL)"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "no connection, or it broke off"
    return str(error)


def _what_to_do(entry: DataSet, file: RemoteFile, archive: Path, problems: dict[str, str]) -> str:
    expected = f"Its hash must be {file.hash}.\n" if file.hash else ""
    return (
        f"{file.name} of {entry.name} could not be downloaded:\n"
        + "".join(f"  {url}: {problem}\n" for url, problem in problems.items())
        + f"By hand: get it from {' or '.join(file.urls)}\nwith a browser or another computer, put it at\n  {archive}\n"
        f"and repeat the command. {expected}"
        f"Or set MEDLEARN_MIRROR to a server that you can reach and that has {entry.name}/{file.name}."
    )


def _check_by_hand(archive: Path, file: RemoteFile) -> str:
    """Verify a file that somebody put into the folder of downloads."""
    algorithm = file.hash.partition(":")[0] or "sha256"
    if file.hash and _hash(archive, algorithm) != file.hash:
        raise FileFormatError(
            f"{archive} is not the file that is wanted: its hash is {_hash(archive, algorithm)}, not {file.hash}; "
            f"it is {looks_like(archive)} of {archive.stat().st_size:,} bytes. Delete it, and repeat the command."
        )
    return "a file put there by hand"


def _hash(path: Path, algorithm: str = "sha256") -> str:
    import pooch

    return f"{algorithm}:{pooch.file_hash(str(path), alg=algorithm)}"


# Archives -------------------------------------------------------------------------------------------------------------


class _Member(NamedTuple):
    name: str
    kind: str  # file, folder, link, special file
    open: Callable[[], BinaryIO]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a folder. Whatever is in it, nothing is written anywhere else.

    What macOS leaves in archives (``__MACOSX``, ``._*``, ``.DS_Store``) is skipped.

    Raises
    ------
    FileFormatError
        If the archive is damaged; if it holds a link, an absolute name, or a name with ``..``; if it unpacks to more
        than `MAX_FILES` files or `MAX_RATIO` times its size (and more than 64 MB). Counted is what comes out, not what
        the archive says.
    """
    limit = MAX_RATIO * archive.stat().st_size + SMALL
    try:
        with archive.open("rb") as file:
            head = file.read(6)
        members = _zip_members(archive) if head.startswith(b"PK") else _tar_members(archive, head, limit)
        _unpack_members(archive, members, folder, limit)
    except FileFormatError:
        raise
    except _DAMAGE as error:
        raise FileFormatError(
            f"{archive} is no archive, or a damaged one ({error}); it is {looks_like(archive)}."
        ) from None
    except RuntimeError as error:  # zipfile's way to say that it lacks a password, or the method of compression
        raise FileFormatError(f"{archive} cannot be unpacked: {error}.") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise FileFormatError(f"{archive} holds two files of one name: {error.filename}.") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise FileFormatError(f"{archive} holds a file whose name this computer cannot store: {error}.") from None
        if error.errno is None:  # bz2
            raise FileFormatError(f"{archive} is damaged: {error}.") from None
        raise


def _unpack_members(archive: Path, members: Iterator[_Member], folder: Path, limit: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, member in enumerate(members, start=1):
        if number > MAX_FILES:
            _refuse(archive, f"it holds more than {MAX_FILES:,} files")
        parts = _safe_parts(archive, member.name)
        if not parts or "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store":
            continue
        target = folder.joinpath(*parts)
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif member.kind == "file":
            target.parent.mkdir(parents=True, exist_ok=True)
            limit -= _copy(archive, member, target, limit)
        else:
            _refuse(archive, f"{member.name!r} in it is a {member.kind}; only files and folders are unpacked")


def _copy(archive: Path, member: _Member, target: Path, limit: int) -> int:
    size = 0
    with member.open() as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                _refuse(archive, _TOO_LARGE)
            file.write(chunk)
    return size


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as content:
        for info in content.infolist():
            mode = info.external_attr >> 16
            ordinary = stat.S_IFMT(mode) in (0, stat.S_IFREG)
            kind = (
                "folder" if info.is_dir() else "file" if ordinary else "link" if stat.S_ISLNK(mode) else "special file"
            )
            yield _Member(info.filename, kind, partial(content.open, info))


def _tar_members(archive: Path, head: bytes, limit: int) -> Iterator[_Member]:
    opener = next((opener for magic, opener in _COMPRESSED.items() if head.startswith(magic)), open)
    with opener(archive, "rb") as stream, tarfile.open(fileobj=_Bounded(archive, stream, limit), mode="r|") as content:
        for info in content:
            links = info.issym() or info.islnk()
            kind = "folder" if info.isdir() else "file" if info.isfile() else "link" if links else "special file"
            yield _Member(info.name, kind, partial(content.extractfile, info))


class _Bounded:
    """A stream that ends in an error when it gets too long: tar headers, too, can be bombs."""

    def __init__(self, archive: Path, stream: BinaryIO, limit: int):
        self._archive, self._stream, self._left = archive, stream, limit

    def read(self, n: int) -> bytes:
        data = self._stream.read(n)
        self._left -= len(data)
        if self._left < 0:
            _refuse(self._archive, _TOO_LARGE)
        return data


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*[\0-\x1f]", name, re.S):
        _refuse(archive, f"{name!r} in it would be written outside of its folder, or has no proper name")
    return path.parts


def _refuse(archive: Path, reason: str):
    raise FileFormatError(f"{archive} was not unpacked: {reason}.")


_DAMAGE = (  # what the standard library raises for damaged archives; the last four are its oversights
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    struct.error,
    IndexError,
    OverflowError,
    ValueError,
)
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_TOO_LARGE = f"it unpacks to more than {MAX_RATIO} times its size, as no archive of images does"
