"""Faults staged on purpose, for tests and for trying out a line: `sad-runtime --inject unplug@60s+5s`."""
