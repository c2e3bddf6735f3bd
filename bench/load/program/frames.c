/* Received bytes: cut into frames, each text checked for its length and its sequence, and counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"
#include "numbers.h"

static char notice[256] = "the server sent nothing but messages"; /* the last frame without a text */

const char *last_notice(void) { return notice; }

static size_t line_size(const char *data, size_t size) {
    const char *end = memchr(data, '\n', size);
    return end ? (size_t)(end - data) + 1 : 0;
}

/* `MSG subject sid size`, then the payload and CR LF; any other frame is a line. */
static size_t nats_size(const char *data, size_t size) {
    size_t line = line_size(data, size), payload = 0, factor = 1;
    if (line < 6 || memcmp(data, "MSG ", 4) != 0) return line;
    for (const char *digit = data + line - 3; *digit >= '0' && *digit <= '9'; digit--, factor *= 10)
        payload += (size_t)(*digit - '0') * factor;
    return line + payload + 2 <= size ? line + payload + 2 : 0;
}

/* Sets `header` to the size of the fixed header (MQTT 3.1.1, section 2.2). */
static size_t mqtt_size(const char *data, size_t size, size_t *header) {
    size_t length = 0;
    for (size_t at = 1; at < size && at <= 4; at++) {
        length |= (size_t)(data[at] & 127) << 7 * (at - 1);
        *header = at + 1;
        if (!(data[at] & 128)) return *header + length <= size ? *header + length : 0;
    }
    return 0;
}

static uint32_t big_endian(const char *at) { return (uint32_t)((unsigned char)at[0] << 8 | (unsigned char)at[1]); }

static void take_text(struct connection *connection, const char *text, size_t size) {
    const struct channel *channel = connection->channel;
    if (size < load.text_size || text[load.text_size - 1] != '$') fail("a delivery is cut: %.*s", (int)size, text);
    uint32_t sequence = get_number(text + 1), publisher = get_number(text + 9) - channel->first_publisher;
    if (!connection->receives || publisher >= channel->publisher_count)
        fail("a delivery came to a connection that is not of its channel: %.*s", (int)size, text);
    uint32_t *next = &connection->next[publisher];
    if (sequence < *next) fail("a delivery is doubled: message %u came after %u", sequence, *next - 1);
    if (sequence > *next) fail("a delivery is lost: message %u came instead of %u", sequence, *next);
    ++*next;
    connection->received++;
    if (load.keeps_latencies) load.latencies[load.deliveries] = ticks(load.heard_at) - get_number(text + 17);
    load.deliveries++;
}

static void take_puback(struct connection *connection, const char *frame, size_t size) {
    if (size < 4 || big_endian(frame + 2) != connection->acknowledged % 65535 + 1)
        fail("PUBACK %u came instead of %u", big_endian(frame + 2), connection->acknowledged % 65535 + 1);
    connection->acknowledged++;
}

/* At QoS 1, queues the PUBACK. Returns the end of the topic and the packet identifier. */
static const char *take_publish(struct connection *connection, const char *frame, size_t size, size_t header) {
    const char *end = frame + size, *at = frame + header + 2;
    if (at <= end) at += big_endian(frame + header);
    if ((frame[0] & 6) == 2 && at + 2 <= end) {
        char puback[4] = {0x40, 2, at[0], at[1]};
        queue(connection, puback, sizeof puback);
        at += 2;
    }
    if (at > end) fail("a PUBLISH is shorter than its topic");
    return at;
}

static void take_frame(struct connection *connection, const char *frame, size_t size, size_t header) {
    const char *text = frame, *end = frame + size;
    if (connection->protocol == MQTT) {
        int type = frame[0] & 0xF0;
        if (type == 0x40) {
            take_puback(connection, frame, size);
            return;
        }
        text = type == 0x30 ? take_publish(connection, frame, size, header) : end;
    }
    text = memchr(text, '^', (size_t)(end - text));
    if (text)
        take_text(connection, text, (size_t)(end - text));
    else
        snprintf(notice, sizeof notice, "the server sent: %.*s", (int)(size < 200 ? size : 200), frame);
}

/* Keeps the beginning of a frame for the next call. */
void keep_rest(struct connection *connection, const char *data, size_t size) {
    if (size > FRAME) fail("a frame is longer than %d bytes", FRAME);
    if (size && !connection->rest) connection->rest = room(FRAME);
    if (size) memcpy(connection->rest, data, size);
    connection->rest_size = size;
}

/* Takes the complete frames of `data`, and keeps the rest. */
void take_frames(struct connection *connection, char *data, size_t size) {
    size_t at = 0, frame = 1, header = 0;
    for (; at < size; at += frame) {
        switch (connection->protocol) {
            case LINES: frame = line_size(data + at, size - at); break;
            case NATS: frame = nats_size(data + at, size - at); break;
            default: frame = mqtt_size(data + at, size - at, &header);
        }
        if (!frame) break;
        take_frame(connection, data + at, frame, header);
    }
    keep_rest(connection, data + at, size - at);
}
