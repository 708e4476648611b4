module github.com/memgov/memgov/client/go/examples

go 1.22.0

require (
	github.com/dgraph-io/ristretto/v2 v2.1.0
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/memgov/memgov/client/go v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/net v0.34.0 // indirect
	golang.org/x/sys v0.29.0 // indirect
	golang.org/x/text v0.21.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250115164207-1a7da9e5054f // indirect
	google.golang.org/grpc v1.71.1 // indirect
	google.golang.org/protobuf v1.36.7 // indirect
)

replace github.com/memgov/memgov/client/go => ..
