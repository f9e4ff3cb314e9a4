package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"podstep.dev/adapter/config"
)

func TestSelectTakesWhatIsChosen(t *testing.T) {
	target := []string{"APP_NAME=shop", "APP_SECRET=s", "TZ=UTC", "PATH=/app", "LD_PRELOAD=x.so", "TWICE=1", "TWICE=2", "EQUALS=a=b", "EMPTY=", "=odd", "none"}
	tests := map[string]struct {
		env  config.Env
		want map[string]string
	}{
		"defaults": {
			config.Default().Env,
			map[string]string{"APP_NAME": "shop", "APP_SECRET": "s", "TZ": "UTC", "TWICE": "1", "EQUALS": "a=b", "EMPTY": ""},
		},
		"nothing":             {config.Env{}, map[string]string{}},
		"pattern":             {config.Env{Include: []string{"APP_*"}}, map[string]string{"APP_NAME": "shop", "APP_SECRET": "s"}},
		"exclude wins":        {config.Env{Include: []string{"APP_*", "APP_SECRET"}, Exclude: []string{"*SECRET*"}}, map[string]string{"APP_NAME": "shop"}},
		"full name":           {config.Env{Include: []string{"PATH", "LD_*"}}, map[string]string{"PATH": "/app"}},
		"two stars":           {config.Env{Include: []string{"A*_N*E"}}, map[string]string{"APP_NAME": "shop"}},
		"no other wildcards":  {config.Env{Include: []string{"T?", "[T]Z"}}, map[string]string{}},
		"override always":     {config.Env{Override: map[string]string{"PATH": "/x", "NEW": "n"}}, map[string]string{"PATH": "/x", "NEW": "n"}},
		"override over taken": {config.Env{Include: []string{"TZ"}, Override: map[string]string{"TZ": "CET"}}, map[string]string{"TZ": "CET"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.env.Select(target)); diff != "" {
				t.Errorf("Select (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectLeavesOutWhatWouldBreakALocalProcess(t *testing.T) {
	for _, name := range []string{"PATH", "HOME", "USER", "SHELL", "PWD", "TERM", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "GOPATH", "PYTHONPATH", "JAVA_HOME", "XDG_RUNTIME_DIR", "TMPDIR", "SSL_CERT_FILE", "PODSTEP_LOG"} {
		if got := config.Default().Env.Select([]string{name + "=x"}); len(got) != 0 {
			t.Errorf("Select takes %s, want it left out", name)
		}
	}
	for _, name := range []string{"HOSTNAME", "KUBERNETES_SERVICE_HOST", "DATABASE_URL", "TZ", "ENV", "GOMAXPROCS", "PYTHONUNBUFFERED", "NODE_ENV", "HOMEPAGE", "PATHS"} {
		if got := config.Default().Env.Select([]string{name + "=x"}); len(got) != 1 {
			t.Errorf("Select leaves out %s, want it taken", name)
		}
	}
}
