package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var comparable = cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})

func TestFrameIsReadBackAndNotAByteMore(t *testing.T) {
	want := Header{
		Kind: KindIncoming, Port: 80, Subscription: 7,
		From: netip.MustParseAddrPort("10.1.2.3:40000"), To: netip.MustParseAddrPort("[fd00::1]:80"),
	}
	var buf bytes.Buffer
	if err := WriteFrame(&buf, want, []byte("GET / HTTP/1.1")); err != nil {
		t.Fatal(err)
	}
	var got Header
	if err := ReadFrame(iotest.OneByteReader(&buf), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, comparable); diff != "" {
		t.Error(diff)
	}
	if buf.String() != "GET / HTTP/1.1" {
		t.Errorf("left over: %q", buf.String())
	}
}

// writes counts calls.
type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(b []byte) (int, error) { w.n++; return w.Buffer.Write(b) }

func TestFrameAndTailAreOneWrite(t *testing.T) {
	var w writes
	if err := WriteFrame(&w, Header{Kind: KindDial}, make([]byte, MaxFirst)); err != nil {
		t.Fatal(err)
	}
	if w.n != 1 {
		t.Errorf("%d writes, want 1", w.n)
	}
}

func TestFrameUnknownFieldsAreIgnored(t *testing.T) {
	var got Header
	if err := ReadFrame(frameOf(`{"kind":"dial","colour":"blue","port":80}`), &got); err != nil {
		t.Fatal(err)
	}
	if want := (Header{Kind: KindDial, Port: 80}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func frameOf(body string) *bytes.Reader {
	return bytes.NewReader(append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...))
}

func TestFrameIsRefusedWhen(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"too long":        bytes.NewReader([]byte{0xff, 0xff, '{', '}'}),
		"empty":           bytes.NewReader([]byte{0, 0}),
		"no JSON":         frameOf("hello"),
		"another type":    frameOf("[1]"),
		"bad address":     frameOf(`{"from":"nowhere"}`),
		"port too large":  frameOf(`{"port":70000}`),
		"more than JSON":  frameOf(`{} {}`),
		"a number for it": frameOf(`{"kind":5}`),
	} {
		if err := ReadFrame(in, &Header{}); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v, want %v", name, err, ErrFrame)
		}
	}
	if err := ReadFrame(bytes.NewReader([]byte{0, 5, '{'}), &Header{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v, want unexpected EOF", err)
	}
	long := Answer{Refusal: &Refusal{Text: strings.Repeat("x", MaxFrame)}}
	if err := WriteFrame(io.Discard, long, nil); !errors.Is(err, ErrFrame) {
		t.Errorf("written too long: %v, want %v", err, ErrFrame)
	}
}

func TestRefusalIsItsErrno(t *testing.T) {
	var buf bytes.Buffer
	if err := WriteFrame(&buf, Answer{Refusal: &Refusal{Errno: syscall.ECONNREFUSED, Reason: ReasonPaused}}, nil); err != nil {
		t.Fatal(err)
	}
	var got Answer
	if err := ReadFrame(&buf, &got); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(got.Refusal, syscall.ECONNREFUSED) || got.Refusal.Error() != "connection refused" {
		t.Errorf("got %v", got.Refusal)
	}
	if text := (&Refusal{Errno: syscall.EPERM, Text: "no"}).Error(); text != "no (operation not permitted)" {
		t.Errorf("text %q", text)
	}
}

func TestHelloIsReadBehindForeignText(t *testing.T) {
	want := Hello{Major: Major, Minor: Minor, Program: "podstep 0.1.0", Holder: "alice@laptop", Session: "k3"}
	var hello bytes.Buffer
	if err := WriteHello(&hello, want); err != nil {
		t.Fatal(err)
	}
	for name, before := range map[string]string{
		"nothing":           "",
		"a line":            "Welcome!\r\n",
		"half a magic":      "\x00pod",
		"magic, broken":     "\x00podstep\xff\r",
		"zeros":             "\x00\x00\x00",
		"as much as may be": strings.Repeat("x", MaxPreamble-len(magic)),
	} {
		in := strings.NewReader(before + hello.String() + "rest")
		got, err := ReadHello(in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if rest, _ := io.ReadAll(in); string(rest) != "rest" {
			t.Errorf("%s: left over: %q", name, rest)
		}
	}
}

func TestHelloIsRefusedWhen(t *testing.T) {
	if _, err := ReadHello(strings.NewReader(strings.Repeat("x", 2*MaxPreamble))); !errors.Is(err, ErrFrame) {
		t.Errorf("none comes: %v", err)
	}
	_, err := ReadHello(strings.NewReader("sh: 1: podstep-agent: not found\n"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "podstep-agent: not found") {
		t.Errorf("it ends: %v, want the words before the end", err)
	}
	if _, err := ReadHello(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v, want EOF", err)
	}
	var buf bytes.Buffer
	if err := WriteHello(&buf, Hello{Major: Major + 1, Program: "podstep 9.0.0"}); err != nil {
		t.Fatal(err)
	}
	var version *VersionError
	if _, err := ReadHello(&buf); !errors.As(err, &version) || version.Peer.Program != "podstep 9.0.0" || version.Ours != Major {
		t.Errorf("another major version: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, v := range []any{
		Header{Kind: KindCopy, Port: 80, From: netip.MustParseAddrPort("10.0.0.1:1"), To: netip.MustParseAddrPort("[::1]:80")},
		Answer{Refusal: &Refusal{Errno: syscall.EAGAIN, Reason: ReasonTaken, Text: "alice"}},
		Answer{Local: netip.MustParseAddrPort("10.0.0.2:5")},
		Hello{Major: 1},
	} {
		var buf bytes.Buffer
		if err := WriteFrame(&buf, v, []byte("tail")); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		reads := []func(io.Reader) (any, error){
			func(r io.Reader) (any, error) { var v Header; err := ReadFrame(r, &v); return v, err },
			func(r io.Reader) (any, error) { var v Answer; err := ReadFrame(r, &v); return v, err },
			func(r io.Reader) (any, error) { var v Hello; err := ReadFrame(r, &v); return v, err },
		}
		for _, read := range reads {
			in := bytes.NewReader(data)
			v, err := read(in)
			if err != nil {
				continue
			}
			if n := len(data) - in.Len(); n != 2+int(binary.BigEndian.Uint16(data)) {
				t.Errorf("read %d bytes", n)
			}
			// What was understood is written and understood again.
			var buf bytes.Buffer
			if err := WriteFrame(&buf, v, nil); err != nil {
				if errors.Is(err, ErrFrame) {
					// Escapes may make it longer.
					continue
				}
				t.Fatal(err)
			}
			again, err := read(&buf)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v, again, comparable); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func FuzzReadHello(f *testing.F) {
	var buf bytes.Buffer
	if err := WriteHello(&buf, Hello{Program: "podstep"}); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add(append([]byte("text\x00pod"), buf.Bytes()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		h, err := ReadHello(in)
		if read := len(data) - in.Len(); read > MaxPreamble+2+MaxFrame {
			t.Errorf("read %d bytes", read)
		}
		if err == nil && (h.Major != Major || !bytes.Contains(data, magic)) {
			t.Errorf("greeted by %+v", h)
		}
	})
}
