"""Every error that sad raises on purpose, and the exit code each one ends a command with.

    SadError ................ 1  anything else
    ├── UsageError .......... 2  wrong arguments or configuration, found before any device is opened
    │   ├── ConfigError ........ a YAML file or manifest that does not fit its schema
    │   ├── DataError .......... pictures or data sets that cannot be used
    │   ├── BundleError ........ a .sad file that is damaged, foreign, or too new
    │   ├── MissingExtra ....... an optional package that is not installed
    │   └── Unavailable ..... 1  what may pass by itself: an address in use, a folder that cannot be written yet
    ├── AlreadyRunning ...... 3  a second process for the same station or run folder
    ├── GateFailed .......... 4  a gate said no: parity, accuracy, promise, signature
    ├── DeviceLost .......... 5  a device is gone for good; a supervisor should start the command again
    ├── BackendError ........ 1  an inference engine refused a model or failed while running it
    └── CameraError ......... 1  a camera that is absent, refused its settings, or went away

A message says what, where, and how to mend it.
"""

from __future__ import annotations


class SadError(Exception):
    exit_code = 1


class UsageError(SadError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class DataError(UsageError):
    pass


class BundleError(UsageError):
    pass


class MissingExtra(UsageError):
    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f"{why} needs {package}. Run: pip install 'sad-inspection[{extra}]'")


class Unavailable(UsageError):
    """A supervisor is to start the command again."""

    exit_code = 1


class AlreadyRunning(SadError):
    exit_code = 3


class GateFailed(SadError):
    exit_code = 4


class DeviceLost(SadError):
    exit_code = 5


class BackendError(SadError):
    pass


class CameraError(SadError):
    pass
