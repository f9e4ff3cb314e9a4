package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// etcFiles are the files of /etc that are the pod's own.
func (s *setup) etcFiles() map[string]string {
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	if len(s.Addresses) > 0 {
		hosts += s.Addresses[0].String() + " " + s.Hostname + "\n"
	}
	return map[string]string{
		"hostname":      s.Hostname + "\n",
		"hosts":         hosts,
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"resolv.conf":   fmt.Sprintf("nameserver %s\nsearch %s\noptions ndots:5\n", s.Resolver, strings.Join(s.Search, " ")),
	}
}

// mountEtc puts a new /etc in place of the machine's, for this mount namespace only: the given files, and links to the
// rest of the machine's. dir is an empty directory to build it in, and is removed. Binding single files instead would need
// them to exist.
func mountEtc(dir string, files map[string]string) error {
	const machine = ".machine"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, machine), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/etc", filepath.Join(dir, machine), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /etc: %w", err)
	}
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, own := files[e.Name()]; !own {
			if err := os.Symlink(machine+"/"+e.Name(), filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount(dir, "/etc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("put /etc in place: %w", err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the tmpfs: %w", err)
	}
	return os.Remove(dir)
}
