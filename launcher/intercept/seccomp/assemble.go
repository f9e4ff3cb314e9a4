//go:build linux

package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h), little endian.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// assembler writes classic BPF with labels that lie ahead.
type assembler struct {
	code   []unix.SockFilter
	jumps  []jump
	labels map[string]int
}

// jump at an instruction; an empty label is the next instruction.
type jump struct {
	at        int
	then, els string
}

func (a *assembler) load(off uint32) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off})
}

func (a *assembler) loadArg(i int)     { a.load(uint32(offArgs + 8*i)) }
func (a *assembler) loadArgHigh(i int) { a.load(uint32(offArgs + 8*i + 4)) }

func (a *assembler) jump(op uint16, k uint32, then, els string) {
	a.jumps = append(a.jumps, jump{len(a.code), then, els})
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k})
}

func (a *assembler) ifEqual(k uint32, then, els string)   { a.jump(unix.BPF_JEQ, k, then, els) }
func (a *assembler) ifAtLeast(k uint32, then, els string) { a.jump(unix.BPF_JGE, k, then, els) }

func (a *assembler) ret(k uint32) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k})
}

func (a *assembler) label(name string) { a.labels[name] = len(a.code) }

// link resolves the labels. A jump reaches 255 instructions (struct sock_filter has a byte for it).
func (a *assembler) link() ([]unix.SockFilter, error) {
	for _, j := range a.jumps {
		then, err := a.distance(j.at, j.then)
		if err != nil {
			return nil, err
		}
		els, err := a.distance(j.at, j.els)
		if err != nil {
			return nil, err
		}
		a.code[j.at].Jt, a.code[j.at].Jf = then, els
	}
	return a.code, nil
}

func (a *assembler) distance(from int, label string) (uint8, error) {
	if label == "" {
		return 0, nil
	}
	to, ok := a.labels[label]
	if !ok {
		return 0, fmt.Errorf("label %q is not defined", label)
	}
	d := to - from - 1
	if d < 0 || d > 255 {
		return 0, fmt.Errorf("jump to %q over %d instructions", label, d)
	}
	return uint8(d), nil
}
