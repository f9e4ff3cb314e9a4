"""A small service to step through: GET /cart/ID answers with a cart, whose price it asks another service for, by a
name that only its pod knows. The same as ../go/shop."""

import json
import os
import socket
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        place, _, cart_id = self.path.removeprefix("/").partition("/")
        if place != "cart" or not cart_id:
            self.send_error(404)
            return
        client = "%s:%d" % self.client_address[:2]
        try:
            price = price_of(cart_id)  # <- a good place for a breakpoint
        except OSError as error:
            self.send_error(502, str(error))
            return
        self.answer({
            "id": cart_id,
            "price": price,
            "answeredBy": os.environ.get("ANSWERED_BY", ""),
            "hostname": socket.gethostname(),
            "client": client,
        })

    def answer(self, cart):
        body = json.dumps(cart).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def price_of(cart_id):
    """Asks the stock, a service of the same pod."""
    url = os.environ.get("STOCK_URL", "http://stock:81")
    with urllib.request.urlopen(f"{url}/price/{cart_id}") as answer:
        return json.load(answer)


if __name__ == "__main__":
    port = int(os.environ.get("SHOP_PORT", "80"))
    server = ThreadingHTTPServer(("", port), Shop)
    print("the shop is open on port", port, flush=True)
    server.serve_forever()
