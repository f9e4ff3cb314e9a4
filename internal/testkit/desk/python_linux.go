package desk

import (
	"os"
	"os/exec"
	"path/filepath"
)

// Python is an interpreter with debugpy that the person may use: $PODSTEP_TEST_PYTHON, that of "make venv" in the module's
// directory root, the machine's, or the machine's with the debugpy of "make venv". It skips the test where there is none.
func (d *Desk) Python(root string) string {
	d.t.Helper()
	venv := filepath.Join(root, "build/venv")
	for _, p := range []string{os.Getenv("PODSTEP_TEST_PYTHON"), filepath.Join(venv, "bin/python"), "/usr/bin/python3"} {
		if p != "" && d.hasDebugpy(p) {
			return p
		}
	}
	if p := d.ownVenv(venv); p != "" {
		return p
	}
	d.t.Skip("no Python with debugpy: make venv")
	return ""
}

// ownVenv is a venv of the person's with the packages of another one, whose interpreter the person may not start; "" when that
// cannot be.
func (d *Desk) ownVenv(other string) string {
	own := filepath.Join(d.Home, "venv")
	if err := d.Program("/usr/bin/python3", "-m", "venv", "--without-pip", own).Run(); err != nil {
		return ""
	}
	packages, _ := filepath.Glob(filepath.Join(other, "lib/python3*/site-packages"))
	mine, _ := filepath.Glob(filepath.Join(own, "lib/python3*/site-packages"))
	if len(packages) != 1 || len(mine) != 1 {
		return ""
	}
	if err := os.WriteFile(filepath.Join(mine[0], "other.pth"), []byte(packages[0]+"\n"), 0o644); err != nil {
		return ""
	}
	if p := filepath.Join(own, "bin/python"); d.hasDebugpy(p) {
		return p
	}
	return ""
}

func (d *Desk) hasDebugpy(python string) bool {
	path, err := exec.LookPath(python)
	return err == nil && d.Program(path, "-c", "import debugpy").Run() == nil
}
