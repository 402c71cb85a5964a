"""Passwords stay out of what people read."""

from __future__ import annotations

import pytest

from sad_runtime.cameras.masked import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@10.0.0.1/cam", "rtsp://me:***@10.0.0.1/cam"),
        ("rtsp://me:s@cr/et@10.0.0.1:554/cam", "rtsp://me:***@10.0.0.1:554/cam"),
        ("rtsp://:secret@10.0.0.1/cam", "rtsp://:***@10.0.0.1/cam"),
        ("rtsp://10.0.0.1:554/cam", "rtsp://10.0.0.1:554/cam"),
        ("rtsp://10.0.0.1/user=me&password=secret&channel=1", "rtsp://10.0.0.1/user=me&password=***&channel=1"),
        ("rtspsrc location=rtsp://me:secret@h/x ! a", "rtspsrc location=rtsp://me:***@h/x ! a"),
        ('rtspsrc user-id=me user-pw="sec ret" ! a', "rtspsrc user-id=me user-pw=*** ! a"),
        ("v4l2src device=/dev/video0 ! video/x-raw", "v4l2src device=/dev/video0 ! video/x-raw"),
    ],
)
def test_a_password_is_hidden_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked(text) == shown
