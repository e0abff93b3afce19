"""A local web server that breaks off, refuses or changes its files on demand."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("server.pem")
"""Key and certificate of the server where it speaks TLS; clients must be told to trust it."""


class FileServer:
    """Serves ``files`` (path -> bytes). ``break_at`` holds, for the answers to come, where to stop.

    ``requests`` lists path and Range header of what was asked. ``redirects`` (path -> address) are
    answered with 302. A server that ``ignores_ranges`` sends the whole file each time.
    """

    def __init__(self, files):
        self.files, self.break_at, self.requests = dict(files), [], []
        self.etags, self.ignores_ranges, self.redirects = True, False, {}

    def answer(self, handler):
        """Answer one GET as a web server would, ranges included."""
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        if handler.path in self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects[handler.path])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        etag = f'"{hash(content)}"'
        same = handler.headers.get("If-Range") in (None, etag) and not self.ignores_ranges
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and same else 0
        if start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            handler.send_header("Content-Range", place)
        if self.etags:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        stop = self.break_at.pop(0) if self.break_at else len(content)
        handler.wfile.write(content[start:stop])
        handler.close_connection = True


@contextmanager
def serving(files, tls=False):
    """Yield a :class:`FileServer` and its address."""
    server = FileServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
