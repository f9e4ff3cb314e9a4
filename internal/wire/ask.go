package wire

import (
	"strings"
	"time"
	"unicode"
)

// Control methods by which somebody asks a session to give a port back. Nobody is forced by them.
const (
	// MethodAsk : whoever may join the agent asks one of its sessions. It is answered when the session has, or when Wait is over.
	MethodAsk = "ask"
	// MethodAnswer : the session that was asked answers.
	MethodAnswer = "answer"

	// NoticeAsked tells a session that it is asked.
	NoticeAsked = "asked"
)

const (
	// MaxMessage is the longest message of an ask, MaxName the longest name of who asks, in characters.
	MaxMessage = 200
	MaxName    = 100
	// MaxWait is the longest time that an ask may wait for its answer, in seconds, DefaultWait how long it does if it does not say.
	MaxWait     = 300
	DefaultWait = 30
	// AskEvery is how often somebody may ask a session at most.
	AskEvery = 10 * time.Second
)

// AskParams asks a session to give a stolen port back. Who asks is the link's own word, its greeting's holder.
type AskParams struct {
	// Session is the id of the session that is asked.
	Session string `json:"session"`
	// Port is the stolen one, 0 all that the session steals.
	Port uint16 `json:"port,omitempty"`
	// Message is for the person who is asked.
	Message string `json:"message,omitempty"`
	// Wait is how many seconds the answer is waited for; 0: DefaultWait.
	Wait int `json:"wait,omitempty"`
}

// Reply is what a session answers who asks.
type Reply string

const (
	// ReplyReleased : it gave the port back; the target answers.
	ReplyReleased Reply = "released"
	// ReplyKept : it keeps the port.
	ReplyKept Reply = "kept"
	// ReplyEnded : it ended meanwhile, and holds nothing any more.
	ReplyEnded Reply = "ended"
	// ReplyNone : nobody answered.
	ReplyNone Reply = "none"
)

// AskResult answers MethodAsk.
type AskResult struct {
	Reply Reply `json:"reply"`
}

// AskedParams tells a session that it is asked.
type AskedParams struct {
	// ID is what the answer names.
	ID uint64 `json:"id"`
	// Name is who asks, by their own word.
	Name    string `json:"name"`
	Port    uint16 `json:"port,omitempty"`
	Message string `json:"message,omitempty"`
	// Wait is how many seconds they wait.
	Wait int `json:"wait"`
}

// AnswerParams answers one that asks. An ID that nobody waits for any more is ignored.
type AnswerParams struct {
	ID       uint64 `json:"id"`
	Released bool   `json:"released"`
}

// Plain makes words of somebody else fit for a person's screen: one line of at most limit characters that can be seen, without what steers a
// terminal or turns the direction of writing.
func Plain(words string, limit int) string {
	line := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r): // controls, formats (Cf: bidirectional marks), surrogates, private use
			return -1
		}
		return r
	}, strings.ToValidUTF8(words, ""))
	line = strings.Join(strings.Fields(line), " ")
	if runes := []rune(line); len(runes) > limit {
		line = string(runes[:limit-1]) + "…"
	}
	return line
}
