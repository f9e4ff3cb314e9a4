package config

import "fmt"

// stealKeys are the keys of "incoming" that only a debuggee that answers requests has a use for.
func stealKeys() []string {
	return []string{"tls", "onPause", "hold", "onExit", "onHang", "hangTimeout", "fallbackIdempotent", "rules", "existing", "probes", "probeFilter"}
}

// PausePolicy is what becomes of requests that come while the debugger is stopped. filtered says that the session takes
// only the requests that are meant for it.
func (i Incoming) PausePolicy(filtered bool) string {
	switch {
	case i.OnPause != "":
		return i.OnPause
	case filtered:
		return PauseReject
	}
	return PausePassthrough
}

// fitMode checks the keys of "incoming" that were given against its mode.
func (r *reader) fitMode(m *Mirror, path string) {
	if m.Incoming.Mode != ModeMirror && m.Incoming.Mode != ModeOff {
		return
	}
	for _, key := range stealKeys() {
		at := join(path, "incoming."+key)
		if offset, given := r.seen[at]; given {
			r.add(offset, at, fmt.Sprintf("is for %q %q, where the debuggee answers; the mode is %q", "mode", ModeSteal, m.Incoming.Mode))
		}
	}
}
