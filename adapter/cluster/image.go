package cluster

import "podstep.dev/internal/program"

// Image is the agent's reference where the configuration names none.
func Image() string { return image + program.Version() }
