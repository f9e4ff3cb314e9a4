package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of everything: the time of making would make each image another one.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// build makes an index with an image for each platform.
func (s *spec) build() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range s.platforms {
		img, err := s.image(p)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", p, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return index, nil
}

func (s *spec) image(p v1.Platform) (v1.Image, error) {
	layer, err := s.layer(p)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Created: v1.Time{Time: epoch()},
		RootFS:  v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: s.entrypoint,
			Env:        append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, s.env...),
			User:       s.user,
			Labels:     s.labels,
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch()}}})
}

// layer is the files for a platform.
func (s *spec) layer(p v1.Platform) (v1.Layer, error) {
	content, err := s.tar(p)
	if err != nil {
		return nil, err
	}
	if s.plain {
		return static.NewLayer(content, types.OCIUncompressedLayer), nil
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

func (s *spec) tar(p v1.Platform) ([]byte, error) {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	made := map[string]bool{".": true}
	for _, file := range slices.Sorted(maps.Keys(s.files)) {
		source := strings.NewReplacer("{os}", p.OS, "{arch}", p.Architecture).Replace(s.files[file])
		inside := strings.TrimPrefix(path.Clean(file), "/")
		if err := addDirs(t, made, path.Dir(inside)); err != nil {
			return nil, err
		}
		if err := addFile(t, inside, source); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func addDirs(t *tar.Writer, made map[string]bool, dir string) error {
	if made[dir] {
		return nil
	}
	made[dir] = true
	if err := addDirs(t, made, path.Dir(dir)); err != nil {
		return err
	}
	return t.WriteHeader(&tar.Header{Name: dir + "/", Mode: 0o755, Typeflag: tar.TypeDir, ModTime: epoch()})
}

func addFile(t *tar.Writer, inside, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", source)
	}
	mode := int64(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := t.WriteHeader(&tar.Header{Name: inside, Mode: mode, Size: info.Size(), Typeflag: tar.TypeReg, ModTime: epoch()}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}
