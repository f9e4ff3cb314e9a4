package rules_test

import (
	"net/netip"
	"strings"
	"testing"

	"podstep.dev/launcher/rules"
)

func TestTCPSaysWhoseADestinationIs(t *testing.T) {
	all := rules.Config{TCP: true, DNS: true}
	local := rules.Config{TCP: true, Local: []string{"192.168.0.0/16:5432", "10.0.0.1", ":9000", "[fd00:1::/32]:443", "fd00:2::1", "172.16.9.9/12"}}
	for _, c := range []struct {
		config rules.Config
		to     string
		pods   bool
	}{
		{rules.Config{}, "10.96.0.1:80", false},
		{rules.Config{}, "10.96.0.1:53", false},
		{rules.Config{DNS: true}, "10.96.0.1:80", false},
		{rules.Config{DNS: true}, "10.96.0.1:53", true},
		{rules.Config{TCP: true}, "10.96.0.1:53", true},
		{all, "10.96.0.1:80", true},
		{all, "[2001:db8::1]:80", true},
		{all, "[::ffff:10.96.0.1]:80", true},
		{all, "127.0.0.1:80", false},
		{all, "127.3.2.1:80", false},
		{all, "[::1]:80", false},
		{all, "[::ffff:127.0.0.1]:80", false},
		{all, "0.0.0.0:80", false},
		{all, "[::]:80", false},
		{all, "169.254.169.254:80", false},
		{all, "[fe80::1%eth0]:80", false},
		{all, "224.0.0.1:80", false},
		{all, "127.0.0.53:53", true},
		{all, "169.254.20.10:53", true},
		{rules.Config{TCP: true}, "127.0.0.53:53", false},
		{local, "192.168.7.7:5432", false},
		{local, "[::ffff:192.168.7.7]:5432", false},
		{local, "192.168.7.7:5433", true},
		{local, "10.0.0.1:1", false},
		{local, "10.0.0.2:1", true},
		{local, "8.8.8.8:9000", false},
		{local, "[fd00:1:2::3]:443", false},
		{local, "[fd00:1:2::3]:444", true},
		{local, "[fd00:2::1]:7", false},
		{local, "172.31.0.1:7", false},
	} {
		r, err := rules.Parse(c.config)
		if err != nil {
			t.Fatalf("Parse(%+v): %v", c.config, err)
		}
		if got := r.TCP(netip.MustParseAddrPort(c.to)); got != c.pods {
			t.Errorf("%+v: TCP(%s) = %v, want %v", c.config, c.to, got, c.pods)
		}
	}
}

func TestUDPIsThePodsForResolversOnly(t *testing.T) {
	r, err := rules.Parse(rules.Config{TCP: true, DNS: true})
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]bool{"10.96.0.10:53": true, "127.0.0.53:53": true, "[::1]:53": true, "10.96.0.10:5353": false} {
		if got := r.UDP(netip.MustParseAddrPort(to)); got != want {
			t.Errorf("UDP(%s) = %v, want %v", to, got, want)
		}
	}
}

func TestUnreadableRefusesWheneverAnythingIsThePods(t *testing.T) {
	for _, c := range []struct {
		config rules.Config
		want   bool
	}{{rules.Config{}, false}, {rules.Config{TCP: true}, true}, {rules.Config{DNS: true}, true}} {
		r, err := rules.Parse(c.config)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Unreadable(); got != c.want {
			t.Errorf("%+v: Unreadable() = %v, want %v", c.config, got, c.want)
		}
	}
}

func TestParseNamesTheEntryThatIsNoDestination(t *testing.T) {
	for _, bad := range []string{"", "x", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "fd00::1:443:", "[fd00::1:443", "fe80::1%eth0", "[]:1", "10.0.0.300:1"} {
		_, err := rules.Parse(rules.Config{Local: []string{"10.0.0.1", bad}})
		if err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("Parse(%q) = %v, want an error that names it", bad, err)
		}
	}
}
