package exec

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streams are a program's.
type streams struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// server is an API server whose containers run one program, with the very code that the real one has for both transports.
type server struct {
	*httptest.Server
	// run is the program: it returns its exit status.
	run func(streams) int
	// answer, if not nil, may answer instead.
	answer func(w http.ResponseWriter, r *http.Request) bool

	requests atomic.Int32
	running  sync.WaitGroup
}

func serve(t *testing.T, run func(streams) int) *server {
	t.Helper()
	s := &server{run: run}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		s.running.Wait()
	})
	return s
}

// dialer reaches s.
func (s *server) dialer(t *testing.T, transport string) *Dialer {
	t.Helper()
	config := &rest.Config{Host: s.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Dialer{Config: config, Client: client.CoreV1().RESTClient(), Transport: transport}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.URL.Path != "/api/v1/namespaces/shop/pods/web-0/exec" || r.URL.Query().Get("container") != "app" {
		http.NotFound(w, r)
		return
	}
	s.running.Add(1)
	defer s.running.Done()
	if isWebSocket(r) {
		s.overWebSocket(w, r)
		return
	}
	s.overSPDY(w, r)
}

func isWebSocket(r *http.Request) bool { return r.Header.Get(wsstream.WebSocketProtocolHeader) != "" }

func (s *server) overWebSocket(w http.ResponseWriter, r *http.Request) {
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{remotecommand.StreamProtocolV5Name: {
		Binary:   true,
		Channels: []wsstream.ChannelType{wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel},
	}})
	_, channels, err := conn.Open(w, r)
	if err != nil {
		return
	}
	defer conn.Close()
	s.finish(streams{channels[0], channels[1], channels[2]}, channels[3])
}

func (s *server) overSPDY(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		return
	}
	arrived := make(chan httpstream.Stream, 4)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		arrived <- stream
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	byKind := map[string]httpstream.Stream{}
	for len(byKind) < 4 {
		select {
		case stream := <-arrived:
			byKind[stream.Headers().Get(corev1.StreamType)] = stream
		case <-conn.CloseChan():
			return
		}
	}
	s.finish(streams{byKind[corev1.StreamTypeStdin], byKind[corev1.StreamTypeStdout], byKind[corev1.StreamTypeStderr]}, byKind[corev1.StreamTypeError])
	for _, kind := range []string{corev1.StreamTypeStdout, corev1.StreamTypeStderr, corev1.StreamTypeError} {
		_ = byKind[kind].Close()
	}
	// The client hangs up when it has read the ends.
	<-conn.CloseChan()
}

// finish runs the program and says how it ended. A negative status is none: the connection breaks.
func (s *server) finish(std streams, verdict io.Writer) {
	code := s.run(std)
	status := metav1.Status{Status: metav1.StatusSuccess}
	switch {
	case code < 0:
		s.CloseClientConnections()
		return
	case code == cannotStart:
		status = metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Message: "no such file"}
	case code > 0:
		status = metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Message: fmt.Sprintf("command terminated with non-zero exit code %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: fmt.Sprint(code)}}},
		}
	}
	text, err := json.Marshal(status)
	if err != nil {
		panic(err)
	}
	_, _ = verdict.Write(text)
}

// cannotStart is the status of a program that is not there.
const cannotStart = 1000
