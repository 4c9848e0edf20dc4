"""SHA-256 without OpenSSL, the loading of which costs each client 1 to 2 ms."""

from __future__ import annotations

__all__ = ["sha256"]

try:  # what hashlib falls back to itself
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:  # a Python built without them
        from hashlib import sha256
