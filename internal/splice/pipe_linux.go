package splice

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A pipe holds as much as so many large buffers, and counts as them while there is something in it: that is the pod's memory too.
const (
	pipeBuffers = 4
	pipeSize    = pipeBuffers * large
)

// Pipe moves bytes from one socket to another inside the kernel (splice(2)): they are not copied, which takes half of the processor
// time that reading and writing them takes.
type Pipe struct {
	bound   *Buffers
	r, w    int
	holding int
}

// OpenPipe returns a pipe, or nil when the kernel gives none: then bytes are to be copied.
func (b *Buffers) OpenPipe() *Pipe {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil
	}
	p := &Pipe{bound: b, r: fds[0], w: fds[1]}
	// Refused over /proc/sys/fs/pipe-user-pages-soft, and where pipe-max-size is smaller (pipe(7)).
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		p.Close()
		return nil
	}
	return p
}

// Close drops what the pipe holds. Nothing else may be called any more.
func (p *Pipe) Close() {
	_, _ = unix.Close(p.r), unix.Close(p.w)
	if p.holding > 0 {
		p.bound.giveAll(pipeBuffers)
	}
}

// fill waits for bytes from src and takes up to most of them, as many as the pipe holds; the memory for them is taken when they are there.
func (p *Pipe) fill(src *net.TCPConn, most int64) (n int, err error) {
	raw, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = p.splice(raw.Read, func(fd int) (int64, error) {
		if !p.bound.takeAll(pipeBuffers) {
			return 0, errNoMemory
		}
		n, err := unix.Splice(fd, nil, p.w, nil, int(min(most, pipeSize)), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if n <= 0 {
			p.bound.giveAll(pipeBuffers)
		}
		return n, err
	}, &n)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	p.holding = n
	return n, err
}

// drain sends all that the pipe holds to dst.
func (p *Pipe) drain(dst *net.TCPConn) error {
	raw, err := dst.SyscallConn()
	for err == nil && p.holding > 0 {
		var n int
		err = p.splice(raw.Write, func(fd int) (int64, error) {
			return unix.Splice(p.r, nil, fd, nil, p.holding, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		}, &n)
		p.holding -= n
		if p.holding == 0 {
			p.bound.giveAll(pipeBuffers)
		}
	}
	return err
}

// splice calls move when the socket is ready for it.
func (p *Pipe) splice(ready func(func(fd uintptr) bool) error, move func(fd int) (int64, error), n *int) error {
	var moved int64
	var failed error
	err := ready(func(fd uintptr) bool {
		for {
			if moved, failed = move(int(fd)); failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	})
	*n = int(max(moved, 0))
	if errno, ok := failed.(unix.Errno); ok && err == nil {
		return os.NewSyscallError("splice", errno)
	}
	if err == nil {
		err = failed
	}
	return err
}
