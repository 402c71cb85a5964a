"""`sad-command`: gives a station an order over its command socket, and says what the station answered.

What orders there are is in messages.py, what becomes of them in station/orders.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq
from pydantic import ValidationError

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.feed_keys import add_key_options, keys_from
from sad_runtime.errors import SadError, UsageError
from sad_runtime.feed.address import check_address, ipc_path
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.entry import Entry
from sad_runtime.messages import Command, CommandReply, MessageError, decode, encode
from sad_runtime.station.lock import running
from sad_runtime.station.state_folder import StateFolder, default_state_root

REFUSED = 4
NO_ANSWER = 1
SOON_S = 5.0
CHANGE_OVER_S = 190.0
"""What a change-over may take (station/orders.py), and a little more."""
LOOK_MS = 100
LOCK_EVERY_S = 1.0
EXAMPLES = """\
  sad-command recipe 2                      make part 2 from now on; also after its bundle was replaced by a new one
  sad-command recipe 2 --expect DIGEST      only if its bundle holds this very model (sad-bundle inspect shows it)
  sad-command rollback                      back to the version of the recipe in force that judged before
  sad-command pause --station line2
  sad-command trigger --part-id 1001
  sad-command resume --address tcp://10.0.0.5:5558 --server-key line1.key --key office.key_secret"""
DONE = {
    "trigger": "the part is accepted; its verdict comes with the feed (sad-tail)",
    "ack": "noted",
    "pause": "paused",
    "resume": "resumed",
    "resync": "triggers that waited are refused; parts and pictures are counted anew",
}


class NoAnswer(SadError):
    """Nobody knows whether the order was carried out, or nobody is there to do it."""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(_parser(), _send, argv)


def _send(arguments: argparse.Namespace) -> int:
    folder = StateFolder(arguments.state or default_state_root(), arguments.station)
    address = arguments.address or f"ipc://{folder.commands.absolute()}"
    command = _command(arguments)
    limit_s = arguments.timeout or (CHANGE_OVER_S if command.op in ("recipe", "rollback") else SOON_S)
    post = Post(check_address(address), keys_from(arguments), folder if arguments.address is None else None)
    try:
        reply = post.sent(command, limit_s)
    except NoAnswer as error:
        if arguments.json:
            print(json.dumps({"answered": False, "ok": False, "error": str(error)}))
        else:
            print(f"sad-command: {error}", file=sys.stderr)
        return NO_ANSWER
    if arguments.json:
        print(json.dumps({"answered": True, **reply.model_dump()}))
    elif reply.ok:
        print(_done(command, reply))
    else:
        print(f"sad-command: the station says no: {reply.error}{_still(reply)}", file=sys.stderr)
    return 0 if reply.ok else REFUSED


def _command(arguments: argparse.Namespace) -> Command:
    given = {name: vars(arguments).get(name) for name in Command.model_fields}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Command.model_validate({"id": os.getpid(), **values})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


class Post:
    """One order, one answer. `folder`: of the station, where it is on this computer."""

    def __init__(self, address: str, keys: ClientKeys | None, folder: StateFolder | None) -> None:
        self._address, self._keys, self._folder = address, keys, folder

    def sent(self, command: Command, limit_s: float) -> CommandReply:
        """Raises NoAnswer."""
        path = ipc_path(self._address)
        if path is not None and not path.exists() and self._folder is not None:
            self._check_runs()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        if self._keys is not None:
            self._keys.apply(socket)
        entry = Entry(context, socket, self._address, self._keys)
        try:
            socket.connect(self._address)
            socket.send(encode(command))
            return self._answer(socket, entry, command, limit_s)
        except zmq.ZMQError as error:
            raise NoAnswer(f"{self._address}: {error}") from None
        finally:
            entry.close()
            socket.close(linger=0)
            context.term()

    def _answer(self, socket: zmq.Socket[bytes], entry: Entry, command: Command, limit_s: float) -> CommandReply:
        begin_s = time.monotonic()
        looked_s = begin_s
        while (now_s := time.monotonic()) - begin_s < limit_s:
            if socket.poll(LOOK_MS):
                try:
                    reply = decode(CommandReply, socket.recv())
                except MessageError as error:
                    raise NoAnswer(f"{self._address}: what answers there is no station ({error})") from None
                if reply.id != command.id:
                    raise NoAnswer(f"{self._address}: answered something else (id {reply.id}, not {command.id})")
                return reply
            entry.look()
            if entry.refusal is not None:
                raise NoAnswer(entry.refusal)
            if self._folder is not None and now_s - looked_s > LOCK_EVERY_S:
                looked_s = now_s
                self._check_runs()
        raise NoAnswer(f"no answer within {limit_s:g} s. {self._why()}")

    def _check_runs(self) -> None:
        if self._folder is not None and running(self._folder.lock) is None:
            raise NoAnswer(
                f"station {self._folder.station} does not run with the state folder {self._folder.root}. Start it with "
                "sad-runtime, or name another one: --station NAME, --state DIR, --address ADDR"
            )

    def _why(self) -> str:
        if self._folder is None:
            return f"Is the station running, and is {self._address} its command socket?"
        who = f"Station {self._folder.station} runs (process {running(self._folder.lock) or 'just ended'})"
        path = self._folder.commands
        if not path.exists():
            return f"{who}, but has no {path}: its command socket is elsewhere (feed.commands); name it with --address"
        if not os.access(path, os.W_OK):
            return f"{who}, but {path} is closed to this user; be of its group"
        return f"{who}, but is busy with another order, or hangs. The heartbeat tells (sad-tail)"


