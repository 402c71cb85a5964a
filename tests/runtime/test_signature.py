"""Signed bundles: only a bundle that a trusted key signed, byte for byte, is taken; keys that are none are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bundles import good_picture, write_tiny_bundle
from sad_calibration.cli import main as calibrate
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, sha256_hex, write_bundle, write_signed_copy
from sad_runtime.cli.runtime import main as runtime
from sad_runtime.errors import BundleError, GateFailed, UsageError
from sad_runtime.signature import MOST, SIGNATURES, Signature, Signer, check_trust, file_of, fits, signatures_in, signed
from sad_runtime.signing_keys import PublicKey, private_key_from, public_key_from, trusted_keys, write_key_pair
from stations import ScriptedCamera, station

OFF_LIST = (DIGESTS, SIGNATURES)
DIGEST_LIST = b"0" * 64 + b"  manifest.json\n"


def never(key: Path) -> bytes:
    raise AssertionError(f"{key} has no passphrase to ask for")


@dataclass(frozen=True)
class Holder:
    """Someone with a key pair."""

    key: Path
    pub: Path
    public: PublicKey

    def signer(self, name: str = "", comment: str = "") -> Signer:
        return Signer(private_key_from(self.key, never), name, comment)


@pytest.fixture
def holder(tmp_path: Path) -> Callable[[str], Holder]:
    return lambda name: Holder(*write_key_pair(tmp_path / name, None))


@pytest.fixture
def maker(holder: Callable[[str], Holder]) -> Holder:
    return holder("maker")


@pytest.fixture
def plant(holder: Callable[[str], Holder]) -> Holder:
    return holder("plant")


def signed_copy(source: Path, out: Path, *holders: Holder) -> Path:
    bundle = read_bundle(source)
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    write_bundle(out, bundle.manifest, files, signers=[holder.signer() for holder in holders])
    return out


def packed(path: Path, entries: Mapping[str, bytes] | list[tuple[str, bytes]], *, fit: bool = False) -> Path:
    """A bundle as an attacker would zip it; `fit` makes a digest list that fits."""
    pairs = list(entries.items()) if isinstance(entries, Mapping) else entries
    if fit:
        listed = "".join(f"{sha256_hex(data)}  {name}\n" for name, data in sorted(pairs) if name not in OFF_LIST)
        pairs = [(name, data) for name, data in pairs if name != DIGESTS] + [(DIGESTS, listed.encode())]
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there twice
        for name, data in pairs:
            archive.writestr(name, data)
    return path


def with_signatures(source: Path, out: Path, data: bytes) -> Path:
    return packed(out, {**read_bundle(source).files, SIGNATURES: data})


# A signed bundle


def test_a_bundle_signed_by_a_trusted_key_is_read_and_says_by_whom(
    tiny_bundle: Path, tmp_path: Path, maker: Holder, plant: Holder
) -> None:
    path = signed_copy(tiny_bundle, tmp_path / "signed.sad", maker, plant)
    assert read_bundle(path, [plant.public]).vouched_by == (plant.public,)
    assert read_bundle(path, [plant.public, maker.public]).vouched_by == (maker.public, plant.public)
    assert read_bundle(path).vouched_by == ()


def test_signing_changes_nothing_else(tiny_bundle: Path, tmp_path: Path, maker: Holder, plant: Holder) -> None:
    bundle = read_bundle(tiny_bundle)
    write_signed_copy(bundle, maker.signer("Maker Ltd", "released"), tmp_path / "once.sad")
    write_signed_copy(read_bundle(tmp_path / "once.sad"), plant.signer(), tmp_path / "twice.sad")
    twice = read_bundle(tmp_path / "twice.sad", [maker.public])
    assert {name: data for name, data in twice.files.items() if name != SIGNATURES} == dict(bundle.files)
    assert [(one.signer, one.comment) for one in twice.signatures()] == [("Maker Ltd", "released"), ("", "")]
    assert read_bundle(tmp_path / "twice.sad", [plant.public]).vouched_by == (plant.public,)


def test_a_manifest_of_an_older_sad_keeps_its_bytes_when_signed(
    tiny_bundle: Path, tmp_path: Path, maker: Holder
) -> None:
    """Written anew it would gain today's fields, and the maker's signature would not fit any more."""
    files = dict(read_bundle(tiny_bundle).files)
    files[MANIFEST] = files[MANIFEST].replace(b'  "roi": null,\n', b"")
    older = packed(tmp_path / "older.sad", files, fit=True)
    assert read_bundle(older).manifest.to_json() != files[MANIFEST]
    write_signed_copy(read_bundle(older), maker.signer(), tmp_path / "signed.sad")
    assert read_bundle(tmp_path / "signed.sad", [maker.public]).files[MANIFEST] == files[MANIFEST]


def test_an_unsigned_bundle_is_refused_and_the_trusted_keys_are_named(tiny_bundle: Path, plant: Holder) -> None:
    with pytest.raises(GateFailed, match=r"is not signed.*plant\.pub") as caught:
        read_bundle(tiny_bundle, [plant.public])
    assert caught.value.exit_code == 4


def test_a_bundle_signed_by_someone_else_is_refused_and_both_are_named(
    tiny_bundle: Path, tmp_path: Path, maker: Holder, plant: Holder
) -> None:
    path = signed_copy(tiny_bundle, tmp_path / "signed.sad", maker)
    with pytest.raises(GateFailed) as caught:
        read_bundle(path, [plant.public])
    assert plant.public.id[:16] in str(caught.value)
    assert maker.public.id[:16] in str(caught.value)


def test_the_signature_of_another_bundle_does_not_fit(tiny_bundle: Path, tmp_path: Path, plant: Holder) -> None:
    bundle = read_bundle(tiny_bundle)
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    other = tmp_path / "other.sad"
    write_bundle(other, bundle.manifest.model_copy(update={"part": "other"}), files, signers=[plant.signer()])
    stolen = read_bundle(other).read(SIGNATURES)
    path = with_signatures(tiny_bundle, tmp_path / "stolen.sad", stolen)
    assert read_bundle(path).manifest.part == "tiny"
    with pytest.raises(GateFailed, match=r"signature of plant\.pub .* does not fit"):
        read_bundle(path, [plant.public])


@pytest.mark.parametrize("field", ["signer", "comment", "signed_at"])
def test_what_a_signature_says_of_itself_is_signed_too(
    tiny_bundle: Path, tmp_path: Path, plant: Holder, field: str
) -> None:
    path = signed_copy(tiny_bundle, tmp_path / "signed.sad", plant)
    values = json.loads(read_bundle(path).read(SIGNATURES))
    values["signatures"][0][field] = "2020-01-01T00:00:00+00:00"
    changed = with_signatures(path, tmp_path / "changed.sad", json.dumps(values).encode())
    with pytest.raises(GateFailed, match="does not fit"):
        read_bundle(changed, [plant.public])


def test_a_trusted_signature_that_fits_does_not_excuse_one_that_does_not(
    tiny_bundle: Path, tmp_path: Path, maker: Holder, plant: Holder
) -> None:
    good = signed(read_bundle(tiny_bundle).digests, plant.signer())
    bad = signed(b"something else", maker.signer())
    path = with_signatures(tiny_bundle, tmp_path / "mixed.sad", file_of([bad, good]))
    with pytest.raises(GateFailed, match=r"maker\.pub"):
        read_bundle(path, [plant.public, maker.public])
    assert read_bundle(path, [plant.public]).vouched_by == (plant.public,)


def test_a_changed_file_in_a_signed_bundle_is_refused(tiny_bundle: Path, tmp_path: Path, plant: Holder) -> None:
    """Also when the digest list was made to fit: then the signature does not."""
    honest = read_bundle(signed_copy(tiny_bundle, tmp_path / "signed.sad", plant))
    other = {**honest.files, "golden/good.png": b"another picture"}
    with pytest.raises(BundleError, match="changed after export"):
        read_bundle(packed(tmp_path / "x.sad", other))
    fitting = packed(tmp_path / "x.sad", other, fit=True)
    assert read_bundle(fitting).read("golden/good.png") == b"another picture"
    with pytest.raises(GateFailed, match="does not fit"):
        read_bundle(fitting, [plant.public])


@pytest.mark.parametrize("name", ["signature.json", "signatures.json.bak", "Signatures.json", "model/signatures.json"])
def test_no_file_but_the_list_and_the_signatures_may_stand_off_the_list(
    tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BundleError, match="not the ones on its digest list"):
        read_bundle(packed(tmp_path / "x.sad", {**read_bundle(tiny_bundle).files, name: b"{}"}))


def test_the_signatures_are_small_one_file_and_not_on_the_list(tiny_bundle: Path, tmp_path: Path) -> None:
    files = dict(read_bundle(tiny_bundle).files)
    path = tmp_path / "x.sad"
    listed = files[DIGESTS] + f"{sha256_hex(b'{}')}  {SIGNATURES}\n".encode()
    with pytest.raises(BundleError, match="not the ones on its digest list"):
        read_bundle(packed(path, {**files, DIGESTS: listed, SIGNATURES: b"{}"}))
    with pytest.raises(BundleError, match="two files of one name"):
        read_bundle(packed(path, [*files.items(), (SIGNATURES, b"{}"), (SIGNATURES, b"{}")]))
    with pytest.raises(BundleError, match="larger than 128 KiB"):
        read_bundle(packed(path, {**files, SIGNATURES: b" " * 200_000}))


def test_a_signature_file_cannot_be_handed_in_and_a_key_signs_once(
    tiny_bundle: Path, tmp_path: Path, plant: Holder
) -> None:
    bundle = read_bundle(signed_copy(tiny_bundle, tmp_path / "signed.sad", plant))
    files = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS)}
    with pytest.raises(BundleError, match="made by signing"):
        write_bundle(tmp_path / "x.sad", bundle.manifest, files)
    with pytest.raises(UsageError, match="signed by this key already"):
        write_signed_copy(bundle, plant.signer(), tmp_path / "x.sad")
    with pytest.raises(UsageError, match="never rewritten"):
        write_signed_copy(bundle, plant.signer(), bundle.path)
    assert not (tmp_path / "x.sad").exists()


def test_a_maximum_of_long_signatures_can_be_read_again(tiny_bundle: Path, tmp_path: Path) -> None:
    digests = read_bundle(tiny_bundle).digests
    keys = [ed25519.Ed25519PrivateKey.generate() for _ in range(MOST + 1)]
    made = [signed(digests, Signer(key, "\U0001f3ed" * 100, "\U0001f3ed" * 200)) for key in keys]
    path = with_signatures(tiny_bundle, tmp_path / "most.sad", file_of(made[:MOST]))
    assert len(read_bundle(path, [Signer(keys[0]).public]).signatures()) == MOST
    with pytest.raises(UsageError, match="at most 16"):
        file_of(made)


@pytest.mark.parametrize("name", ["two\nlines", "bell\a", "x" * 101, "lone \udc80"])
def test_a_signers_name_is_one_plain_line(plant: Holder, name: str) -> None:
    with pytest.raises(UsageError, match="signer"):
        signed(DIGEST_LIST, plant.signer(name))


def test_the_signed_bytes_are_pinned() -> None:
    """Bundles signed today must be believed by every later sad; the bytes were checked with openssl pkeyutl."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    made = signed(DIGEST_LIST, Signer(key, "Plant 7", "released"), datetime(2026, 1, 31, 12, tzinfo=timezone.utc))
    assert made.key_id == "a050837d85070582ccf7394b0988847cc312cb88259b894899f6f239cf1791a5"
    assert made.signed_at == "2026-01-31T12:00:00+00:00"
    assert made.signature == "jfJLkfL61RY+OVwQzZ1+E2yphjSBt1xGl4IggLvwbcDss/z3mUkngatWv8Jrw/kE9tuBUkXynSQXypLhlb6WCQ=="


