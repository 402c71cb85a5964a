"""Bundles: whatever is damaged, foreign, hostile or half written is refused, and writing is all or nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles import SPEC, tiny_onnx
from sad_runtime import bundle as bundle_file
from sad_runtime.bundle import DIGESTS, MANIFEST, Bundle, read_bundle, sha256_hex, write_bundle
from sad_runtime.errors import BundleError, UsageError
from sad_runtime.files import write_atomically
from sad_runtime.manifest import DecisionPolicy, Golden, Manifest, Precision, Training

MODEL = b"model " * 20
FILES = {"model/fp32.onnx": MODEL, "golden/a.png": b"picture", "report.html": b"<p>good</p>"}


def manifest_for(model: bytes = MODEL, golden: str = "golden/a.png") -> Manifest:
    return Manifest(
        part="cap",
        method="nsa",
        created="2026-01-01T00:00:00+00:00",
        input=SPEC,
        precisions={
            "fp32": Precision(
                file="model/fp32.onnx",
                sha256=sha256_hex(model),
                score_threshold=1.0,
                pixel_threshold=2.0,
                heatmap_low=0.0,
            )
        },
        decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=0.1, method="split-conformal", n=9),
        golden=[Golden(file=golden, score={"fp32": 0.5}, verdict={"fp32": "PASS"})],
        training=Training(method="nsa", preset="fast", seed=0, data_digest="0" * 64, pictures=9, versions={}),
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.sad"
    write_bundle(path, manifest_for(), FILES)
    return path


def refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(UsageError, match=match or ".") as caught:
        read_bundle(path)
    assert str(path) in str(caught.value)


@dataclass
class Entry:
    """One file of a hand-made zip; what is None is told truthfully."""

    name: bytes
    data: bytes
    told_size: int | None = None
    told_packed: int | None = None
    method: int = 0
    flags: int = 0
    extra: bytes = b""
    at: int | None = None


def raw_zip(entries: list[Entry], *, count: int | None = None, comment: bytes = b"", before: bytes = b"") -> bytes:
    body, directory = bytearray(before), bytearray()
    for entry in entries:
        size = len(entry.data) if entry.told_size is None else entry.told_size
        packed = len(entry.data) if entry.told_packed is None else entry.told_packed
        head = (20, entry.flags, entry.method, 0, 33, zlib.crc32(entry.data), packed, size, len(entry.name))
        at = len(body) if entry.at is None else entry.at
        if entry.at is None:
            body += struct.pack("<4s5H3L2H", b"PK\x03\x04", *head, 0) + entry.name + entry.data
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *head, len(entry.extra), 0, 0, 0, 0, at)
        directory += entry.name + entry.extra
    told = len(entries) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, told, told, len(directory), len(body), len(comment))
    return bytes(body + directory + end + comment)


def entries_of(files: Mapping[str, bytes]) -> list[Entry]:
    """A bundle's contents with a digest list that fits them."""
    listed = "".join(f"{sha256_hex(data)}  {name}\n" for name, data in sorted(files.items()))
    return [Entry(name.encode(), data) for name, data in {**files, DIGESTS: listed.encode()}.items()]


def whole() -> dict[str, bytes]:
    return {MANIFEST: manifest_for().to_json(), **FILES}


# What comes back


def test_what_was_written_is_what_is_read(small: Path) -> None:
    bundle = read_bundle(small)
    assert bundle.manifest == manifest_for()
    assert {name: bundle.files[name] for name in FILES} == FILES
    assert bundle.model("fp32") == MODEL
    assert bundle.names("golden") == ["golden/a.png"]
    assert bundle.names("gold") == []


