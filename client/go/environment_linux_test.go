package memgov

import (
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func auxv(words ...uint64) (b []byte) {
	for _, w := range words {
		if strconv.IntSize == 32 {
			b = binary.NativeEndian.AppendUint32(b, uint32(w))
		} else {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
	}
	return b
}

func TestTheAuxiliaryVectorSaysWhetherRightsWereGained(t *testing.T) {
	for name, c := range map[string]struct {
		auxv []byte
		want bool
	}{
		"gained":        {auxv(6, 4096, auxSecure, 1, auxEnd, 0), true},
		"not gained":    {auxv(6, 4096, auxSecure, 0, auxEnd, 0), false},
		"behind an end": {auxv(6, 4096, auxEnd, 0, auxSecure, 1), false},
		"cut":           {auxv(6, 4096, auxSecure), false},
		"empty":         {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := secureIn(c.auxv); got != c.want {
				t.Error(got)
			}
		})
	}
	if gainedRights {
		t.Error("this test gained rights, it says")
	}
	missing := filepath.Join(t.TempDir(), "auxv")
	if readGainedRights(missing, true) || !readGainedRights(missing, false) {
		t.Error("without /proc the ids do not tell")
	}
}

const privilegedChild = "MEMGOV_TEST_PRIVILEGED"

// A copy of the test's own program, owned by root and set-user-ID, started by nobody with a socket of its choice.
func TestASetUserIDProgramIgnoresTheEnvironment(t *testing.T) {
	if os.Getenv(privilegedChild) != "" {
		t.Skip("the child of this test")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, who alone can make a program of root's")
	}
	directory, err := os.MkdirTemp("/var/tmp", "memgov-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	var mount syscall.Statfs_t
	const noSUID = 2 // ST_NOSUID of statvfs(3)
	if err := syscall.Statfs(directory, &mount); err != nil || mount.Flags&noSUID != 0 {
		t.Skip("/var/tmp is mounted nosuid")
	}
	program := filepath.Join(directory, "program")
	copyFile(t, os.Args[0], program)
	for _, c := range []struct {
		mode os.FileMode
		want string
	}{{0o755, "/tmp/of-my-choice"}, {0o755 | os.ModeSetuid, defaultSocket}} {
		if err := os.Chmod(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(program, c.mode); err != nil {
			t.Fatal(err)
		}
		child := exec.Command(program, "-test.run=^TestChildThatPrintsItsSocket$", "-test.v")
		child.Dir = "/"
		child.Env = []string{privilegedChild + "=1", "MEMGOV_SOCKET=/tmp/of-my-choice", "MEMGOV_DISABLE=1"}
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "socket "+c.want+" disable ") {
			t.Errorf("%v: %v: %s", c.mode, err, out)
		}
		if ignored := strings.Contains(string(out), `disable ""`); ignored != (c.mode&os.ModeSetuid != 0) {
			t.Errorf("%v: %s", c.mode, out)
		}
	}
}

func TestChildThatPrintsItsSocket(t *testing.T) {
	if os.Getenv(privilegedChild) == "" {
		t.Skip("for the test above")
	}
	o, err := newOptions(nil)
	t.Logf("socket %s disable %q %v", o.socket, environment("MEMGOV_DISABLE"), err)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
