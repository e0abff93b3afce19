"""A local web server that breaks off, refuses or changes its files on demand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves ``files`` (path -> bytes). ``break_at`` holds, for the answers to come, where to stop.

    ``requests`` lists path and Range header of what was asked.
    """

    def __init__(self, files):
        self.files, self.break_at, self.requests = dict(files), [], []
        self.etags = True

    def answer(self, handler):
        """Answer one GET as a web server would, ranges included."""
        wanted = handler.headers.get("Range")
        self.requests.append((handler.path, wanted))
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        etag = f'"{hash(content)}"'
        same = handler.headers.get("If-Range") == etag
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
def serving(files):
    """Yield a :class:`FileServer` and its address."""
    server = FileServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        listener.server_close()
