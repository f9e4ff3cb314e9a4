"""Serves the way that its first argument says: each request waits until there are two."""

import asyncio
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

both = threading.Barrier(2)


def application(environ, start_response):
    guest = environ["HTTP_X_ID"]
    both.wait()
    start_response("200 OK", [("Content-Length", "0")])  # <- wsgi
    return []


class WithPort(WSGIRequestHandler):
    """Tells the port, as most servers do."""

    def get_environ(self):
        return {**super().get_environ(), "REMOTE_PORT": str(self.client_address[1])}


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def flask(environ, start_response):
    return view(Request(environ), start_response)


class Request:
    def __init__(self, environ=None, scope=None):
        self.environ, self.scope = environ, scope


def view(request, start_response):
    guest = request.environ["HTTP_X_ID"]
    both.wait()
    start_response("200 OK", [("Content-Length", "0")])  # <- flask
    return []


async def served(scope, come):
    guest = scope["guest"]
    come.append(guest)
    while len(come) < 2:
        await asyncio.sleep(0.01)
    return guest  # <- asgi


async def starlette(scope, come):
    return await endpoint(Request(scope=scope), come)


async def endpoint(request, come):
    guest = request.scope["guest"]
    come.append(guest)
    while len(come) < 2:
        await asyncio.sleep(0.01)
    return guest  # <- starlette


async def events(app):
    come = []

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        scope = {"client": writer.get_extra_info("peername"), "path": head.split()[1], "guest": head.partition("X-Id: ")[2].split()[0]}
        await asyncio.create_task(app(scope, come))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def threads(app, handler):
    server = make_server("127.0.0.1", 0, app, Threads, handler)
    print(f"port {server.server_port}", flush=True)
    server.serve_forever()


match sys.argv[1]:
    case "wsgi":
        threads(application, WithPort)
    case "wsgiref":
        threads(application, WSGIRequestHandler)
    case "flask":
        threads(flask, WithPort)
    case "asgi":
        asyncio.run(events(served))
    case "starlette":
        asyncio.run(events(starlette))
