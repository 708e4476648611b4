// Reading and closing a Unix socket whose other end is a stranger's.
//
// The threat: descriptors that a peer sends along (SCM_RIGHTS). Nobody of ours wants any, but whoever
// receives or throws away the message becomes their last owner and closes them: and to close a TCP socket
// with SO_LINGER set waits for as long as the peer likes, also a socket that does not block, and also where
// the message is thrown away unread with the Unix socket that holds it. So the kernel is asked to take none
// (since 6.16); what comes all the same is closed by a thread of its own.
//
// All functions: any thread.

#pragma once

#include <sys/types.h>

#include <cstddef>

namespace memgov::base {

// Of a listening socket: connections to it take no descriptors. False: this kernel cannot; they may come.
bool RefuseDescriptors(int listener);

struct Received {
  ssize_t size = 0;          // as of recv; errno where it is negative
  bool descriptors = false;  // some came along; they are being closed
};

// Like recv with MSG_DONTWAIT.
Received ReceiveFrom(int socket, void* buffer, std::size_t size);

// Closes `socket` without waiting for anything that was sent along and not read. The peer may still read what
// was sent to it.
void CloseOf(int socket);

}  // namespace memgov::base
