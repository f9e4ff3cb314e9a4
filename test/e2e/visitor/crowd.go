package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// crowdPace is between two requests at one URL, crowdPatience for all of them.
const (
	crowdPace     = 100 * time.Millisecond
	crowdPatience = 2 * time.Minute
)

// place is how it went at one URL.
type place struct {
	Who string
	// First is the end of the first answer by Who, zero if there was none.
	First time.Time
	// Answers counts those of Who.
	Answers int
	// Others are whoever else answered since, and what failed.
	Others []string
}

// crowd asks at pairs of an URL and who is to answer there.
func crowd(ctx context.Context, n int, pairs []string) error {
	ctx, cancel := context.WithTimeout(ctx, crowdPatience)
	defer cancel()
	places := make([]place, len(pairs)/2)
	var all sync.WaitGroup
	for i := range places {
		p := &places[i]
		p.Who = pairs[2*i+1]
		all.Go(func() { p.visit(ctx, n, pairs[2*i]) })
	}
	all.Wait()
	return json.NewEncoder(os.Stdout).Encode(places)
}

func (p *place) visit(ctx context.Context, n int, url string) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(crowdPace)
	defer tick.Stop()
	for p.Answers < n && ctx.Err() == nil {
		switch by := answeredBy(ctx, client, url); {
		case by == p.Who:
			if p.Answers++; p.Answers == 1 {
				p.First = time.Now()
			}
		case p.Answers > 0:
			p.Others = append(p.Others, by)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// answeredBy is the text of the answer, or why there is none.
func answeredBy(ctx context.Context, client *http.Client, url string) string {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(q)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
}
