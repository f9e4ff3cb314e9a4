//go:build linux

package outgoing

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/miekg/dns"

	"podstep.dev/internal/mux"
	"podstep.dev/internal/testkit"
	"podstep.dev/internal/wire"
)

// podConf is what kubelet writes, with the test's nameserver.
const podConf = "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"

// zone is a nameserver's; it counts the questions.
type zone struct {
	records map[string][]string // name and type -> records
	codes   map[string]int      // name -> rcode
	udp     atomic.Int64
	tcp     atomic.Int64

	mu    sync.Mutex
	asked []string
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	udp := w.LocalAddr().Network() == "udp"
	name := strings.ToLower(q.Question[0].Name)
	z.mu.Lock()
	z.asked = append(z.asked, name)
	z.mu.Unlock()
	if udp {
		z.udp.Add(1)
	} else {
		z.tcp.Add(1)
	}
	a := new(dns.Msg).SetReply(q)
	if code, ok := z.codes[name]; ok {
		a.Rcode = code
		if code < 0 {
			return
		}
	} else if a.Rcode = dns.RcodeNameError; z.has(name) {
		a.Rcode = dns.RcodeSuccess
		for _, text := range z.records[name+" "+dns.TypeToString[q.Question[0].Qtype]] {
			rr, err := dns.NewRR(q.Question[0].Name + " 30 IN " + dns.TypeToString[q.Question[0].Qtype] + " " + text)
			if err != nil {
				panic(err) // a mistake in the test's own table
			}
			a.Answer = append(a.Answer, rr)
		}
	}
	if udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		a.Truncate(size)
	}
	_ = w.WriteMsg(a)
}

func (z *zone) has(name string) bool {
	for key := range z.records {
		if strings.HasPrefix(key, name+" ") {
			return true
		}
	}
	return false
}

func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return append([]string(nil), z.asked...)
}

// nameserver serves z on addr by UDP and TCP until the test ends.
func nameserver(t *testing.T, addr string, z *zone) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: addr, Net: network, Handler: z, NotifyStartedFunc: func() { close(started) }}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
}

// asker speaks DNS over one stream.
type asker struct {
	t  *testing.T
	st *mux.Stream
}

