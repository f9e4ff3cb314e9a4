# Serves 100 connections, asks names and connects while a signal interrupts everything every half millisecond. Calls are
# restarted, as Go, Java and node have it.
import signal, socket, threading

signal.signal(signal.SIGALRM, lambda *a: None)
signal.siginterrupt(signal.SIGALRM, False)
server = socket.create_server(("", 8080), backlog=200)


def ask():
    for _ in range(30):
        for family, _, _, _, addr in socket.getaddrinfo("api.shop", 1, type=socket.SOCK_STREAM):
            s = socket.create_connection(addr)
            s.sendall(b"x")
            b = b""
            while len(b) < 5:
                b += s.recv(10)
            assert b == b"api:x", b
            s.close()


other = threading.Thread(target=ask)
other.start()
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(100):
    c, peer = server.accept()
    c.sendall(repr(peer).encode())
    c.close()
ask()
signal.setitimer(signal.ITIMER_REAL, 0)
other.join()
print("fine")
