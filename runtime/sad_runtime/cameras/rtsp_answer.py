"""Why a network camera does not open: FFmpeg only says that it did not, so the camera is asked once more, by hand."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from sad_runtime.cameras.masked import masked

RTSP_PORT = 554
ANSWER_S = 2.0
SHAPE = "rtsp://USER:PASSWORD@HOST:554/PATH"


def why_not(address: str) -> str:
    """What is wrong with `address`, and how to mend it. Takes a few seconds at most, and names no password."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or RTSP_PORT
    except ValueError:  # its text may hold a piece of the password
        return f"the address cannot be read; write {SHAPE}, with / and @ of a password as %2F and %40."
    if not host:
        return f"the address names no host; write {SHAPE}."
    shown = f"[{host}]" if ":" in host else host
    try:
        status = _status(host, port, f"rtsp://{shown}:{port}{parts.path}{'?' if parts.query else ''}{parts.query}")
    except socket.gaierror:
        return f"the name {host} is not known here. Write its IP address, or mend the DNS."
    except ConnectionRefusedError:
        return f"{host} is there, but its port {port} is closed. Is RTSP switched on in the camera, and on that port?"
    except ConnectionResetError:
        return f"{host}:{port} hangs up. Is it an RTSP port? Has the camera too many viewers?"
    except TimeoutError:
        silence = f"{host}:{port} does not answer within {ANSWER_S:g} s"
        return f"{silence}. Is the camera on, the address right? Try: ping {host}."
    except (OSError, UnicodeError) as error:
        return f"{host}:{port} cannot be reached ({getattr(error, 'strerror', None) or error})."
    return _meaning(status, bool(parts.username), parts.path)


def _status(host: str, port: int, asked: str) -> str:
    """The first line of the answer to a DESCRIBE (RFC 2326, 10.2), `RTSP/1.0 404 Not Found`."""
    with socket.create_connection((host, port), ANSWER_S) as line:
        line.settimeout(ANSWER_S)
        line.sendall(f"DESCRIBE {asked} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
        return line.recv(256).split(b"\r\n")[0].decode("ascii", "replace")[:80]


def _meaning(status: str, has_user: bool, path: str) -> str:
    if not status.startswith("RTSP/"):
        return f"it answers, but not as RTSP does ({status or 'nothing'!r}). Is the port right?"
    code, _, words = status.partition(" ")[2].partition(" ")
    if code == "401" and not has_user:
        return f"it asks for a user and a password (401). Write {SHAPE}."
    if code == "401":
        return "it refuses this user and password (401; some cameras say so of a wrong path too)."
    if code == "404":
        return f"it has no stream at '{masked(path) or '/'}' (404). The path is in the camera's manual."
    if code == "200":
        return "it answers, but its stream cannot be read. Has it a video stream, in H.264 or H.265?"
    return f"it answers {code} {words}".rstrip() + "."
