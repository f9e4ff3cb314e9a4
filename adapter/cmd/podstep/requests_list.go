package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"podstep.dev/adapter/borrow/requests"
	"podstep.dev/adapter/borrow/requests/local"
	"podstep.dev/internal/fault"
)

// sessionRequests are one session's, as -o json prints them.
type sessionRequests struct {
	Session  local.Session      `json:"session"`
	Requests []requests.Summary `json:"requests"`
}

// sessionRequest is one of them, as -f -o json prints it.
type sessionRequest struct {
	Session string `json:"session"`
	requests.Summary
}

func (p *podstep) listRequests(ctx context.Context, f *requestsFlags) error {
	if err := p.checkForm(f, requests.AsText, requests.AsJSON, requests.AsHAR); err != nil {
		return err
	}
	if f.follow && f.output == "har" {
		return usage("-f and -o har exclude each other: an archive has an end")
	}
	if f.follow {
		return p.followRequests(ctx, f)
	}
	all, err := f.sessions(ctx)
	if err != nil {
		return err
	}
	defer closeAll(all)
	if f.output == "har" {
		return p.printArchive(ctx, f, all)
	}
	var lists []sessionRequests
	for _, c := range all {
		list, err := c.List(ctx, 0, 0)
		if err != nil {
			return fault.Or(err, fault.NoSession, "the session of "+c.About.Target+" did not answer")
		}
		lists = append(lists, sessionRequests{c.About, list})
	}
	if f.output == "json" {
		return p.printJSON(p.out, lists)
	}
	return p.printRequests(lists)
}

func (p *podstep) printArchive(ctx context.Context, f *requestsFlags, all []*local.Client) error {
	var whole requests.HAR
	for i, c := range all {
		har, err := c.Archive(ctx, f.secrets())
		if err != nil {
			return fault.Or(err, fault.NoSession, "the session of "+c.About.Target+" did not answer")
		}
		if i == 0 {
			whole = har
		} else {
			whole.Log.Entries = append(whole.Log.Entries, har.Log.Entries...)
		}
	}
	slices.SortStableFunc(whole.Log.Entries, func(a, b requests.HAREntry) int { return a.Started().Compare(b.Started()) })
	return p.printJSON(p.out, whole)
}

// printRequests prints the lists as a table.
func (p *podstep) printRequests(lists []sessionRequests) error {
	table := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
	several := len(lists) > 1
	printed := 0
	for _, l := range lists {
		for _, r := range l.Requests {
			if printed == 0 {
				printRow(table, several, "\t", "SESSION", requestHead())
			}
			printRow(table, several, "\t", l.Session.ID, requestCells(r))
			printed++
		}
	}
	if printed == 0 {
		_, err := fmt.Fprintln(p.errs, "podstep: no HTTP request has come yet")
		return err
	}
	return table.Flush()
}

func requestHead() []string {
	return []string{"TIME", "ID", "METHOD", "PATH", "STATUS", "TOOK", "WENT TO"}
}

// requestCells are a line of the table.
func requestCells(r requests.Summary) []string {
	path := r.Path
	if r.Query != "" {
		path += "?" + r.Query
	}
	status, took := "-", "-"
	if r.Status != 0 {
		status = strings.TrimSpace(fmt.Sprint(r.Status) + " " + r.GRPC)
	}
	if r.Done {
		took = tookText(r.Took)
	}
	went := cmp.Or(r.Went, "-")
	for _, more := range []string{r.Why, r.Failed} {
		if more != "" && !strings.Contains(went, more) {
			went += ": " + more
		}
	}
	if r.ReplayOf != 0 {
		went += fmt.Sprintf(" (replay of %d)", r.ReplayOf)
	}
	return []string{r.Came.Local().Format("15:04:05.000"), fmt.Sprint(r.ID), cmp.Or(r.Method, "-"), cmp.Or(shorten(path, 60), "-"), status, took, went}
}

func tookText(milliseconds float64) string {
	if milliseconds < 10_000 {
		return fmt.Sprintf("%.1f ms", milliseconds)
	}
	return fmt.Sprintf("%.1f s", milliseconds/float64(time.Second/time.Millisecond))
}

func shorten(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// padded gives cells a width each: lines that come one by one cannot wait for the widest.
func padded(cells []string) []string {
	for i, width := range []int{12, 5, 7, 40, 6, 10} {
		cells[i] = pad(cells[i], width)
	}
	return cells
}

func pad(text string, width int) string { return fmt.Sprintf("%-*s   ", width, text) }

func printRow(w io.Writer, several bool, between, session string, cells []string) {
	if several {
		cells = slices.Insert(cells, 0, session)
	}
	_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, between), " "))
}
