package process

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// keptWords is how much of the agent's last words a fault can show, in bytes.
	keptWords = 2 << 10
	// maxLine is where a line without end is cut, in bytes.
	maxLine = 8 << 10
	// lastLine bounds the wait for what a dead agent has left in the pipe.
	lastLine = 200 * time.Millisecond
)

// words is what an agent writes to its standard error: logged line by line, the end kept for a fault.
type words struct {
	stderr *os.File
	over   sync.WaitGroup

	mu   sync.Mutex
	kept string
}

// hear reads stderr, which it owns, in a goroutine that ends when the agent and all that inherited it have closed it.
func hear(stderr *os.File, log *zap.Logger) *words {
	w := &words{stderr: stderr}
	w.over.Go(func() {
		defer stderr.Close()
		lines := bufio.NewReaderSize(stderr, maxLine)
		for {
			part, err := lines.ReadSlice('\n')
			if line := strings.TrimRight(string(part), "\r\n"); line != "" {
				w.keep(line)
				log.Log(levelOf(line), line)
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	})
	return w
}

// wait waits for the last line of an agent that is over; a process that inherited its standard error is not waited for.
func (w *words) wait() {
	_ = w.stderr.SetReadDeadline(time.Now().Add(lastLine))
	w.over.Wait()
}

func (w *words) keep(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept += line + "\n"
	w.kept = w.kept[max(0, len(w.kept)-keptWords):]
}

func (w *words) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept
}

// levelOf reads the level from a line of internal/logging ("15:04:05.000<tab>WARN<tab>..."). Other lines are the Go
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
