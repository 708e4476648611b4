// Command goidle does nothing, with or without the memgov client (build tag memgov): what the client adds is
// the difference.
package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	fmt.Println(`{"up":true}`)
	time.Sleep(2 * time.Second) // the client attaches meanwhile
	fmt.Println(`{"settled":true}`)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
