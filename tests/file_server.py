"""A local web server with switches for what can go wrong between it and a download."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What is served under each path, how, and what was asked for."""

    def __init__(self, url: str):
        self.url = url
        self.files: dict[str, bytes] = {}
        self.ranges = True  # answers to Range with a part
        self.if_range = True  # heeds If-Range
        self.misplaced = 0  # bytes by which it says that a part begins too late
        self.etag = '"one"'
        self.length = True  # says how much will come
        self.answers: list[int] = []  # statuses of the next requests, before it serves
        self.cuts: list[int] = []  # bytes after which the next connections are cut
        self.pause = 0.0  # seconds before every 16 kB
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def asked(self, header: str) -> list[str | None]:
        """A header of all requests so far."""
        return [headers.get(header) for _, headers in self.requests]


@contextmanager
def serve():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            server.requests.append((self.path, dict(self.headers)))
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.end_headers()
                return
            if server.answers and (status := server.answers.pop(0)) != 200:
                self.send_error(status)
                return
            if self.path not in server.files:
                self.send_error(404)
                return
            self.give(server.files[self.path])

        def give(self, data):
            start, wanted = 0, self.headers.get("Range")
            mark = self.headers.get("If-Range")
            if mark and server.if_range and mark != server.etag:
                wanted = None
            if wanted and server.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206)
                first = start + server.misplaced
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if server.length:
                self.send_header("Content-Length", str(len(data) - start))
            if server.etag:
                self.send_header("ETag", server.etag)
            self.end_headers()
            end = min(len(data), start + server.cuts.pop(0)) if server.cuts else len(data)
            try:
                for at in range(start, end, 16_384):
                    time.sleep(server.pause)
                    self.wfile.write(data[at : min(at + 16_384, end)])
            except OSError:
                pass  # the other side has gone
            self.close_connection = True

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = Server(f"http://127.0.0.1:{listener.server_port}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
