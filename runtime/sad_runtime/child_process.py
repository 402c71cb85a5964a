"""How a process of ours is started beside this one: by module, and never importing a file that lies beside the user."""

from __future__ import annotations

import sys

START = (
    "import runpy, sys; sys.path[:] = [path for path in sys.path if path]; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def command_for(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", START, module, *arguments]
