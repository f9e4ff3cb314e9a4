package http1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// browser is a request as browsers send them.
var browser = []byte(lines("GET /api/orders?limit=20&after=8f3c HTTP/1.1", "Host: shop.example.com", "Connection: keep-alive",
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
	"Accept: application/json, text/plain, */*", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-GB,en;q=0.9",
	"Cookie: session="+strings.Repeat("0123456789abcdef", 12), "Referer: https://shop.example.com/orders", "X-Request-Id: 4bf92f3577b34da6a3ce929d0e0e4736"))

func BenchmarkParseRequest(b *testing.B) {
	b.SetBytes(int64(len(browser)))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := ParseRequest(browser); r == nil || err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNetHTTP is what ParseRequest is compared with.
func BenchmarkNetHTTP(b *testing.B) {
	b.SetBytes(int64(len(browser)))
	b.ReportAllocs()
	data := bytes.NewReader(nil)
	buffered := bufio.NewReader(data)
	for b.Loop() {
		data.Reset(browser)
		buffered.Reset(data)
		if _, err := http.ReadRequest(buffered); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseRequestUnfinished is what each further piece of a long head costs.
func BenchmarkParseRequestUnfinished(b *testing.B) {
	long := append(bytes.TrimSuffix(browser, []byte("\r\n")), bytes.Repeat([]byte("X-Y: "+strings.Repeat("z", 93)+"\r\n"), 600)...)
	b.SetBytes(int64(len(long)))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := ParseRequest(long); r != nil || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTakeChunked(b *testing.B) {
	for name, size := range map[string]int{"16B": 16, "4KiB": 4 << 10} {
		b.Run(name, func(b *testing.B) {
			data := []byte(strings.Repeat(chunk(size), (64<<10)/size))
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			s := Body{Kind: Chunked}.Scanner()
			for b.Loop() {
				if n, _, err := s.Take(data); n != len(data) || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func chunk(size int) string {
	const digits = "0123456789abcdef"
	hex := ""
	for n := size; n > 0; n /= 16 {
		hex = digits[n%16:n%16+1] + hex
	}
	return hex + "\r\n" + strings.Repeat("x", size) + "\r\n"
}

func TestParsingAllocatesLittle(t *testing.T) {
	// The request, the text of its head, and the fields.
	if n := testing.AllocsPerRun(100, func() { _, _ = ParseRequest(browser) }); n > 3 {
		t.Errorf("a request is %v allocations", n)
	}
	data := []byte(chunk(16))
	s := Body{Kind: Chunked}.Scanner()
	if n := testing.AllocsPerRun(100, func() { _, _, _ = s.Take(data) }); n > 0 {
		t.Errorf("a chunk is %v allocations", n)
	}
}