# Rubbish for a signature file


def with_loose_bits(text: str) -> str:
    """Other base64 of the same 64 bytes: the four bits that its last digit has to spare are set."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-3] + digits[digits.index(text[-3]) | 0b1111] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    assert other != text
    return other


def whole_file(holder: Holder) -> dict[str, Any]:
    return {"schema": 1, "signatures": [signed(DIGEST_LIST, holder.signer("me")).model_dump()]}


def changed(values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**values, "signatures": [{**values["signatures"][0], **fields}]}


RUBBISH: list[Callable[[dict[str, Any]], Any]] = [
    lambda values: [],
    lambda values: "text",
    lambda values: None,
    lambda values: 1,
    lambda values: {**values, "schema": 0},
    lambda values: {**values, "schema": "1"},
    lambda values: {**values, "schema": True},
    lambda values: {**values, "schema": 2},
    lambda values: {"schema": 1},
    lambda values: {**values, "signatures": []},
    lambda values: {**values, "signatures": {}},
    lambda values: {**values, "signatures": [None]},
    lambda values: {**values, "signatures": values["signatures"] * 2},
    lambda values: {**values, "signatures": values["signatures"] * 100},
    lambda values: {**values, "more": 1},
    lambda values: changed(values, algorithm="none"),
    lambda values: changed(values, algorithm="rsa"),
    lambda values: changed(values, key_id=values["signatures"][0]["key_id"].upper()),
    lambda values: changed(values, key_id=values["signatures"][0]["key_id"] + "\n"),
    lambda values: changed(values, key_id="../" * 21 + "x"),
    lambda values: changed(values, key_id=None),
    lambda values: changed(values, signature=""),
    lambda values: changed(values, signature=values["signatures"][0]["signature"][:-4]),
    lambda values: changed(values, signature=values["signatures"][0]["signature"][:-1]),
    lambda values: changed(values, signature=values["signatures"][0]["signature"] + "AAAA"),
    lambda values: changed(values, signature="*" * 88),
    lambda values: changed(values, signature="\u00e9" * 88),
    lambda values: changed(values, signature=with_loose_bits(values["signatures"][0]["signature"])),
    lambda values: changed(values, signature=7),
    lambda values: changed(values, signature=base64.b64encode(bytes(64)).decode()),
    lambda values: changed(values, signature=base64.b64encode(b"\xff" * 64).decode()),
    lambda values: changed(values, signer="\x1b[2J"),
    lambda values: changed(values, signer="x" * 101),
    lambda values: changed(values, signed_at="yesterday"),
    lambda values: changed(values, signed_at="2026-01-01T00:00:00"),
    lambda values: changed(values, extra=1),
]


@pytest.mark.parametrize("spoil", RUBBISH)
def test_a_signature_file_that_does_not_fit_vouches_for_nothing(
    plant: Holder, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    assert check_trust(json.dumps(whole_file(plant)).encode(), DIGEST_LIST, [plant.public], "x") == [plant.public]
    with pytest.raises(GateFailed, match=r"x: "):
        check_trust(json.dumps(spoil(whole_file(plant))).encode(), DIGEST_LIST, [plant.public], "x")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": ' + b"1" * 5000 + b"}", b'{"schema": NaN}']
)
def test_a_signature_file_that_is_no_json_vouches_for_nothing(plant: Holder, data: bytes) -> None:
    with pytest.raises(GateFailed):
        check_trust(data, DIGEST_LIST, [plant.public], "x")


def test_a_signature_file_with_bytes_overwritten_never_vouches_for_more(plant: Holder, maker: Holder) -> None:
    """Whatever is done to the file: either it still says exactly what was signed, or it is refused."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    original = json.dumps(whole_file(plant)).encode()
    intact = signatures_in(original, "x")
    believed = 0
    for _ in range(2000):
        data = bytearray(original)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        try:
            check_trust(bytes(data), DIGEST_LIST, [plant.public, maker.public], "x")
        except GateFailed:
            continue
        believed += 1
        assert signatures_in(bytes(data), "x") == intact, bytes(data)
    assert believed < 400  # white space and a byte replaced by itself


