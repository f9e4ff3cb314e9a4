package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// blockSize holds seven segments of 64 KiB, the largest that a device hands up by default.
const blockSize = 512 << 10

// retireAfter is how long, in milliseconds, a packet waits for its block to fill.
const retireAfter = 10

// ring is a packet socket with a TPACKET_V3 ring: memory of a fixed size that the kernel fills block by block
// (Documentation/networking/packet_mmap.rst). Unlike a socket buffer it needs no privilege to be large, and unlike one it
// holds small packets without waste. One goroutine reads it.
type ring struct {
	file   *os.File
	raw    syscall.RawConn
	memory []byte
	block  int
}

// openRing opens the socket in the calling thread's network namespace; size is in bytes.
func openRing(filter []bpf.RawInstruction, size int) (_ *ring, err error) {
	// Protocol 0 receives nothing: no packet may come in before the filter stands.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &ring{file: os.NewFile(uintptr(fd), "packet")}
	defer func() {
		if err != nil {
			r.free()
		}
	}()
	if r.raw, err = r.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	if err := r.attach(filter); err != nil {
		return nil, err
	}
	// Before Linux 4.20 the option is unknown; the filter's look at the packet type does the same, later.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return nil, fmt.Errorf("ignore outgoing packets: %w", err)
	}
	if err := r.allocate(fd, max(2, (size+blockSize-1)/blockSize)); err != nil {
		return nil, err
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all}); err != nil {
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	return r, nil
}

// attach replaces the filter.
func (r *ring) attach(filter []bpf.RawInstruction) (err error) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	controlErr := r.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("attach packet filter: %w", err)
	}
	return nil
}

func (r *ring) allocate(fd, blocks int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	// Frames have no fixed size in this version, but the kernel checks the product.
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(blocks),
		Frame_size: blockSize, Frame_nr: uint32(blocks),
		Retire_blk_tov: retireAfter,
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("packet ring of %d bytes: %w", blocks*blockSize, err)
	}
	var err error
	if r.memory, err = unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map packet ring: %w", err)
	}
	return nil
}

// packet is one received packet. It is valid during the call it is handed to.
type packet struct {
	// data begins with the IP header.
	data []byte
	// whole says that nothing was cut off.
	whole bool
	// checked says that the kernel vouches for the TCP checksum.
	checked bool
}

// next hands the packets of the next block to deliver. It returns os.ErrDeadlineExceeded when none came until then.
func (r *ring) next(until time.Time, deliver func(packet, time.Time)) error {
	if err := r.file.SetReadDeadline(until); err != nil {
		return err
	}
	status := (*uint32)(unsafe.Pointer(&r.header().Block_status))
	err := r.raw.Read(func(uintptr) bool { return atomic.LoadUint32(status)&unix.TP_STATUS_USER != 0 })
	if err != nil {
		return err
	}
	now := time.Now()
	r.walk(func(p packet) { deliver(p, now) })
	atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
	r.block = (r.block + 1) % (len(r.memory) / blockSize)
	return nil
}

// blockDescription is what a block's header begins with before tpacket_hdr_v1: version and offset of private data.
const blockDescription = 8

func (r *ring) header() *unix.TpacketHdrV1 {
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.memory[r.block*blockSize+blockDescription]))
}

func (r *ring) walk(deliver func(packet)) {
	h := r.header()
	block := r.memory[r.block*blockSize : (r.block+1)*blockSize]
	at := h.Offset_to_first_pkt
	for range h.Num_pkts {
		p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		from := at + uint32(p.Net)
		deliver(packet{
			data:    block[from : from+p.Snaplen],
			whole:   p.Snaplen == p.Len,
			checked: p.Status&(unix.TP_STATUS_CSUM_VALID|unix.TP_STATUS_CSUMNOTREADY) != 0,
		})
		at += p.Next_offset
	}
}

// drops returns how many packets found the ring full since the last call.
func (r *ring) drops() (n uint64, err error) {
	controlErr := r.raw.Control(func(fd uintptr) {
		var stats *unix.TpacketStatsV3
		if stats, err = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = uint64(stats.Drops)
		}
	})
	return n, errors.Join(controlErr, err)
}

// hangUp ends a blocked next and all later ones. It may be called by any goroutine.
func (r *ring) hangUp() { _ = r.file.Close() }

// free closes the socket and unmaps the ring, which the caller reads no more.
func (r *ring) free() {
	r.hangUp()
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
}
