# Asks resolvers by every way there is and prints what comes back.
import ctypes, errno, select, socket, struct

RESOLVER = ("10.96.0.10", 53)
libc = ctypes.CDLL(None, use_errno=True)


def question(name, size=0, ident=7):
    q = struct.pack(">6H", ident, 0x100, 1, 0, 0, 1 if size else 0)
    q += b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + struct.pack(">2H", 1, 1)
    return q + (b"\0" + struct.pack(">HHIH", 41, size, 0, 0) if size else b"")


Q = question("api.shop")


def answer(b):
    assert b[:2] == b"\0\7", b[:2]
    return socket.inet_ntoa(b[-4:])


def udp(family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(None)
    return s


s = udp()
s.connect(RESOLVER)
s.send(Q)
print("connected send recv:", answer(s.recv(512)))
s.send(Q)
b, a = s.recvfrom(512)
print("connected recvfrom:", answer(b), "from", a)
print("connected names:", s.getpeername(), s.getsockname()[0])
connected = s

s = udp()
s.sendto(Q, RESOLVER)
b, a = s.recvfrom(512)
print("sendto recvfrom:", answer(b), "from", a)

s = udp()
s.setblocking(False)
s.sendto(Q, RESOLVER)
p = select.poll()
p.register(s, select.POLLIN)
p.poll(30000)
b, a = s.recvfrom(512)
print("sendto recvfrom non-blocking:", answer(b), "from", a)

s = udp()
s.sendmsg([Q[:5], Q[5:]], [], 0, RESOLVER)
pieces = [bytearray(10), bytearray(502)]
n, _, _, a = s.recvmsg_into(pieces)
print("sendmsg recvmsg:", answer(b"".join(pieces)[:n]), "from", a)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


def messages(buffers, names):
    m = (Mmsghdr * len(buffers))()
    for i, (buf, name) in enumerate(zip(buffers, names)):
        iov = Iovec(ctypes.addressof(buf), len(buf))
        keep.extend((iov, buf, name))
        m[i].hdr = Msghdr(ctypes.addressof(name), len(name), ctypes.addressof(iov), 1, None, 0, 0)
    return m


keep = []
sa = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(53), socket.inet_aton(RESOLVER[0]))
s = udp()
out = messages([ctypes.create_string_buffer(Q, len(Q)) for _ in "ab"], [ctypes.create_string_buffer(sa, 16) for _ in "ab"])
sent = libc.sendmmsg(s.fileno(), out, 2, 0)
buf, name = ctypes.create_string_buffer(512), ctypes.create_string_buffer(16)
into = messages([buf], [name])
assert libc.recvmmsg(s.fileno(), into, 1, 0, None) == 1
_, port, ip = struct.unpack("=HH4s8x", name.raw)
print("sendmmsg recvmmsg: %d sent," % sent, answer(buf.raw[:into[0].len]), "from", (socket.inet_ntoa(ip), socket.ntohs(port)))

s = udp()
s.sendto(Q, RESOLVER)
s.sendto(Q, ("127.0.0.53", 53))
print("two resolvers:", *sorted(s.recvfrom(512)[1] for _ in "ab"))

s = udp()
s.bind(("127.0.0.1", 0))
s.sendto(Q, RESOLVER)
b, a = s.recvfrom(512)
print("bound to loopback:", answer(b), "from", a)

s = udp(socket.AF_INET6)
s.sendto(Q, ("::ffff:10.96.0.10", 53))
b, a = s.recvfrom(512)
print("mapped:", answer(b), "from", a[0])
s.sendto(Q, ("2001:db8::53", 53))
b, a = s.recvfrom(512)
print("v6:", answer(b), "from", a[0])
s = udp(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.sendto(Q, ("2001:db8::53", 53))
b, a = s.recvfrom(512)
print("v6 only:", answer(b), "from", a[0])

s = udp()
s.sendto(Q, RESOLVER)
peeked = s.recvfrom(512, socket.MSG_PEEK)
print("peek:", peeked == s.recvfrom(512), peeked[1])

s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 100000))
try:
    s.recvfrom(512)
except OSError as e:
    print("timeout:", errno.errorcode[e.errno])


def tcp(q):
    s = socket.create_connection(RESOLVER)
    s.sendall(struct.pack(">H", len(q)) + q)
    f = s.makefile("rb")
    return f.read(struct.unpack(">H", f.read(2))[0]), s.getpeername()


b, a = tcp(Q)
print("tcp:", answer(b), "from", a)

s = udp()
s.sendto(question("many.shop"), RESOLVER)
b = s.recv(65535)
s.sendto(question("many.shop", 65000), RESOLVER)
edns = s.recv(65535)
print("long:", "truncated" if b[2] & 2 and len(b) <= 512 else "whole", 512, "by tcp %d," % struct.unpack(">H", tcp(question("many.shop"))[0][6:8]), "by EDNS", *struct.unpack(">H", edns[6:8]))

libc.connect(connected.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16)
try:
    connected.getpeername()
except OSError as e:
    print("dissolved:", errno.errorcode[e.errno], connected.getsockname()[0])
here = udp()
here.bind(("127.0.0.1", 0))
connected.connect(here.getsockname())
here.sendto(b"local", connected.getsockname())
print("local again:", connected.recvfrom(512)[0].decode())
