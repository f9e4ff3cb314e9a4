package place

import (
	"fmt"
	"strings"
)

// PortWords is "port 80" or "ports 80, 443".
func PortWords(ports []uint16) string {
	words := make([]string, 0, len(ports))
	for _, p := range ports {
		words = append(words, fmt.Sprint(p))
	}
	if len(words) == 1 {
		return "port " + words[0]
	}
	return "ports " + strings.Join(words, ", ")
}
