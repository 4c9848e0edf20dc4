"""What the queue may read of a function's result: the fixed header, never the pickle."""

from __future__ import annotations

import os
import struct

from cluster.local.wire import Content

__all__ = ["ENVELOPE", "MAGIC", "result_header"]

ENVELOPE = struct.Struct("<4sBIQIQ")  # as runner.py writes it
MAGIC = b"CLR1"
_READ = 65536  # bytes; a reason is a short text


def result_header(content: Content) -> tuple[int | None, str]:
    """Give (status byte, reason) of a function's result; (None, "") if it left none.

    Never unpickles: the fixed header and a short text are all it reads.
    """
    data = content.result.data
    if not data and content.result.file:
        try:
            with open(content.result.file, "rb") as file:
                data = file.read(_READ)
            size = os.path.getsize(content.result.file)
        except OSError:
            return None, ""
    else:
        size = len(data)
    if len(data) < ENVELOPE.size:
        return None, ""
    magic, status, _, _, reason, body = ENVELOPE.unpack_from(data)
    if magic != MAGIC or ENVELOPE.size + reason + body != size:
        return None, ""
    text = data[ENVELOPE.size : ENVELOPE.size + reason]
    return status, text.decode("utf-8", "replace")
