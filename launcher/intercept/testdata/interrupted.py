# Prints what a connect shows that a handler interrupts: without SA_RESTART, then with it.
import ctypes, errno, select, signal, socket, struct, sys, threading

libc = ctypes.CDLL(None, use_errno=True)
to = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(int(sys.argv[1])), socket.inet_aton("10.96.7.7"))


def name(e):
    return errno.errorcode.get(e, str(e))


def connect(s):  # the bare call: Python's own goes on after EINTR
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.connect(s.fileno(), to, len(to)) else 0


signal.signal(signal.SIGALRM, lambda *a: None)
for restart in (False, True):
    signal.siginterrupt(signal.SIGALRM, not restart)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    s = socket.socket()
    e = connect(s)
    e = name(e)
    if restart:
        print(e, name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        break
    p = select.poll()
    p.register(s, select.POLLOUT)
    ev = p.poll(30000)[0][1]
    s.setblocking(False)
    first = name(connect(s))
    print(e, hex(ev), first, name(connect(s)))
