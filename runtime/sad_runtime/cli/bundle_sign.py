"""`sad-bundle sign` and `sad-bundle keygen`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.bundle import read_bundle, write_signed_copy
from sad_runtime.cli.passphrase import asked_twice
from sad_runtime.signature import Signer
from sad_runtime.signing_keys import read_secret, trusted_keys, write_key_pair


def sign(path: Path, signer: Signer, out: Path, trust: Sequence[str]) -> int:
    made = write_signed_copy(read_bundle(path, trusted_keys(trust)), signer, out)
    print(f"{out}: written, signed by {made}")
    return 0


def keygen(name: Path, passphrase_file: Path | None, *, ask: bool) -> int:
    passphrase = read_secret(passphrase_file) if passphrase_file is not None else None
    if ask:
        passphrase = asked_twice(name.with_name(f"{name.name}.key"))
    private, public, key = write_key_pair(name, passphrase)
    if passphrase is None:
        print("warning: whoever can read this key can sign in your name; --ask-passphrase locks it", file=sys.stderr)
    print(f"{private}  the private key: keep it where bundles are signed, and a copy in a safe")
    print(f"{public}  the public key: give it to every station, sad-runtime --trust {public}")
    print(f"key id  {key.id}")
    return 0
