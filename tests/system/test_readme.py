"""The README and the pages in docs/: what they name exists, and what they show runs.

Quick: every command, flag, file and heading that a page names. Slow: every ```sh block of the README in order in one
scratch folder, and every ```python block beside a station. A block stays out with `<!-- not run: reason -->` above it.
Ports are moved, so that this runs beside a station that uses the default ones.
"""

from __future__ import annotations

import os
import pkgutil
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from feeds import wait_until

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("runtime", "calibration", "train", "export", "configs", "tests", "docs", "deploy")
OURS = re.compile(r"((train|export|calibration)/sad_|(runtime|configs|tests|docs|deploy)/)[\w./-]*")
"""A path in this repository; `train/good` is one in a user's folder of parts."""
SCRIPTS = dict(re.findall(r'^(sad-[a-z]+) = "([\w.]+:\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
DISTRIBUTION = "sad-inspection"
COMMAND = re.compile(r"(?<![\w/.-])(sad-[a-z]+)(?![a-z]|@|\.(?:service|target))((?:[^|;&`\n\\]|\\\n|&(?!&))*)")
"""A command and its arguments, to the end of the line or to whatever ends a command."""
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SELF = re.compile(r"make |pip |git |python3? -m venv|python3? -m build")
"""Lines that would install or test what runs the tests."""
BLOCK_LINES = 30
MODBUS = 5020


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    not_run: bool

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    found, start = [], None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = lines[start - 1] if start else ""
        text = "\n".join(lines[start + 1 : number]) + "\n"
        found.append(Block(page, start + 1, lines[start][3:].strip(), text, above.startswith("<!-- not run:")))
        start = None
    assert start is None, f"{page}: a block is not closed"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def spans(page: Path) -> list[str]:
    """What stands between single backticks outside blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", text)


def help_of(script: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        pkgutil.resolve_name(SCRIPTS[script])([*words, "--help"])
    return capsys.readouterr().out


def flags_of(script: str, capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    """The flags that `--help` lists, for the script and for each of its commands."""
    text = help_of(script, capsys)
    _, _, commands = text.partition("  COMMAND\n")
    found = {script: set(FLAG.findall(text))}
    for command in re.findall(r"^    ([a-z]+)(?=\s)", commands.partition("\n\n")[0], re.MULTILINE):
        found[f"{script} {command}"] = set(FLAG.findall(help_of(script, capsys, command)))
    return found


# -- quick: what is named exists


@pytest.fixture
def flags(capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    return {name: taken for script in SCRIPTS for name, taken in flags_of(script, capsys).items()}


def test_every_command_that_a_page_names_exists_and_takes_the_flags_it_is_shown_with(
    flags: dict[str, set[str]],
) -> None:
    wrong = []
    for page in PAGES:
        for script, arguments in COMMAND.findall(page.read_text(encoding="utf-8")):
            if script == DISTRIBUTION:
                continue
            if script not in flags:
                wrong.append(f"{page.name}: there is no {script}")
                continue
            command = f"{script} {arguments.split()[0]}" if arguments.split() else script
            unknown = set(FLAG.findall(arguments.partition("#")[0])) - flags.get(command, flags[script])
            wrong += [f"{page.name}: {script} takes no {flag}" for flag in unknown]
    assert not wrong


def test_every_flag_that_stands_alone_in_the_text_is_one_of_ours(flags: dict[str, set[str]]) -> None:
    known = set[str]().union(*flags.values())
    alone = [(page.name, span) for page in PAGES for span in spans(page) if span.startswith("--")]
    assert not [(page, flag) for page, span in alone for flag in FLAG.findall(span) if flag not in known]


def test_every_file_that_a_page_names_exists() -> None:
    sources = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    missing = []
    for page in PAGES:
        for span in spans(page):
            if OURS.fullmatch(span) and not (ROOT / span).exists():
                missing.append(f"{page.name}: {span}")
            if re.fullmatch(r"\w+\.py", span) and span not in sources:
                missing.append(f"{page.name}: {span}")
    assert not missing


def test_every_link_leads_somewhere() -> None:
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"https?:|mailto:", target):
                continue
            name, _, heading = target.partition("#")
            goal = (page.parent / name).resolve() if name else page
            if not goal.exists() or (heading and heading not in anchors(goal)):
                dead.append(f"{page.name}: {target}")
    assert not dead


def anchors(page: Path) -> set[str]:
    """Headings as links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_block_says_in_which_language_it_is_and_is_short_enough_to_type() -> None:
    readme = [block for block in BLOCKS if block.page.name == "README.md"]
    assert any(block.language == "sh" for block in readme)
    assert any(block.language == "python" for block in readme)
    for block in BLOCKS:
        if block.language == "python":
            assert len(block.text.splitlines()) < BLOCK_LINES, block.name
            compile(block.text, block.name, "exec")


# -- slow: what is shown runs


@pytest.fixture(scope="module")
def ports() -> int:
    """How far the default ports are moved."""
    for offset in range(10_000, 20_000, 10):
        try:
            for port in (5555, 5556, 5557):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return offset
    raise AssertionError("no free ports")


def moved(text: str, ports: int) -> str:
    """The text with its commands and addresses on the moved ports."""
    text = re.sub(r"tcp://127\.0\.0\.1:(555\d)", lambda found: f"tcp://127.0.0.1:{int(found[1]) + ports}", text)
    text = text.replace(f"port={MODBUS}", f"port={MODBUS + ports}")
    text = re.sub(r"^(\s*)sad-runtime ", rf"\1sad-runtime --port-offset {ports} ", text, flags=re.MULTILINE)
    feed = f"sad-tail --feed tcp://127.0.0.1:{5555 + ports}"
    return re.sub(r"^(\s*)sad-tail(?! --feed)", rf"\1{feed}", text, flags=re.MULTILINE)


def environment(home: Path) -> dict[str, str]:
    """The commands first on the path; what they keep stays in the scratch folder."""
    kept = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "STATE", "CONFIG", "DATA")}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return os.environ | kept | {"PATH": path, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path: Path, ports: int) -> None:
    shown = [block for block in BLOCKS if block.page.name == "README.md" and block.language == "sh"]
    ran = 0
    for block in shown:
        if block.not_run:
            continue
        lines = [line for line in block.text.splitlines() if not SELF.match(line.strip())]
        script = moved("\n".join(lines), ports)
        if not script.strip():
            continue
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == 0, f"{block.name}\n{script}\n{result.stdout}\n{result.stderr}"
        ran += 1
    assert ran, "no block of the README is run; say ```sh above the commands"


