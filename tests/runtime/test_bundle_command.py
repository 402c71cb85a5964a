"""`sad-bundle`: what it shows, what it finds wrong, what it compares, and that it overwrites nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundles import SIZE_PX, bad_picture, tiny_onnx
from sad_runtime.backends import table
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, sha256_hex, write_bundle
from sad_runtime.cli.bundle import main
from sad_runtime.manifest import Backbone, Golden, InputSpec, Manifest, Roi
from sad_runtime.pictures import encode_png
from sad_runtime.signature import SIGNATURES


def variant(
    source: Path,
    out: Path,
    change: Callable[[Manifest], dict[str, Any]] = lambda manifest: {},
    files: dict[str, bytes] | None = None,
) -> Path:
    bundle = read_bundle(source)
    kept = {name: data for name, data in bundle.files.items() if name not in (MANIFEST, DIGESTS, SIGNATURES)}
    manifest = bundle.manifest.model_copy(update=change(bundle.manifest))
    write_bundle(out, manifest, {**kept, **(files or {})})
    return out


def precision(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    return {"precisions": {"fp32": manifest.precisions["fp32"].model_copy(update=changes)}}


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The stem of a key pair."""
    assert main(["keygen", str(tmp_path / "plant")]) == 0
    capsys.readouterr()
    return tmp_path / "plant"


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "signed.sad"
    words = ["--key", f"{key}.key", "--signer", "Plant 7", "--comment", "released for line 1", "--out", str(out)]
    assert main(["sign", str(tiny_bundle), *words]) == 0
    capsys.readouterr()
    return out


Out = pytest.CaptureFixture[str]


# inspect


