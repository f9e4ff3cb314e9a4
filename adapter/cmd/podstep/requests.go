package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podstep.dev/adapter/borrow"
	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/fault"
)

// askWithin is how long a session may take to say who it is.
const askWithin = 2 * time.Second

// requestsFlags are the flags of requests and of the commands below it.
type requestsFlags struct {
	session, output, edit string
	follow, unmasked      bool
}

func (p *podstep) requestsCommand() *cobra.Command {
	f := &requestsFlags{}
	cmd := &cobra.Command{
		Use:   "requests [-f] [--session SESSION] [ID]",
		Short: "List, show, replay and release the requests that came to your sessions",
		Long: `requests lists the HTTP requests that came to the sessions of this user on this machine: the last 200 of each, where each went and why.
With an ID it shows that request and its response. Secrets are masked, except with --unmasked. The log is in the session's memory
and goes with it.`,
		Example: `  podstep requests -f
  podstep requests show 12 -o curl
  podstep requests show 12 -o http > pay.http
  podstep requests replay 12
  podstep requests replay 12 --edit pay.http
  podstep requests -o har > shop.har
  podstep requests deliver 17`,
		DisableFlagsInUseLine: true,
		Args:                  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return p.showRequest(cmd.Context(), f, args[0])
			}
			return p.listRequests(cmd.Context(), f)
		},
	}
	cmd.PersistentFlags().StringVar(&f.session, "session", "", "only the `session` of this name, or of this target (default all)")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on and tell of each request when it is over, or held; of sessions that begin later, too")
	unmasked := func(c *cobra.Command) { c.Flags().BoolVar(&f.unmasked, "unmasked", false, "show secrets, too") }
	unmasked(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "form of the list: text, json or har")
	show := &cobra.Command{
		Use: "show ID", Short: "Show a request and its response", Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
		Long: `show prints a request with its response, or the request as a .http file or a curl command, or both as a HAR or as JSON.`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.showRequest(cmd.Context(), f, args[0]) },
	}
	show.Flags().StringVarP(&f.output, "output", "o", "text", "form: text, http, curl, har or json")
	unmasked(show)
	replay := &cobra.Command{
		Use: "replay ID [--edit FILE]", Short: "Send a request to the program again and print the answer", Args: cobra.ExactArgs(1), DisableFlagsInUseLine: true,
		Long: `replay sends a request to the session's program again, byte by byte as it came, on a connection of its own, and prints the answer. It never
leaves this machine, and the one who sent the request first hears nothing of it.

With --edit it sends what FILE has, in the form of "show ID -o http"; what is masked in there goes as it came.`,
		Example: `  podstep requests replay 12
  podstep requests show 12 -o http | sed s/amount=1/amount=0/ | podstep requests replay 12 --edit -`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.replayRequest(cmd.Context(), f, args[0]) },
	}
	replay.Flags().StringVarP(&f.output, "output", "o", "text", "form of the answer: text or json")
	replay.Flags().StringVar(&f.edit, "edit", "", "send what this `file` has (- for standard input)")
	for _, c := range append(p.releaseCommands(f), show, replay) {
		c.RunE = faulty(c.RunE)
		cmd.AddCommand(c)
	}
	return cmd
}

// checkForm says whether the output may have the form that is asked for. Faults have it, too, if it is JSON.
func (p *podstep) checkForm(f *requestsFlags, forms ...requests.Form) error {
	if f.output == "json" {
		p.output = f.output
	}
	if !slices.Contains(forms, requests.Form(f.output)) {
		return usage("--output %s is none of %v", f.output, forms)
	}
	return nil
}

func (f *requestsFlags) secrets() requests.Secrets { return requests.Secrets(f.unmasked) }

// means says whether a session is meant.
func (f *requestsFlags) means(s local.Session) bool {
	return f.session == "" || f.session == s.ID || f.session == s.Target
}

