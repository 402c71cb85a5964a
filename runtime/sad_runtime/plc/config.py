"""`plc:` in the station's file: by which ways PLCs are reached, and which of them may give orders.

Nothing said: a Modbus/TCP server for this computer only. Several ways may be open at once; all show the same, one
commands. `configs/plc.yaml` shows every key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sad_runtime.ops.host_port import HostPort, host_and_port
from sad_runtime.plc.register_map import WordOrder
from sad_runtime.schema import Strict

Name = Annotated[str, Field(min_length=1)]
Commander = Literal["modbus", "modbus_client", "opcua", "s7", "none"]
LOOPBACK = ("127.", "localhost", "::1")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[Name], BeforeValidator(_as_list)]
"""One, or a list of them."""


def is_loopback(address: str) -> bool:
    """False also for what is no address."""
    try:
        return host_and_port(address)[0].startswith(LOOPBACK)
    except ValueError:
        return False


class TlsConfig(Strict):
    certificate: Name
    """PEM file, of this end."""
    key: Name
    """PEM file, its secret key, without a passphrase."""
    ca: Name
    """PEM file: who must have signed the other end's certificate."""


class ModbusConfig(Strict):
    """A Modbus/TCP server. Modbus knows no passwords: who reaches it may read, and unless `allow` says who, only this
    computer reaches it."""

    address: HostPort = "127.0.0.1:5020"
    unit: int | None = Field(default=None, ge=1, le=247)
    """None: 1, and in a plant 1, 2, 3 ... in the order of the stations."""
    allow: Names = []
    """IP addresses, or networks like 10.0.5.0/24, that may connect; empty: this computer only."""
    writers: Names = []
    """Of these, who may write; empty: all. In any case one at a time."""
    word_order: WordOrder = "high_first"
    tls: TlsConfig | None = None
    """Modbus/TCP Security: only clients with a certificate of this CA."""

    @model_validator(mode="after")
    def _says_who(self) -> ModbusConfig:
        if not is_loopback(self.address) and not self.allow and self.tls is None:
            raise ValueError(
                f"address {self.address}: Modbus knows no passwords, so say in `allow` which addresses may connect, "
                "like [10.0.5.20], or set up `tls`"
            )
        return self


class ModbusClientConfig(Strict):
    """This gateway goes to a Modbus/TCP server in the PLC and writes the status block there."""

    address: HostPort
    unit: int = Field(default=1, ge=0, le=255)
    status_at: int = Field(default=0, ge=0, le=65535)
    """Where the status block begins in the PLC."""
    commands_at: int | None = Field(default=200, ge=0, le=65535)
    """Where the command block begins; None: the PLC gives no orders."""
    every_ms: int = Field(default=20, ge=5, le=1000)
    """How often the command block is read, and how often at most the status block is written."""
    word_order: WordOrder = "high_first"
    tls: TlsConfig | None = None


class OpcUaUser(Strict):
    certificate: Name
    """DER or PEM file."""
    role: Literal["read", "plc"] = "read"
    """plc: may write the Command nodes and call methods."""


class OpcUaConfig(Strict):
    """An OPC UA server, opc.tcp://ADDRESS/sad/."""

    address: HostPort = "127.0.0.1:4840"
    certificate: Name | None = None
    key: Name | None = None
    """DER or PEM, and PEM; None: made at the first start, in the state folder."""
    users: list[OpcUaUser] = []
    """Whose certificates are let in."""
    plain_text: bool = False
    """Also unencrypted and without certificates, on 127.0.0.1 only, for trying out."""
    nodeset: Name | None = None
    """Opc.Ua.MachineVision.NodeSet2.xml; given, the stations are also shown as VisionSystemType (OPC 40100-1)."""

    @model_validator(mode="after")
    def _fits(self) -> OpcUaConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; leave both out to have them made")
        if self.plain_text and not is_loopback(self.address):
            raise ValueError(f"plain_text is for 127.0.0.1 only, not for {self.address}; list certificates in `users`")
        if not self.users and not self.plain_text:
            raise ValueError(f"nobody could connect to {self.address}: list the PLC's certificate in `users`")
        return self


class S7Config(Strict):
    """This gateway writes the status block into a data block of a Siemens S7 CPU. The CPU must allow PUT/GET, and the
    data blocks must not be 'optimised'."""

    address: HostPort
    """Port 102 on a real CPU."""
    rack: int = Field(default=0, ge=0, le=7)
    slot: int = Field(default=1, ge=0, le=31)
    status_db: int = Field(ge=1, le=65535)
    """256 bytes."""
    commands_db: int | None = Field(default=None, ge=1, le=65535)
    """24 bytes; None: the PLC gives no orders."""
    every_ms: int = Field(default=50, ge=10, le=1000)


