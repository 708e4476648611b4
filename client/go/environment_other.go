//go:build !linux

package memgov

// There is no client here to be misled.
const gainedRights = false