func newAsker(t *testing.T, opts Options) *asker {
	t.Helper()
	adapter, _ := link(t, opts)
	st, err := adapter.Open(t.Context(), wire.Header{Kind: wire.KindDNS}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = st.SetReadDeadline(time.Now().Add(testkit.Patience))
	t.Cleanup(func() { _ = st.Close() })
	return &asker{t, st}
}

func (a *asker) send(text []byte) {
	a.t.Helper()
	if _, err := a.st.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *asker) receive() *dns.Msg {
	a.t.Helper()
	text, err := readMessage(a.st)
	if err != nil {
		a.t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(text); err != nil {
		a.t.Fatal(err)
	}
	return &m
}

// ask returns the answer as "RCODE record record": only the data of records, aliases as "name>target".
func (a *asker) ask(name string, kind uint16) string {
	a.t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	text, err := q.Pack()
	if err != nil {
		a.t.Fatal(err)
	}
	a.send(text)
	m := a.receive()
	if m.Id != q.Id || !m.Response || len(m.Question) != 1 || m.Question[0] != q.Question[0] || m.Truncated {
		a.t.Errorf("%s: answer's head %+v, question %+v", name, m.MsgHdr, m.Question)
	}
	out := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		data := strings.TrimPrefix(rr.String(), rr.Header().String())
		if rr.Header().Rrtype == dns.TypeCNAME {
			data = rr.Header().Name + ">" + data
		}
		out += " " + data
	}
	return out
}

func files(conf, hosts string) fstest.MapFS {
	return fstest.MapFS{
		"etc/resolv.conf": {Data: []byte(conf), ModTime: time.Unix(1, 0)},
		"etc/hosts":       {Data: []byte(hosts), ModTime: time.Unix(1, 0)},
	}
}

func TestNamesResolveAsInTheTarget(t *testing.T) {
	z := &zone{
		records: map[string][]string{
			"web.shop.svc.cluster.local. A":           {"10.96.0.10"},
			"db.data.svc.cluster.local. A":            {"10.96.0.20"},
			"db.data.svc.cluster.local. AAAA":         {"fd00::20"},
			"example.com. A":                          {"192.0.2.7"},
			"_x._tcp.web.shop.svc.cluster.local. SRV": {"0 10 80 web.shop.svc.cluster.local."},
			"example.com. MX":                         {"10 mail.example.com."},
			"20.0.96.10.in-addr.arpa. PTR":            {"db.data.svc.cluster.local."},
		},
		codes: map[string]int{"broken.shop.svc.cluster.local.": dns.RcodeServerFailure},
	}
	nameserver(t, "127.0.0.1:53", z)
	a := newAsker(t, Options{
		Files:    files(podConf, "127.0.0.1 localhost\n10.1.2.3 alias.local  Alias # comment\nfd01::3 alias\nnonsense line\n"),
		Hostname: func() (string, error) { return "web-0", nil },
		Addresses: func() ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("fd09::2")}, nil
		},
	})
	for _, test := range []struct {
		name string
		kind uint16
		want string
	}{
		{"web.", dns.TypeA, "NOERROR web.>web.shop.svc.cluster.local. 10.96.0.10"},
		{"WEB.", dns.TypeA, "NOERROR WEB.>WEB.shop.svc.cluster.local. 10.96.0.10"},
		{"web.", dns.TypeAAAA, "NOERROR web.>web.shop.svc.cluster.local."},
		{"db.data.", dns.TypeA, "NOERROR db.data.>db.data.svc.cluster.local. 10.96.0.20"},
		{"db.data.svc.", dns.TypeAAAA, "NOERROR db.data.svc.>db.data.svc.cluster.local. fd00::20"},
		{"db.data.svc.cluster.local.", dns.TypeA, "NOERROR 10.96.0.20"},
		{"example.com.", dns.TypeA, "NOERROR 192.0.2.7"},
		{"example.com.", dns.TypeMX, "NOERROR 10 mail.example.com."},
		{"_x._tcp.web.", dns.TypeSRV, "NOERROR _x._tcp.web.>_x._tcp.web.shop.svc.cluster.local. 0 10 80 web.shop.svc.cluster.local."},
		{"nosuch.", dns.TypeA, "NXDOMAIN"},
		{"nosuch.example.com.", dns.TypeA, "NXDOMAIN"},
		{"20.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR db.data.svc.cluster.local."},
		{"21.0.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
		{"broken.", dns.TypeA, "SERVFAIL"},
		// The hosts file, the hostname, localhost.
		{"alias.", dns.TypeA, "NOERROR 10.1.2.3"},
		{"ALIAS.", dns.TypeAAAA, "NOERROR fd01::3"},
		{"alias.local.", dns.TypeAAAA, "NOERROR"},
		{"3.2.1.10.in-addr.arpa.", dns.TypePTR, "NOERROR alias. alias.local."},
		{"web-0.", dns.TypeA, "NOERROR 10.9.0.2"},
		{"web-0.", dns.TypeAAAA, "NOERROR fd09::2"},
		{"localhost.", dns.TypeA, "NOERROR 127.0.0.1"},
	} {
		if got := a.ask(test.name, test.kind); got != test.want {
			t.Errorf("%s %s: %q, want %q", test.name, dns.TypeToString[test.kind], got, test.want)
		}
	}
}