class MqttTlsConfig(Strict):
    ca: Name
    """PEM file: who must have signed the broker's certificate."""
    certificate: Name | None = None
    """PEM file, of this end, for brokers that ask for one."""
    key: Name | None = None
    """PEM file, its secret key, without a passphrase."""

    @model_validator(mode="after")
    def _fits(self) -> MqttTlsConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class MqttConfig(Strict):
    """Results and states for MES and dashboards; too slow in noticing a lost gateway to drive a gate."""

    address: HostPort
    """Port 1883, or 8883 with tls."""
    topic: Name = "sad"
    """TOPIC/STATION/result and so on."""
    user: Name | None = None
    password_file: Name | None = None
    tls: MqttTlsConfig | None = None
    """None: user and password cross the network as plain text."""
    keep_alive_s: int = Field(default=5, ge=2, le=3600)

    @model_validator(mode="after")
    def _whose_password(self) -> MqttConfig:
        if self.password_file is not None and self.user is None:
            raise ValueError("password_file without user: MQTT has no password without a user")
        return self


class GpioConfig(Strict):
    """Two output lines: RUN changes with every heartbeat, PASS is on only for a part that may go."""

    chip: Name = "/dev/gpiochip0"
    pass_line: int = Field(ge=0)
    run_line: int = Field(ge=0)
    pulse_ms: int | None = Field(ge=1, le=10_000)
    """Shorter than from one part to the next. None: PASS stays on until the next result or the deadline, so only for
    machines with one part at a time between camera and gate."""
    active_low: bool = False

    @model_validator(mode="after")
    def _two_lines(self) -> GpioConfig:
        if self.pass_line == self.run_line:
            raise ValueError(f"pass_line and run_line are both {self.pass_line}; they need a line each")
        return self


class SourceConfig(Strict):
    """Where the station is, for a gateway on a box of its own."""

    feed: Name | None = None
    """Address of its decisions; None: what `feed.decisions` says."""
    commands: Name | None = None
    """Address of its command socket; None: what `feed.commands` says."""
    server_key: Name | None = None
    """The station's public key, where its addresses are encrypted."""
    key: Name | None = None
    """This gateway's own secret key."""

    @model_validator(mode="after")
    def _both_keys(self) -> SourceConfig:
        if (self.server_key is None) != (self.key is None):
            raise ValueError("server_key and key go together: the station's public key and the gateway's own secret")
        return self


class PlcConfig(Strict):
    source: SourceConfig = SourceConfig()
    modbus: ModbusConfig | None = None
    modbus_client: ModbusClientConfig | None = None
    opcua: OpcUaConfig | None = None
    s7: S7Config | None = None
    mqtt: MqttConfig | None = None
    gpio: GpioConfig | None = None
    commands: Commander | None = None
    """Which way may give orders; None: the first one here that can."""
    trigger_within_ms: int = Field(default=150, ge=10, le=60_000)
    """So far apart may a TRIGGER and the station's beginning with its part be; else the picture is of another part."""
    plc_silent_ms: int = Field(default=1000, ge=100, le=60_000)
    """PLC_HEARTBEAT may stand still for so long while ENABLE is 1."""
    keep_rows: int = Field(default=1_000_000, ge=1000)
    """Of the gateway's own record."""
    metrics: HostPort | None = None
    """Numbers for Prometheus, of all stations of this gateway; None: none are served."""

    @model_validator(mode="after")
    def _one_commands(self) -> PlcConfig:
        if self.commands not in (None, "none") and getattr(self, self.commands) is None:
            raise ValueError(f"commands: {self.commands}, but there is no `{self.commands}`")
        return self

    @property
    def commander(self) -> str | None:
        """The way that gives orders; None: nobody does."""
        if self.commands is not None:
            return None if self.commands == "none" else self.commands
        takes = {
            "modbus": self.modbus is not None,
            "modbus_client": self.modbus_client is not None and self.modbus_client.commands_at is not None,
            "s7": self.s7 is not None and self.s7.commands_db is not None,
            "opcua": self.opcua is not None,
        }
        return next((name for name, can in takes.items() if can), None)

    @property
    def ways(self) -> list[str]:
        """Which are open, by name."""
        names = ("modbus", "modbus_client", "opcua", "s7", "mqtt", "gpio")
        return [name for name in names if getattr(self, name) is not None]
