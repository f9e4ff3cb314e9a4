package wire

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlainWordsDoNotSteerAScreen(t *testing.T) {
	for given, want := range map[string]string{
		"":                              "",
		"lunch?":                        "lunch?",
		" two\r\nlines\tof it ":         "two lines of it",
		"\x1b[2J\x1b]0;title\x07red":    "[2J]0;titlered",
		"a\u202egpj.exe\u2066\u200bb":   "agpj.exeb",
		"bad \xff\xfe bytes":            "bad bytes",
		"größer, 今日は, 🙂":                "größer, 今日は, 🙂",
		strings.Repeat("ä", MaxMessage): strings.Repeat("ä", MaxMessage),
	} {
		if got := Plain(given, MaxMessage); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	long := Plain(strings.Repeat("ä", 10*MaxMessage), MaxMessage)
	if utf8.RuneCountInString(long) != MaxMessage || !strings.HasSuffix(long, "…") {
		t.Errorf("%d characters: %s", utf8.RuneCountInString(long), long)
	}
}
