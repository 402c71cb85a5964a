"""A station of a plant, as its supervisor starts it: `sad-runtime` that is to end when the supervisor is gone."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> int:
    parent = int(sys.argv.pop(1))
    faulthandler.enable()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        return 0  # it died before the line above
    from sad_runtime.cli.runtime_start import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
