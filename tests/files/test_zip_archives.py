"""Torch zip files that were changed after they were saved: every reader is right, or refuses."""

import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import TORCH
from support import torch_files
from support.torch_files import dense, pickled, zipped
from test_files import assert_bits, refused

from jaxgroups.convert._files import CheckpointError, open_checkpoint

needs_torch = pytest.mark.skipif(
    not TORCH, reason="torch is NOT installed: its reader goes untested"
)
ALL = ["own", None, "zipfile", pytest.param("torch", marks=needs_torch)]
MAPPED = [reader for reader in ALL if reader != "zipfile"]  # those that find bytes in the file
ARRAYS = {"a": np.arange(10.0, 15.0), "b": np.arange(40, 47)}


def saved(path, arrays=None, **how):
    return torch_files.state_dict(path, "torch-zip", arrays or ARRAYS, **how)


def rewritten(path, change=lambda name, content: content, method=zipfile.ZIP_STORED):
    """The members of a zip written anew, as an archiver does."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, change(name, content))
    return path


def patched(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
class TestCompressed:
    @pytest.mark.parametrize("reader", MAPPED)
    def test_refused_where_bytes_are_taken_from_the_file(self, tmp_path, reader, method):
        path = rewritten(saved(tmp_path / "a.pt"), method=method)
        message = "is compressed or encrypted, as torch.save never does: try reader='zipfile', or"
        refused(message, path, reader=reader)

    def test_right_where_they_are_unpacked(self, tmp_path, method):
        path = rewritten(saved(tmp_path / "a.pt"), method=method)
        with open_checkpoint(path, reader="zipfile") as checkpoint:
            assert checkpoint.reader == "zipfile"
            for name, array in ARRAYS.items():
                assert_bits(checkpoint.read(name), array)


@pytest.mark.parametrize("reader", ALL)
class TestEveryReader:
    def test_a_file_that_lost_bytes_has_members_before_its_begin(self, tmp_path, reader):
        path = saved(tmp_path / "a.pt")
        with zipfile.ZipFile(path) as archive:
            first = archive.namelist()[0]
        patched(path, lambda data: data.__delitem__(slice(40, 48)))
        refused(f"damaged: no member starts at byte -8: {first}", path, reader=reader)

    def test_a_member_that_is_larger_than_the_file(self, tmp_path, reader):
        path = saved(tmp_path / "a.pt")

        def enlarge(data):
            name = data.rfind(b"data.pkl")  # in the directory, after 46 bytes and the folder
            entry = data.rfind(b"PK\1\2", 0, name)
            data[entry + 20 : entry + 24] = (1 << 29).to_bytes(4, "little")

        patched(path, enlarge)
        tracemalloc.start()
        try:
            refused("damaged: ", path, reader=reader)
            assert tracemalloc.get_traced_memory()[1] < 1 << 24
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("more", [-8, 8])
    def test_a_record_of_another_length(self, tmp_path, reader, more):
        def change(name, content):
            if not name.endswith("data/0"):
                return content
            return content[:more] if more < 0 else content + b"\1" * more

        path = rewritten(saved(tmp_path / "a.pt"), change)
        message = f"it needs storage 0 of 40 bytes, but the file holds {40 + more} of it"
        refused(message, path, reader=reader)

    def test_a_short_record_beside_the_tensors_asked_for(self, tmp_path, reader):
        root = {
            "model": {"a": dense("0", ARRAYS["a"])},
            "optimizer": {"b": dense("1", ARRAYS["b"])},
        }
        short = {"0": ARRAYS["a"], "1": ARRAYS["b"][:-1]}
        path = tmp_path / "a.pt"
        path.write_bytes(zipped(pickled(root), short))
        refused("storage 1 of 56 bytes, but the file holds 48", path, "model", reader=reader)
        path.write_bytes(zipped(pickled(root), {"0": ARRAYS["a"]}))
        refused("storage 1, which is not in the file", path, "model", reader=reader)

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_member_twice(self, tmp_path, reader):
        path = tmp_path / "a.pt"
        for name in ("archive/data/0", "ARCHIVE/data/0", "archive/data.pkl"):
            path = saved(tmp_path / "a.pt", extra=[(name, b"\0" * 40)])
            message = f"6 members, but 5 names: {name.lower()} is there 2 times"
            refused(message, path, reader=reader)

    def test_one_storage_named_with_two_lengths(self, tmp_path, reader):
        root = {"a": dense("0", ARRAYS["a"]), "b": dense("0", ARRAYS["a"][:4])}
        (tmp_path / "a.pt").write_bytes(zipped(pickled(root), {"0": ARRAYS["a"]}))
        message = "storage 0 is named as 5 float64 and as 4 float64"
        refused(message, tmp_path / "a.pt", reader=reader)


@pytest.mark.parametrize("reader", MAPPED)
class TestHeaders:
    def test_members_that_overlap(self, tmp_path, reader):
        """A storage that lies within another, with a header of its own there."""
        name = b"archive/data/1"
        inner = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 56, 56, len(name), 0)
        inner = np.frombuffer(inner + name + ARRAYS["b"].tobytes(), np.uint8)
        path = saved(tmp_path / "a.pt", {"a": inner, "b": ARRAYS["b"]})

        def change(data):
            entry = data.rindex(b"PK\1\2")
            struct.pack_into("<I", data, entry + 42, data.index(inner.tobytes()))

        refused("member archive/data/0 reaches to byte", patched(path, change), reader=reader)

    def test_a_member_that_reaches_into_the_directory(self, tmp_path, reader):
        path = saved(tmp_path / "a.pt", {"a": np.arange(5, dtype="u1")})

        def change(data):
            entry = data.rindex(b"PK\1\2")
            struct.pack_into("<II", data, entry + 20, 9, 9)

        refused("member archive/data/0 reaches to byte", patched(path, change), reader=reader)

    def test_another_method_in_the_local_header(self, tmp_path, reader):
        def change(data):
            struct.pack_into("<H", data, data.index(b"archive/data/0") - 30 + 8, 8)

        refused("is compressed", patched(saved(tmp_path / "a.pt"), change), reader=reader)


class TestChecksums:
    @pytest.mark.parametrize("reader", ["own", "zipfile"])
    def test_a_bit_of_a_storage(self, tmp_path, reader):
        def change(data):
            data[data.index(ARRAYS["a"].tobytes()) + 17] ^= 4

        path = patched(saved(tmp_path / "a.pt"), change)
        with open_checkpoint(path, reader=reader) as checkpoint:
            assert_bits(checkpoint.read("b"), ARRAYS["b"])
            with pytest.raises(CheckpointError, match=r"damaged: .*(checksum|Bad CRC-32)"):
                checkpoint.read("a")

    @pytest.mark.parametrize("reader", ALL)
    def test_a_bit_of_the_pickle(self, tmp_path, reader):
        def change(data):
            where = data.index(b"X\1\0\0\0b") + 5  # the name b becomes c
            data[where] ^= 1

        message = "damaged: .*data.pkl .*(checksum|Bad CRC-32)"
        refused(message, patched(saved(tmp_path / "a.pt"), change), reader=reader)

    @pytest.mark.parametrize("reader", ALL)
    def test_files_without_checksums_are_read(self, tmp_path, reader):
        """torch.serialization.set_crc32_options(False) writes zeros for them."""
        path = saved(tmp_path / "a.pt")
        with zipfile.ZipFile(path) as archive:
            sums = [struct.pack("<I", info.CRC) for info in archive.infolist()]

        def change(data):
            for one in sums:
                assert data.count(one) >= 2
                data[:] = data.replace(one, bytes(4))

        with open_checkpoint(patched(path, change), reader=reader) as checkpoint:
            for name, array in ARRAYS.items():
                assert_bits(checkpoint.read(name), array)


class TestUnpacking:
    def test_a_bomb(self, tmp_path, monkeypatch):
        from jaxgroups.convert._files import torch_zipfile

        path = saved(tmp_path / "a.pt", {"a": np.zeros(500_000)})
        rewritten(path, method=zipfile.ZIP_DEFLATED)
        monkeypatch.setattr(torch_zipfile, "EXPANSION", 1_000_000)
        with (
            open_checkpoint(path, reader="zipfile") as checkpoint,
            pytest.raises(CheckpointError, match=r"unpacks from \d+ to 4000000 bytes, .* 1000000$"),
        ):
            checkpoint.read("a")

    def test_a_bomb_of_a_pickle(self, tmp_path):
        pickle = b"\x80\x02" + b"N0" * 1_000_000 + b"}."
        path = tmp_path / "a.pt"
        path.write_bytes(zipped(pickle, {}, compression=zipfile.ZIP_DEFLATED))
        message = r"data.pkl unpacks from \d+ to 2000004 bytes, .* 1048576$"
        refused(message, path, reader="zipfile")

    def test_damaged_streams(self, tmp_path):
        path = rewritten(saved(tmp_path / "a.pt"), method=zipfile.ZIP_DEFLATED)
        whole = path.read_bytes()
        for index in range(0, whole.index(b"PK\1\2"), 5):
            path.write_bytes(whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :])
            try:
                with open_checkpoint(path, reader="zipfile") as checkpoint:
                    for name, array in ARRAYS.items():
                        assert_bits(checkpoint.read(name), array)
            except CheckpointError:
                pass

    def test_storages_that_several_tensors_share_are_read_once(self, tmp_path, monkeypatch):
        base = np.arange(12.0)
        root = {
            "t": torch_files.tensor("0", "float64", 12, (4, 3), (1, 4)),
            "row": torch_files.tensor("0", "float64", 12, (4,), (1,), 4),
            "none": torch_files.tensor("0", "float64", 12, (0, 4), (4, 1), 12),
        }
        path = tmp_path / "a.pt"
        path.write_bytes(zipped(pickled(root), {"0": base}))
        read = []
        real = zipfile.ZipFile.read
        with open_checkpoint(path, reader="zipfile") as checkpoint:
            monkeypatch.setattr(zipfile.ZipFile, "read", lambda *a: read.append(a[1]) or real(*a))
            assert_bits(checkpoint.read("t"), base.reshape(3, 4).T.copy())
            assert_bits(checkpoint.read("row"), base[4:8].copy())
            assert_bits(checkpoint.read("none"), np.zeros((0, 4)))
        assert len(read) == 1


def test_a_legacy_file_is_no_zip(tmp_path):
    path = torch_files.state_dict(tmp_path / "a.pt", "torch-legacy", ARRAYS)
    refused("reader='zipfile' reads zip files only: take reader='own'", path, reader="zipfile")


@needs_torch
def test_torch_without_checksums(tmp_path):
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(7)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    for reader in ("own", "zipfile", "torch"):
        with open_checkpoint(tmp_path / "a.pt", reader=reader) as checkpoint:
            assert_bits(checkpoint.read("w"), np.arange(7))
