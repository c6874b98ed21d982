"""A server on the loopback that imitates the hub's file interface."""

import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


# Files from this size on are large files, which the hub keeps by their SHA-256 elsewhere.
LARGE = 50_000


class FakeHub(ThreadingHTTPServer):
    """The hub's listing and files, with what can go wrong.

    Attributes
    ----------
    files : dict
        Repository to file to content.
    statuses : dict
        Path to the status that it is answered with.
    served : dict
        File to what is sent instead of what is announced.
    cut_after : list of int
        For the next answers: bytes after which the connection ends.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.statuses, self.served = {}, {}, {}
        self.cut_after, self.requests = [], []
        self.ranges, self.sizes, self.page = True, True, None
        self.cdn = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, method="GET"):
        return [(path, headers.get("Range")) for m, path, headers in self.requests if m == method and "resolve" in path]

    def handle_error(self, request, client_address):
        pass  # connections are cut on purpose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        server = self.server
        path, _, query = self.path.partition("?")
        server.requests.append((self.command, path, dict(self.headers)))
        for mark, (status, code) in server.statuses.items():
            if mark in path:
                return self.reply(status, b"{}", {"X-Error-Code": code} if code else {})
        if server.page is not None:
            return self.reply(200, server.page, {"Content-Type": "text/html"})
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            assert query == "blobs=true" and revision in ("", "main", COMMIT)
            return self.reply(200, json.dumps(self.listing(name)).encode(), {"Content-Type": "application/json"})
        name, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        content = server.files[name][file]
        large = len(content) >= LARGE
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git_hash(content)}"'}
        if large:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{sha256(content)}"'}
            if server.cdn is not None:
                return self.reply(302, b"", headers | {"Location": f"{server.cdn.endpoint}{self.path}"})
        content = server.served.get(file, content)
        status, start = 200, 0
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.reply(416, b"")
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        self.reply(status, content[start:] if body else b"", headers, len(content) - start)

    def listing(self, name):
        siblings = []
        for file, content in self.server.files[name].items():
            entry = {"rfilename": file}
            if self.server.sizes:
                entry |= {"size": len(content), "blobId": git_hash(content)}
                if len(content) >= LARGE:
                    entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}

    def reply(self, status, content, headers=(), length=None):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command == "GET" and "resolve" in self.path and status < 300 and self.server.cut_after:
            self.wfile.write(content[: self.server.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(content)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def git_hash(content):
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@contextmanager
def serving():
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