def _done(command: Command, reply: CommandReply) -> str:
    if command.op in ("recipe", "rollback"):
        return f"recipe {reply.recipe} is in force, model {reply.model_digest}"
    return DONE[command.op]


def _still(reply: CommandReply) -> str:
    return f" (in force is recipe {reply.recipe}, model {reply.model_digest})" if reply.recipe is not None else ""


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("sad-command", "Gives a running station an order, and waits for its answer.", EXAMPLES)
    _add_where(parser, default=True)
    orders = parser.add_subparsers(dest="op", required=True, metavar="ORDER")

    def order(name: str, what: str) -> argparse.ArgumentParser:
        made = orders.add_parser(name, help=what, description=what.capitalize() + ".", allow_abbrev=False)
        _add_where(made, default=False)
        return made

    recipe = order("recipe", "put a recipe in force, by its bundle as it is now")
    recipe.add_argument("recipe", type=int, metavar="N", help="its number in the station's file")
    recipe.add_argument(
        "--expect", dest="model_digest", type=_digest, metavar="DIGEST", help="only if it is this model"
    )
    back = order("rollback", "put the version before in force")
    back.add_argument("recipe", type=int, nargs="?", metavar="N", help="of this recipe (the one in force)")
    order("pause", "answer every part as not online")
    order("resume", "judge parts again after a pause")
    order("resync", "refuse the triggers that wait, and count parts and pictures anew")
    trigger = order("trigger", "judge a part now")
    trigger.add_argument("--part-id", type=int, metavar="N")
    trigger.add_argument("--trigger-id", type=int, metavar="N")
    trigger.add_argument("--encoder", type=int, metavar="N", help="position of the line")
    trigger.add_argument("--deadline", dest="deadline_ms", type=int, metavar="MS", help="the recipe's own, if left out")
    ack = order("ack", "say that a decision was taken")
    ack.add_argument("seq", type=int, metavar="SEQ")
    return parser


def _add_where(parser: argparse.ArgumentParser, *, default: bool) -> None:
    """Before and after the order alike; what stands before it holds unless it is said again."""

    def given(value: Any) -> Any:
        return value if default else argparse.SUPPRESS

    add = parser.add_argument
    add("--station", metavar="NAME", default=given("line1"), help="which station of this computer (line1)")
    add(
        "--state", type=Path, metavar="DIR", default=given(None), help="its state folder, where it was started with one"
    )
    add("--address", metavar="ADDR", default=given(None), help="its command socket, where it has one of its own")
    add("--timeout", type=_seconds, metavar="S", default=given(None), help="how long to wait for the answer")
    add("--json", action="store_true", default=given(False), help="one JSON object on stdout")
    add_key_options(parser, given(None))


def _digest(text: str) -> str:
    found = text.lower()
    if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"'{text}' is not the digest of a model: the 64 hex digits of its SHA-256")
    return found


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a time in seconds; write for example 10")
    return value


if __name__ == "__main__":
    sys.exit(main())
