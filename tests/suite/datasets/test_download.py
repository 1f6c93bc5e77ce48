"""Against a real HTTP server that cuts connections and serves from a byte on."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rosetta import datasets, project
from rosetta.datasets import download
from rosetta.errors import DataError

CONTENT = bytes((i * 7 + i // 251) % 256 for i in range(3_000_000))
SIZE = len(CONTENT)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Publisher:
    """Serves CONTENT at every path; ``cuts`` says after how many bytes each answer ends."""

    def __init__(self):
        self.cuts, self.ranges, self.resumable, self.content = [], [], True, CONTENT
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                publisher.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/data.bin"

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if asked and self.resumable else 0
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            whole = len(self.content)
            handler.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

    def archive(self, **known):
        facts = {"bytes": len(CONTENT), "sha256": SHA, "url": self.url} | known
        return datasets.Archive(file="data.bin", **facts)


@pytest.fixture
def publisher():
    made = Publisher()
    yield made
    made.server.shutdown()
    made.server.server_close()


def quiet(what, done, total):
    pass


def test_a_file_arrives_whole_under_its_name(publisher, tmp_path):
    seen = []
    download.fetch(publisher.archive(), tmp_path, lambda *args: seen.append(args))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
    assert seen[-1] == ("downloading data.bin", len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_resumed_where_it_ended(publisher, tmp_path):
    publisher.cuts = [1_200_000, 500_000]
    download.fetch(publisher.archive(), tmp_path, quiet)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert publisher.ranges == [None, "bytes=1200000-", "bytes=1700000-"]


def test_a_part_of_an_earlier_call_is_continued(publisher, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:999_999])
    download.fetch(publisher.archive(), tmp_path, quiet)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert publisher.ranges == ["bytes=999999-"]


def test_a_publisher_without_ranges_is_asked_again_from_the_start(publisher, tmp_path):
    publisher.cuts, publisher.resumable = [1_200_000], False
    download.fetch(publisher.archive(), tmp_path, quiet)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_and_nothing_stays(publisher, tmp_path):
    publisher.content = CONTENT[:-1] + b"?"
    with pytest.raises(DataError, match=f"expected 3000000 bytes with sha256 {SHA}, got 3000000"):
        download.fetch(publisher.archive(), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_file_is_refused(publisher, tmp_path):
    publisher.content = CONTENT * 2
    with pytest.raises(DataError, match="expected 3000000 bytes"):
        download.fetch(publisher.archive(), tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_publisher_that_stays_silent_keeps_the_part(publisher, tmp_path):
    publisher.cuts = [1_000_000] + [0] * 20
    with pytest.raises(DataError, match=r"1000000 of 3000000 bytes are kept") as refusal:
        download.fetch(publisher.archive(), tmp_path, quiet)
    assert "Fix: repeat the command to go on from there" in str(refusal.value)
    assert (tmp_path / "data.bin.part").stat().st_size == 1_000_000


TOML = """
schema = 1
name = "toy"
title = "A toy"
licence = "none"
citation = "none"
homepage = "https://example.org/toy"
stand_in = "zeros"
[options]
scale = 1
[shapes]
"train.x" = ["uint8"]
[[archives]]
file = "data.bin"
url = "{url}"
bytes = {bytes}
sha256 = "{sha}"
"""
PREPARE = """
import numpy as np
from rosetta import datasets

def read(folder, options, work, progress):
    x = np.frombuffer((folder / "data.bin").read_bytes(), np.uint8)
    digests = {"data.bin": datasets.digest_of(folder / "data.bin")}
    return datasets.Contents({"train.x": x * options["scale"]}, "official", "toy", digests)

def stand_in(options, smoke, work, progress):
    return datasets.Contents({"train.x": np.zeros(3, np.uint8)}, "stand-in", "drawn toy")
"""


@pytest.fixture
def toy(publisher, tmp_path, monkeypatch, home):
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    monkeypatch.setattr(project, "DATA", folder.parent)

    def toy(size=SIZE, url=publisher.url):
        (folder / "dataset.toml").write_text(TOML.format(url=url, bytes=size, sha=SHA))
        (folder / "prepare.py").write_text(PREPARE)

    toy()
    return toy


def test_a_dataset_is_downloaded_once_and_used_from_then_on(toy, load, publisher, home):
    keys = {"stand_in": False, "smoke": False}
    before = datasets.recipe("toy", {}, **keys)
    assert load("toy").label == "stand-in"
    assert datasets.recipe("toy", {}, download=True, **keys) == "download"
    found = load("toy", download=True)
    assert (found.label, found.arrays["train.x"].tobytes()) == ("official", CONTENT)
    assert datasets.recipe("toy", {}, **keys) not in (before, "download")
    assert load("toy").digest == found.digest
    assert load("toy", stand_in=True, download=True).label == "stand-in"
    assert len(publisher.ranges) == 1


def test_above_a_gigabyte_nothing_is_downloaded_unasked(toy, load, publisher):
    toy(size=45_080_000_000)
    with pytest.raises(DataError, match=r"A toy is 45.1 GB, about 60 min at 100 Mbit/s") as refusal:
        load("toy", download=True)
    assert "Fix: rosetta prepare toy (or DOWNLOAD=1)" in str(refusal.value)
    assert publisher.ranges == []


def test_a_file_without_an_address_is_asked_for_by_name(toy, load):
    toy(url="")
    with pytest.raises(DataError, match=r"toy: data.bin cannot be downloaded: https://example.org"):
        load("toy", download=True)
