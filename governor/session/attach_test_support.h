// What a client says, in bytes of HTTP/2 made by hand. For tests that need no client.

#pragma once

#include <string>

#include "memgov/v1/session.pb.h"

namespace memgov::session {

inline std::string FrameOf(char kind, char flags, char stream, const std::string& payload) {
  const char head[] = {0, 0, static_cast<char>(payload.size()), kind, flags, 0, 0, 0, stream};
  return std::string(head, sizeof head) + payload;
}

// A message of the Attach call, in a DATA frame. At most 100 bytes.
inline std::string BytesOf(const v1::ClientMessage& message) {
  const std::string body = message.SerializeAsString();
  const char prefix[] = {0, 0, 0, 0, static_cast<char>(body.size())};
  return FrameOf(0, 0, 1, std::string(prefix, sizeof prefix) + body);
}

// All at once: preface, SETTINGS, the call's HEADERS (RFC 7541, literals without indexing), and a Hello.
inline std::string BytesOfAnAttach() {
  const std::string path = "/memgov.v1.Session/Attach";
  const std::string type = "application/grpc";
  const std::string headers = std::string("\x83\x86\x01\x01n\x04") + static_cast<char>(path.size()) + path +
                              "\x0f\x10" + static_cast<char>(type.size()) + type;
  v1::ClientMessage hello;
  hello.mutable_hello()->set_name("brief");
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FrameOf(4, 0, 0, "") + FrameOf(1, 4, 1, headers) +
         BytesOf(hello);
}

}  // namespace memgov::session
