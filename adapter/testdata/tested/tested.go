// Package tested has a test to debug.
package tested

// Double doubles.
func Double(n int) int {
	doubled := n * 2
	return doubled
}
