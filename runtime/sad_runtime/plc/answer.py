"""What became of an order to the station: its reply, or why there is none."""

from __future__ import annotations

from enum import Enum

from sad_runtime.messages import CommandReply


class NoReply(Enum):
    NOT_SENT = "the station's command socket is not there"
    NO_ANSWER = "the station does not answer"


Answer = CommandReply | NoReply
