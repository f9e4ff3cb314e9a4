package main

import (
	"context"

	"podstep.dev/adapter/config"
	"podstep.dev/adapter/place"
)

// provider finds a target where its kind says that it is: on this machine or in a cluster.
type provider struct{ here, cluster place.Provider }

func (p provider) Find(ctx context.Context, m config.Mirror, say func(string)) (place.Target, error) {
	target, err := config.ParseTarget(m.Target)
	switch {
	case err != nil:
		return nil, err
	case target.InCluster():
		return p.cluster.Find(ctx, m, say)
	}
	return p.here.Find(ctx, m, say)
}
