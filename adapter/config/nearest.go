package config

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest returns the known word that word was probably meant to be, or "" when none is near.
func nearest(word string, known []string) string {
	best, distance := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}
