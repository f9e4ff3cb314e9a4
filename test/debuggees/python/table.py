"""A small service whose guests wait for each other: requests are answered when three are there. The same as ../go/table, over HTTP/1."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

seats = threading.Barrier(3)


class Table(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        guest = self.headers["X-Request-Id"]
        seats.wait()
        self.answer(guest)

    def answer(self, guest):
        body = f"{os.environ.get('ANSWERED_BY', '')} {guest}\n".encode()  # <- all are there
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("", int(os.environ.get("TABLE_PORT", "80"))), Table)
    print("the table is set", flush=True)
    server.serve_forever()
