package mux

import "go.uber.org/zap"

// yamuxLog gives yamux our logger: its default is stderr, which is the editor's debug console.
type yamuxLog struct{ log *zap.SugaredLogger }

func (l yamuxLog) Print(v ...any)                 { l.log.Debug(v...) }
func (l yamuxLog) Printf(format string, v ...any) { l.log.Debugf(format, v...) }
func (l yamuxLog) Println(v ...any)               { l.log.Debugln(v...) }
