"""`demo:washer?n=200&seed=1&size=256&good=40&defect=80`: a data set rendered once into the user's cache, then reused.

The pictures are sad_runtime.cameras.demo's.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import platformdirs

import sad_runtime.cameras.demo
from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.cli.progress import Progress
from sad_runtime.errors import DataError
from sad_runtime.files import made_folder

SCHEME = "demo:"


@dataclass(frozen=True)
class RenderedSet:
    """What a demo URI asks for; the keys of the URI are the names of the fields."""

    part: str
    n: int = 200
    good: int = 40
    defect: int = 80
    size: int = 256
    seed: int = 1
    defect_px: int = 0
    """Characteristic size of every defect; 0 draws it."""

    @property
    def folder_name(self) -> str:
        counts = f"n{self.n}-good{self.good}-defect{self.defect}"
        defects = f"-px{self.defect_px}" if self.defect_px else ""
        return f"{self.part}-{counts}{defects}-size{self.size}-seed{self.seed}-{_renderer_digest()}"


def is_rendered(source: str | Path) -> bool:
    return isinstance(source, str) and source.startswith(SCHEME)


def rendered_set(uri: str) -> RenderedSet:
    """Raises DataError for a key that there is not, or a value that is no whole number."""
    part, _, query = uri.removeprefix(SCHEME).partition("?")
    if not part or not part.replace("_", "").isalnum():
        raise DataError(f"{uri}: expected demo:PART, as in demo:washer?n=200&seed=1")
    known = set(asdict(RenderedSet(part))) - {"part"}
    values: dict[str, int] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise DataError(f"{uri}: unknown key '{key}'; there are {', '.join(sorted(known))}")
        if not text.isdecimal():
            raise DataError(f"{uri}: {key} takes a whole number, not '{text}'")
        values[key] = int(text)
    return RenderedSet(part, **values)


def rendered_folder(uri: str, cache: Path | None = None) -> tuple[str, Path]:
    """(part, folder in the MVTec layout). A folder in the cache is complete: write_dataset puts it there whole."""
    wanted = rendered_set(uri)
    cache = cache if cache is not None else Path(platformdirs.user_cache_dir("sad")) / "demo"
    folder = cache / wanted.folder_name
    if not folder.is_dir():
        made_folder(cache)
        try:
            _render(wanted, folder)
        except DataError:
            if not folder.is_dir():  # else another process rendered the same set meanwhile
                raise
    return wanted.part, folder


def _render(wanted: RenderedSet, folder: Path) -> None:
    progress = Progress(f"rendering {wanted.part}", wanted.n + wanted.good + wanted.defect)
    write_dataset(
        folder,
        wanted.part,
        n_train=wanted.n,
        n_good=wanted.good,
        n_defect=wanted.defect,
        seed=wanted.seed,
        size_px=wanted.size,
        defect_px=wanted.defect_px or None,
        progress=lambda done, _total: progress.step(done),
    )


def _renderer_digest() -> str:
    """A renderer that changed draws other pictures: its sources name the folder too."""
    digest = hashlib.sha256()
    home = Path(sad_runtime.cameras.demo.__file__).parent
    for source in sorted(home.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]
