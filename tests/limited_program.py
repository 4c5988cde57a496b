"""A program that breaks the limits of ``slmstudio.runs.limited_child`` on request."""

import json
import os
import re
import time

from slmstudio.runs.limited_child import serve

KINDS = {"jsonl": "chats", "csv": "csv", "json": "json"}


def answer(request: str) -> str:
    """What the request says."""
    if request == "loop" or request.startswith(('["exchanges"', '["table"', '["rows"')):
        while True:
            pass
    if request.startswith('["detect"'):
        name = json.loads(request)[1]["name"]
        return json.dumps({"value": KINDS[name.rpartition(".")[2]]})
    if request == "match":  # holds the interpreter
        re.match(r"(a+)+$", "a" * 60 + "b")
    if request == "memory":
        return str(len([bytearray(2**20) for _ in range(2_000)]))
    if request == "fail":
        raise ValueError("the text of a document")
    if request == "leave":
        os._exit(0)
    if request == "secrets":
        return ",".join(name for name in ("DATABASE_URL", "SECRET_KEY", "REDIS_URL") if name in os.environ)
    if request == "sleep":
        time.sleep(1)
    if request == "work":
        until = time.process_time() + 0.25
        while time.process_time() < until:
            pass
    return f"{os.getpid()} {request}"


if __name__ == "__main__":
    serve(answer)
