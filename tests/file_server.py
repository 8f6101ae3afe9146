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
        self.status = 200  # other ones are answered in place of a file
        self.cut: int | None = None  # bytes after which a connection is cut
        self.pause = 0.0  # seconds before every 16 kB
        self.redirects: dict[str, str] = {}
        self.requests: list[str] = []


@contextmanager
def serve():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            server.requests.append(self.path)
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.end_headers()
            elif server.status != 200 or self.path not in server.files:
                self.send_error(404 if server.status == 200 else server.status)
            else:
                self.give(server.files[self.path])

        def give(self, data):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            data = data[: server.cut]
            try:
                for at in range(0, len(data), 16_384):
                    time.sleep(server.pause)
                    self.wfile.write(data[at : at + 16_384])
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
