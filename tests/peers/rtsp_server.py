"""A network camera on 127.0.0.1, for tests: H.264 over RTSP, by Debian's GstRtspServer.

Run by the system's own Python, which sees Debian's `gi`:
    /usr/bin/python3 rtsp_server.py [--user NAME:SECRET] [--fps N] [--size WxH]
It prints `serving PORT` once it listens; the picture is at /cam, grey 60 in its left half and 180 in its right.
"""

from __future__ import annotations

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PATH = "/cam"
ROLE = "viewer"


def pipeline(fps: int, width: int, height: int) -> str:
    half = f"video/x-raw,width={width // 2},height={height},framerate={fps}/1"
    return (
        f"( compositor name=both sink_1::xpos={width // 2} ! video/x-raw,width={width},height={height} "
        f"! videoconvert ! video/x-raw,format=I420 ! "
        f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph264pay name=pay0 pt=96 "
        f"videotestsrc is-live=true pattern=solid-color foreground-color=0xff3c3c3c ! {half} ! both.sink_0 "
        f"videotestsrc is-live=true pattern=solid-color foreground-color=0xffb4b4b4 ! {half} ! both.sink_1 )"
    )


def serve(fps: int, width: int, height: int, user: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline(fps, width, height))
    factory.set_shared(True)
    if user:
        server.set_auth(_only(user))
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role(ROLE, right, True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(PATH, factory)
    server.attach(None)
    print("serving", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _only(user: str) -> GstRtspServer.RTSPAuth:
    name, _, secret = user.partition(":")
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE)
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(name, secret), token)
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
    return auth


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default="")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--size", default="320x240")
    given = parser.parse_args()
    across, down = given.size.split("x")
    serve(given.fps, int(across), int(down), given.user)
