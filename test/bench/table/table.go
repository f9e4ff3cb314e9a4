// Package table prints what a benchmark measured as a table in Markdown: native and through podstep side by side, with the
// aim behind.
package table

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Begin prints what it was measured on, and the table's head.
func Begin() {
	fmt.Fprintf(os.Stdout, "%s/%s, %d CPUs, Linux %s, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), release(), runtime.Version())
	fmt.Fprintln(os.Stdout, "| what | native | through podstep | difference | aim |")
	fmt.Fprintln(os.Stdout, "|---|---|---|---|---|")
}

func release() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Row prints one line. Without an aim there is a dash.
func Row(what, native, ours, difference, aim string) {
	fmt.Fprintf(os.Stdout, "| %s | %s | %s | %s | %s |\n", what, native, ours, difference, cmp.Or(aim, "–"))
}

// Latencies prints the median and the 99th percentile, a line each, with their difference and their ratio. The aim is that of
// the median.
func Latencies(what string, native, ours []time.Duration, aim string) {
	latency(what+", p50", Quantile(native, 50), Quantile(ours, 50), aim)
	latency(what+", p99", Quantile(native, 99), Quantile(ours, 99), "")
}

func latency(what string, native, ours time.Duration, aim string) {
	Row(what, Show(native), Show(ours), fmt.Sprintf("%s (%.1fx)", signed(ours-native), float64(ours)/float64(native)), aim)
}

// Median prints the median alone.
func Median(what string, native, ours []time.Duration, aim string) {
	latency(what, Quantile(native, 50), Quantile(ours, 50), aim)
}

// Rates prints two throughputs in MB/s.
func Rates(what string, native, ours float64, aim string) {
	Row(what, fmt.Sprintf("%.0f MB/s", native), fmt.Sprintf("%.0f MB/s", ours), fmt.Sprintf("%.2fx", ours/native), aim)
}

// Start prints how long something took that has no native counterpart: the median, and from the least to the most.
func Start(what string, took []time.Duration, aim string) {
	Row(what, "–", Show(Quantile(took, 50)), fmt.Sprintf("%s to %s", Show(Quantile(took, 0)), Show(Quantile(took, 100))), aim)
}

// Quantile is that of d in percent; d gets sorted.
func Quantile(d []time.Duration, percent int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)*percent/100, len(d)-1)]
}

// Show is d with three digits or so.
func Show(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}

// signed shows a difference, which may be negative on a busy machine.
func signed(d time.Duration) string {
	if d < 0 {
		return "-" + Show(-d)
	}
	return "+" + Show(d)
}
