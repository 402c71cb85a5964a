"""`sad-keys`, and the files it writes: read by other tools, refused when they are not what they should be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth

from sad_runtime.cli.keys import main
from sad_runtime.errors import UsageError
from sad_runtime.feed.curve_keys import key_pair_from, public_key_from


def test_a_pair_is_made_that_pyzmq_reads_and_only_its_owner_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", "line1", "--out", str(tmp_path / "keys")]) == 0
    secret, public = tmp_path / "keys/line1.key_secret", tmp_path / "keys/line1.key"
    theirs = zmq.auth.load_certificate(secret)
    assert theirs[1] is not None
    assert zmq.curve_public(theirs[1]) == theirs[0]
    assert zmq.auth.load_certificate(public) == (theirs[0], None)
    assert zmq.auth.load_certificates(public.parent) == {theirs[0]: True}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (secret, public)] == [0o600, 0o644]
    pair = key_pair_from(secret)
    assert (pair.public.text, pair.public) == (theirs[0].decode(), public_key_from(public))
    printed = capsys.readouterr().out
    assert f"fingerprint  {pair.public.fingerprint}" in printed
    assert theirs[1].decode() not in printed
    assert theirs[1].decode() not in repr(pair)


def test_keys_that_pyzmq_made_are_read(tmp_path: Path) -> None:
    public, secret = zmq.auth.create_certificates(tmp_path, "other", {"plant": "7"})
    Path(secret).chmod(0o600)
    assert key_pair_from(Path(secret)).public == public_key_from(Path(public))


@pytest.mark.parametrize("there", ["line1.key", "line1.key_secret"])
def test_a_key_is_never_overwritten(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / there).write_text("precious")
    assert main(["make", "line1", "--out", str(tmp_path)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "ü", "x" * 65])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", name, "--out", str(tmp_path)]) == 2
    assert "is no name for a key" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["make", "line1", "--out", str(tmp_path / "file")]) == 2
    assert "file: cannot be written" in capsys.readouterr().err


def test_a_folder_is_listed_with_fingerprints_and_never_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["make", "one", "--out", str(tmp_path)])
    main(["make", "two", "--out", str(tmp_path)])
    secret = zmq.auth.load_certificate(tmp_path / "one.key_secret")[1] or b"?"
    capsys.readouterr()
    assert main(["list", str(tmp_path)]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["one", "public"],
        ["one", "secret"],
        ["two", "public"],
        ["two", "secret"],
    ]
    assert public_key_from(tmp_path / "two.key").fingerprint in lines[2]
    assert secret.decode() not in told.out + told.err


def test_the_list_goes_on_after_a_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["make", "good", "--out", str(tmp_path)])
    (tmp_path / "bad.key").write_text("nothing")
    (tmp_path / "good.key_secret").chmod(0o644)
    capsys.readouterr()
    assert main(["list", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out.split()[:2] == ["good", "public"]
    assert "bad.key: no public-key in this file" in told.err
    assert "mode 0644" in told.err
    assert "chmod 600" in told.err


def test_a_folder_in_which_everybody_may_swap_keys_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["make", "one", "--out", str(tmp_path)])
    tmp_path.chmod(0o777)
    assert main(["show", str(tmp_path / "one.key")]) == 0
    assert "everybody may write there" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list", "nowhere"], ["list", "."], ["show", "nowhere.key"]])
def test_nothing_to_show_is_said(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


GOOD = 'curve\n    public-key = "{}"\n'
ONE = zmq.curve_keypair()
OTHER = zmq.curve_keypair()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no public-key in this file"),
        ("public-key\n", "no public-key"),
        (GOOD.format("short"), "damaged: 5 characters"),
        (GOOD.format("a" * 41), "damaged: 41 characters"),
        (GOOD.format(" " * 40), "damaged"),
        (GOOD.format("~" * 40), "damaged"),
        (GOOD.format("#" * 40), "damaged"),
        (GOOD.format("0" * 40), "damaged"),
        (GOOD.format("ü" * 20), "damaged"),
        (GOOD.format(ONE[0].decode()) * 2, "two lines say public-key"),
        (GOOD.format(ONE[0].decode()) + f'    secret-key = "{ONE[1].decode()}"\n', "holds a secret key"),
        ("-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n", "a key that signs bundles"),
        ("x" * 20_000, "larger than 16 KiB"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "reader.key"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        public_key_from(path)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (None, "this is a public key; name the secret file"),
        (ONE[1][:30].decode(), "its secret-key is damaged: 30"),
        (OTHER[1].decode(), "do not belong together"),
    ],
    ids=["public", "damaged", "of another"],  # else the keys, which are drawn anew each time, are in the names
)
def test_what_is_no_secret_key_is_refused(secret: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "reader.key_secret"
    path.write_text(GOOD.format(ONE[0].decode()) + (f'    secret-key = "{secret}"\n' if secret else ""))
    path.chmod(0o600)
    with pytest.raises(UsageError, match=said):
        key_pair_from(path)


def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    main(["make", "line1", "--out", str(tmp_path)])
    (tmp_path / "line1.key_secret").chmod(0o640)
    with pytest.raises(UsageError, match=r"mode 0640.*chmod 600"):
        key_pair_from(tmp_path / "line1.key_secret")


def test_a_pipe_among_the_keys_stops_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.key")
    with pytest.raises(UsageError, match="not a file"):
        public_key_from(tmp_path / "pipe.key")


def test_the_help_says_that_signing_keys_are_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Ed25519" in capsys.readouterr().out
