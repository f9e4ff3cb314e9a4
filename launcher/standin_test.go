//go:build linux

package launcher

const standInEnv = "PODSTEP_TEST_STAND_IN"

func standIn(string) int { return 1 }
