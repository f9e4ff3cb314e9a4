package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// names are the annotations from which those who load an archive know an image's name: containerd, kind and podman take the first
// (its whole name), others the one of the OCI image layout (its tag).
func names(ref name.Tag) map[string]string {
	return map[string]string{"io.containerd.image.name": ref.Name(), "org.opencontainers.image.ref.name": ref.TagStr()}
}

// writeArchive writes an OCI image layout with the index to a tar file, which appears whole or not at all.
func writeArchive(out string, ref name.Tag, index v1.ImageIndex) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(out), ".image-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := filepath.Join(dir, "layout")
	l, err := layout.Write(files, empty.Index)
	if err == nil {
		err = l.AppendIndex(index, layout.WithAnnotations(names(ref)))
	}
	if err == nil {
		err = pack(filepath.Join(dir, "tar"), files)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, "tar"), out)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}

// pack writes dir's files to a tar file in the order of their names.
func pack(out, dir string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	t := tar.NewWriter(f)
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return packFile(t, root, file)
	})
	if err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	return f.Close()
}

func packFile(t *tar.Writer, root fs.FS, file string) error {
	f, err := root.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg, ModTime: epoch()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}
