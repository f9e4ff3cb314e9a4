# Prints how a refused connect shows: blocking, non-blocking by SO_ERROR, non-blocking by a further connect.
import errno, select, socket, sys

to = (sys.argv[1], int(sys.argv[2]))


def name(e):
    return errno.errorcode.get(e, str(e))


def so_error(s):
    return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def wait(s):
    p = select.poll()
    p.register(s, select.POLLOUT)
    return p.poll(30000)[0][1]


s = socket.socket()
print(name(s.connect_ex(to)), so_error(s))

s = socket.socket()
s.setblocking(False)
print(name(s.connect_ex(to)), name(s.connect_ex(to)), bool(wait(s) & select.POLLERR), so_error(s), so_error(s))

s = socket.socket()
s.setblocking(False)
first = s.connect_ex(to)
wait(s)
print(name(first), name(s.connect_ex(to)))
