"""Fetching data sets, from a server on this computer that behaves as badly as servers do."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from blobs import blob_case

import medlearn as ml
from medlearn.datasets import DownloadError, available, data_folder, download, fetch, fetched

ROOT = Path(__file__).parents[1]


# The server -----------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        answer = self.server.answers.get(self.path, missing)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            answer(self)

    def start(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *args):
        pass


def missing(request):
    request.start(404, {"Content-Length": 0})


def good(data):
    """Answer properly, ranges included."""

    def answer(request):
        wanted = request.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted and first >= len(data):
            return request.start(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": 0})
        extra = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if wanted else {}
        request.start(206 if wanted else 200, {"Content-Length": len(data) - first, **extra})
        request.wfile.write(data[first:])

    return answer


def without_ranges(data):
    def answer(request):
        request.start(200, {"Content-Length": len(data)})
        request.wfile.write(data)

    return answer


def breaks_off(data, n):
    """Answer properly, but never with more than n bytes a time."""

    def answer(request):
        first = int((request.headers.get("Range") or "bytes=0-")[6:-1])
        extra = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        request.start(206 if first else 200, {"Content-Length": len(data) - first, **extra})
        request.wfile.write(data[first : first + n])

    return answer


def without_length(data):
    def answer(request):
        request.start(200, {})
        request.wfile.write(data)

    return answer


def web_page(request):
    page = b"<!DOCTYPE html><title>Please log in</title>"
    request.start(200, {"Content-Type": "text/html; charset=utf-8", "Content-Length": len(page)})
    request.wfile.write(page)


def stalls(data, n):
    """Send n bytes, then nothing."""

    def answer(request):
        request.start(200, {"Content-Length": len(data)})
        request.wfile.write(data[:n])
        request.wfile.flush()
        request.server.over.wait(20)

    return answer


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answers, server.asked, server.over = {}, [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


# A registry with one data set -----------------------------------------------------------------------------------------


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).bytes(300_000)
ARCHIVE = zipped({"set/a.txt": "voxels", "set/b.bin": NOISE, "set/._a.txt": "Mac", "__MACOSX/set/a.txt": "Mac"})


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder for data, empty; nothing outside it may change."""
    monkeypatch.setenv("MEDLEARN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MEDLEARN_MIRROR", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0)
    return tmp_path / "data"


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Write a registry with the data set ``tiny``: its archive and the addresses it can be had from."""

    def write(urls, content=ARCHIVE, *, known=True, name="tiny.zip", extra=""):
        text = (
            '[tiny]\ntitle = "A tiny set"\nhome = "http://example.org"\nlicense = "Read this first"\n'
            f'redistribution = "no"\ncitation = "Nobody 2026"\nlayout = "PROMISE12"\n{extra}\n'
            f'[[tiny.files]]\nname = "{name}"\nurls = {json.dumps(urls)}\n'
            + (f'hash = "sha256:{hashlib.sha256(content).hexdigest()}"\n' if known else "")
        )
        path = tmp_path / "registry.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(download, "REGISTRY", path)
        return path

    return write


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_fetched(path, data):
    assert path == data / "tiny" / "set"
    assert (path / "a.txt").read_text() == "voxels"
    assert (path / "b.bin").read_bytes() == NOISE
    assert sorted(os.listdir(path)) == ["a.txt", "b.bin"]  # what a Mac left behind is not there
    assert everything_in(data) == [
        "downloads/tiny/.lock",
        "tiny/.medlearn-source.json",
        "tiny/set/a.txt",
        "tiny/set/b.bin",
    ]


def assert_nothing_under_a_final_name(data):
    assert not (data / "tiny").exists()
    assert {name for name in everything_in(data) if not name.endswith(".part")} <= {"downloads/tiny/.lock"}


# Downloads ------------------------------------------------------------------------------------------------------------


def test_fetch_downloads_once(server, register, data, capsys):
    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = good(ARCHIVE)
    assert_fetched(fetch("tiny", accept_terms=True), data)
    assert "Read this first" in capsys.readouterr().out
    assert len(server.asked) == 1
    assert fetch("tiny") == fetched("tiny") == data / "tiny" / "set"
    assert len(server.asked) == 1
    source = json.loads((data / "tiny" / ".medlearn-source.json").read_text(encoding="utf-8"))
    assert source["files"][0]["hash"] == f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"
    assert available().loc["tiny", "fetched"]


def test_terms_are_shown_and_must_be_accepted(server, register, data):
    register([f"{server.url}/tiny.zip"])
    with pytest.raises(ValueError, match=r"(?s)Read this first.*Nobody 2026.*accept_terms=True"):
        fetch("tiny")
    assert server.asked == []
    assert not data.exists()


def test_a_file_whose_hash_nobody_knows_is_refused(server, register, data, capsys):
    register([f"{server.url}/tiny.zip"], known=False)
    server.answers["/tiny.zip"] = good(ARCHIVE)
    with pytest.raises(ValueError, match="accept_unverified"):
        fetch("tiny", accept_terms=True)
    assert server.asked == []
    assert available().loc["tiny", "verified"] == "no"
    assert_fetched(fetch("tiny", accept_terms=True, accept_unverified=True), data)
    assert f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (missing, "404"),
        (web_page, "web page"),
        (without_ranges(ARCHIVE[:1000]), "sha256 hash differs"),
        (without_length(ARCHIVE[:1000]), "sha256 hash differs"),  # truncated, but the server does not say so
        (without_ranges(ARCHIVE[:-1] + b"!"), "sha256 hash differs"),
        (breaks_off(ARCHIVE, 0), "broke off"),
    ],
)
def test_a_bad_answer_is_an_error_or_the_next_mirror_helps(server, register, data, answer, reason):
    register([f"{server.url}/bad.zip"])
    server.answers |= {"/bad.zip": answer, "/good.zip": good(ARCHIVE)}
    with pytest.raises(DownloadError, match=reason) as error:
        fetch("tiny", accept_terms=True)
    message = str(error.value)
    assert f"{server.url}/bad.zip" in message
    assert str(data / "downloads" / "tiny" / "tiny.zip") in message  # what to do by hand
    assert "MEDLEARN_MIRROR" in message
    assert_nothing_under_a_final_name(data)
    register([f"{server.url}/bad.zip", f"{server.url}/good.zip"])
    assert_fetched(fetch("tiny", accept_terms=True), data)


def test_a_server_that_stalls_is_given_up(server, register, data):
    register([f"{server.url}/bad.zip"])
    server.answers["/bad.zip"] = stalls(ARCHIVE, 70_000)
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"no sign of life for 0\.3 s"):
        fetch("tiny", accept_terms=True, timeout=0.3)
    assert time.monotonic() - start < 5
    assert_nothing_under_a_final_name(data)


def test_no_connection_at_all(register, data):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        register([f"http://127.0.0.1:{unused.getsockname()[1]}/tiny.zip"])
        with pytest.raises(DownloadError, match="no connection"):
            fetch("tiny", accept_terms=True)
    assert_nothing_under_a_final_name(data)


def test_a_connection_that_breaks_off_is_resumed(server, register, data):
    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = breaks_off(ARCHIVE, 100_000)
    assert_fetched(fetch("tiny", accept_terms=True), data)
    starts = [int(asked[6:-1]) for _, asked in server.asked[1:]]
    assert server.asked[0][1] is None
    assert len(starts) >= 3
    assert starts == sorted(set(starts))
    assert starts[0] > 50_000  # little of what had come was lost


def part_of(data, content):
    part = data / "downloads" / "tiny" / "tiny.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)


@pytest.mark.parametrize("answer", [good(ARCHIVE), without_ranges(ARCHIVE), without_length(ARCHIVE)])
@pytest.mark.parametrize("before", [ARCHIVE[:1234], ARCHIVE, ARCHIVE + b"more", b"wrong", b"\0" * len(ARCHIVE)])
def test_whatever_an_earlier_run_left_the_right_file_arrives(server, register, data, answer, before):
    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = answer
    part_of(data, before)
    assert_fetched(fetch("tiny", accept_terms=True), data)
    assert server.asked[0][1] == f"bytes={len(before)}-"


def test_a_server_that_sends_another_range_is_asked_for_everything(server, register, data):
    def wrong_range(request):
        if request.headers.get("Range"):
            request.start(206, {"Content-Range": f"bytes 0-9/{len(ARCHIVE)}", "Content-Length": 10})
            request.wfile.write(ARCHIVE[:10])
        else:
            good(ARCHIVE)(request)

    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = wrong_range
    part_of(data, ARCHIVE[:1234])
    assert_fetched(fetch("tiny", accept_terms=True), data)
    assert [asked for _, asked in server.asked] == ["bytes=1234-", None]


def test_a_killed_process_leaves_what_the_next_one_goes_on_with(server, register, data):
    registry = register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = stalls(ARCHIVE, 200_000)
    code = (
        "from pathlib import Path; from medlearn.datasets import download; "
        f"download.REGISTRY = Path({str(registry)!r}); download.fetch('tiny', accept_terms=True)"
    )
    part = data / "downloads" / "tiny" / "tiny.zip.part"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(DownloadError, match="another process"):
            fetch("tiny", accept_terms=True)
    finally:
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait(10)
    have = part.stat().st_size
    assert 100_000 < have < len(ARCHIVE)
    server.answers["/tiny.zip"] = good(ARCHIVE)
    path = fetch("tiny", accept_terms=True)
    assert server.asked[-1][1] == f"bytes={have}-"
    assert (path / "b.bin").read_bytes() == NOISE


def test_an_unverified_download_never_goes_on_with_old_bytes(server, register, data):
    register([f"{server.url}/tiny.zip"], known=False)
    server.answers["/tiny.zip"] = good(ARCHIVE)
    part_of(data, b"\0" * 1000)
    assert_fetched(fetch("tiny", accept_terms=True, accept_unverified=True), data)
    assert server.asked == [("/tiny.zip", None)]


def test_an_endless_answer_is_stopped(server, register, data, monkeypatch):
    monkeypatch.setattr(download, "MAX_DOWNLOAD", 150_000)
    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = without_length(ARCHIVE)
    with pytest.raises(DownloadError, match="more than the 150,000 bytes"):
        fetch("tiny", accept_terms=True)
    assert everything_in(data) == ["downloads/tiny/.lock"]


def test_a_disk_that_is_too_full_is_told_before(server, register, data, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    register([f"{server.url}/tiny.zip"])
    server.answers["/tiny.zip"] = good(ARCHIVE)
    with pytest.raises(DownloadError, match="only 10 are free"):
        fetch("tiny", accept_terms=True)


def test_a_mirror_is_asked_first_and_verified_too(server, register, data, monkeypatch):
    register([f"{server.url}/tiny.zip"])
    monkeypatch.setenv("MEDLEARN_MIRROR", f"{server.url}/mirror/")
    server.answers |= {"/mirror/tiny/tiny.zip": without_ranges(b"something else"), "/tiny.zip": good(ARCHIVE)}
    assert_fetched(fetch("tiny", accept_terms=True), data)
    assert [path for path, _ in server.asked] == ["/mirror/tiny/tiny.zip", "/tiny.zip"]
    monkeypatch.setenv("MEDLEARN_MIRROR", "mirror.example.org")
    with pytest.raises(ValueError, match="MEDLEARN_MIRROR must be"):
        fetch("tiny", accept_terms=True, folder=data / "other")


def test_a_file_put_there_by_hand(register, data):
    register(["http://127.0.0.1:9/tiny.zip"])
    archive = data / "downloads" / "tiny" / "tiny.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"<html>Please log in</html>")
    with pytest.raises(ml.FileFormatError, match=r"(?s)tiny\.zip is not the file.*web page"):
        fetch("tiny", accept_terms=True)
    assert not (data / "tiny").exists()
    archive.write_bytes(ARCHIVE)
    assert (fetch("tiny", accept_terms=True) / "a.txt").read_text() == "voxels"
    assert archive.read_bytes() == ARCHIVE  # it is not ours to delete


def test_a_set_without_direct_download_says_what_to_do(data):
    with pytest.raises(DownloadError, match=r"(?s)cancerimagingarchive.*NBIA") as error:
        fetch("prostatex", accept_terms=True)
    assert str(data / "prostatex") in str(error.value)
    (data / "prostatex" / "ProstateX-0000").mkdir(parents=True)
    assert fetch("prostatex") == data / "prostatex"


def test_unknown_names(data):
    with pytest.raises(ValueError, match=r"'promise13'; there are promise12,"):
        fetch("promise13")
    with pytest.raises(FileNotFoundError, match=r"data_download\.py promise12"):
        ml.cases("promise12")
    assert "phantom" not in download.registry()


def test_cases_finds_what_was_fetched(server, register, data, tmp_path):
    case = blob_case(0)
    ml.save(case.image, tmp_path / "Case00.mha")
    ml.save(case.mask, tmp_path / "Case00_segmentation.mha")
    content = zipped({f"top/{path.name}": path.read_bytes() for path in tmp_path.glob("*.mha")})
    register([f"{server.url}/tiny.zip"], content)
    server.answers["/tiny.zip"] = good(content)
    fetch("tiny", accept_terms=True)
    assert ml.cases("tiny").check().ids == ("Case00",)


def test_where_data_lie(monkeypatch, tmp_path):
    assert data_folder(tmp_path) == tmp_path
    monkeypatch.setenv("MEDLEARN_DATA", str(tmp_path / "a"))
    assert data_folder() == tmp_path / "a"
    monkeypatch.delenv("MEDLEARN_DATA")
    assert data_folder().name == "medlearn"


# Archives -------------------------------------------------------------------------------------------------------------


def zip_with(name, content=b"evil", mode=0o644 | stat.S_IFREG):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/good.txt", "good")
        info = zipfile.ZipInfo("x" * len(name))
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return buffer.getvalue().replace(b"x" * len(name), name.encode())  # as it stands, unnormalized


def tar_with(name, content=b"evil", kind=tarfile.REGTYPE, link="", mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member, data in (("set/good.txt", b"good"), (name, content)):
            info = tarfile.TarInfo(member)
            if member == name:
                info.type, info.linkname = kind, link
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def with_password(content):
    """Set the flags that say that the first member is encrypted."""
    content = bytearray(content)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


HOSTILE = {
    "zip long name": zip_with("set/" + "a" * 300),
    "zip ../": zip_with("../evil.txt"),
    "zip set/../../": zip_with("set/../../evil.txt"),
    "zip absolute": zip_with("/tmp/medlearn-evil.txt"),
    "zip backslash": zip_with("..\\evil.txt"),
    "zip drive": zip_with("C:/evil.txt"),
    "zip symlink": zip_with("set/link", b"/etc/passwd", 0o777 | stat.S_IFLNK),
    "tar ../": tar_with("../evil.txt"),
    "tar absolute": tar_with("/tmp/medlearn-evil.txt"),
    "tar symlink": tar_with("set/link", kind=tarfile.SYMTYPE, link="../../.."),
    "tar hard link": tar_with("set/link", kind=tarfile.LNKTYPE, link="set/good.txt"),
    "tar device": tar_with("set/device", kind=tarfile.CHRTYPE),
    "tar.gz ../": tar_with("../evil.txt", mode="w:gz"),
    "zip twice": zip_with("set/good.txt"),
    "zip file as folder": zip_with("set/good.txt/a"),
    "zip damaged": ARCHIVE[:100_000] + b"!!" + ARCHIVE[100_002:],
    "zip truncated": zip_with("set/a")[:-30],
    "tar truncated": tar_with("set/a", NOISE)[:-200_000],
    "tar.gz truncated": tar_with("set/a", NOISE, mode="w:gz")[:-200_000],
    "tar.bz2 damaged": tar_with("set/a", NOISE, mode="w:bz2")[:100_000] + bytes(200_000),
    "zip with a password": with_password(zip_with("set/a")),
    "tar.xz damaged": tar_with("set/a", NOISE, mode="w:xz")[:-1000] + b"\0" * 1000,
    "web page": b"<html>Please log in</html>",
    "empty": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_and_damaged_archives(server, register, data, tmp_path, content):
    before = everything_in(tmp_path)
    register([f"{server.url}/tiny.zip"], content, known=False)
    server.answers["/tiny.zip"] = good(content)
    with pytest.raises(ml.FileFormatError, match=r"tiny\.zip"):
        fetch("tiny", accept_terms=True, accept_unverified=True)
    assert_nothing_under_a_final_name(data)
    assert set(everything_in(tmp_path)) - set(before) <= {"registry.toml", "data/downloads/tiny/.lock"}
    assert not Path("/tmp/medlearn-evil.txt").exists()


def zip_bomb(n_bytes):
    """Zeros, a member of 1 MB a thousand times: the archive is small and quickly made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(n_bytes >> 20):
            archive.writestr(f"{number}.raw", bytes(1 << 20))
    return buffer.getvalue()


