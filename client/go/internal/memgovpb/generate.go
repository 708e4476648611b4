// Package memgovpb holds the messages of the protocol between a process and the governor, generated from
// proto/memgov/v1/session.proto.
//
// To generate them again, with protoc on the PATH and `$(go env GOPATH)/bin` too:
//
//	go generate ./internal/memgovpb
package memgovpb

//go:generate go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.7
//go:generate go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
//go:generate protoc -I ../../../../proto --go_out=../.. --go_opt=module=github.com/memgov/memgov/client/go --go-grpc_out=../.. --go-grpc_opt=module=github.com/memgov/memgov/client/go memgov/v1/session.proto
