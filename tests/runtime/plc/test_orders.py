"""Orders to a station's command socket, and what becomes of those that nobody answers."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from feeds import wait_until
from sad_runtime.messages import Command, CommandReply, decode, encode
from sad_runtime.plc.answer import Answer, NoReply
from sad_runtime.plc.orders import Orders

TRIGGER = Command(id=1, op="trigger", trigger_id=7, part_id=1, encoder=0, deadline_ms=100)
RECIPE = Command(id=2, op="recipe", recipe=3)
Answers = queue.SimpleQueue[tuple[Command, Answer]]


@contextmanager
def station(address: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 5000
        socket.bind(address)
        yield socket


def asked(socket: zmq.Socket[bytes]) -> tuple[bytes, Command]:
    sender, *_, request = socket.recv_multipart()
    return sender, decode(Command, request)


def once_connected(orders: Orders, answers: Answers, command: Command) -> None:
    """Sends until somebody is there to hear it."""

    def heard() -> bool:
        orders.send(command)
        try:
            return answers.get(timeout=0.05)[1] is not NoReply.NOT_SENT
        except queue.Empty:
            return True

    wait_until(heard, "the station hears an order")


def test_what_the_station_answers_comes_back(tmp_path: Path) -> None:
    answers: Answers = queue.SimpleQueue()
    address = f"ipc://{tmp_path}/commands"
    with station(address) as socket, Orders(address, None, lambda *told: answers.put(told)) as orders:
        once_connected(orders, answers, TRIGGER)
        sender, command = asked(socket)
        assert command == TRIGGER
        socket.send_multipart([sender, encode(CommandReply(id=1, ok=True))])
        assert answers.get(timeout=5) == (TRIGGER, CommandReply(id=1, ok=True))


def test_a_trigger_for_nobody_is_never_kept_for_whoever_comes_later(tmp_path: Path) -> None:
    answers: Answers = queue.SimpleQueue()
    address = f"ipc://{tmp_path}/commands"
    with Orders(address, None, lambda *told: answers.put(told)) as orders:
        orders.send(TRIGGER)
        assert answers.get(timeout=5) == (TRIGGER, NoReply.NOT_SENT)
        with station(address) as socket:
            assert not socket.poll(1000)


def test_a_station_that_says_nothing_is_given_up_and_a_late_answer_is_nobodys(tmp_path: Path) -> None:
    answers: Answers = queue.SimpleQueue()
    address = f"ipc://{tmp_path}/commands"
    with station(address) as socket, Orders(address, None, lambda *told: answers.put(told)) as orders:
        once_connected(orders, answers, TRIGGER)
        sender, _ = asked(socket)
        assert answers.get(timeout=5) == (TRIGGER, NoReply.NO_ANSWER)
        socket.send_multipart([sender, encode(CommandReply(id=1, ok=True))])
        assert orders.failure is None
        try:
            told = answers.get(timeout=0.3)
        except queue.Empty:
            told = None
        assert told is None


def test_a_change_over_is_waited_for_until_the_station_is_started_anew(tmp_path: Path) -> None:
    answers: Answers = queue.SimpleQueue()
    address = f"ipc://{tmp_path}/commands"
    with station(address) as socket, Orders(address, None, lambda *told: answers.put(told)) as orders:
        once_connected(orders, answers, RECIPE)
        asked(socket)
        orders.forget()
        assert answers.get(timeout=5) == (RECIPE, NoReply.NO_ANSWER)


def test_orders_that_cannot_be_sent_any_more_say_so() -> None:
    with Orders("ipc:///" + "x" * 200, None, lambda *told: None) as orders:
        wait_until(lambda: orders.failure is not None, "the failure is told")


def test_without_an_address_every_order_is_answered_at_once() -> None:
    answers: Answers = queue.SimpleQueue()
    with Orders(None, None, lambda *told: answers.put(told)) as orders:
        orders.send(RECIPE)
        assert answers.get(timeout=5) == (RECIPE, NoReply.NOT_SENT)
