"""ZeroMQ: its versions, whether it can encrypt, and whether a message gets through this machine's own loopback."""

from __future__ import annotations

import zmq

from sad_runtime.selftest.line import Line, bad, ok, warn

PATIENCE_MS = 3000


def feed_lines() -> list[Line]:
    text = f"pyzmq {zmq.pyzmq_version()}, libzmq {zmq.zmq_version()}"
    curve = bool(zmq.has("curve"))
    if not _crosses():
        mend = "A firewall or sandbox shuts the loopback: sad-tail and the gateway would see nothing."
        return [bad("zeromq", f"{text}; a message over 127.0.0.1 did not arrive", mend, curve=curve)]
    if not curve:
        mend = "A feed that leaves this machine needs CURVE. Run: pip install --force-reinstall pyzmq"
        return [warn("zeromq", f"{text}, no CURVE", mend, curve=False)]
    return [ok("zeromq", f"{text}, CURVE yes; a message crossed the loopback", curve=True)]


def _crosses() -> bool:
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.linger = other.linger = 0
        other.connect(f"tcp://127.0.0.1:{one.bind_to_random_port('tcp://127.0.0.1')}")
        one.send(b"?")
        return bool(other.poll(PATIENCE_MS)) and other.recv() == b"?"
