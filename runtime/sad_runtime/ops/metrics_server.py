"""Answers Prometheus over HTTP, one request at a time in a thread of its own.

No thread is made for a client, and one that says nothing for two seconds is hung up on, so that nobody can have this
process collect threads or file handles.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from sad_runtime.errors import MissingExtra, Unavailable
from sad_runtime.files import reason_of
from sad_runtime.ops.host_port import host_and_port

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger("sad.metrics")
SILENT_S = 2.0
LOOK_S = 0.2
"""How soon the thread sees that it is to end."""


class Collector(Protocol):
    """What prometheus_client calls one: `collect` gives all metrics anew."""

    def collect(self) -> Iterable[Metric]: ...


class MetricsServer:
    """Opened by `with`; `address` is then what was really bound. `collector` is asked in the server's thread at each
    scrape, and once at opening. `key`: where the address is configured.

    Raises MissingExtra without prometheus_client, Unavailable for a port in use.
    """

    def __init__(self, address: str, collector: Collector, *, key: str = "metrics.address") -> None:
        self.address = address
        self._collector, self._key = collector, key
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MetricsServer:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
        except ImportError:
            raise MissingExtra("prometheus-client", "metrics", self._key) from None
        registry = CollectorRegistry()
        registry.register(self._collector)
        ProcessCollector(registry=registry)
        host, port = host_and_port(self.address)
        kind = _Server6 if ":" in host else _Server
        try:
            server = make_server(host, port, make_wsgi_app(registry), kind, _Handler)
        except OSError as error:
            raise Unavailable(
                f"{self._key} {self.address}: cannot be bound ({reason_of(error)}). Name another port, "
                "or stop the program that has it"
            ) from None
        self.address = f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"
        self._ended.clear()
        self._thread = threading.Thread(target=self._serve, args=(server,), name="metrics", daemon=True)
        self._thread.start()
        log.info("metrics at http://%s/metrics", self.address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(SILENT_S + 1)

    def _serve(self, server: WSGIServer) -> None:
        with server:
            while not self._ended.is_set():
                server.handle_request()


class _Handler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""


class _Server(WSGIServer):
    timeout = LOOK_S

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a client of the metrics was hung up on", exc_info=True)

    def server_bind(self) -> None:
        """Without http.server's look-up of this computer's name, which a DNS server that is away holds up."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6
