"""A PLC that is a Modbus/TCP server with plain memory, for tests of our client: it can hang, refuse and go away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from sad_runtime.plc.modbus.frames import Frame, FrameReader, bytes_from_frame
from sad_runtime.plc.modbus.requests import Code, Refused, answer, refusal
from sad_runtime.plc.register_map import COMMAND_AT, STATUS_SIZE, command_registers
from sad_runtime.plc.status import CommandBlock


class MemoryPlc:
    """Opened by `with`; `address` stays the same when it goes away and comes back."""

    def __init__(self) -> None:
        self.memory = [0] * 65536
        self.writes: list[tuple[int, tuple[int, ...]]] = []
        self.answering = threading.Event()
        self.answering.set()
        self.refuses = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> MemoryPlc:
        self._start(self._accept, self._listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        self.go_away()
        for thread in self._threads:
            thread.join(5)

    def command(self, block: CommandBlock) -> None:
        self.memory[COMMAND_AT : COMMAND_AT + 12] = command_registers(block)

    def status(self, at: int = 0) -> list[int]:
        return self.memory[at : at + STATUS_SIZE]

    def go_away(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._start(self._accept, self._listener)

    # Registers

    def read(self, at: int, count: int) -> Sequence[int]:
        return self.memory[at : at + count]

    def read_bits(self, at: int, count: int) -> Sequence[bool]:
        raise Refused(Code.ILLEGAL_FUNCTION)

    def write_one(self, at: int, word: int) -> None:
        raise Refused(Code.ILLEGAL_FUNCTION)

    def write(self, at: int, words: Sequence[int]) -> None:
        if self.refuses:
            raise Refused(Code.ILLEGAL_ADDRESS)
        self.writes.append((at, tuple(words)))
        self.memory[at : at + len(words)] = words

    def _start(self, target: object, of: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(of,), name="memory-plc")  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.add(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader()
        with connection, suppress(OSError):
            while data := connection.recv(4096):
                reader.feed(data)
                while frame := reader.next():
                    self.answering.wait()
                    connection.sendall(
                        bytes_from_frame(Frame(frame.transaction, frame.unit, self._answered(frame.pdu)))
                    )
        self._connections.discard(connection)

    def _answered(self, pdu: bytes) -> bytes:
        try:
            return answer(pdu, self)
        except Refused as refused:
            return refusal(pdu, refused.code)
