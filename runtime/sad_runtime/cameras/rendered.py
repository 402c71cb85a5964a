"""The stand-in that renders parts: good ones, and a share of defective ones whose truth travels with the frame.

Picture n of a seed is always the same picture. The rendering itself is in `demo/`.
"""

from __future__ import annotations

import time

import numpy as np
from pydantic import Field

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, frame_now
from sad_runtime.cameras.demo.defects.spot import SMALLEST_PX
from sad_runtime.cameras.demo.parts import GOOD, SIZES_PX, defects_of, render
from sad_runtime.cameras.pace import Pace
from sad_runtime.schema import Strict


class DemoOptions(Strict):
    defects: float = Field(default=0.1, ge=0, le=1)
    """Share of defective parts."""
    seed: int = Field(default=0, ge=0)
    fps: float = Field(default=5.0, ge=0, le=1000)
    """0: as fast as the station takes them."""
    n: int = Field(default=0, ge=0)
    """Number of parts; 0 goes on for ever."""
    size: int = Field(default=256, ge=SIZES_PX[0], le=SIZES_PX[1])
    """Side of the picture in pixels."""
    defect_px: float | None = Field(default=None, ge=SMALLEST_PX)
    """Characteristic size of every defect in pixels; None draws it, from 3 px up."""
    drop: bool = False


class RenderedCamera(Camera):
    """`demo:washer?defects=0.1`. The frame's `source` reads `demo:washer#12 scratch`, or `... good`."""

    def __init__(self, uri: str, part: str, options: DemoOptions) -> None:
        super().__init__(uri)
        self.endless = options.n == 0
        self.live = options.drop
        self._part = part
        self._options = options
        self._defects = defects_of(part)
        self._pace = Pace(options.fps)
        self._next = 0

    def open(self) -> None:
        self._next = 0
        self.facts = {"vendor": "sad", "model": f"demo {self._part}", "serial": str(self._options.seed)}

    def grab(self, timeout_s: float) -> Frame | None:
        options = self._options
        if options.n and self._next >= options.n:
            raise EndOfStream(self.uri)
        if not self._pace.wait(timeout_s):
            return None
        number, self._next = self._next, self._next + 1
        since = time.perf_counter()
        kind = self.truth(number)
        rendered = render(
            self._part, seed=options.seed, index=number, defect=kind, size_px=options.size, defect_px=options.defect_px
        )
        return frame_now(rendered.image, number, f"demo:{self._part}#{number} {kind}", since=since)

    def truth(self, number: int) -> str:
        """`good`, or the defect that part `number` has."""
        dice = np.random.default_rng((self._options.seed, number))
        if dice.random() >= self._options.defects:
            return GOOD
        return self._defects[int(dice.integers(len(self._defects)))]

    def close(self) -> None:
        """Nothing to give back."""
