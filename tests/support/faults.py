"""A real HTTP server that serves a folder by ranges and does wrong what it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Faults:
    """``planted``: end of a path -> what is done, once an entry; the last entry stays if it is ``...``
    behind it. ``asked`` counts requests by path."""

    folder: Path
    planted: dict[str, list[Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    marks: dict[str, Any] = field(default_factory=dict)
    """End of a path -> its ETag; of a list one an answer, the last of them again and again."""
    encodings: dict[str, str] = field(default_factory=dict)
    latency_s: float = 0.0
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def mark(self, path: str) -> str:
        with self.lock:
            for end, mark in self.marks.items():
                if path.endswith(end):
                    return str(mark if isinstance(mark, str) else mark.pop(0) if len(mark) > 1 else mark[0])
        return ""

    def next(self, path: str) -> str:
        with self.lock:
            self.asked[path] += 1
            for end, todo in self.planted.items():
                if path.endswith(end) and todo:
                    return str(todo[0] if todo[-1] is ... else todo.pop(0))
        return ""


@contextmanager
def serve(folder: Path, host: str = "127.0.0.1") -> Iterator[Faults]:
    faults = Faults(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, faults)

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    faults.address = f"http://{host}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, faults: Faults) -> None:
    url = urlsplit(handler.path)
    path = faults.folder / unquote(url.path).lstrip("/")
    what = faults.next(url.path)
    time.sleep(faults.latency_s)
    if what.startswith("status "):
        return _status(handler, *what.split(" ")[1:])
    if what.startswith("redirect "):
        return _status(handler, "302", location=what.split(" ")[1] or handler.path)
    if what == "signature" and "token=new" not in url.query:
        return _status(handler, "403")
    if what == "reset":
        return _hang_up(handler)
    if what == "hang":
        time.sleep(3)
        return _hang_up(handler)
    if not path.is_file():
        return _status(handler, "404")
    mark = faults.mark(url.path)
    if handler.headers.get("If-Match", mark) != mark:
        return _status(handler, "412")
    encoding = next((e for end, e in faults.encodings.items() if url.path.endswith(end)), "")
    about = {"ETag": mark, "Content-Encoding": encoding}
    return _range(handler, path.read_bytes(), what, {k: v for k, v in about.items() if v})


def _status(handler: BaseHTTPRequestHandler, status: str, after: str = "", location: str = "") -> None:
    handler.send_response(int(status))
    handler.send_header("Content-Length", "0")
    if after:
        handler.send_header("Retry-After", after)
    if location:
        handler.send_header("Location", location)
    handler.end_headers()


def _range(handler: BaseHTTPRequestHandler, content: bytes, what: str, about: dict[str, str]) -> None:
    first, last = 0, len(content) - 1
    asked = handler.headers.get("Range", "")
    whole = not asked or what == "whole"
    if not whole:
        first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
    if first > last:
        return _status(handler, "416")
    if what == "wrong range" and first:
        first, last = first - 7, last - 7
    body = content[first : last + 1]
    if what == "garbage":
        body = bytes(len(body))
    handler.send_response(200 if whole else 206)
    if not whole:
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in about.items():
        handler.send_header(name, value)
    handler.end_headers()
    if what == "drip":
        return _drip(handler, body)
    with suppress(ConnectionError):  # GDAL hangs up when it has what it wants
        handler.wfile.write(body[: len(body) // 2] if what == "truncate" else body)
    if what == "truncate":
        return _hang_up(handler)
    return None


def _drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    with suppress(ConnectionError):
        for k in range(len(body)):
            handler.wfile.write(body[k : k + 1])
            time.sleep(0.01)


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
