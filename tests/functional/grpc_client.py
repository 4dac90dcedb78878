"""A gRPC client that tries everything, for tests: it prints what came of it as JSON.

The arguments are the target, the proxy's URL or nothing, and the file of an authority or nothing
for no TLS.
"""

from __future__ import annotations

import json
import queue
import sys
from pathlib import Path
from typing import Any

import grpc

MESSAGES = 10_000
TURNS = 1000
SECONDS = 100


def unary(channel: Any) -> Any:
    call = channel.unary_unary("/test.Test/Unary")
    answer, info = call.with_call(b"question", timeout=SECONDS, metadata=(("probe", "seen"),))
    trailing = dict(info.trailing_metadata())
    return [
        answer.decode(),
        info.code().name,
        dict(info.initial_metadata())["initial"],
        trailing["trailing"],
        trailing["raw-bin"].hex(),
    ]


def large(channel: Any) -> Any:
    message = bytes(range(256)) * 12_000
    answer = channel.unary_unary("/test.Test/Unary")(message, timeout=SECONDS)
    return answer == message + b"!"


def many_back(channel: Any) -> Any:
    answers = channel.unary_stream("/test.Test/ManyBack")(b"%d" % MESSAGES, timeout=SECONDS)
    return [int(answer) for answer in answers] == list(range(MESSAGES))


def many_there(channel: Any) -> Any:
    numbers = (b"%d" % number for number in range(MESSAGES))
    return int(channel.stream_unary("/test.Test/ManyThere")(numbers, timeout=SECONDS))


def both(channel: Any) -> Any:
    numbers = (b"%d" % number for number in range(MESSAGES))
    answers = channel.stream_stream("/test.Test/Both")(numbers, timeout=SECONDS)
    return [int(answer) for answer in answers] == list(range(MESSAGES))


def in_turn(channel: Any) -> Any:
    """Send a message only when the answer to the one before is there."""
    waiting: queue.Queue[bytes | None] = queue.Queue()
    answers = channel.stream_stream("/test.Test/Both")(iter(waiting.get, None), timeout=SECONDS)
    for number in range(TURNS):
        waiting.put(b"%d" % number)
        if next(answers) != b"%d" % number:
            return number
    waiting.put(None)
    return [TURNS, list(answers), answers.code().name]


def fail(channel: Any) -> Any:
    try:
        channel.unary_unary("/test.Test/Fail")(b"", timeout=SECONDS)
    except grpc.RpcError as error:
        return [error.code().name, error.details(), dict(error.trailing_metadata())["why"]]
    return None


def fail_late(channel: Any) -> Any:
    answers = channel.unary_stream("/test.Test/FailLate")(b"", timeout=SECONDS)
    found = []
    try:
        found += [next(answers).decode(), next(answers).decode()]
        next(answers)
    except grpc.RpcError as error:
        found += [error.code().name, error.details()]
    return found


def unknown(channel: Any) -> Any:
    try:
        channel.unary_unary("/test.Test/Unknown")(b"", timeout=SECONDS)
    except grpc.RpcError as error:
        return error.code().name
    return None


def slow(channel: Any) -> Any:
    try:
        channel.unary_unary("/test.Test/Slow")(b"", timeout=3)
    except grpc.RpcError as error:
        return error.code().name
    return None


def main() -> None:
    target, proxy, authority = sys.argv[1:]
    options = [("grpc.http_proxy", proxy)] if proxy else [("grpc.enable_http_proxy", 0)]
    if authority:
        credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
        channel = grpc.secure_channel(target, credentials, options=options)
    else:
        channel = grpc.insecure_channel(target, options=options)
    tried = (
        unary, large, many_back, many_there, both, in_turn, fail, fail_late, unknown, slow,
    )  # fmt: skip
    with channel:
        print(json.dumps({each.__name__: each(channel) for each in tried}))


if __name__ == "__main__":
    main()
