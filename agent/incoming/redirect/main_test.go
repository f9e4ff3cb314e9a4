//go:build linux

package redirect

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"podstep.dev/agent/internal/testpod"
)

func TestMain(m *testing.M) { testpod.Main(m, map[string]func(){"powerless": powerless}) }

// powerless says what a process without capabilities is told that wants to steal port 80.
func powerless() {
	runtime.LockOSThread() // capabilities are a thread's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		fmt.Println("capset:", err)
		return
	}
	_, err := Start(80, nil, Options{})
	fmt.Println(err)
	_, err = OpenClients()
	fmt.Println(err)
}
