//go:build !linux

package memgov

import "net"

// There is no client here to be misled.
func trust(net.Conn, string) error { return nil }
