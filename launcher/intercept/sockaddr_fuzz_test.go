//go:build linux

package intercept

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzParseSockaddr(f *testing.F) {
	for _, ap := range []string{"10.96.7.7:80", "[2001:db8::1]:53", "[::ffff:1.2.3.4]:1", "0.0.0.0:0", "[::]:65535"} {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			if b, ok := encodeSockaddr(family, netip.MustParseAddrPort(ap)); ok {
				f.Add(b)
				f.Add(b[:len(b)-1])
			}
		}
	}
	f.Add([]byte("\x01\x00/run/nscd/socket\x00x"))
	f.Add([]byte("\x01\x00\x00abstract"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if path := unixPath(b); len(path) > len(b) {
			t.Errorf("path %q is longer than %q", path, b)
		}
		ap, ok := parseSockaddr(b)
		if !ok {
			if ap.IsValid() {
				t.Errorf("%x is no address, but %s", b, ap)
			}
			return
		}
		if !ap.IsValid() || ap.Addr().Is4In6() || ap.Addr().Zone() != "" {
			t.Fatalf("%x became %s", b, ap)
		}
		for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
			back, ok := encodeSockaddr(fam, ap)
			if !ok {
				if fam == unix.AF_INET6 || ap.Addr().Is4() {
					t.Fatalf("%s does not fit family %d", ap, fam)
				}
				continue
			}
			if again, ok := parseSockaddr(back); !ok || again != ap {
				t.Errorf("%s came back as %s", ap, again)
			}
		}
	})
}

func TestParseSockaddrTakesWhatTheKernelTakes(t *testing.T) {
	four, _ := encodeSockaddr(unix.AF_INET, netip.MustParseAddrPort("10.96.7.7:80"))
	six, _ := encodeSockaddr(unix.AF_INET6, netip.MustParseAddrPort("[2001:db8::1]:80"))
	mapped, _ := encodeSockaddr(unix.AF_INET6, netip.MustParseAddrPort("10.96.7.7:80"))
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{four, "10.96.7.7:80"}, {four[:15], ""}, {append(four, make([]byte, 100)...), "10.96.7.7:80"},
		{six, "[2001:db8::1]:80"}, {six[:24], "[2001:db8::1]:80"}, {six[:23], ""}, {mapped, "10.96.7.7:80"},
		{nil, ""}, {[]byte{2}, ""}, {[]byte{0, 0}, ""},
	} {
		ap, ok := parseSockaddr(c.b)
		if ok != (c.want != "") || ok && ap.String() != c.want {
			t.Errorf("%x: %s, %v, want %q", c.b, ap, ok, c.want)
		}
	}
	if _, ok := encodeSockaddr(unix.AF_INET, netip.MustParseAddrPort("[2001:db8::1]:80")); ok {
		t.Error("an IPv6 address fits AF_INET")
	}
}
