import io
import tarfile

import pytest
from rosetta import datasets
from rosetta.errors import DataError


def tar(path, *entries, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content
                archive.addfile(member)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_every_compression_is_told_by_content(tmp_path, mode):
    path = tar(tmp_path / "a.tar", ("d/one", b"1"), ("d/two", b"22" * 9999), mode=mode)
    assert list(datasets.members(path)) == [("d/one", b"1"), ("d/two", b"22" * 9999)]


@pytest.mark.parametrize("name", ["../evil.txt", "d/../../evil.txt", "/etc/evil.txt"])
def test_a_member_that_points_outside_is_refused(tmp_path, name):
    path = tar(tmp_path / "a.tar.gz", ("fine", b"1"), (name, b"2"))
    with pytest.raises(DataError, match=r"member '.*evil.txt' points outside"):
        list(datasets.members(path))
    assert [p.name for p in tmp_path.rglob("*")] == ["a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = tar(tmp_path / "a.tar.gz", ("link", (kind, "elsewhere")))
    with pytest.raises(DataError, match="'link' is a link or a device, expected files only"):
        list(datasets.members(path))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_truncated_archive_is_refused_with_what_was_expected(tmp_path, mode, kept):
    noise = bytes((i * i * 31 + i // 7) % 251 for i in range(200_000))
    path = tar(tmp_path / "a.tar", ("x", noise), ("y", noise[::-1]), mode=mode)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    known = datasets.Known(bytes=987_654, sha256="feed")
    with pytest.raises(DataError, match=r"expected 987654 bytes with sha256 feed, found sha256"):
        list(datasets.members(path, known))


def test_a_flipped_byte_in_a_compressed_archive_is_refused(tmp_path):
    path = tar(tmp_path / "a.tar.gz", ("x", bytes(range(256)) * 400))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the CRC that stands after the last member
    path.write_bytes(content)
    with pytest.raises(DataError, match="cut off or damaged"):
        list(datasets.members(path))
