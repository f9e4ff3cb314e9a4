package borrow

import (
	"fmt"
	"strings"

	"podstep.dev/adapter/config"
)

// askHint says how whoever holds a port is asked for it, and then what else can be done. Agents beside a process of this machine serve one
// session each: nobody can ask there.
func (b *Borrow) askHint(port uint16, otherwise string) string {
	if b.target.Kind == config.KindProcess || b.target.Kind == config.KindTargetless {
		return otherwise
	}
	words := []string{"podstep ask"}
	for _, flag := range [][2]string{{"--kubeconfig", b.mirror.Kubeconfig}, {"--context", b.mirror.Context}, {"-n", b.mirror.Namespace}, {"--agent-namespace", b.mirror.Agent.Namespace}} {
		if flag[1] != "" {
			words = append(words, flag[0], quote(flag[1]))
		}
	}
	words = append(words, b.target.Kind+"/"+b.target.Name, fmt.Sprintf("--port %d", port))
	return fmt.Sprintf("Ask for it: %s. Or use \"incoming\": {\"mode\": \"mirror\"}, another port, or a filter that excludes the holder's.", strings.Join(words, " "))
}

// quote makes a word fit for a shell.
func quote(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@", r)
	}) {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}
