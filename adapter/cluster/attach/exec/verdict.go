package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
)

// ErrLost is wrapped by what Read returns when the connection broke while the program was running.
var ErrLost = errors.New("the connection to the program was lost")

// maxStatus bounds what is read of a status, in bytes.
const maxStatus = 64 << 10

// ExitError is the end of a program that failed, or that could not be started (Code 0).
type ExitError struct {
	// Code is the exit status.
	Code int
	// Text is what the API server says of it.
	Text string
	// Words are the program's last words on its standard error.
	Words string
}

func (e *ExitError) Error() string {
	if e.Words != "" {
		return e.Text + ": " + e.Words
	}
	return e.Text
}

// verdict reads how the program ended from the exec protocol's error stream: a metav1.Status (v4.channel.k8s.io). Without
// one the connection broke, for the reason lost.
func verdict(text []byte, words string, lost error) error {
	if len(text) == 0 {
		if lost == nil {
			lost = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%w: %w", ErrLost, lost)
	}
	var status metav1.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return &ExitError{Text: string(text), Words: words}
	}
	if status.Status == metav1.StatusSuccess {
		return io.EOF
	}
	e := &ExitError{Text: status.Message, Words: words}
	if status.Reason == remotecommand.NonZeroExitCodeReason && status.Details != nil {
		for _, cause := range status.Details.Causes {
			if cause.Type == remotecommand.ExitCodeCauseType {
				e.Code, _ = strconv.Atoi(cause.Message)
			}
		}
	}
	return e
}

// refusal makes the API server's answer to an upgrade an error that keeps its status.
func refusal(code int, body []byte) error {
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err == nil && status.Status == metav1.StatusFailure {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Message: fmt.Sprintf("the server answered %d: %s", code, body),
	}}
}