// sessions asks the sessions of this machine that are meant, the oldest first. The caller closes them.
func (f *requestsFlags) sessions(ctx context.Context) ([]*local.Client, error) {
	var all []*local.Client
	for _, dir := range borrow.Dirs() {
		asked, cancel := context.WithTimeout(ctx, askWithin)
		c, err := local.Dial(asked, dir)
		cancel()
		if err != nil {
			continue // it is over, or it hangs
		}
		if !f.means(c.About) {
			c.Close()
			continue
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *local.Client) int { return a.About.Since.Compare(b.About.Since) })
	switch {
	case len(all) > 0:
		return all, nil
	case f.session != "":
		return nil, fault.New(fault.NoSession, fmt.Sprintf("there is no session %q", f.session), nil)
	}
	return nil, fault.New(fault.NoSession, "no session of yours runs on this machine", nil)
}

func closeAll(all []*local.Client) {
	for _, c := range all {
		c.Close()
	}
}

// one returns the session that has the request. The caller closes all.
func (f *requestsFlags) one(ctx context.Context, all []*local.Client, id uint64) (*local.Client, error) {
	var having []*local.Client
	for _, c := range all {
		list, err := c.List(ctx, id-1, 0)
		if err == nil && len(list) > 0 && list[0].ID == id {
			having = append(having, c)
		}
	}
	switch len(having) {
	case 0:
		return nil, fault.New(fault.NoRequest, fmt.Sprintf("there is no request %d (any more)", id), nil)
	case 1:
		return having[0], nil
	}
	return nil, usage("several sessions have a request %d; choose one with --session: %s", id, strings.Join(names(having), ", "))
}

// names are those of sessions, for people.
func names(all []*local.Client) (list []string) {
	for _, c := range all {
		list = append(list, fmt.Sprintf("%s (%s)", c.About.ID, c.About.Target))
	}
	return list
}

// withRequest calls do with the session that has the request of that id.
func (f *requestsFlags) withRequest(ctx context.Context, word string, do func(*local.Client, uint64) error) error {
	id, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return usage("%q is no id of a request: podstep requests lists them", word)
	}
	all, err := f.sessions(ctx)
	if err != nil {
		return err
	}
	defer closeAll(all)
	c, err := f.one(ctx, all, id)
	if err != nil {
		return err
	}
	return do(c, id)
}

func (p *podstep) showRequest(ctx context.Context, f *requestsFlags, word string) error {
	if err := p.checkForm(f, requests.Forms()...); err != nil {
		return err
	}
	return f.withRequest(ctx, word, func(c *local.Client, id uint64) error {
		text, err := c.Show(ctx, id, requests.Form(f.output), f.secrets())
		if err != nil {
			return fault.Or(err, fault.NoRequest, fmt.Sprintf("cannot show request %d", id))
		}
		_, err = io.WriteString(p.out, text)
		return err
	})
}

func (p *podstep) replayRequest(ctx context.Context, f *requestsFlags, word string) error {
	if err := p.checkForm(f, requests.AsText, requests.AsJSON); err != nil {
		return err
	}
	edited, err := p.edited(f.edit)
	if err != nil {
		return err
	}
	return f.withRequest(ctx, word, func(c *local.Client, id uint64) error {
		e, err := c.Replay(ctx, id, edited)
		var p2 *local.Problem
		switch {
		case ctx.Err() != nil:
			return exitStatus(statusInterrupted)
		case errors.As(err, &p2) && f.edit != "":
			return usage("--edit %s: %w", f.edit, err)
		case err != nil:
			return fault.Or(err, fault.ReplayFailed, fmt.Sprintf("cannot replay request %d", id))
		case e.Response == nil:
			return fault.New(fault.ReplayFailed, fmt.Sprintf("request %d was sent again as %d and not answered", id, e.ID), errors.New(e.Failed))
		case f.output == "json":
			return p.printJSON(p.out, e)
		}
		_, err = fmt.Fprint(p.out, e.Response)
		return err
	})
}

// edited reads the file of --edit.
func (p *podstep) edited(file string) (string, error) {
	var text []byte
	var err error
	switch file {
	case "":
		return "", nil
	case "-":
		text, err = io.ReadAll(p.in)
	default:
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return "", fault.New(fault.BadFile, "cannot read the edited request", err)
	}
	if len(text) == 0 {
		return "", usage("--edit %s: there is nothing in it", file)
	}
	return string(text), nil
}
