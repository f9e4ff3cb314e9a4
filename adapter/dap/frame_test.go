package dap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReaderTakesHeadersAsProgramsWriteThem(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want []string
	}{
		"as specified":             {"Content-Length: 2\r\n\r\n{}", []string{"{}"}},
		"two messages":             {"Content-Length: 2\r\n\r\n{}Content-Length: 3\r\n\r\n{ }", []string{"{}", "{ }"}},
		"lower case":               {"content-length: 2\r\n\r\n{}", []string{"{}"}},
		"no space":                 {"Content-Length:2\r\n\r\n{}", []string{"{}"}},
		"two spaces":               {"Content-Length:  2 \r\n\r\n{}", []string{"{}"}},
		"line feeds only":          {"Content-Length: 2\n\n{}", []string{"{}"}},
		"another header before":    {"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", []string{"{}"}},
		"another header behind":    {"Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}", []string{"{}"}},
		"a printed line before":    {"warning: old Python\nContent-Length: 2\r\n\r\n{}", []string{"{}"}},
		"an empty line before":     {"\r\n\r\nContent-Length: 2\r\n\r\n{}", []string{"{}"}},
		"text on the header's own": {"ready> Content-Length: 2\r\n\r\n{}", []string{"{}"}},
		"a long printed line":      {strings.Repeat("x", 40<<10) + "\nContent-Length: 2\r\n\r\n{}", []string{"{}"}},
		"an empty body":            {"Content-Length: 0\r\n\r\n", []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
				var got []string
				reader := NewReader(r, 0)
				for {
					body, err := reader.Read()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, string(body))
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestReaderRefusesWhatItCannotTrust(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want error
	}{
		"no number":         {"Content-Length: two\r\n\r\n{}", ErrHeader},
		"negative":          {"Content-Length: -2\r\n\r\n{}", ErrHeader},
		"huge":              {"Content-Length: 99999999999999999999\r\n\r\n{}", ErrHeader},
		"over the limit":    {"Content-Length: 1025\r\n\r\n", ErrTooLarge},
		"never a header":    {strings.Repeat("noise\n", 20<<10), ErrHeader},
		"never a line":      {strings.Repeat("n", 100<<10), ErrHeader},
		"cut in the body":   {"Content-Length: 5\r\n\r\n{}", io.ErrUnexpectedEOF},
		"cut in the header": {"Content-Length: 5\r\n", io.ErrUnexpectedEOF},
		"cut before a body": {"Content-Length: 5\r\n\r\n", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewReader(strings.NewReader(test.in), 1024).Read(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestReaderTakesLargeBodies(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 400_000) // 6.4 MB, over go-dap's own limit
	var stream bytes.Buffer
	if err := Write(&stream, body); err != nil {
		t.Fatal(err)
	}
	got, err := NewReader(&stream, 0).Read()
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestReaderDoesNotAllocateWhatIsOnlyAnnounced(t *testing.T) {
	in := "Content-Length: 60000000\r\n\r\n{}"
	bytesPerRun := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := NewReader(strings.NewReader(in), 0).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if bytesPerRun > 4<<20 {
		t.Errorf("%d bytes for an announced length", bytesPerRun)
	}
}

// writes counts calls.
type writes int

func (w *writes) Write(b []byte) (int, error) { *w++; return len(b), nil }

func TestWriteIsOneWrite(t *testing.T) {
	var w writes
	if err := Write(&w, []byte(`{"seq":1}`)); err != nil || w != 1 {
		t.Errorf("%d writes, %v", w, err)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"Content-Length: 2\r\n\r\n{}", "noise\ncontent-length:3\n\n{ }", "Content-Length: -1\r\n\r\n", "\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), 1<<16)
		for range 100 {
			body, err := r.Read()
			if err != nil {
				return
			}
			var again bytes.Buffer
			if err := Write(&again, body); err != nil {
				t.Fatal(err)
			}
			if got, err := NewReader(&again, 1<<16).Read(); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%q became %q, %v", body, got, err)
			}
		}
	})
}