def sparse_tar(n_bytes):
    """A tar archive of a file of zeros, none of which it stores (GNU's old sparse format)."""
    info = tarfile.TarInfo("zeros.raw")
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[386:398], head[398:410] = b"%011o\0" % n_bytes, b"%011o\0" % 0  # the one stored piece: empty, at the end
    head[483:495] = b"%011o\0" % n_bytes
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 8 * 32)
    return bytes(head) + bytes(1024)


def tar_with_huge_header():
    """A compressed tar archive whose extended header alone is 100 MB."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 100 << 20
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=1) as archive:
        archive.write(info.tobuf())
        for _ in range(100):
            archive.write(bytes(1 << 20))
    return buffer.getvalue()


def ten_gigabytes():
    """A compressed tar archive of one file of 10 GB: a gzip member that unpacks to 1 MB, over and over."""
    info = tarfile.TarInfo("zeros.raw")
    info.size = 10 << 30
    return gzip.compress(info.tobuf()) + gzip.compress(bytes(1 << 20)) * (10 << 10)


@pytest.mark.parametrize(
    "bomb", [zip_bomb(100 << 20), sparse_tar((1 << 33) - 512), tar_with_huge_header(), ten_gigabytes()]
)
def test_bombs_are_stopped(tmp_path, bomb):
    archive = tmp_path / "bomb"
    archive.write_bytes(bomb)
    assert len(bomb) < 12_000_000
    with pytest.raises(ml.FileFormatError, match="20 times its size"):
        download.unpack(archive, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written <= download.MAX_RATIO * len(bomb) + download.SMALL
    shutil.rmtree(tmp_path / "out")  # pytest would keep it


def test_too_many_files_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_FILES", 10)
    (tmp_path / "many.zip").write_bytes(zipped({f"{n}.txt": "" for n in range(11)}))
    with pytest.raises(ml.FileFormatError, match="more than 10 files"):
        download.unpack(tmp_path / "many.zip", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_unpacked(tmp_path, mode):
    (tmp_path / "a.tar").write_bytes(tar_with("./set/deep/noise.bin", NOISE, mode=mode))
    download.unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "set" / "deep" / "noise.bin").read_bytes() == NOISE
    assert (tmp_path / "out" / "set" / "good.txt").read_text() == "good"


# The registry and the command -----------------------------------------------------------------------------------------


def test_the_registry_is_complete_and_consistent():
    entries = download.registry()
    assert {"promise12", "prostatex", "decathlon-prostate", "decathlon-hippocampus", "decathlon-lung"} <= set(entries)
    lengths = {"sha256": 64, "md5": 32, "": 0}
    for entry in entries.values():
        assert bool(entry.manual) != bool(entry.files), entry.name
        for file in entry.files:
            assert all(url.startswith("https://") and url.endswith(f"/{file.name}") for url in file.urls)
            algorithm, _, digits = file.hash.partition(":")
            assert len(digits) == lengths[algorithm]
            assert set(digits) <= set("0123456789abcdef")


def test_decathlon_is_where_monai_has_it():
    from monai.apps import DecathlonDataset

    found = set()
    for entry in download.registry().values():
        if entry.name.startswith("decathlon-"):
            (file,) = entry.files
            task = file.name.removesuffix(".tar")
            assert file.urls == (DecathlonDataset.resource[task],)
            assert DecathlonDataset.md5[task] in file.hash + " ".join(entry.notes)
            found.add(task)
    assert found == set(DecathlonDataset.md5)


def test_available_is_a_table(data):
    table = available()
    assert table.loc["promise12", "verified"] == "sha256"
    assert table.loc["prostatex", "verified"] == "by hand"
    assert not table["fetched"].any()


def test_the_command(server, register, data, capsys, monkeypatch):
    main = runpy.run_path(str(ROOT / "data_download.py"))["main"]
    register([f"{server.url}/tiny.zip"], known=False)
    server.answers["/tiny.zip"] = good(ARCHIVE)
    assert main(["--list"]) == 0
    assert "  tiny " in capsys.readouterr().out
    assert main(["tiny"]) == 1
    assert "--accept-terms" in capsys.readouterr().err
    assert main(["tiny", "--accept-terms"]) == 1
    assert "--accept-unverified" in capsys.readouterr().err
    assert main(["tiny", "--accept-terms", "--accept-unverified", "--folder", str(data / "there")]) == 0
    assert (data / "there" / "tiny" / "set" / "a.txt").exists()
    assert main(["--folder", str(data / "there")]) == 0
    assert "* tiny " in capsys.readouterr().out
