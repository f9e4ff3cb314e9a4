package logging

import (
	"bytes"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// keptWords is how much of a program's last words a fault can show, in bytes.
	keptWords = 2 << 10
	// maxLine is where a line without end is cut, in bytes.
	maxLine = 8 << 10
)

// Words is what a program writes to its standard error: logged line by line, at the level that the line itself has, the
// end kept for a fault.
type Words struct {
	log *zap.Logger

	mu   sync.Mutex
	part []byte // of a line
	kept string
}

// NewWords returns the words of a program, which are logged by log.
func NewWords(log *zap.Logger) *Words { return &Words{log: log} }

// Write takes the next words. It never fails.
func (w *Words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		take := min(len(line), maxLine-len(w.part))
		w.part = append(w.part, line[:take]...)
		switch {
		case take < len(line):
			w.flush()
			b = b[take:]
		case ended:
			w.flush()
			b = rest
		default:
			b = nil
		}
	}
	return n, nil
}

// flush ends a line. The caller holds mu.
func (w *Words) flush() {
	line := strings.TrimRight(string(w.part), "\r")
	w.part = w.part[:0]
	if line == "" {
		return
	}
	w.kept += line + "\n"
	w.kept = w.kept[max(0, len(w.kept)-keptWords):]
	w.log.Log(levelOf(line), line)
}

// Tail are the last words, without white space around them.
func (w *Words) Tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.kept + string(w.part))
}

// levelOf reads the level from a line of this package ("15:04:05.000<tab>WARN<tab>..."). Other lines are the Go
// runtime's or the loader's: warnings.
func levelOf(line string) zapcore.Level {
	fields := strings.SplitN(line, "\t", 3)
	if len(fields) == 3 {
		if level, err := zapcore.ParseLevel(fields[1]); err == nil && level < zapcore.DPanicLevel {
			return level
		}
	}
	return zapcore.WarnLevel
}
