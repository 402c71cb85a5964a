"""`feed:` in the station's file: where the feed is bound, and who may reach it there.

ipc                     plain text always: the rights of the socket file and its folder guard it
tcp, with keys          CURVE always, also on 127.0.0.1, for those on the allow-list
tcp, without keys       plain text, on this computer only; elsewhere with `plain_text: true`, commands never
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from sad_runtime.errors import ConfigError
from sad_runtime.feed.address import Address, is_on_this_computer
from sad_runtime.schema import Strict


class CurveConfig(Strict):
    key: str = Field(min_length=1)
    """The station's secret key file."""
    allow: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """Public key files, and folders of them."""


class SecurityConfig(Strict):
    curve: CurveConfig | None = None
    plain_text: bool = False

    @model_validator(mode="after")
    def _one_or_the_other(self) -> SecurityConfig:
        if self.curve is not None and self.plain_text:
            raise ValueError("`curve` encrypts every tcp address, so `plain_text: true` says nothing; leave one out")
        return self


def _as_list(value: object) -> object:
    return ([value] if value else []) if isinstance(value, str) else value


OneOrMore = Annotated[list[Address], BeforeValidator(_as_list)]
"""An address, or a list of them."""


class FeedConfig(Strict):
    """`tcp://127.0.0.1:*` takes a free port."""

    decisions: list[Address] = Field(default=["tcp://127.0.0.1:5555"], min_length=1)
    heatmaps: OneOrMore = Field(default=["tcp://127.0.0.1:5556"], min_length=1)
    snapshot: OneOrMore = Field(default=["tcp://127.0.0.1:5557"], min_length=1)
    commands: OneOrMore = []
    """Empty: the ipc socket `commands.ipc` in the station's state folder."""
    security: SecurityConfig = SecurityConfig()

    @model_validator(mode="after")
    def _others_cannot_read_along(self) -> FeedConfig:
        for name, address in self.bound():
            problem = problem_of(name, address, self.security)
            if problem:
                raise ValueError(problem)
        return self

    def bound(self) -> list[tuple[str, str]]:
        """(`decisions.0`, address) and so on."""
        lists = {name: getattr(self, name) for name in ("decisions", "heatmaps", "snapshot", "commands")}
        return [(f"{name}.{index}", address) for name, found in lists.items() for index, address in enumerate(found)]


def check_reach(config: FeedConfig) -> None:
    """Once more, for a configuration that was put together by hand. Raises ConfigError."""
    for name, address in config.bound():
        problem = problem_of(name, address, config.security)
        if problem:
            raise ConfigError(problem)


def problem_of(name: str, address: str, security: SecurityConfig) -> str | None:
    """Why `address` may not be bound for the socket `name`; None when it may."""
    if is_on_this_computer(address) or security.curve is not None:
        return None
    port = address.rpartition(":")[2]
    if name.startswith("commands"):
        return (
            f"{name}: {address}: whoever reaches the command socket can trigger and pause the line, so other computers "
            "reach it encrypted only (CURVE), whatever `plain_text` says. Make keys with sad-keys, and name them under "
            f"feed.security.curve; or write tcp://127.0.0.1:{port}"
        )
    if security.plain_text:
        return None
    return (
        f"{name}: {address}: without keys the feed is plain text, so it is bound to this computer only: write "
        f"tcp://127.0.0.1:{port}. For other computers encrypt it (CURVE): make keys with sad-keys, and name them under "
        "feed.security.curve. In a network where everybody may read it, write feed.security.plain_text: true"
    )
