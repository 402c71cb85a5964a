"""A connection to a Modbus/TCP server. All that sad needs of pymodbus is here: its interface changes with minors."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence

from sad_runtime.errors import MissingExtra


class LinkLost(Exception):
    """No connection, no answer in time, or one without sense. Nobody knows whether the request was carried out."""


class LinkRefused(LinkLost):
    """The PLC answered with an exception code."""


def need_pymodbus() -> None:
    """Raises MissingExtra."""
    try:
        import pymodbus  # noqa: F401
    except ImportError:
        raise MissingExtra("pymodbus", "plc", "plc.modbus_client") from None
    # It would write a line for each try while a PLC is off; what there is to say is said in client.py.
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class ModbusLink:
    """Made and used in one running loop; `open` first. Every verb raises LinkLost, and the link is of no use then."""

    def __init__(self, host: str, port: int, unit: int, context: ssl.SSLContext | None, timeout_s: float) -> None:
        from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient

        self._unit, self._timeout_s = unit, timeout_s
        self._host, self._port, self._context = host, port, context
        self._client: AsyncModbusTcpClient
        if context is None:
            self._client = AsyncModbusTcpClient(host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0)
        else:
            self._client = AsyncModbusTlsClient(
                host, port=port, sslctx=context, timeout=timeout_s, retries=0, reconnect_delay=0
            )

    async def open(self) -> None:
        if not await self._client.connect():
            raise LinkLost(await self._trouble())

    async def write(self, at: int, words: Sequence[int]) -> None:
        """Function 16, at most 123 registers."""
        from pymodbus.exceptions import ModbusException

        try:
            answer = await self._client.write_registers(at, list(words), device_id=self._unit)
        except ModbusException as error:
            raise LinkLost(_line(error)) from None
        if answer.isError():
            raise LinkRefused(_refused("write", at, len(words), answer.exception_code))

    async def read(self, at: int, count: int) -> list[int]:
        """Function 3, at most 125 registers."""
        from pymodbus.exceptions import ModbusException

        try:
            answer = await self._client.read_holding_registers(at, count=count, device_id=self._unit)
        except ModbusException as error:
            raise LinkLost(_line(error)) from None
        if answer.isError():
            raise LinkRefused(_refused("read", at, count, answer.exception_code))
        if len(answer.registers) != count:
            raise LinkLost(f"it sent {len(answer.registers)} registers where {count} were asked for")
        return list(answer.registers)

    def close(self) -> None:
        self._client.close()

    async def _trouble(self) -> str:
        """pymodbus tells nobody why it could not connect, so that is found out by trying once more."""
        attempt = asyncio.open_connection(self._host, self._port, ssl=self._context)
        try:
            _, writer = await asyncio.wait_for(attempt, self._timeout_s)
        except asyncio.TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is refused ({error.verify_message})"
        except (ssl.SSLError, socket.gaierror) as error:
            return f"cannot be reached ({error.strerror})"
        except OSError as error:  # asyncio puts words of its own into strerror.
            return f"cannot be reached ({os.strerror(error.errno) if error.errno else error})"
        writer.close()
        return f"could not be reached within {self._timeout_s:g} s"


def _refused(verb: str, at: int, count: int, code: int) -> str:
    return (
        f"it does not let us {verb} holding registers {at} to {at + count - 1} (exception code {code}). Make room for "
        "them there, or set status_at, commands_at or unit"
    )


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
