package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"podstep.dev/adapter/place"
	"podstep.dev/internal/fault"
)

// Fault is Fault of this cluster, named in the words where the cluster itself is the matter.
func (c *Cluster) Fault(err error, doing string) error { return faultOf(err, doing, c.String()) }

// Fault makes a *fault.Fault of what a client returned while doing something: "list the pods". A fault in err's chain is
// kept. The kinds are Forbidden, NoTarget, NoCluster, and Internal for an answer that nobody expects; those that may go by
// themselves are also place.Temporary. err is in the chain of the result. nil stays nil.
func Fault(err error, doing string) error { return faultOf(err, doing, "the cluster") }

func faultOf(err error, doing, cluster string) error {
	var known *fault.Fault
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled):
		return fault.New(fault.NoCluster, "cannot "+doing, err)
	case apierrors.IsForbidden(err):
		return forbidden(err, doing)
	case apierrors.IsNotFound(err):
		return fault.New(fault.NoTarget, "cannot "+doing, err)
	case apierrors.IsUnauthorized(err):
		return &fault.Fault{ID: fault.NoCluster, What: fmt.Sprintf("%s refuses the kubeconfig's credentials", cluster), Err: err,
			Hint: "They may have expired. Log in again until this works: kubectl get pods."}
	}
	if f := credentials(err); f != nil {
		return f
	}
	if f := security(err, cluster); f != nil {
		return f
	}
	if isTemporary(err) {
		return place.Temporary(fault.New(fault.NoCluster, fmt.Sprintf("cannot %s: %s does not answer", doing, cluster), err))
	}
	if apierrors.ReasonForError(err) == "" {
		return fault.New(fault.NoCluster, "cannot "+doing, err)
	}
	return fault.New(fault.Internal, "cannot "+doing, err)
}

// forbidden names what is missing, in the words of the Role.
func forbidden(err error, doing string) *fault.Fault {
	if d, ok := DeniedBy(err); ok {
		f := &fault.Fault{ID: fault.Forbidden, What: d.String(), Hint: "Ask for the role that this prints: podstep rbac -n " + d.Namespace}
		if d.Namespace == "" {
			f.Hint = "It is a permission for the whole cluster; podstep's role for one namespace is printed by: podstep rbac -n NAMESPACE"
		}
		return f
	}
	f := &fault.Fault{ID: fault.Forbidden, What: "a policy of the cluster does not let podstep " + doing, Err: err, Hint: "Ask whoever looks after the cluster's policies."}
	if strings.Contains(err.Error(), "violates PodSecurity") {
		f.Hint = "The namespace's Pod Security level refuses it. See: podstep doctor"
	}
	return f
}

// credentials makes a fault of an error of the kubeconfig's credential plugin, else nil. client-go gives it no type.
func credentials(err error) *fault.Fault {
	text := err.Error()
	if !strings.Contains(text, "getting credentials:") && !strings.Contains(text, "exec plugin") {
		return nil
	}
	f := &fault.Fault{ID: fault.NoCluster, What: "the kubeconfig's credential plugin failed", Err: err,
		Hint: "Log in again until this works: kubectl get pods. podstep runs the same plugin, without a terminal."}
	if errors.Is(err, exec.ErrNotFound) || strings.Contains(text, "not found") {
		f.What = "the kubeconfig's credential plugin is not installed"
		f.Hint = "Install it, or put it on the PATH of the editor, which may be another than the shell's."
	}
	if strings.Contains(text, "cannot support interactive mode") {
		f.What = "the kubeconfig's credential plugin wants to ask something"
		f.Hint = "Log in with it in a terminal first: kubectl get pods. podstep cannot show it the keyboard."
	}
	return f
}

// security makes a fault of a TLS handshake that failed for a reason that stays, else nil.
func security(err error, cluster string) *fault.Fault {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return &fault.Fault{ID: fault.NoCluster, What: fmt.Sprintf("the certificate of %s is not trusted", cluster), Err: err,
			Hint: "The kubeconfig's certificate-authority does not fit the server; a proxy in between may use its own. Try: kubectl get pods."}
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		return &fault.Fault{ID: fault.NoCluster, What: fmt.Sprintf("%s refuses the kubeconfig's client certificate", cluster), Err: err,
			Hint: "It may have expired. Get a new kubeconfig, then try: kubectl get pods."}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &fault.Fault{ID: fault.NoCluster, What: fmt.Sprintf("what answers for %s does not speak TLS", cluster), Err: err,
			Hint: "Check the server's address and port in the kubeconfig."}
	}
	return nil
}

// isTemporary tells errors that the same request may not meet again: of the network, of a server that starts, stops or is busy.
func isTemporary(err error) bool {
	var network net.Error
	var operation *net.OpError
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code == 429 || code >= 500 || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &operation) || errors.As(err, &network) && network.Timeout() || isLookup(err) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err)
}

// isLookup tells that a name could not be resolved, as happens while a VPN is down.
func isLookup(err error) bool {
	var lookup *net.DNSError
	return errors.As(err, &lookup)
}