def test_a_technician_reads_what_a_bundle_is(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    path = variant(
        tiny_bundle,
        tmp_path / "x.sad",
        lambda manifest: {
            "roi": Roi(x=8, y=4, width=640, height=480),
            "backbone": Backbone(name="resnet18", licence="BSD-3-Clause"),
            "decision": manifest.decision.model_copy(update={"target_false_reject": 0.005}),
            **precision(manifest, review_threshold=3.5),
        },
    )
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    for expected in (
        "part         tiny",
        "64x64 colour, cut from the camera picture at 8,4 with 640x480",
        "FAIL above 4, review above 3.5, pixels above 4",
        "asked for 0.5 %; at most 10 % of good parts are rejected, from 9 good parts (split-conformal)",
        "2 pictures (1 FAIL, 1 PASS), scores within 0.02",
        "9 pictures of good parts",
        "tiny, preset none, seed 0, 9 pictures",
        "resnet18, licence BSD-3-Clause",
        "by nobody",
    ):
        assert expected in said
    assert "model/fp32.onnx" not in said
    main(["inspect", str(path), "--files"])
    assert "model/fp32.onnx" in capsys.readouterr().out


def test_a_script_reads_it_too(signed: Path, key: Path, capsys: Out) -> None:
    assert main(["inspect", str(signed), "--json", "--trust", f"{key}.pub"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["part"], told["schema"], told["bytes"]) == ("tiny", 1, signed.stat().st_size)
    assert told["precisions"]["fp32"]["score_threshold"] == 4.0
    assert told["precisions"]["fp32"]["bytes"] == len(tiny_onnx())
    (one,) = told["signatures"]
    assert (one["signer"], one["comment"], one["standing"]) == ("Plant 7", "released for line 1", "trusted")


def test_signatures_are_shown_for_what_they_are_worth(signed: Path, key: Path, tmp_path: Path, capsys: Out) -> None:
    other = tmp_path / "other"
    main(["keygen", str(other)])
    forged = tmp_path / "forged.sad"
    values = json.loads(read_bundle(signed).read(SIGNATURES))
    values["signatures"][0]["signer"] = "Someone else"
    rezipped(signed, forged, json.dumps(values).encode())
    damaged = rezipped(signed, tmp_path / "damaged.sad", b"{}")
    capsys.readouterr()
    for path, trust, expected in (
        (signed, [], "(not checked: --trust)"),
        (signed, ["--trust", f"{key}.pub"], "(trusted, plant.pub)"),
        (signed, ["--trust", f"{other}.pub"], "(unknown key)"),
        (forged, ["--trust", f"{key}.pub"], "(DOES NOT FIT)"),
        (damaged, [], "unreadable"),
    ):
        assert main(["inspect", str(path), *trust]) == 0
        assert expected in capsys.readouterr().out
    assert main(["inspect", str(damaged), "--json"]) == 0
    assert "schema" in json.loads(capsys.readouterr().out)["signatures_error"]


def rezipped(source: Path, out: Path, signatures: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, signatures if name == SIGNATURES else old.read(name))
    return out


def test_a_bundle_cannot_write_to_the_terminal(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    path = variant(tiny_bundle, tmp_path / "x.sad", lambda _: {"part": "\x1b[2Jtiny\r\n"})
    for words in (["inspect", str(path)], ["verify", str(path)], ["diff", str(tiny_bundle), str(path)]):
        main(words)
        said = capsys.readouterr().out
        assert said
        assert not set(said) & {"\x1b", "\r"}


# verify


def test_a_whole_bundle_is_in_order_on_every_engine(signed: Path, key: Path, capsys: Out) -> None:
    pytest.importorskip("onnxruntime")
    words = ["--golden", "--backend", "onnxruntime", "--trust", f"{key}.pub"]
    assert main(["verify", str(signed), *words]) == 0
    said = capsys.readouterr().out
    assert "signed by plant.pub" in said
    assert "golden fp32 onnxruntime  2 pictures as at export; scores differ by at most" in said
    assert "FAIL " not in said


def test_an_unsigned_bundle_fails_trust_and_no_engine_is_given_its_model(
    tiny_bundle: Path, key: Path, capsys: Out
) -> None:
    assert main(["verify", str(tiny_bundle), "--trust", f"{key}.pub", "--golden", "--json"]) == 4
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert not told["ok"]
    assert [(check["name"], check["ok"]) for check in told["checks"]] == [("contents", True), ("signatures", False)]
    assert "not in order: signatures" in said.err


def test_a_damaged_bundle_is_not_in_order_and_a_missing_one_is_wrong_usage(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    cut = tmp_path / "cut.sad"
    cut.write_bytes(tiny_bundle.read_bytes()[:-30])
    assert main(["verify", str(cut)]) == 4
    assert "cut short" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "none.sad")]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    assert main(["verify", str(tiny_bundle), "--trust", str(tmp_path / "none.pub")]) == 2
    assert main(["verify", str(tiny_bundle), "--golden", "--backend", "nosuch"]) == 2
    assert main(["verify", str(tiny_bundle), "--precision", "int8"]) == 2


def test_golden_pictures_that_come_out_otherwise_are_named_with_their_scores(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    def promised(manifest: Manifest) -> dict[str, Any]:
        good, bad = manifest.golden
        return {"golden": [good.model_copy(update={"score": {"fp32": 3.0}}), bad]}

    path = variant(tiny_bundle, tmp_path / "x.sad", promised)
    assert main(["verify", str(path), "--golden", "--backend", "onnxruntime", "--json"]) == 4
    check = json.loads(capsys.readouterr().out)["checks"][-1]
    assert check["text"].startswith("1 of 2 not as at export, such as golden/good.png: PASS ")
    assert [score["fits"] for score in check["scores"]] == [False, True]
    assert main(["verify", str(path)]) == 0


def test_a_golden_picture_with_a_verdict_and_no_score_fits_nothing(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    def scoreless(manifest: Manifest) -> dict[str, Any]:
        return {"golden": [manifest.golden[0].model_copy(update={"score": {}})]}

    path = variant(tiny_bundle, tmp_path / "x.sad", scoreless)
    assert main(["verify", str(path), "--golden", "--backend", "onnxruntime", "--json"]) == 4
    (score,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["checks"][-1]["scores"]
    assert (score["expected_score"], score["fits"]) == (None, False)


def test_each_model_has_its_own_golden_tolerance_and_says_how_it_was_made(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    path = variant(
        tiny_bundle, tmp_path / "x.sad", lambda one: precision(one, golden_tolerance=0.5, note="first layer in float")
    )
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "golden scores within 0.5" in said
    assert "first layer in float" in said


def test_a_model_that_no_engine_takes_and_pictures_that_are_none_are_found(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    path = variant(
        tiny_bundle,
        tmp_path / "x.sad",
        lambda manifest: precision(manifest, sha256=sha256_hex(b"no model")),
        {"model/fp32.onnx": b"no model", "calibration/0003.png": b"no picture"},
    )
    assert main(["verify", str(path), "--golden"]) == 4
    said = capsys.readouterr()
    assert "calibration/0003.png: not a picture" in said.out
    assert "not in order: pictures, model fp32, golden fp32" in said.err


def test_a_graph_of_another_size_than_the_manifest_says_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    wrong = InputSpec(height=SIZE_PX, width=SIZE_PX * 2, channels=3)
    assert main(["verify", str(variant(tiny_bundle, tmp_path / "x.sad", lambda _: {"input": wrong}))]) == 4


def test_without_an_engine_the_rest_is_checked(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    assert main(["verify", str(tiny_bundle), "--golden"]) == 0
    said = capsys.readouterr().out
    assert "-     model fp32               no engine installed" in said
    assert "-     golden fp32              no engine installed" in said


# diff


def test_a_bundle_is_the_same_as_itself_signed_or_not(tiny_bundle: Path, signed: Path, capsys: Out) -> None:
    assert main(["diff", str(tiny_bundle), str(tiny_bundle)]) == 0
    assert main(["diff", str(tiny_bundle), str(signed)]) == 0
    said = capsys.readouterr().out
    assert "the same: every file inside" in said
    assert "B Plant 7" in said


def test_a_lower_threshold_is_told_with_the_verdicts_it_changes(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    other = variant(tiny_bundle, tmp_path / "x.sad", lambda manifest: precision(manifest, score_threshold=0.1))
    assert main(["diff", str(tiny_bundle), str(other), "--backend", "onnxruntime"]) == 4
    said = capsys.readouterr().out
    assert "precisions.fp32.score_threshold: 4 -> 0.1" in said
    # nine good parts, one of which is a golden picture too, and the bad one that fails anyway
    assert "fp32 on onnxruntime: of 10 pictures 9 change (9 PASS -> FAIL); scores differ by at most 0" in said
    assert "A golden/good.png: PASS" in said


def test_a_script_reads_what_differs(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    def change(manifest: Manifest) -> dict[str, Any]:
        model = tiny_onnx() + b"\n"  # another file of unknown use
        both = {
            **manifest.precisions,
            "int8": manifest.precisions["fp32"].model_copy(
                update={"file": "model/int8.onnx", "sha256": sha256_hex(model)}
            ),
        }
        return {"method": "other", "precisions": both}

    extra = {"model/int8.onnx": tiny_onnx() + b"\n", "report.html": b"<p>"}
    other = variant(tiny_bundle, tmp_path / "x.sad", change, extra)
    assert main(["diff", str(tiny_bundle), str(other), "--json", "--no-run"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert not told["same"]
    assert told["fields"]["method"] == ["tiny", "other"]
    assert told["fields"]["precisions.int8.score_threshold"] == [None, 4.0]
    assert (told["only_a"], told["only_b"], told["changed"]) == ([], ["model/int8.onnx", "report.html"], [])
    assert told["golden"]["fp32"] == {"pictures": 2, "verdicts_changed": 0, "largest_difference": 0.0}
    assert told["verdicts"] == {}
    main(["diff", str(tiny_bundle), str(other), "--json", "--backend", "onnxruntime"])
    told = json.loads(capsys.readouterr().out)
    assert told["verdicts"]["fp32"] == {
        "backend": "onnxruntime",
        "pictures": 10,
        "changes": [],
        "largest_difference": 0.0,
    }


def test_pictures_of_both_are_judged_each_once(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    new = bad_picture(77)
    golden = Golden(file="golden/new.png", score={"fp32": 5.0}, verdict={"fp32": "FAIL"})

    def change(manifest: Manifest) -> dict[str, Any]:
        return {"golden": [*manifest.golden, golden], **precision(manifest, score_threshold=9.0)}

    other = variant(tiny_bundle, tmp_path / "x.sad", change, {"golden/new.png": encode_png(new)})
    assert main(["diff", str(tiny_bundle), str(other), "--backend", "onnxruntime"]) == 4
    said = capsys.readouterr().out
    assert "of 11 pictures 2 change (2 FAIL -> PASS)" in said
    assert "B golden/new.png: FAIL 5 -> PASS 5" in said


def test_what_cannot_be_run_is_said_and_the_rest_is_compared(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    broken = variant(
        tiny_bundle,
        tmp_path / "x.sad",
        lambda manifest: precision(manifest, sha256=sha256_hex(b"no model")),
        {"model/fp32.onnx": b"no model"},
    )
    assert main(["diff", str(tiny_bundle), str(broken), "--backend", "onnxruntime"]) == 4
    said = capsys.readouterr().out
    assert "changed       model/fp32.onnx" in said
    assert "fp32: not compared: onnxruntime" in said
    assert main(["diff", str(tiny_bundle), str(broken), "--precision", "int8"]) == 2
    assert main(["diff", str(tiny_bundle), str(tmp_path / "none.sad")]) == 2


def test_bundles_without_pictures_are_compared_without(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    bundle = read_bundle(tiny_bundle)
    bare = []
    for part in ("one", "two"):
        path = tmp_path / f"{part}.sad"
        manifest = bundle.manifest.model_copy(update={"golden": [], "part": part})
        write_bundle(path, manifest, {"model/fp32.onnx": bundle.model("fp32")})
        bare.append(str(path))
    assert main(["diff", *bare]) == 4
    assert "neither carries a picture" in capsys.readouterr().out


# extract


def test_files_folders_and_patterns_are_written_out(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "look"
    assert main(["extract", str(tiny_bundle), "--out", str(out), MANIFEST, "golden/", "calibration/000[12]*"]) == 0
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    wanted = ["calibration/0001.png", "calibration/0002.png", "golden/bad.png", "golden/good.png", MANIFEST]
    assert names == wanted
    assert (out / "golden/bad.png").read_bytes() == read_bundle(tiny_bundle).read("golden/bad.png")
    assert main(["extract", str(tiny_bundle), "--out", str(tmp_path / "all")]) == 0
    assert "14 files" in capsys.readouterr().out


def test_nothing_is_overwritten_and_nothing_leaves_the_folder(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    out = tmp_path / "look"
    (out / "golden").mkdir(parents=True)
    (out / "golden/good.png").write_bytes(b"mine")
    assert main(["extract", str(tiny_bundle), "--out", str(out)]) == 2
    assert (out / "golden/good.png").read_bytes() == b"mine"
    assert [path.name for path in out.iterdir()] == ["golden"]
    (tmp_path / "elsewhere").mkdir()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "golden").symlink_to(tmp_path / "elsewhere")
    assert main(["extract", str(tiny_bundle), "--out", str(linked)]) == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "leads out of" in capsys.readouterr().err
    assert main(["extract", str(tiny_bundle), "--out", str(tmp_path / "new"), "nosuch"]) == 2
    assert "there is calibration, digests.txt, golden" in capsys.readouterr().err


# sign and keygen


def test_signing_writes_a_new_file_and_never_over_one(
    tiny_bundle: Path, signed: Path, key: Path, tmp_path: Path, capsys: Out
) -> None:
    before = tiny_bundle.read_bytes()
    words = ["--key", f"{key}.key", "--out"]
    assert main(["sign", str(tiny_bundle), *words, str(tiny_bundle)]) == 2
    assert main(["sign", str(tiny_bundle), *words, str(signed)]) == 2
    assert "never rewritten" in capsys.readouterr().err
    assert tiny_bundle.read_bytes() == before
    assert main(["sign", str(signed), *words, str(tmp_path / "again.sad")]) == 2
    assert "signed by this key already" in capsys.readouterr().err
    assert main(["sign", str(tiny_bundle), *words, str(tmp_path / "x.sad"), "--signer", "two\nlines"]) == 2
    assert main(["sign", str(tiny_bundle), "--key", f"{key}.pub", "--out", str(tmp_path / "x.sad")]) == 2
    assert not (tmp_path / "x.sad").exists()


def test_a_plant_signs_only_what_its_maker_signed(tiny_bundle: Path, signed: Path, key: Path, tmp_path: Path) -> None:
    main(["keygen", str(tmp_path / "second")])
    words = ["--key", str(tmp_path / "second.key"), "--trust", f"{key}.pub", "--out"]
    assert main(["sign", str(tiny_bundle), *words, str(tmp_path / "x.sad")]) == 4
    assert main(["sign", str(signed), *words, str(tmp_path / "both.sad")]) == 0
    assert main(["verify", str(tmp_path / "both.sad"), "--trust", str(tmp_path)]) == 0
    assert len(read_bundle(tmp_path / "both.sad").signatures()) == 2


def test_a_locked_key_takes_its_passphrase_from_a_file_of_ones_own(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    stem = tmp_path / "locked"
    assert main(["keygen", str(stem), "--passphrase-file", str(secret)]) == 2
    assert "chmod 600" in capsys.readouterr().err
    secret.chmod(0o600)
    assert main(["keygen", str(stem), "--passphrase-file", str(secret)]) == 0
    assert "warning" not in capsys.readouterr().err
    assert stat.S_IMODE(Path(f"{stem}.key").stat().st_mode) == 0o600
    words = ["sign", str(tiny_bundle), "--key", f"{stem}.key", "--out", str(tmp_path / "x.sad")]
    assert main(words) == 2
    assert "--passphrase-file" in capsys.readouterr().err  # nobody is at a terminal here
    assert main([*words, "--passphrase-file", str(secret)]) == 0
    secret.write_text("\n")
    assert main([*words, "--passphrase-file", str(secret)]) == 2


def test_a_passphrase_is_asked_for_on_a_terminal_without_showing_it(tiny_bundle: Path, tmp_path: Path) -> None:
    stem = tmp_path / "plant"
    shown = at_a_terminal(["keygen", str(stem), "--ask-passphrase"], ["hush hush", "hush hush"])
    assert b"plant.pub  the public key" in shown
    assert b"hush" not in shown
    assert b"ENCRYPTED" in Path(f"{stem}.key").read_bytes()
    shown = at_a_terminal(["keygen", str(tmp_path / "typo"), "--ask-passphrase"], ["hush", "hash"])
    assert b"differ; no key was made" in shown
    assert not (tmp_path / "typo.key").exists()
    words = ["sign", str(tiny_bundle), "--key", f"{stem}.key", "--out", str(tmp_path / "x.sad")]
    assert b"written, signed by key" in at_a_terminal(words, ["hush hush"])


def at_a_terminal(words: list[str], answers: list[str]) -> bytes:
    """What a person sees; each answer is typed when a question stands there."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "sad_runtime.cli.bundle", *words]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    questions = 0
    try:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
            if shown.count(b": ") > questions and shown.endswith(b": ") and questions < len(answers):
                os.write(ours, f"{answers[questions]}\n".encode())
                questions += 1
    finally:
        os.close(ours)
        process.wait(20)
    return shown


# The command itself


def test_every_command_says_what_it_does_and_the_whole_help_names_every_flag(capsys: Out) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    whole = capsys.readouterr().out
    for command in ("inspect", "verify", "diff", "extract", "sign", "keygen"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        own = capsys.readouterr().out
        assert f"usage: sad-bundle {command}" in own
        for flag in {word.strip("[],") for word in own.split() if word.strip("[").startswith("--")} - {"--help"}:
            assert flag in whole, f"{command} {flag}"
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_keys_can_be_made_and_bundles_signed_where_there_is_no_opencv(tiny_bundle: Path, tmp_path: Path) -> None:
    """An office computer that only signs."""
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "from sad_runtime.cli.bundle import main\n"
        f"assert main(['keygen', {str(tmp_path / 'k')!r}]) == 0\n"
        f"sys.exit(main(['sign', {str(tiny_bundle)!r}, '--key', {str(tmp_path / 'k.key')!r}, "
        f"'--out', {str(tmp_path / 'x.sad')!r}]) or main(['inspect', {str(tmp_path / 'x.sad')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "part         tiny" in done.stdout


@pytest.mark.parametrize("name", ["", ".", "/", ".."])
def test_a_name_that_is_none_makes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keygen", name]) == 2
    assert "no name for a key" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_that_is_too_long_makes_no_key(tmp_path: Path, capsys: Out) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("x" * 1024)
    assert main(["keygen", str(tmp_path / "plant"), "--passphrase-file", str(secret)]) == 2
    assert "longer than 1023 bytes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [secret]
    secret.write_text("x" * 1023)
    assert main(["keygen", str(tmp_path / "plant"), "--passphrase-file", str(secret)]) == 0
