# A debugger in small: traces one program from its exec on, and has children that it does not trace.
import ctypes, errno, os, socket, sys, time

libc = ctypes.CDLL(None, use_errno=True)
TRACEME, CONT, DETACH = 0, 7, 17


def connect(who):
    e = socket.socket().connect_ex(("10.96.7.7", 1))
    os.write(1, ("%s: %s\n" % (who, errno.errorcode.get(e, e))).encode())


def fork(f):
    pid = os.fork()
    if pid == 0:
        f()
        os._exit(0)
    return pid


def run(who):
    os.execv(sys.executable, [sys.executable, __file__, who])


def orphan(who):
    # the middle process ends first, so that nobody can tell where it came from
    def middle():
        parent = os.getpid()

        def lost():
            while os.getppid() == parent:
                time.sleep(0.01)
            connect(who)
            os.write(done, b"x")

        fork(lost)

    wait, done = os.pipe()
    os.waitpid(fork(middle), 0)
    os.close(done)
    os.read(wait, 1)


def debuggee():
    connect("debuggee")
    os.waitpid(fork(lambda: connect("debuggee's child")), 0)
    os.waitpid(fork(lambda: run("debuggee's program")), 0)
    orphan("debuggee's orphan")


def debugger_orphan():
    # heard of before its parent went
    connect("debugger's child")
    orphan_pid = os.getppid()
    while os.getppid() == orphan_pid:
        time.sleep(0.01)
    connect("debugger's orphan")
    os.write(9, b"x")


def debugger():
    connect("debugger")
    wait, done = os.pipe()
    os.dup2(done, 9)
    os.waitpid(fork(lambda: fork(lambda: run("orphan")) and time.sleep(1)), 0)
    os.close(done)
    os.close(9)
    os.read(wait, 1)

    def traced():
        libc.ptrace(TRACEME, 0, None, None)
        run("debuggee")

    pid = fork(traced)
    while True:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            break
        sig = os.WSTOPSIG(status)
        libc.ptrace(CONT, pid, None, ctypes.c_void_p(0 if sig == 5 else sig))


who = sys.argv[1] if len(sys.argv) > 1 else "debugger"
{"debugger": debugger, "debuggee": debuggee, "orphan": debugger_orphan}.get(who, lambda: connect(who))()
