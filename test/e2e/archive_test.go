//go:build linux

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
)

// An archive is an image of one uncompressed layer in an OCI image layout (image-layout.md of the OCI image specification),
// in a tar file.
type archive struct {
	// ref is the image's name: "podstep.dev/e2e:test".
	ref string
	// files are absolute paths in the image, each with the path of the program here.
	files map[string]string
}

// write writes the archive to a file. Nothing is compressed: it stays on this machine.
func (a archive) write(file string) error {
	layer, err := a.layer()
	if err != nil {
		return fmt.Errorf("image %s: %w", a.ref, err)
	}
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	blob := func(mediaType string, content []byte) map[string]any {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		err = firstOf(err, writeFile(out, "blobs/sha256/"+digest, 0o644, content))
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(content)}
	}
	layerBlob := blob("application/vnd.oci.image.layer.v1.tar", layer)
	config := blob("application/vnd.oci.image.config.v1+json", marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{layerBlob["digest"]}},
	}))
	manifest := blob("application/vnd.oci.image.manifest.v1+json", marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{layerBlob},
	}))
	// The first annotation is the layout's own, the second is what containerd takes a whole name from.
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": a.ref, "io.containerd.image.name": a.ref}
	index := marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{manifest}})
	err = firstOf(err, writeFile(out, "index.json", 0o644, index), writeFile(out, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)), out.Close())
	if err != nil {
		return fmt.Errorf("image %s: %w", a.ref, err)
	}
	return os.WriteFile(file, buf.Bytes(), 0o644)
}

func (a archive) layer() ([]byte, error) {
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		content, err := os.ReadFile(a.files[name])
		if err != nil {
			return nil, err
		}
		if err := writeFile(out, path.Clean(name)[1:], 0o755, content); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), out.Close()
}

func writeFile(out *tar.Writer, name string, mode int64, content []byte) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers can be written
	}
	return b
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
