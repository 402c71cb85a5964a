"""The entry of `sad-runtime`: says how to mend an OpenCV that is missing or broken, without which no station loads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sad_runtime.errors import MissingExtra

PROG = "sad-runtime"


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        import cv2  # noqa: F401
    except (ImportError, AttributeError) as error:  # the second: made for another numpy
        return _without_opencv(error, given)
    from sad_runtime.cli.runtime import main as run

    return run(given)


def _without_opencv(error: Exception, given: Sequence[str]) -> int:
    if "--selftest" in given:
        from sad_runtime.cli.selftest import bare_selftest

        return bare_selftest(as_json="--json" in given)
    missing = MissingExtra(f"OpenCV, which cannot be loaded here ({error})", "headless", PROG)
    print(f"{PROG}: {missing}; on a Jetson take the system's own. {PROG} --selftest says more", file=sys.stderr)
    return missing.exit_code


if __name__ == "__main__":
    sys.exit(main())