@contextmanager
def station(folder: Path, bundle: Path, ports: int) -> Iterator[None]:
    """A line of rendered parts and its gateway, which go on until they are told to end."""
    options = ["--camera", "demo:washer?size=64&fps=20", "--bundle", str(bundle), "--backend", "constant"]
    line = subprocess.Popen(
        [BIN / "sad-runtime", *options, "--state", folder / "state", "--port-offset", str(ports), "--limit", "60"],
        stderr=subprocess.DEVNULL,
    )
    feed = ["--feed", f"tcp://127.0.0.1:{5555 + ports}", "--modbus", f"127.0.0.1:{MODBUS + ports}"]
    gateway = subprocess.Popen(
        [BIN / "sad-plc", *feed, "--state", folder / "state"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: listens(MODBUS + ports), "the gateway listens")
        yield
    finally:
        for process in (gateway, line):
            process.terminate()
            process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "python" and not block.not_run],
    ids=lambda block: block.name,
)
def test_a_python_block_receives_decisions(block: Block, tmp_path: Path, tiny_bundle: Path, ports: int) -> None:
    """It ends by itself, or is a loop that is ended here after the station has gone; either way it has printed."""
    with station(tmp_path, tiny_bundle, ports):
        reader = subprocess.Popen(
            [sys.executable, "-c", moved(block.text, ports)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        end_s = time.monotonic() + 15
        while reader.poll() is None and time.monotonic() < end_s:
            time.sleep(0.1)
        if endless := reader.poll() is None:
            reader.kill()
        said, wrong = reader.communicate()
    assert endless or reader.returncode == 0, wrong
    assert "Traceback" not in wrong
    assert said.strip(), f"{block.name} printed nothing\n{wrong}"
