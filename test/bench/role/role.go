//go:build linux

// Package role has the parts that a benchmark's program plays in a pod or as the debuggee: it serves, asks, dials, and times
// that. What it measured it prints as JSON, durations in nanoseconds.
package role

import (
	"encoding/json"
	"fmt"
	"os"
)

// Debuggee is the variable that, when set, has serve say that it is the debuggee's.
const Debuggee = "BENCH"

// Play plays the role that the first word names, with the others as its arguments.
//
//	serve PORT...                        answer GET /N with N bytes, /count with how many there were, and anything else with 64 bytes; see serve for what else a port may be
//	echo PORT                            send back what comes on a connection
//	ask ROUNDS kept|new FROM PATH AT...  ask at each HOST:PORT in turn, from that address or "-", and print the durations of each
//	load ROUNDS CONNECTIONS FROM PATH AT USER
//	                                     ask there on kept connections at once, with that user in a header or "-", and print a Loaded
//	pace RATE SECONDS CONNECTIONS FROM PATH AT
//	                                     ask there at a steady rate a second, and print a Loaded
//	send ROUNDS SIZE AT...               send bodies of so many bytes there instead
//	up AT...                             wait until all of them accept connections
//	await AT                             ask until the debuggee answers, and print when that was
//	dial ROUNDS AT                       connect again and again, and print the durations
//	names ROUNDS THREADS                 make calls that the interception looks at and continues, and print the time of one
//	copy                                 send standard input back
//	take SIZE                            take so many bytes, then answer with one
//	give SIZE                            wait for a byte, then send so many
func Play(words []string) error {
	roles := map[string]func([]string) error{
		"serve": serve, "echo": echo, "ask": ask, "load": load, "pace": pace, "send": send, "up": up, "await": await, "dial": dial, "names": names,
		"copy": copyBack, "take": take, "give": give,
	}
	if len(words) == 0 || roles[words[0]] == nil {
		return fmt.Errorf("no role %q", words)
	}
	return roles[words[0]](words[1:])
}

// print prints v as JSON for whoever started the role.
func print(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
