package outgoing

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
)

const (
	// maxServers is how many nameservers are asked (MAXNS, resolv.conf(5)).
	maxServers = 3
	// ownTTL is that of answers from the target's files and of names that the search list completed, in seconds.
	ownTTL = 5
	// udpSize is the largest answer read by UDP when the question announces none, in bytes: servers may send more than
	// the 512 that they should.
	udpSize = 4096
)

// resolver answers questions as the target's own resolver does: hosts file, search list, nameservers in their order.
type resolver struct {
	log    *zap.Logger
	config cached[*dns.ClientConfig]
	hosts  cached[hosts]
	self   func() hosts
}

func newResolver(opts Options) *resolver {
	return &resolver{
		log:    opts.Log,
		config: cached[*dns.ClientConfig]{files: opts.Files, name: "etc/resolv.conf", parse: parseConfig},
		hosts:  cached[hosts]{files: opts.Files, name: "etc/hosts", parse: parseHosts},
		self: func() hosts {
			name, err := opts.Hostname()
			if err != nil || name == "" {
				return nil
			}
			addresses, _ := opts.Addresses()
			return hosts{key(name): addresses}
		},
	}
}

// parseConfig falls back to the resolver's own default, a server on this host.
func parseConfig(text string) *dns.ClientConfig {
	config, err := dns.ClientConfigFromReader(strings.NewReader(text))
	if err != nil || len(config.Servers) == 0 {
		if config == nil {
			config = &dns.ClientConfig{Port: "53", Ndots: 1, Timeout: 5, Attempts: 2}
		}
		config.Servers = []string{"127.0.0.1"}
	}
	config.Servers = config.Servers[:min(len(config.Servers), maxServers)]
	return config
}

// resolve always returns an answer; what cannot be had is SERVFAIL.
func (r *resolver) resolve(ctx context.Context, question *dns.Msg) *dns.Msg {
	config := r.config.read()
	if question.Opcode != dns.OpcodeQuery || len(question.Question) != 1 {
		return r.finish(question, r.exchange(ctx, config, question))
	}
	if answer := r.own(question); answer != nil {
		return answer
	}
	return r.search(ctx, config, question)
}

// own answers from the target's hosts file and its hostname, or returns nil.
func (r *resolver) own(question *dns.Msg) *dns.Msg {
	q := question.Question[0]
	if q.Qclass != dns.ClassINET {
		return nil
	}
	for _, table := range []hosts{r.hosts.read(), r.self(), localhost()} {
		if records, ok := table.answer(q); ok {
			answer := new(dns.Msg).SetReply(question)
			answer.RecursionAvailable = true
			answer.Answer = records
			return answer
		}
	}
	return nil
}

// search asks for the name itself and for its completions by the search list, in the order that ndots says, until one
// exists. A completed name is answered as an alias of the name that was asked for.
func (r *resolver) search(ctx context.Context, config *dns.ClientConfig, question *dns.Msg) *dns.Msg {
	asked := question.Question[0].Name
	var none, failed *dns.Msg
	for _, name := range candidates(config, asked) {
		ask := question.Copy()
		ask.Question[0].Name = name
		answer := r.exchange(ctx, config, ask)
		switch {
		case answer == nil:
			return r.finish(question, nil)
		case answer.Rcode == dns.RcodeSuccess:
			return r.finish(question, alias(answer, asked, name))
		case answer.Rcode == dns.RcodeNameError:
			// The verdict on the name itself is the one to tell.
			if none == nil || name == asked {
				none = answer
			}
		case failed == nil:
			failed = answer
		}
	}
	if failed != nil {
		return r.finish(question, failed)
	}
	return r.finish(question, none)
}

// candidates are the names to ask for. Reverse names are complete.
func candidates(config *dns.ClientConfig, asked string) []string {
	bare := strings.TrimSuffix(asked, ".")
	if bare == "" || strings.HasSuffix(key(asked), ".arpa") {
		return []string{asked}
	}
	var names []string
	for _, name := range config.NameList(bare) {
		if _, ok := dns.IsDomainName(name); ok {
			names = append(names, name)
		}
	}
	return names
}

// alias puts a CNAME from asked to name before the answers, when they differ.
func alias(answer *dns.Msg, asked, name string) *dns.Msg {
	if name == asked {
		return answer
	}
	cname := &dns.CNAME{Hdr: dns.RR_Header{Name: asked, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ownTTL}, Target: name}
	answer.Answer = append([]dns.RR{cname}, answer.Answer...)
	return answer
}

// finish makes answer the reply to question; a nil one is SERVFAIL.
func (r *resolver) finish(question, answer *dns.Msg) *dns.Msg {
	if answer == nil {
		return new(dns.Msg).SetRcode(question, dns.RcodeServerFailure)
	}
	answer.Id = question.Id
	answer.Question = question.Question
	answer.Truncated = false
	return answer
}

// exchange asks the nameservers in their order, as often as the configuration says, until one knows. It returns the last
// failure that a server told, and nil when none answered.
func (r *resolver) exchange(ctx context.Context, config *dns.ClientConfig, question *dns.Msg) *dns.Msg {
	var failed *dns.Msg
	for range config.Attempts {
		for _, server := range config.Servers {
			answer, err := ask(ctx, question, net.JoinHostPort(server, config.Port), time.Duration(config.Timeout)*time.Second)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				r.log.Debug("nameserver", zap.String("server", server), zap.Error(err))
				continue
			}
			switch answer.Rcode {
			case dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
				failed = answer
			default:
				return answer
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// ask sends one question by UDP, and by TCP when the answer does not fit. The message goes under an id of its own.
func ask(ctx context.Context, question *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	q := question.Copy()
	q.Id = dns.Id()
	answer, err := askBy(ctx, "udp", q, server, timeout)
	if err == nil && !answer.Truncated {
		return answer, nil
	}
	// A server that is not there, or silent, is so by TCP as well; an answer that does not fit is not.
	if err != nil && (errors.Is(err, syscall.ECONNREFUSED) || isTimeout(err) || ctx.Err() != nil) {
		return nil, err
	}
	return askBy(ctx, "tcp", q, server, timeout)
}

func askBy(ctx context.Context, network string, q *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	client := dns.Client{Net: network, Timeout: timeout, UDPSize: udpSize}
	// Not the client's own dialling, which takes half a megabyte of TLS into the program.
	dialled, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: dialled, UDPSize: udpSize}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	answer, _, err := client.ExchangeWithConnContext(ctx, q, conn)
	if err == nil && !sameQuestion(q, answer) {
		err = errors.New("answer to another question")
	}
	return answer, err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func sameQuestion(q, answer *dns.Msg) bool {
	if len(answer.Question) != len(q.Question) {
		// Some servers leave it out of a failure.
		return answer.Rcode != dns.RcodeSuccess
	}
	for i := range q.Question {
		a, b := q.Question[i], answer.Question[i]
		if a.Qtype != b.Qtype || a.Qclass != b.Qclass || !strings.EqualFold(a.Name, b.Name) {
			return false
		}
	}
	return true
}
