//go:build linux

package main

import (
	"context"
	"fmt"

	"podstep.dev/adapter/config"
	"podstep.dev/test/bench/role"
)

// http2 measures what becomes of requests over HTTP/2 on a port that a filter steals from: the target's own, and those that it steals.
func (b *bench) http2(ctx context.Context) error {
	alice := func(m *config.Mirror) (err error) {
		m.Incoming.Filter, err = config.ParseFilter(fmt.Sprintf(`{"header": {%q: "alice"}}`, role.User))
		return err
	}
	for _, s := range []shape{{1, 1 << 10, b.n, true}, {64, 1 << 10, 4 * b.n, true}, {1, 10 << 20, b.n / 50, true}, {16, 10 << 20, b.n / 25, true}} {
		err := b.inWays(ctx, s, alice, false, []*way{
			{at: direct, user: "-"},
			{what: "not matched by the filter", at: stolen, user: "bob", aim: "+60 µs at p50", rate: "over 0.5x per core"},
			{what: "stolen by a filter", at: stolen, user: "alice", aim: "+0.3 ms at p50"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
