"""Stages a camera's faults on any camera. It runs where the driver would: in the grabber's process."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np

from sad_runtime.cameras.base import Camera, Frame
from sad_runtime.errors import CameraError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.preprocess import Picture

NAP_S = 0.02
BLUR_SHARE = 0.05


class FaultyCamera(Camera):
    def __init__(self, camera: Camera, schedule: Schedule) -> None:
        super().__init__(camera.uri)
        self.live, self.endless, self.noisy = camera.live, camera.endless, camera.noisy
        self.silent_after_s = camera.silent_after_s
        self._camera, self._schedule = camera, schedule
        self._last: Picture | None = None

    def open(self) -> None:
        self._check_plug()
        self._camera.open()
        self.facts = self._camera.facts
        if self._schedule.active("swap"):
            self.facts = {**self.facts, "serial": "staged-other-camera"}

    def grab(self, timeout_s: float) -> Frame | None:
        self._check_plug()
        frame = self._camera.grab(timeout_s)
        self._check_plug()  # it waits for its picture, and may be pulled out meanwhile
        while self._schedule.active("hang"):
            time.sleep(NAP_S)
        if frame is None or frame.picture is None:
            return frame
        if self._schedule.active("drop") and frame.frame_id % 3 == 0:
            return None
        return self._spoilt(frame, frame.picture)

    def trigger(self) -> None:
        self._camera.trigger()

    def close(self) -> None:
        self._camera.close()

    def _check_plug(self) -> None:
        if self._schedule.active("unplug"):
            raise CameraError(f"camera {self.uri}: staged: unplugged")

    def _spoilt(self, frame: Frame, picture: Picture) -> Frame | None:
        active = self._schedule.active
        if active("freeze"):
            return None if self._last is None else replace(frame, picture=self._last)
        self._last = picture.copy()
        if active("dark"):
            picture = (picture // 50).astype(np.uint8)
        if active("bright"):
            picture = cv2.convertScaleAbs(picture, alpha=4.0, beta=60.0).astype(np.uint8)
        if active("blur"):
            picture = cv2.GaussianBlur(picture, (0, 0), BLUR_SHARE * picture.shape[1]).astype(np.uint8)
        if active("shift"):
            picture = np.ascontiguousarray(np.roll(picture, picture.shape[1] // 10, axis=1))
        half = picture.shape[0] // 2
        if active("partial") or active("torn"):
            picture = picture.copy()
            picture[half:] = 0
        return replace(frame, picture=picture, complete=frame.complete and not active("partial"))