def test_random_bytes_vouch_for_nothing(plant: Holder) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(500):
        with pytest.raises(GateFailed):
            check_trust(rng.randbytes(rng.randrange(400)), DIGEST_LIST, [plant.public], "x")


def test_a_signature_fits_its_key_and_its_list_only(plant: Holder, maker: Holder) -> None:
    made = signed(DIGEST_LIST, plant.signer())
    assert fits(made, plant.public, DIGEST_LIST)
    assert not fits(made, plant.public, DIGEST_LIST + b"\n")
    assert not fits(made, maker.public, DIGEST_LIST)
    posing = Signature(**{**made.model_dump(), "key_id": maker.public.id})
    assert not fits(posing, maker.public, DIGEST_LIST)


def test_text_cannot_move_from_one_signed_line_to_the_next(plant: Holder) -> None:
    made = signed(DIGEST_LIST, plant.signer("a", "b"))
    for signer, comment in (("a b", ""), ("", "a b"), ("a comment b", "")):
        moved = Signature(**{**made.model_dump(), "signer": signer, "comment": comment})
        assert not fits(moved, plant.public, DIGEST_LIST)


# Keys


def test_a_key_pair_is_written_once_and_the_private_half_is_ones_own(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        private, public, key = write_key_pair(tmp_path / "keys" / "plant.v1", None)
    finally:
        os.umask(old)
    assert (private.name, public.name) == ("plant.v1.key", "plant.v1.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert public_key_from(public) == key
    before = private.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        write_key_pair(tmp_path / "keys" / "plant.v1", None)
    public.unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        write_key_pair(tmp_path / "keys" / "plant.v1", None)
    assert private.read_bytes() == before


def test_a_dangling_link_is_not_followed_by_a_new_key(tmp_path: Path) -> None:
    (tmp_path / "plant.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never overwritten"):
        write_key_pair(tmp_path / "plant", None)
    assert not (tmp_path / "elsewhere").exists()


def test_a_locked_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    private, _, key = write_key_pair(tmp_path / "locked", b"correct horse")
    assert b"ENCRYPTED" in private.read_bytes()
    opened = private_key_from(private, lambda _: b"correct horse")
    assert Signer(opened).public.raw == key.raw
    for wrong in (b"wrong", b"", b"x" * 5000):
        with pytest.raises(UsageError, match="passphrase is wrong"):
            private_key_from(private, lambda _, wrong=wrong: wrong)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_private_key_that_others_may_read_is_refused(plant: Holder, mode: int) -> None:
    plant.key.chmod(mode)
    with pytest.raises(UsageError, match=f"mode 0{mode:o}.*chmod 600"):
        plant.signer()
    plant.key.chmod(0o400)
    plant.signer()


@dataclass
class Zoo:
    """Keys of every other kind."""

    folder: Path

    def pem(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    (tmp_path / "zoo").mkdir()
    return Zoo(tmp_path / "zoo")


PEM, PKCS8, NONE = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_keys_of_another_kind_are_refused_with_what_they_are(zoo: Zoo, plant: Holder) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    mine = ed25519.Ed25519PrivateKey.generate()
    traditional, openssh = serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.OpenSSH
    ssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    key, pub = plant.key.read_bytes(), plant.pub.read_bytes()
    refused_as_trust = {
        b"": "no PEM key",
        b"\x00\xff" * 50: "no PEM key",
        b"x" * 20_000: "larger than 16 KiB",
        other.public_key().public_bytes(PEM, SPKI): "another kind",
        mine.public_key().public_bytes(*ssh): "an SSH key",
        CERTIFICATE: "a certificate.*openssl x509",
        key: "is a private key: keep it",
        pub + key: "is a private key: keep it",
        pub + pub: "2 keys in one file",
        pub[:-40]: "damaged|no PEM",
        pub.replace(b"MCow", b"MCoz"): "damaged|another kind",
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n": "damaged",
        b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 60 + b"\n-----END PUBLIC KEY-----\n": "damaged",
    }
    for number, (data, match) in enumerate(refused_as_trust.items()):
        with pytest.raises(UsageError, match=match):
            trusted_keys([zoo.pem(f"{number}.pub", data)])
    refused_as_key = {
        b"": "no PEM key",
        pub: "is a public key",
        other.private_bytes(PEM, PKCS8, NONE): "another kind",
        other.private_bytes(PEM, traditional, NONE): "another kind",
        mine.private_bytes(PEM, openssh, NONE): "an SSH key",
        CERTIFICATE: "a certificate",
        key[:-45]: "damaged|no PEM",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n": "damaged",
    }
    for number, (data, match) in enumerate(refused_as_key.items()):
        with pytest.raises(UsageError, match=match):
            private_key_from(zoo.pem(f"{number}.key", data), never)


def test_a_key_file_with_bytes_overwritten_is_refused_or_another_key(zoo: Zoo, plant: Holder) -> None:
    """No other error gets out, whatever the library makes of it."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    readers: list[tuple[bytes, Callable[[Path], object]]] = [
        (plant.pub.read_bytes(), lambda path: trusted_keys([path])),
        (plant.key.read_bytes(), lambda path: private_key_from(path, lambda _: b"secret")),
    ]
    for original, read in readers:
        refused = 0
        for _ in range(500):
            data = bytearray(original)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), 65, 10))
            try:
                read(zoo.pem("x", bytes(data)))
            except UsageError:
                refused += 1
        assert refused > 100


def test_trust_in_a_folder_is_in_its_pub_files_each_key_once(tmp_path: Path, maker: Holder, plant: Holder) -> None:
    shutil.copy(plant.pub, tmp_path / "again.pub")
    (tmp_path / "notes.txt").write_text("not a key")
    assert {key.id for key in trusted_keys([tmp_path, str(maker.pub)])} == {maker.public.id, plant.public.id}
    assert trusted_keys([]) == []


def test_trust_in_nothing_never_becomes_trust_in_everything(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no \*\.pub in this folder"):
        trusted_keys([tmp_path / "empty"])
    with pytest.raises(UsageError, match="cannot be read"):
        trusted_keys([tmp_path / "gone.pub"])
    with pytest.raises(UsageError, match="empty name"):
        trusted_keys([""])
    with pytest.raises(UsageError, match="no key to trust"):
        check_trust(None, b"", [], "x")
    (tmp_path / "empty" / "a.pub").mkdir()
    with pytest.raises(UsageError, match=r"no \*\.pub|not a file"):
        trusted_keys([tmp_path / "empty"])


def test_a_pipe_among_the_trusted_keys_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    os.mkfifo(tmp_path / "keys" / "a.pub")
    with pytest.raises(UsageError, match="not a file"):
        trusted_keys([tmp_path / "keys"])


# openssl


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("lock", [(), ("-aes256", "-pass", "pass:secret")])
def test_keys_made_by_openssl_sign_and_are_trusted(tiny_bundle: Path, tmp_path: Path, lock: tuple[str, ...]) -> None:
    key, pub = tmp_path / "o.key", tmp_path / "o.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(key), *lock)
    openssl("pkey", "-in", str(key), "-pubout", "-out", str(pub), *(("-passin", "pass:secret") if lock else ()))
    key.chmod(0o600)
    signer = Signer(private_key_from(key, lambda _: b"secret"))
    write_signed_copy(read_bundle(tiny_bundle), signer, tmp_path / "signed.sad")
    trust = trusted_keys([pub])
    assert read_bundle(tmp_path / "signed.sad", trust).vouched_by == tuple(trust)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_alone_can_check_a_signature_and_name_the_key(tmp_path: Path, plant: Holder) -> None:
    """As docs tell a plant that wants to check without sad: five lines, an empty one, the digest list."""
    made = signed(DIGEST_LIST, plant.signer("Plant 7", "released"))
    head = (
        f"sad bundle signature 1\nkey {made.key_id}\nsigner Plant 7\ncomment released\nsigned_at {made.signed_at}\n\n"
    )
    (tmp_path / "told").write_bytes(head.encode() + DIGEST_LIST)
    (tmp_path / "raw").write_bytes(base64.b64decode(made.signature))
    options = ["-pubin", "-inkey", str(plant.pub), "-rawin", "-in", str(tmp_path / "told")]
    done = openssl("pkeyutl", "-verify", *options, "-sigfile", str(tmp_path / "raw"))
    assert b"Verified Successfully" in done
    der = openssl("pkey", "-pubin", "-in", str(plant.pub), "-outform", "DER")
    assert hashlib.sha256(der).hexdigest() == plant.public.id


def openssl(*words: str) -> bytes:
    return subprocess.run(["openssl", *words], capture_output=True, check=True).stdout


# Who reads bundles


def runs(tmp_path: Path, bundle: Path, *flags: str) -> int:
    words = ["--camera", "demo:washer?size=64", "--backend", "constant", "--state", str(tmp_path / "state"), "--check"]
    return runtime([*words, "--bundle", str(bundle), *flags])


def test_a_station_starts_only_with_a_bundle_it_trusts(
    tiny_bundle: Path, tmp_path: Path, plant: Holder, maker: Holder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = signed_copy(tiny_bundle, tmp_path / "signed.sad", plant)
    assert runs(tmp_path, path, "--trust", str(plant.pub)) == 0
    assert runs(tmp_path, path, "--trust", str(maker.pub), "--trust", str(plant.pub)) == 0
    assert runs(tmp_path, path) == 0
    capsys.readouterr()
    assert runs(tmp_path, path, "--trust", str(maker.pub)) == 4
    assert "maker.pub" in capsys.readouterr().err
    assert runs(tmp_path, tiny_bundle, "--trust", str(plant.pub)) == 4
    assert "is not signed" in capsys.readouterr().err
    assert runs(tmp_path, path, "--trust", str(plant.key)) == 2
    assert runs(tmp_path, path, "--trust", str(tmp_path / "gone.pub")) == 2
    assert runs(tmp_path, path, "--trust", "") == 2


def test_the_trust_of_the_stations_file_holds_without_a_flag(tiny_bundle: Path, tmp_path: Path, plant: Holder) -> None:
    config = tmp_path / "station.yaml"
    config.write_text(f"trust: [{plant.pub}]\n")
    assert runs(tmp_path, tiny_bundle, "--config", str(config)) == 4
    path = signed_copy(tiny_bundle, tmp_path / "signed.sad", plant)
    assert runs(tmp_path, path, "--config", str(config)) == 0
    for wrong in (f"trust: {plant.pub}", "trust:", "trust: ['']", "trust: [null]"):
        config.write_text(wrong + "\n")
        assert runs(tmp_path, path, "--config", str(config)) == 2, wrong


def test_a_change_over_to_a_bundle_that_is_not_trusted_leaves_the_old_recipe(
    tiny_bundle: Path, tmp_path: Path, plant: Holder, maker: Holder
) -> None:
    ours = signed_copy(tiny_bundle, tmp_path / "ours.sad", plant)
    theirs = signed_copy(tiny_bundle, tmp_path / "theirs.sad", maker)
    recipes: dict[int, Any] = {
        1: {"bundle": str(ours)},
        2: {"bundle": str(theirs)},
        3: {"bundle": str(tiny_bundle)},
        4: {"bundle": str(ours)},
    }
    camera = ScriptedCamera()
    trust = [str(plant.pub)]
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1, trust=trust) as stand:
        for number, why in ((2, "unknown here"), (3, "is not signed")):
            reply = stand.command("recipe", recipe=number)
            assert not reply.ok
            assert why in (reply.error or "")
        camera.put(good_picture())
        assert stand.decided(1)[0].recipe == 1
        assert stand.command("recipe", recipe=4).ok
        plant.pub.unlink()  # trust is read anew: a key taken away is trusted no more
        assert not stand.command("recipe", recipe=1).ok
        camera.put(good_picture())
        assert stand.decided(2)[1].recipe == 4


def test_calibration_refuses_a_bundle_that_is_not_trusted(
    tiny_bundle: Path, tmp_path: Path, plant: Holder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--state", str(tmp_path / "state"), "--history", "--trust", str(plant.pub)]
    assert calibrate([str(tiny_bundle), *words]) == 4
    assert "is not signed" in capsys.readouterr().err
    assert calibrate([str(signed_copy(tiny_bundle, tmp_path / "signed.sad", plant)), *words]) == 0


def test_without_cryptography_unsigned_bundles_run_and_signatures_name_the_extra(
    tmp_path: Path, plant: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = signed_copy(write_tiny_bundle(tmp_path / "tiny.sad"), tmp_path / "signed.sad", plant)
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert read_bundle(path).manifest.part == "tiny"
    for asks in (lambda: trusted_keys([plant.pub]), lambda: read_bundle(path, [plant.public]), plant.signer):
        with pytest.raises(UsageError, match=r"sad-inspection\[sign\]"):
            asks()
