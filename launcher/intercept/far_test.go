//go:build linux

package intercept_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Ports of the far host: it takes connections, resets them, is silent.
const (
	farTakes   = 1
	farRefuses = 2
)

const farDelay = 50 * time.Millisecond

// far puts a host behind a TUN device that answers each SYN after farDelay, as a peer over a real network does: loopback
// answers before connect returns.
func far(t *testing.T) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	tun := os.NewFile(uintptr(fd), "tun")
	ifr, err := unix.NewIfreq("far0")
	if err != nil {
		t.Fatal(err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	if tun, err = reopen(tun); err != nil { // its poll works only once it is attached
		t.Fatal(err)
	}
	if b, err := exec.Command("sh", "-c", "ip addr add 198.51.100.1/24 dev far0 && ip link set far0 up").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerSYNs(tun)
	}()
	t.Cleanup(func() {
		_ = tun.Close()
		<-done
	})
}

func reopen(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), errors.Join(unix.SetNonblock(fd, true), f.Close())
}

func answerSYNs(tun *os.File) {
	buf := make([]byte, 2048)
	for {
		n, err := tun.Read(buf)
		if err != nil {
			return
		}
		p := buf[:n]
		const ipLen = 20
		if n < ipLen+20 || p[0] != 0x45 || p[9] != unix.IPPROTO_TCP || p[ipLen+13]&0x3f != 0x02 { // SYN alone
			continue
		}
		answer := make([]byte, ipLen+20)
		answer[0], answer[8], answer[9] = 0x45, 64, unix.IPPROTO_TCP
		binary.BigEndian.PutUint16(answer[2:], uint16(len(answer)))
		copy(answer[12:16], p[16:20])
		copy(answer[16:20], p[12:16])
		binary.BigEndian.PutUint16(answer[10:], checksum(0, answer[:ipLen]))
		tcp := answer[ipLen:]
		copy(tcp[0:2], p[ipLen+2:])
		copy(tcp[2:4], p[ipLen:])
		binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(p[ipLen+4:])+1)
		tcp[12], tcp[13] = 5<<4, 0x12 // SYN, ACK
		switch binary.BigEndian.Uint16(p[ipLen+2:]) {
		case farTakes:
			binary.BigEndian.PutUint16(tcp[14:], 65535)
		case farRefuses:
			tcp[13] = 0x14 // RST, ACK
		default:
			continue
		}
		pseudo := uint32(unix.IPPROTO_TCP + len(tcp))
		for i := 12; i < 20; i += 2 {
			pseudo += uint32(binary.BigEndian.Uint16(answer[i:]))
		}
		binary.BigEndian.PutUint16(tcp[16:], checksum(pseudo, tcp))
		time.AfterFunc(farDelay, func() { _, _ = tun.Write(answer) })
	}
}

// checksum is the Internet's (RFC 1071).
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestConnectBehavesAsTowardsAFarHost compares whole sequences of calls with what the kernel does by itself.
func TestConnectBehavesAsTowardsAFarHost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the native side is a TUN device")
	}
	l := newLab(t)
	far(t)
	l.pod.route("10.96.7.7:1", route{target: echo(t, ""), delay: farDelay})
	l.pod.route("10.96.7.7:2", route{errno: unix.ECONNREFUSED, delay: farDelay})
	l.pod.route("10.96.7.7:3", route{errno: unix.ETIMEDOUT, delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	native := exec.CommandContext(ctx, "/usr/bin/python3", "testdata/sequences.py", "198.51.100.9")
	native.Env = append(os.Environ(), "PYTHONUNBUFFERED=1")
	want, err := native.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, want)
	}
	got := l.run(t, "/usr/bin/python3", "testdata/sequences.py", "10.96.7.7")
	if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
		t.Errorf("(-native +ours)\n%s", diff)
	}
}
