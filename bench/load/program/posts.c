/* Posts, rendered and sent: the same blocks for every protocol. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "load.h"
#include "numbers.h"

static char *reserve(struct connection *connection, size_t size) {
    if (connection->out_size + size > connection->out_room) {
        connection->out_room = (connection->out_size + size) * 2;
        connection->out = realloc(connection->out, connection->out_room);
        if (!connection->out) fail("out of memory");
    }
    char *at = connection->out + connection->out_size;
    connection->out_size += size;
    return at;
}

void queue(struct connection *connection, const char *bytes, size_t size) {
    memcpy(reserve(connection, size), bytes, size);
}

/* Sends what is queued; returns false, and watches the socket, if it takes only a part. */
bool flush(struct connection *connection) {
    while (connection->out_sent < connection->out_size) {
        size_t left = connection->out_size - connection->out_sent;
        ssize_t sent = send(connection->fd, connection->out + connection->out_sent, left, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) fail("cannot send: %s; %s", strerror(errno), last_notice());
        if (sent < 0) {
            if (!connection->waits) watch(connection, true);
            return false;
        }
        connection->out_sent += (size_t)sent;
    }
    connection->out_size = connection->out_sent = 0;
    if (connection->waits) watch(connection, false);
    return true;
}

static void render(struct connection *connection, uint32_t time) {
    const struct post *post = &connection->post;
    uint32_t sequence = connection->posted++;
    char *at = reserve(connection, post->size), *text = at + post->text_at;
    memcpy(at, post->bytes, post->size);
    text[0] = '^';
    put_number(text + 1, sequence);
    put_number(text + 9, connection->publisher);
    put_number(text + 17, time);
    text[load.text_size - 1] = '$';
    if (post->id_at >= 0) {
        char publisher[8];
        put_number(publisher, connection->publisher);
        put_number(at + post->id_at, sequence);
        memcpy(at + post->id_at + 8, publisher, 4);
    }
    if (post->packet_id_at >= 0) {
        uint32_t packet_id = sequence % 65535 + 1;
        at[post->packet_id_at] = (char)(packet_id >> 8);
        at[post->packet_id_at + 1] = (char)packet_id;
    }
}

static uint32_t limit(const struct connection *connection) {
    uint32_t acknowledged = connection->acknowledged + load.in_flight;
    return load.in_flight && acknowledged < connection->allowed ? acknowledged : connection->allowed;
}

/* Posts as much as the socket and the limits take. */
void push(struct connection *connection) {
    while (flush(connection) && connection->posted < limit(connection)) {
        uint32_t time = ticks(now_ns());
        do render(connection, time);
        while (connection->posted < limit(connection) && connection->out_size + connection->post.size <= BLOCK);
    }
}
