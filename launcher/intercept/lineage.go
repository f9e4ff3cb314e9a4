//go:build linux

package intercept

// maxAncestors bounds a walk to the root of the process tree; a deeper tree counts as lost.
const maxAncestors = 256

// intercepted reports whether a thread's process is. A process that cannot be looked at any more is: it is on its way
// out, and if it is not, nothing must leak.
func (t *processes) intercepted(tid int) bool {
	p, err := t.find(tid)
	return err != nil || p.intercepted
}

// exec notes that a thread calls exec. In scope Traced this is where the debuggee shows: its debugger traces it already.
func (t *processes) exec(tid int) {
	first := len(t.byID) == 0
	p, err := t.find(tid)
	if err != nil || p.intercepted || first {
		return
	}
	if st, err := readStatus(tid); err == nil && st.tracer != 0 {
		p.intercepted = true
	}
}

// inherits reports whether a process whose parent this is descends from an intercepted one. Ancestors that never made
// a notified call are looked up; one above the debugger means that the true parents are gone (a double fork) and the
// process was handed to a subreaper: it counts as intercepted, because nothing else would be safe.
func (t *processes) inherits(parent int) bool {
	for range maxAncestors {
		if t.above[parent] || parent <= 1 {
			return true
		}
		if p := t.byID[parent]; p != nil && p.alive() {
			return p.intercepted
		}
		st, err := readStatus(parent)
		if err != nil {
			return true
		}
		parent = st.parent
	}
	return true
}

// noteAbove remembers the debugger's ancestors.
func (t *processes) noteAbove(parent int) {
	for range maxAncestors {
		t.above[parent] = true
		if parent <= 1 {
			return
		}
		st, err := readStatus(parent)
		if err != nil {
			return
		}
		parent = st.parent
	}
}
