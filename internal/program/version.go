package program

import (
	"runtime/debug"
	"strings"
)

// release is set by the linker: -X podstep.dev/internal/program.release=0.1.0 (see the Makefile). It is the one variable
// of this package because the linker can set nothing else.
var release string

// Version is the release of the running program, "0.1.0", or what the build recorded of the sources it was made from.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}
