package api

import (
	"context"
	"sync"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// klogOnce guards klog's process-wide logger, which may be set once only, before client-go does anything. It is the one
// variable of this package because klog has no other way in.
var klogOnce sync.Once

// routeKlog sends what client-go says to log, of the first call in this process: by itself it writes to standard error.
func routeKlog(log *zap.Logger) {
	klogOnce.Do(func() {
		demoted := log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return demote{core} }))
		klog.SetLoggerWithOptions(zapr.NewLogger(demoted), klog.ContextualLogger(true))
	})
}

// demote writes everything at debug level: what client-go calls an error is mostly a connection that ended as expected, and
// what is none comes back as an error and is reported once. Lines that klog would not show are dropped.
type demote struct{ zapcore.Core }

func (d demote) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && d.Core.Enabled(zapcore.DebugLevel)
}

func (d demote) With(fields []zapcore.Field) zapcore.Core { return demote{d.Core.With(fields)} }

func (d demote) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !d.Enabled(e.Level) {
		return c
	}
	e.Level = zapcore.DebugLevel
	return d.Core.Check(e, c)
}

// warnings are those that the API server adds to its answers, for example of Pod Security. client-go prints them.
type warnings struct{ log *zap.Logger }

var _ rest.WarningHandlerWithContext = warnings{}

func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	// RFC 7234 section 5.5: 299 is a warning to be shown as it is; the API server sends no other.
	if code == 299 && text != "" {
		w.log.Debug("warning of the API server", zap.String("text", text))
	}
}
