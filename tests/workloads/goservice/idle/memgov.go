//go:build memgov

package main

import _ "github.com/memgov/memgov/client/go/auto"
