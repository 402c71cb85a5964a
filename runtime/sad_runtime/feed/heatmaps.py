"""The socket that carries heatmaps: heavy, so it has its own thread, and latest wins.

A heatmap is for eyes. It is never waited for, never queued, and not even encoded while nobody subscribes.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.feed.address import Context
from sad_runtime.feed.binding import Binding
from sad_runtime.feed.decisions import MAX_TOPIC_BYTES, NOTICES_AT_ONCE
from sad_runtime.feed.heartbeat import Identity
from sad_runtime.feed.protection import Protection
from sad_runtime.heatmap import encode_jpeg, levels, scale_of
from sad_runtime.manifest import Roi
from sad_runtime.messages import Heatmap, encode, topic_of

PATIENCE_S = 0.1
"""How long a new subscriber may go unseen."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """heatmap: (H, W) float32, own copy."""

    seq: int
    heatmap: NDArray[np.float32]
    thresholds: Thresholds
    roi: Roi | None


class HeatmapSocket:
    """`offer` from any thread; the ZeroMQ socket belongs to the thread in `serve`."""

    def __init__(self, context: Context, identity: Identity, protection: Protection) -> None:
        self._identity = identity
        self._slot: Offer | None = None
        self._filled = threading.Condition()
        self._subscriptions = 0
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.SNDHWM, 4)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_TOPIC_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 1000)
        self.binding = Binding("heatmaps", self._socket, protection)

    def offer(self, seq: int, heatmap: NDArray[np.float32], thresholds: Thresholds, roi: Roi | None) -> None:
        """Takes the place of one that has not been sent yet. Costs nothing while nobody subscribes."""
        if self._subscriptions == 0:
            return
        offer = Offer(seq, heatmap.copy(), thresholds, roi)
        with self._filled:
            self._slot = offer
            self._filled.notify()

    def serve(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.binding.pursue()
            more = self._count_subscriptions()
            offer = self._take(0.0 if more else PATIENCE_S)
            if offer is not None:
                self._send(offer)

    def _count_subscriptions(self) -> bool:
        """Whether some are left: a flood of them must hold up neither a heatmap nor the end."""
        for _ in range(NOTICES_AT_ONCE):
            if not int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return False
            notice = self._socket.recv(zmq.NOBLOCK)
            step = {b"\1": 1, b"\0": -1}.get(notice[:1], 0)
            self._subscriptions = max(0, self._subscriptions + step)
        return True

    def _take(self, patience_s: float) -> Offer | None:
        with self._filled:
            if self._slot is None:
                self._filled.wait(patience_s)
            offer, self._slot = self._slot, None
            return offer

    def _send(self, offer: Offer) -> None:
        try:
            header = header_of(offer, self._identity)
            picture = encode_jpeg(levels(offer.heatmap, offer.thresholds))
        except (ValueError, cv2.error):
            log.exception("the heatmap of decision %d cannot be encoded", offer.seq)
            return
        self._socket.send_multipart((topic_of(header), encode(header), picture))


def header_of(offer: Offer, identity: Identity) -> Heatmap:
    scale, offset = scale_of(offer.thresholds)
    height, width = offer.heatmap.shape
    roi = offer.roi
    return Heatmap(
        run=identity.run,
        station=identity.station,
        seq=offer.seq,
        shape=(height, width),
        roi=None if roi is None else (roi.x, roi.y, roi.width, roi.height),
        scale=scale,
        offset=offset,
        threshold=offer.thresholds.pixel,
    )