def test_the_same_contents_give_the_same_bytes(small: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again.sad", manifest_for(), dict(reversed(FILES.items())))
    assert (tmp_path / "again.sad").read_bytes() == small.read_bytes()


def test_a_bundle_is_an_ordinary_stored_zip(small: Path) -> None:
    with zipfile.ZipFile(small) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_hand_made_zip_with_the_right_contents_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hand.sad"
    path.write_bytes(raw_zip(entries_of(whole())))
    assert read_bundle(path).manifest == manifest_for()


def test_a_file_or_precision_that_is_not_there_is_named(small: Path) -> None:
    bundle = read_bundle(small)
    with pytest.raises(BundleError, match=r"no file 'parity\.json'"):
        bundle.read("parity.json")
    with pytest.raises(BundleError, match="no int8 model in this bundle; it has fp32"):
        bundle.model("int8")


def test_a_model_swapped_in_memory_is_refused(small: Path) -> None:
    bundle = read_bundle(small)
    swapped = Bundle(bundle.path, bundle.manifest, {**bundle.files, "model/fp32.onnx": b"another"})
    with pytest.raises(BundleError, match="not the model"):
        swapped.model("fp32")


# Damage


def test_a_truncated_bundle_is_refused_wherever_it_was_cut(tiny_bundle: Path, tmp_path: Path) -> None:
    data = tiny_bundle.read_bytes()
    rng = random.Random(0)
    cuts = {0, 1, 3, 4, 21, 22, 23, len(data) // 2, *range(len(data) - 60, len(data))}
    cuts |= {rng.randrange(len(data)) for _ in range(100)}
    path = tmp_path / "cut.sad"
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        refused(path)


def test_a_bundle_with_a_missing_head_or_a_tail_is_refused(small: Path, tmp_path: Path) -> None:
    data, path = small.read_bytes(), tmp_path / "odd.sad"
    for odd in (
        data[1:],
        data[100:],
        b"\0" + data,
        b"#!/bin/sh\n" + data,
        data + b"\0",
        data + data,
        data + b"x" * 100,
    ):
        path.write_bytes(odd)
        refused(path)


def test_a_flipped_byte_anywhere_is_refused_or_changes_nothing(small: Path, tmp_path: Path) -> None:
    """Some bytes of a zip say nothing (dates, attributes); all others must be noticed."""
    data, path = small.read_bytes(), tmp_path / "flipped.sad"
    expected = dict(read_bundle(small).files)
    rng = random.Random(1)
    unnoticed = 0
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= rng.randrange(1, 256)
        path.write_bytes(flipped)
        try:
            found = read_bundle(path)
        except UsageError:
            continue
        assert dict(found.files) == expected, f"byte {position} changed the contents"
        unnoticed += 1
    assert unnoticed < 60 * len(expected)  # header fields only


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_bundle(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.sad"
    path.write_bytes(data)
    refused(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_bundle_with_several_bytes_overwritten_is_refused_or_unchanged(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, data: st.DataObject
) -> None:
    original = tiny_bundle.read_bytes()
    damaged = bytearray(original)
    tail = st.integers(len(original) - 1200, len(original) - 12)  # the directory, where the sizes stand
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(tail)
        damaged[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    path = tmp_path_factory.getbasetemp() / "damaged.sad"
    path.write_bytes(damaged)
    try:
        found = read_bundle(path)
    except UsageError:
        return
    assert dict(found.files) == dict(read_bundle(tiny_bundle).files)


# Tampering


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tampered.sad"
    entries = entries_of(whole())
    entries[0].data = entries[0].data.replace(b'"score_threshold": 1.0', b'"score_threshold": 9.0')
    path.write_bytes(raw_zip(entries))
    refused(path, r"manifest\.json was changed")


@pytest.mark.parametrize("name", ["model/fp32.onnx", "golden/a.png", MANIFEST, DIGESTS])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "missing.sad"
    path.write_bytes(raw_zip([entry for entry in entries_of(whole()) if entry.name != name.encode()]))
    refused(path)


def test_an_extra_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "extra.sad"
    path.write_bytes(raw_zip([*entries_of(whole()), Entry(b"model/int8.onnx", b"smuggled")]))
    refused(path, "not the ones on its digest list")


@pytest.mark.parametrize("name", ["model/fp32.onnx", "golden/a.png"])
def test_a_manifest_that_names_what_is_not_inside_is_refused(tmp_path: Path, name: str) -> None:
    contents = whole()
    del contents[name]
    path = tmp_path / "short.sad"
    path.write_bytes(raw_zip(entries_of(contents)))
    refused(path, f"names '{name}', which is not inside")


def test_a_model_that_thresholds_were_not_set_on_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swapped.sad"
    path.write_bytes(raw_zip(entries_of({**whole(), "model/fp32.onnx": b"another model"})))
    refused(path, "not the model that the manifest was made for")


def test_a_newer_schema_is_refused_with_the_way_to_mend_it(tmp_path: Path) -> None:
    manifest = manifest_for().to_json().replace(b'"schema": 1', b'"schema": 2')
    path = tmp_path / "newer.sad"
    path.write_bytes(raw_zip(entries_of({**whole(), MANIFEST: manifest})))
    refused(path, "pip install --upgrade")


# Hostile zips

BAD_NAMES = [
    "../evil",
    "model/../../evil",
    "/etc/passwd",
    "..\\evil",
    "C:\\evil",
    "model//fp32.onnx",
    "./model.onnx",
    "model/",
    ".",
    "..",
    "",
    "a\nb",
    "a\x0bb",
    "a\u2028b",
    "a\x7fb",
    "x" * 256,
]


@pytest.mark.parametrize("name", [*BAD_NAMES, "model/fp32.onnx\0.png"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "names.sad"
    entries = entries_of({**whole(), name: b"x"})
    for entry in entries:
        entry.flags = 0x800  # names are UTF-8
    path.write_bytes(raw_zip(entries))
    refused(path)
    assert sorted(tmp_path.parent.rglob("evil")) == []


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_would_not_be_read_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="no name for a file"):
        write_bundle(tmp_path / "names.sad", manifest_for(), {**FILES, name: b"x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_bomb_is_refused_without_unpacking(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.sad"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in whole().items():
            archive.writestr(name, data)
        archive.writestr("golden/bomb.png", bytes(50 * 2**20))
    started = time.monotonic()
    refused(path, "compressed")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        ({"told_size": 2**31, "told_packed": 2**31}, "larger than 512 MiB"),
        ({"told_size": 2**31}, "compressed"),
        ({"told_size": 500 * 2**20, "told_packed": 500 * 2**20}, "overlap"),
        ({"told_size": 0xFFFFFFFF, "told_packed": 0xFFFFFFFF}, ""),
        ({"told_size": 1, "told_packed": 1}, ""),
        ({"told_size": 0, "told_packed": 0}, ""),
        ({"method": 8}, "compressed"),
        ({"method": 99}, "compressed"),
        ({"flags": 1}, ""),
        ({"flags": 0x40}, ""),
        ({"at": 0}, ""),
        ({"at": 10**6}, ""),
        ({"extra": b"\x01\x00\x10\x00"}, ""),
        ({"extra": struct.pack("<HHQQ", 1, 16, 2**60, 2**60)}, ""),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path: Path, lie: Mapping[str, int | bytes], match: str) -> None:
    entries = entries_of(whole())
    for name, value in lie.items():
        setattr(entries[2], name, value)
    if "extra" in lie and len(entries[2].extra) > 8:
        entries[2].told_size = entries[2].told_packed = 0xFFFFFFFF  # read the size from the extra field
    path = tmp_path / "lies.sad"
    path.write_bytes(raw_zip(entries))
    refused(path, match)


def test_many_entries_over_the_same_bytes_are_refused(tmp_path: Path) -> None:
    """The bomb that needs no compression: a thousand files that are all the same megabyte."""
    big = bytes(2**20)
    entries = entries_of({**whole(), "golden/0.png": big})
    at = sum(30 + len(entry.name) + len(entry.data) for entry in entries[:-2])
    entries += [Entry(f"golden/{index}.png".encode(), big, at=at) for index in range(1, 1000)]
    path = tmp_path / "overlap.sad"
    path.write_bytes(raw_zip(entries))
    refused(path, "overlap")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.sad"
    path.write_bytes(raw_zip([*entries_of(whole()), Entry(b"model/fp32.onnx", b"the other one")]))
    refused(path, "two files of one name")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    names = [f"golden/{index}.png" for index in range(bundle_file.MAX_FILES)]
    path = tmp_path / "many.sad"
    entries = entries_of({**whole(), **dict.fromkeys(names, b"")})
    path.write_bytes(raw_zip(entries))
    refused(path, "at most 4096")
    path.write_bytes(raw_zip(entries, count=5))
    refused(path, "at most 4096")
    with pytest.raises(BundleError, match="at most 4096"):
        write_bundle(tmp_path / "out.sad", manifest_for(), {**FILES, **dict.fromkeys(names, b"")})


def test_as_many_files_are_written_as_are_read_again(tmp_path: Path) -> None:
    """The manifest and the digest list count too."""
    room = bundle_file.MAX_FILES - len(FILES) - 2
    files = {**FILES, **{f"golden/{index}.png": b"" for index in range(room)}}
    write_bundle(tmp_path / "most.sad", manifest_for(), files)
    assert len(read_bundle(tmp_path / "most.sad").files) == bundle_file.MAX_FILES
    with pytest.raises(BundleError, match="at most 4096"):
        write_bundle(tmp_path / "more.sad", manifest_for(), {**files, "golden/more.png": b""})


def test_a_huge_directory_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "directory.sad"
    entries = [Entry(f"{index:0200}".encode(), b"") for index in range(8000)]
    path.write_bytes(raw_zip(entries, count=100))
    monkeypatch.setattr(zipfile, "ZipFile", None)
    refused(path, "at most 4096")


@pytest.mark.parametrize("count", [0, 1, 4, 60000])
def test_a_wrong_count_is_refused_or_harmless(tmp_path: Path, count: int) -> None:
    path = tmp_path / "count.sad"
    path.write_bytes(raw_zip(entries_of(whole()), count=count))
    with contextlib.suppress(BundleError):
        assert read_bundle(path).manifest == manifest_for()


def test_a_comment_or_something_in_front_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "comment.sad"
    path.write_bytes(raw_zip(entries_of(whole()), comment=b"PK\x05\x06" + bytes(18)))
    refused(path)


def test_sizes_are_limited_when_writing_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(BundleError, match="larger than"):
        write_bundle(tmp_path / "big.sad", manifest_for(), {**FILES, "report.html": bytes(1001)})
    monkeypatch.setattr(bundle_file, "MAX_FILE_BYTES", 2**20)
    monkeypatch.setattr(bundle_file, "MAX_TOTAL_BYTES", 3000)
    with pytest.raises(BundleError, match="larger than"):
        write_bundle(tmp_path / "big.sad", manifest_for(), {**FILES, "report.html": bytes(3000)})


# What is no bundle at all


def test_a_folder_a_text_and_nothing_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "sad-export")
    refused(tmp_path / "nothing.sad", "no such bundle")
    text = tmp_path / "text.sad"
    text.write_text("a text\n" * 100)
    refused(text, "not a bundle")
    refused(text / "below.sad")
    refused(tmp_path / ("x" * 300))


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.sad"
    os.mkfifo(pipe)
    refused(pipe, "not a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_bundle_is_refused(small: Path) -> None:
    small.chmod(0)
    refused(small, "cannot be read")


# Writing


@pytest.mark.parametrize("name", [MANIFEST, DIGESTS])
def test_the_manifest_and_the_digests_cannot_be_handed_in(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="not given as a file"):
        write_bundle(tmp_path / "x.sad", manifest_for(), {**FILES, name: b"{}"})


def test_a_bundle_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.sad"
    with pytest.raises(BundleError, match="which is not inside"):
        write_bundle(path, manifest_for(golden="golden/b.png"), FILES)
    with pytest.raises(BundleError, match="not the model"):
        write_bundle(path, manifest_for(model=b"another"), FILES)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_and_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "cap.sad"
    write_bundle(path, manifest_for(), FILES)
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "target",
    [lambda folder: folder, lambda folder: folder / "file" / "x.sad", lambda folder: folder / f"{'x' * 250}.sad"],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, target: Callable[[Path], Path]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        write_atomically(target(tmp_path), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob(".*.tmp"))


def test_leftovers_of_a_killed_writer_are_never_taken_for_bundles(small: Path) -> None:
    leftover = small.parent / f".{small.name}.abc123.tmp"
    leftover.write_bytes(small.read_bytes()[:100])
    assert list(small.parent.glob("*.sad")) == [small]
    refused(leftover)
    write_bundle(small, manifest_for(), FILES)
    assert read_bundle(small).manifest == manifest_for()


WRITER = """
import sys
from pathlib import Path
from sad_runtime.files import write_atomically
path, old, new = (Path(name) for name in sys.argv[1:])
contents = [old.read_bytes(), new.read_bytes()]
print("ready", flush=True)
for turn in range(100000):
    write_atomically(path, contents[turn % 2])
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_bundle(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "other.sad"
    write_bundle(other, manifest_for(), {**FILES, "report.html": bytes(3 * 2**20)})
    target = tmp_path / "line" / "cap.sad"
    write_atomically(target, small.read_bytes())
    rng = random.Random(2)
    for _ in range(6):
        arguments = [sys.executable, "-c", WRITER, str(target), str(small), str(other)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.0, 0.05))
            writer.send_signal(signal.SIGKILL)
        assert target.read_bytes() in (small.read_bytes(), other.read_bytes())
        read_bundle(target)
    assert list(target.parent.glob("*.sad")) == [target]


LIMITED = """
import resource, sys
from pathlib import Path
from sad_runtime.files import write_atomically
from sad_runtime.errors import UsageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path(sys.argv[1]), bytes(1_000_000))
except UsageError as error:
    print(error)
"""


def test_a_write_that_fails_half_way_keeps_the_old_bundle(small: Path) -> None:
    before = small.read_bytes()
    done = subprocess.run([sys.executable, "-c", LIMITED, str(small)], capture_output=True, text=True, check=True)
    assert "cannot be written (File too large)" in done.stdout
    assert small.read_bytes() == before
    assert list(small.parent.iterdir()) == [small]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_the_old_bundle(small_disk: Path) -> None:
    path = small_disk / "cap.sad"
    write_bundle(path, manifest_for(), FILES)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"No space left.*Make room"):
        write_bundle(path, manifest_for(), {**FILES, "report.html": bytes(2**20)})
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


def test_the_tiny_bundle_of_the_tests_holds_the_model_it_says(tiny_bundle: Path) -> None:
    assert read_bundle(tiny_bundle).model("fp32") == tiny_onnx()
