package auto

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	pb "github.com/memgov/memgov/client/go/internal/memgovpb"
	"github.com/memgov/memgov/client/go/internal/testgovernor"
)

// This test program imports the package, so each process of it is a client. The child is one that does nothing else
// than wait for its standard input to end.
const childVariable = "MEMGOV_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		_, _ = fmt.Scanln()
		return
	}
	os.Exit(m.Run())
}

// child starts the process; the result ends it and returns what it printed.
func child(t *testing.T, env ...string) (end func() string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(append(os.Environ(), childVariable+"=1"), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process ended with %v", err)
		}
		return said.String()
	}
}

func TestImportAttaches(t *testing.T) {
	g := testgovernor.Start(t, testgovernor.Socket(t))
	end := child(t, "MEMGOV_SOCKET="+g.Socket)
	p := g.Accept()
	if p.Hello.GetName() != "auto.test" {
		t.Errorf("hello %v", p.Hello)
	}
	p.Welcome(time.Minute)
	p.Report(func(*pb.Report) bool { return true })
	if said := end(); said != "" {
		t.Errorf("it printed %q", said)
	}
	p.Gone()
}

func TestImportIsSilentWhateverTheEnvironmentSays(t *testing.T) {
	for name, env := range map[string]string{
		"no governor":       "MEMGOV_SOCKET=/nowhere/memgov.sock",
		"not a socket":      "MEMGOV_SOCKET=/dev/null",
		"impossible socket": "MEMGOV_SOCKET=" + strings.Repeat("/long", 100),
		"turned off":        "MEMGOV_DISABLE=1",
	} {
		if said := child(t, env)(); said != "" {
			t.Errorf("%s: it printed %q", name, said)
		}
	}
}
