"""`sad-plc`: serves PLCs from a station's feed. `simulate` is a PLC to try it with, `log` shows what was told."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.cli import plc_log
from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.feed_keys import add_key_options, keys_from
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.plc.gateway import Gateway
from sad_runtime.plc.selection import Flags, Selected, selected
from sad_runtime.plc.simulator import cli as simulator
from sad_runtime.station.stopping import StopRequest

GRACE_S = 5.0
log = logging.getLogger("sad.plc")
EXAMPLES = """\
  sad-plc                                    the station on this box, as a Modbus/TCP server at 127.0.0.1:5020
  sad-plc --config configs/station.yaml      by the ways its section `plc:` names (configs/station-plc.yaml has all)
  sad-plc --config configs/plant.yaml        all stations of a plant; the PLC finds them as units 1, 2, 3 ...
  sad-plc --modbus 127.0.0.1:502 --opcua opc.tcp://127.0.0.1:4840
  sad-plc --feed tcp://10.0.0.5:5555 --commands tcp://10.0.0.5:5558 --server-key line1.key --key gateway.key_secret
  sad-plc simulate                           a PLC with a conveyor, in this terminal, that uses the gateway
  sad-plc log --since 2h --kind fault        what was wrong in the last two hours
The registers, the handshake and the rules: docs/plc.md"""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(_parser(), lambda arguments: arguments.work(arguments), argv)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sad-plc",
        "From a station's feed to a PLC that rejects by default: Modbus/TCP, OPC UA, S7, MQTT, GPIO.",
        EXAMPLES,
    )
    parser.set_defaults(work=_serve)
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="the station's file, or a plant's")
    add("--station", metavar="NAME", help="which station (line1, or all of a plant)")
    add("--state", type=Path, metavar="DIR", help="the station's --state (the user's own)")
    add("--feed", metavar="ADDR", help="the station's decisions (tcp://127.0.0.1:5555)")
    add("--commands", metavar="ADDR", help="its command socket (the socket file in its state folder)")
    add("--modbus", metavar="HOST:PORT", help="serve Modbus/TCP here (127.0.0.1:5020 where nothing else is named)")
    add("--opcua", metavar="URL", help="serve OPC UA here, opc.tcp://HOST:PORT; without `users` on 127.0.0.1 only")
    add("--metrics", metavar="HOST:PORT", help="numbers for Prometheus at http://HOST:PORT/metrics")
    add("--check", action="store_true", help="say what would be opened, and open nothing")
    add_key_options(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=False)
    simulate = commands.add_parser("simulate", help="a PLC with a conveyor that uses a running gateway")
    simulator.add_arguments(simulate)
    simulate.set_defaults(work=simulator.simulate)
    told = commands.add_parser("log", help="what was shown to the PLC and what it said")
    plc_log.add_arguments(told)
    told.set_defaults(work=plc_log.log)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    chosen = selected(
        Flags(
            config=arguments.config,
            station=arguments.station,
            state=arguments.state,
            feed=arguments.feed,
            commands=arguments.commands,
            keys=keys_from(arguments),
            modbus=arguments.modbus,
            opcua=arguments.opcua,
        )
    )
    gateway = Gateway(chosen.stations, chosen.state, arguments.metrics or chosen.metrics)
    for line in _plan(chosen, gateway):
        print(line, file=sys.stdout if arguments.check else sys.stderr)
    if arguments.check:
        return 0
    watchdog = os.environ.get("WATCHDOG_USEC", "")
    notify = SdNotify(os.environ.get("NOTIFY_SOCKET"), int(watchdog) if watchdog.isdigit() else None)
    with StopRequest(GRACE_S) as stop, notify as service, gateway:
        service.ready("serves " + ", ".join(way.name for way in gateway.ways))
        log.info("serving %s", ", ".join(way.name for way in gateway.ways))
        return gateway.run(stop.requested, service)


def _plan(chosen: Selected, gateway: Gateway) -> list[str]:
    lines = []
    for station in chosen.stations:
        settings = station.settings
        ways = [way.name for way in gateway.ways if settings.station in way.stations]
        orders = settings.commands or "none: its command socket is not named (--commands), so a PLC cannot trigger"
        lines += [f"station {settings.station}: feed {settings.feed}", f"  orders to {orders}", f"  {', '.join(ways)}"]
    return lines


if __name__ == "__main__":
    sys.exit(main())
