# Prints what sequences of calls on connecting sockets return, to ports that take (1), refuse (2) and are silent (3).
import ctypes, errno, select, socket, struct, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
host = sys.argv[1]


def name(e):
    return errno.errorcode.get(e, str(e))


def sa(port, family=socket.AF_INET):
    return struct.pack("=HH4s8x", family, socket.htons(port), socket.inet_aton(host))


def connect(s, port, family=socket.AF_INET):
    ctypes.set_errno(0)
    return name(ctypes.get_errno()) if libc.connect(s.fileno(), sa(port, family), 16) else "0"


def call(f, *args):
    try:
        f(*args)
        return "0"
    except OSError as e:
        return name(e.errno)


def so_error(s):
    return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def wait(s, ms=30000):
    p = select.poll()
    p.register(s, select.POLLOUT)  # POLLIN comes with POLLHUP on a refusal natively alone
    ev = p.poll(ms)
    return hex(ev[0][1]) if ev else "nothing"


def new(blocking=True):
    s = socket.socket()
    s.setblocking(blocking)
    return s


for port in (1, 2):
    s = new()
    print(port, "blocking:", connect(s, port), so_error(s), call(s.getpeername), connect(s, port))
    s = new(False)
    print(port, "non-blocking:", connect(s, port), call(s.getpeername), so_error(s), connect(s, port), wait(s), so_error(s), so_error(s), call(s.getpeername))
    s = new(False)
    print(port, "connect tells:", connect(s, port), wait(s), connect(s, port), connect(s, port), so_error(s) if port == 1 else "")
    s = new(False)
    first = connect(s, port)
    s.setblocking(True)
    print(port, "non-blocking, then blocking:", first, connect(s, port), connect(s, port))
    s = new(False)
    ep = select.epoll()
    ep.register(s, select.EPOLLOUT | select.EPOLLET)
    stale = ep.poll(0)
    first = connect(s, port)
    print(port, "epoll before connect:", bool(stale), first, *sorted({hex(e & ~1) for _, e in ep.poll(10) + ep.poll(0.2)}))
    s = new()
    s.bind(("", 0))
    print(port, "bound:", connect(s, port))

s = new()
out = []
ts = [threading.Thread(target=lambda: out.append(connect(s, 1))) for _ in "ab"]
for t in ts:
    t.start()
for t in ts:
    t.join()
print("1 two threads:", *out)
s = new(False)
print("3 silent:", connect(s, 3), wait(s, 100), connect(s, 3), connect(s, 0, socket.AF_UNSPEC), connect(s, 1), wait(s), so_error(s))
s = new()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 100000))
print("3 timeout:", connect(s, 3), connect(s, 3), call(s.getpeername))
s2 = new(False)
print("2 again after a refusal:", connect(s2, 2), wait(s2), so_error(s2), connect(s2, 1), connect(s2, 1), wait(s2), so_error(s2))
s2 = new()
print("2 again, blocking:", connect(s2, 2), connect(s2, 1), connect(s2, 1))
print("bad:", connect(new(), 1, 77), name(0 if libc.connect(999, sa(1), 16) == 0 else ctypes.get_errno()), name(0 if libc.connect(new().fileno(), sa(1), 8) == 0 else ctypes.get_errno()), name(0 if libc.connect(new().fileno(), None, 16) == 0 else ctypes.get_errno()))
six = socket.socket(socket.AF_INET6)
print("family:", name(0 if libc.connect(six.fileno(), sa(1) + b"\0" * 12, 28) == 0 else ctypes.get_errno()))
