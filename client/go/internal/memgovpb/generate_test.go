package memgovpb

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The committed code is what the protocol's file says.
func TestGeneratedCodeIsUpToDate(t *testing.T) {
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("protoc is not installed")
	}
	if _, err := os.Stat("../../../../proto"); err != nil {
		t.Skip("outside of the repository")
	}
	out := filepath.Join(t.TempDir(), "descriptor")
	if text, err := exec.Command(protoc, "-I", "../../../../proto", "--descriptor_set_out="+out,
		"memgov/v1/session.proto").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	wire, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(wire, &set); err != nil {
		t.Fatal(err)
	}
	want := set.GetFile()[0]
	got := protodesc.ToFileDescriptorProto(File_memgov_v1_session_proto)
	clearJSONNames(want.GetMessageType())
	clearJSONNames(got.GetMessageType())
	if !proto.Equal(got, want) {
		t.Error("proto/memgov/v1/session.proto changed: run go generate ./internal/memgovpb in client/go")
	}
}

// protoc writes the JSON names out, Go's generator leaves them to the reader.
func clearJSONNames(messages []*descriptorpb.DescriptorProto) {
	for _, m := range messages {
		for _, f := range m.GetField() {
			f.JsonName = nil
		}
		clearJSONNames(m.GetNestedType())
	}
}
