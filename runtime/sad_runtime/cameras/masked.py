"""Takes passwords out of the text that people will read: errors, logs, records, facts."""

from __future__ import annotations

import re

HIDDEN = "***"
# Greedy up to the last @ of a word: a password may itself hold an @ or a slash that nobody escaped.
IN_ADDRESS = re.compile(r"(://[^\s:/@]*:)\S*(?=@)")
AS_VALUE = re.compile(r"(\b(?:user-pw|password|passwd|pwd|passphrase)\s*=\s*)(?:\"[^\"]*\"|[^\s&;,]+)", re.IGNORECASE)


def masked(text: str) -> str:
    """`rtsp://user:secret@host` as `rtsp://user:***@host`, `user-pw=secret` as `user-pw=***`."""
    return AS_VALUE.sub(rf"\1{HIDDEN}", IN_ADDRESS.sub(rf"\1{HIDDEN}", text))
