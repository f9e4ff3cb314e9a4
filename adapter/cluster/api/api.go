// Package api connects to a cluster as kubectl does.
package api
