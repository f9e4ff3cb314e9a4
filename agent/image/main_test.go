package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// sources writes programs for two architectures and a configuration, and returns their folder.
func sources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"shop-amd64": 0o755, "shop-arm64": 0o700, "conf": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func shop(dir, out string) []string {
	return []string{
		"-o", out, "-ref", "test.local/shop:1", "-platforms", "linux/amd64,linux/arm64", "-user", "1234",
		"-entrypoint", "/bin/shop", "-entrypoint", "serve", "-env", "MODE=test", "-label", "a=b",
		"/bin/shop=" + dir + "/shop-{arch}", "/etc/shop/conf=" + dir + "/conf",
	}
}

// unpack unpacks an archive and returns its only index.
func unpack(t *testing.T, archive string) (v1.ImageIndex, v1.Descriptor) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for files := tar.NewReader(f); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(h.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("the layout has %d entries", len(manifest.Manifests))
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest.Manifests[0]
}

// contents lists a layer's entries: name, mode and what is in it.
func contents(t *testing.T, l v1.Layer) string {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var list strings.Builder
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return list.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s is of %d:%d, %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		fmt.Fprintf(&list, "%s %o %s\n", h.Name, h.Mode, content)
	}
}

func TestArchiveHoldsAnImageForEachPlatform(t *testing.T) {
	for _, plain := range []bool{false, true} {
		out := filepath.Join(t.TempDir(), "shop.tar")
		args := shop(sources(t), out)
		layerType := types.OCILayer
		if plain {
			args = append([]string{"-plain"}, args...)
			layerType = types.OCIUncompressedLayer
		}
		if err := run(args); err != nil {
			t.Fatal(err)
		}
		index, entry := unpack(t, out)
		if name := entry.Annotations["io.containerd.image.name"]; name != "test.local/shop:1" {
			t.Errorf("the image is called %q", name)
		}
		// It knows compressed layers only: of others it can check what is said of them.
		var how []validate.Option
		if plain {
			how = append(how, validate.Fast)
		}
		if err := validate.Index(index, how...); err != nil {
			t.Error(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for i, arch := range []string{"amd64", "arm64"} {
			if p := manifest.Manifests[i].Platform; p == nil || p.OS != "linux" || p.Architecture != arch {
				t.Fatalf("image %d is for %v", i, p)
			}
			img, err := index.Image(manifest.Manifests[i].Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkShop(t, img, arch, layerType)
		}
	}
}

func checkShop(t *testing.T, img v1.Image, arch string, layerType types.MediaType) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.Architecture != arch || strings.Join(c.Entrypoint, " ") != "/bin/shop serve" || c.User != "1234" || c.Labels["a"] != "b" ||
		!strings.HasSuffix(strings.Join(c.Env, " "), " MODE=test") {
		t.Errorf("the configuration is %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	if kind, err := layers[0].MediaType(); err != nil || kind != layerType {
		t.Errorf("the layer is %s, %v", kind, err)
	}
	want := "bin/ 755 \nbin/shop 755 this is shop-" + arch + "\netc/ 755 \netc/shop/ 755 \netc/shop/conf 644 this is conf\n"
	if got := contents(t, layers[0]); got != want {
		t.Errorf("the files are\n%s\nwant\n%s", got, want)
	}
}

func TestSameInputGivesTheSameBytes(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		dir := sources(t)
		then := time.Unix(int64(1e9*(i+1)), 0)
		if err := os.Chtimes(filepath.Join(dir, "conf"), then, then); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "shop.tar")
		if err := run(shop(dir, out)); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same files differ")
	}
}

func TestRefusedCallsLeaveNothing(t *testing.T) {
	dir := sources(t)
	for _, args := range [][]string{
		{"-ref", "test.local/shop:1", "/a=" + dir + "/conf"},
		{"-o", "OUT", "-ref", "test.local/shop:1"},
		{"-o", "OUT", "-ref", "shop", "/a=" + dir + "/conf"},
		{"-o", "OUT", "-ref", "test.local/shop:1", "a=" + dir + "/conf"},
		{"-o", "OUT", "-ref", "test.local/shop:1", "/a=" + dir + "/conf", "/a=" + dir + "/shop-amd64"},
		{"-o", "OUT", "-ref", "test.local/shop:1", "/a=" + dir + "/none"},
		{"-o", "OUT", "-ref", "test.local/shop:1", "/a=" + dir},
		{"-o", "OUT", "-ref", "test.local/shop:1", "-platforms", "linux", "/a=" + dir + "/conf"},
		{"-o", "OUT", "-ref", "test.local/shop:1", "-label", "a", "/a=" + dir + "/conf"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			where := t.TempDir()
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "OUT", filepath.Join(where, "out.tar"))
			}
			if err := run(args); err == nil {
				t.Error("it is done")
			}
			if left, err := os.ReadDir(where); err != nil || len(left) > 0 {
				t.Errorf("%v, %v are left", left, err)
			}
		})
	}
}
