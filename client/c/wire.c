#include "client/c/wire.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#include "memgov/v1/session.pb.h"

/* Length of the UTF-8 character at `text`, 0 when there is none. The second byte's range keeps out overlong
 * forms, surrogates and what lies beyond U+10FFFF (Unicode, table 3-7). */
static size_t character_length(const unsigned char* text) {
  const unsigned char first = text[0];
  if (first < 0x80) return first == 0 ? 0 : 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (text[1] < low || text[1] > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((text[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

/* Copies what fits, in whole characters. A governor drops a session whose strings are not UTF-8, so a byte
 * that is none becomes '?'. */
static void put_text(char* to, size_t size, const char* from) {
  size_t used = 0;
  while (*from != '\0') {
    const size_t length = character_length((const unsigned char*)from);
    const size_t take = length == 0 ? 1 : length;
    if (used + take >= size) break;
    if (length == 0) {
      to[used] = '?';
    } else {
      memcpy(to + used, from, length);
    }
    used += take;
    from += take;
  }
  to[used] = '\0';
}

static size_t encode(const memgov_v1_ClientMessage* message, uint8_t* out) {
  pb_ostream_t stream = pb_ostream_from_buffer(out, MG_WIRE_MAX);
  /* Fails only if the buffer is too small, which the size test of wire_test.cc rules out. */
  return pb_encode(&stream, memgov_v1_ClientMessage_fields, message) ? stream.bytes_written : 0;
}

size_t mg_wire_hello(const mg_hello* hello, uint8_t out[MG_WIRE_MAX]) {
  memgov_v1_ClientMessage message = memgov_v1_ClientMessage_init_zero;
  message.which_body = memgov_v1_ClientMessage_hello_tag;
  memgov_v1_Hello* wire = &message.body.hello;
  put_text(wire->runtime, sizeof(wire->runtime), hello->runtime);
  put_text(wire->client, sizeof(wire->client), hello->client);
  put_text(wire->name, sizeof(wire->name), hello->name);
  wire->has_capabilities = true;
  wire->capabilities.set_release_mode = hello->capabilities.set_release_mode;
  wire->capabilities.release = hello->capabilities.release;
  wire->capabilities.release_in_chunks = hello->capabilities.release_in_chunks;
  wire->capabilities.retroactive = hello->capabilities.retroactive;
  wire->capabilities.needs_owner_thread = hello->capabilities.needs_owner_thread;
  wire->capabilities.shed = hello->shed;
  wire->capabilities.stall_class = (memgov_v1_StallClass)hello->capabilities.stall;
  wire->startup_release_mode = (memgov_v1_ReleaseMode)hello->startup_mode;
  return encode(&message, out);
}

size_t mg_wire_report(const mg_report* report, uint8_t out[MG_WIRE_MAX]) {
  memgov_v1_ClientMessage message = memgov_v1_ClientMessage_init_zero;
  message.which_body = memgov_v1_ClientMessage_report_tag;
  memgov_v1_Report* wire = &message.body.report;
  wire->live_bytes = report->live_bytes;
  wire->retained_bytes = report->retained_bytes;
  wire->retained_kind = (memgov_v1_EstimateKind)report->retained_kind;
  wire->lazily_freed_bytes = report->lazily_freed_bytes;
  wire->non_heap_bytes = report->non_heap_bytes;
  wire->release_mode = (memgov_v1_ReleaseMode)report->mode;
  return encode(&message, out);
}

size_t mg_wire_outcome(const mg_outcome* outcome, uint8_t out[MG_WIRE_MAX]) {
  memgov_v1_ClientMessage message = memgov_v1_ClientMessage_init_zero;
  message.which_body = memgov_v1_ClientMessage_outcome_tag;
  memgov_v1_Outcome* wire = &message.body.outcome;
  wire->id = outcome->id;
  wire->status = (memgov_v1_Outcome_Status)outcome->status;
  put_text(wire->why, sizeof(wire->why), outcome->why);
  wire->before_bytes = outcome->before_bytes;
  wire->after_bytes = outcome->after_bytes;
  wire->wall_us = outcome->wall_ns / 1000;
  wire->cpu_us = outcome->cpu_ns / 1000;
  return encode(&message, out);
}

/* A string of any length into a buffer of a fixed one: keeps the beginning, skips the rest. */
typedef struct cut_string {
  char* to;
  size_t size;
} cut_string;

static bool read_cut(pb_istream_t* stream, const pb_field_t* field, void** arg) {
  (void)field;
  const cut_string* cut = *arg;
  const size_t keep = stream->bytes_left < cut->size - 1 ? stream->bytes_left : cut->size - 1;
  if (!pb_read(stream, (pb_byte_t*)cut->to, keep)) return false;
  cut->to[keep] = '\0';
  return pb_read(stream, NULL, stream->bytes_left);
}

typedef struct string_places {
  cut_string cgroup;
  cut_string reason;
} string_places;

/* Called when nanopb has cleared the body and is about to read it: tells it where the strings go. */
static bool on_body(pb_istream_t* stream, const pb_field_t* field, void** arg) {
  (void)stream;
  string_places* places = *arg;
  if (field->tag == memgov_v1_GovernorMessage_welcome_tag) {
    memgov_v1_Welcome* welcome = field->pData;
    welcome->cgroup = (pb_callback_t){.funcs.decode = read_cut, .arg = &places->cgroup};
  } else if (field->tag == memgov_v1_GovernorMessage_directive_tag) {
    memgov_v1_Directive* directive = field->pData;
    directive->reason.text = (pb_callback_t){.funcs.decode = read_cut, .arg = &places->reason};
  }
  return true;
}

static void take_action(const memgov_v1_Directive* from, mg_directive* to) {
  switch (from->which_action) {
    case memgov_v1_Directive_set_release_mode_tag:
      to->action = MEMGOV_ACTION_SET_RELEASE_MODE;
      to->mode = (mg_release_mode)from->action.set_release_mode.mode;
      break;
    case memgov_v1_Directive_release_tag:
      to->action = MEMGOV_ACTION_RELEASE;
      to->bytes = from->action.release.bytes;
      to->longest_stall_ms = from->action.release.longest_stall_ms;
      break;
    case memgov_v1_Directive_collect_tag:
      to->action = MEMGOV_ACTION_COLLECT;
      to->bytes = from->action.collect.bytes;
      break;
    case memgov_v1_Directive_set_soft_limit_tag:
      to->action = MEMGOV_ACTION_SET_SOFT_LIMIT;
      to->bytes = from->action.set_soft_limit.bytes;
      break;
    case memgov_v1_Directive_shed_tag:
      to->action = MEMGOV_ACTION_SHED;
      to->bytes = from->action.shed.bytes;
      break;
    default:
      to->action = MEMGOV_ACTION_NONE;
  }
}

const char* mg_wire_parse(const uint8_t* bytes, size_t size, mg_governor_message* message) {
  memset(message, 0, sizeof(*message));
  char cgroup[sizeof(message->welcome.cgroup)] = "";
  char reason[sizeof(message->directive.reason)] = "";
  string_places places = {{cgroup, sizeof(cgroup)}, {reason, sizeof(reason)}};
  memgov_v1_GovernorMessage wire = memgov_v1_GovernorMessage_init_zero;
  wire.cb_body = (pb_callback_t){.funcs.decode = on_body, .arg = &places};
  pb_istream_t stream = pb_istream_from_buffer(bytes, size);
  if (!pb_decode(&stream, memgov_v1_GovernorMessage_fields, &wire)) return PB_GET_ERROR(&stream);

  if (wire.which_body == memgov_v1_GovernorMessage_welcome_tag) {
    message->kind = MG_MESSAGE_WELCOME;
    memcpy(message->welcome.cgroup, cgroup, sizeof(cgroup));
    message->welcome.enforcing = wire.body.welcome.enforcing;
    message->welcome.report_every_ms = wire.body.welcome.report_every_ms;
  } else if (wire.which_body == memgov_v1_GovernorMessage_directive_tag) {
    const memgov_v1_Directive* from = &wire.body.directive;
    mg_directive* to = &message->directive;
    message->kind = MG_MESSAGE_DIRECTIVE;
    memcpy(to->reason, reason, sizeof(reason));
    to->id = from->id;
    to->deadline_ms = from->deadline_ms;
    to->ttl_ms = from->ttl_ms;
    to->level = (memgov_level)from->level;
    take_action(from, to);
  }
  return NULL;
}