func TestNdotsDecidesTheOrder(t *testing.T) {
	for conf, want := range map[string]string{
		"nameserver 127.0.0.1\nsearch a.test b.test\noptions ndots:2\n": "x.y.a.test. x.y.b.test. x.y.",
		"nameserver 127.0.0.1\nsearch a.test b.test\n":                  "x.y. x.y.a.test. x.y.b.test.",
		"nameserver 127.0.0.1\n":                                        "x.y.",
	} {
		t.Run(want, func(t *testing.T) {
			z := &zone{}
			nameserver(t, "127.0.0.1:53", z)
			a := newAsker(t, Options{Files: files(conf, "")})
			if got := a.ask("x.y.", dns.TypeA); got != "NXDOMAIN" {
				t.Error(got)
			}
			if got := strings.Join(z.questions(), " "); got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

func TestLargeAnswerComesByTCP(t *testing.T) {
	var many []string
	for range 40 {
		many = append(many, `"`+strings.Repeat("x", 100)+`"`)
	}
	z := &zone{records: map[string][]string{"big.test. TXT": many}}
	nameserver(t, "127.0.0.1:53", z)
	a := newAsker(t, Options{Files: files("nameserver 127.0.0.1\n", "")})
	if got := a.ask("big.test.", dns.TypeTXT); strings.Count(got, "xxx") == 0 || len(got) < 4000 {
		t.Errorf("%d characters", len(got))
	}
	if z.udp.Load() != 1 || z.tcp.Load() != 1 {
		t.Errorf("%d questions by UDP, %d by TCP", z.udp.Load(), z.tcp.Load())
	}
}

func TestNextServerIsAskedWhenOneFails(t *testing.T) {
	good := &zone{records: map[string][]string{"a.test. A": {"192.0.2.1"}}}
	nameserver(t, "127.0.0.3:53", good)
	t.Run("nobody there", func(t *testing.T) {
		a := newAsker(t, Options{Files: files("nameserver 127.0.0.2\nnameserver 127.0.0.3\n", "")})
		if got := a.ask("a.test.", dns.TypeA); got != "NOERROR 192.0.2.1" {
			t.Error(got)
		}
	})
	for name, code := range map[string]int{"servfail": dns.RcodeServerFailure, "refused": dns.RcodeRefused, "silent": -1} {
		t.Run(name, func(t *testing.T) {
			nameserver(t, "127.0.0.2:53", &zone{codes: map[string]int{"a.test.": code}})
			a := newAsker(t, Options{Files: files("nameserver 127.0.0.2\nnameserver 127.0.0.3\noptions timeout:1\n", "")})
			if got := a.ask("a.test.", dns.TypeA); got != "NOERROR 192.0.2.1" {
				t.Error(got)
			}
		})
	}
}

func TestNoServerIsServfailAfterAllAttempts(t *testing.T) {
	a := newAsker(t, Options{Files: files("nameserver 127.0.0.2\noptions timeout:1 attempts:2\n", "")})
	if got := a.ask("a.test.", dns.TypeA); got != "SERVFAIL" {
		t.Error(got)
	}
}

func TestChangedResolvConfIsReadAgain(t *testing.T) {
	nameserver(t, "127.0.0.1:53", &zone{records: map[string][]string{"a.one. A": {"192.0.2.1"}, "a.two. A": {"192.0.2.2"}}})
	fsys := files("nameserver 127.0.0.1\nsearch one\n", "")
	a := newAsker(t, Options{Files: fsys})
	if got := a.ask("a.", dns.TypeA); got != "NOERROR a.>a.one. 192.0.2.1" {
		t.Error(got)
	}
	fsys["etc/resolv.conf"] = &fstest.MapFile{Data: []byte("nameserver 127.0.0.1\nsearch two\n"), ModTime: time.Unix(2, 0)}
	if got := a.ask("a.", dns.TypeA); got != "NOERROR a.>a.two. 192.0.2.2" {
		t.Error(got)
	}
}

func TestMalformedQuestionsAreAnsweredOrEndTheStream(t *testing.T) {
	a := newAsker(t, Options{})
	a.send([]byte("\x12\x34\x01\x00\x00\x05\x00\x00\x00\x00\x00\x00"))
	if m := a.receive(); m.Id != 0x1234 || m.Rcode != dns.RcodeFormatError {
		t.Errorf("%+v", m.MsgHdr)
	}
	a.send(nil) // nothing to answer
	a.send([]byte("short"))
	_, _ = a.st.Write([]byte{0, 9, 1})
	_ = a.st.CloseWrite()
	if _, err := io.ReadAll(a.st); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a message that is cut short: %v", err)
	}
}

func TestAnswersMayOvertakeEachOther(t *testing.T) {
	z := &zone{records: map[string][]string{"fast.test. A": {"192.0.2.1"}}, codes: map[string]int{"slow.test.": -1}}
	nameserver(t, "127.0.0.1:53", z)
	a := newAsker(t, Options{Files: files("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n", "")})
	slow, _ := new(dns.Msg).SetQuestion("slow.test.", dns.TypeA).Pack()
	a.send(slow)
	began := time.Now()
	if got := a.ask("fast.test.", dns.TypeA); got != "NOERROR 192.0.2.1" {
		t.Error(got)
	}
	if d := time.Since(began); d > 1500*time.Millisecond {
		t.Errorf("held up for %s", d)
	}
	if m := a.receive(); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("slow: %+v", m.MsgHdr)
	}
	_ = a.st.CloseWrite()
	if _, err := io.ReadAll(a.st); err != nil {
		t.Errorf("end: %v", err)
	}
}
