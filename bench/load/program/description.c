/* Reads the load and its connections from standard input, as words: see `bench/load/description.py`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"

static void word(char *into, size_t size) {
    char format[16];
    snprintf(format, sizeof format, "%%%zus", size - 1);
    if (scanf(format, into) != 1) fail("the description ends too early");
}

static long integer(void) {
    char text[32];
    word(text, sizeof text);
    return strtol(text, NULL, 10);
}

/* Returns bytes that are written as their count and hexadecimal digits. */
static char *bytes(size_t *size) {
    *size = (size_t)integer();
    char *found = room(*size + 1);
    for (size_t at = 0; at < *size; at++) {
        unsigned value;
        if (scanf("%2x", &value) != 1) fail("the description has fewer bytes than it says");
        found[at] = (char)value;
    }
    return found;
}

static enum protocol protocol(void) {
    char name[8];
    word(name, sizeof name);
    return strcmp(name, "nats") == 0 ? NATS : strcmp(name, "mqtt") == 0 ? MQTT : LINES;
}

struct connection *new_connection(enum protocol protocol, int fd) {
    struct connection *connection = room(sizeof *connection);
    connection->protocol = protocol;
    connection->fd = fd;
    load.all = realloc(load.all, (load.count + 1) * sizeof *load.all);
    if (!load.all) fail("out of memory");
    load.all[load.count++] = connection;
    return connection;
}

static struct connection *member(struct channel *channel) {
    enum protocol speaks = protocol();
    struct connection *connection = new_connection(speaks, (int)integer());
    connection->channel = channel;
    connection->next = room(channel->publisher_count * sizeof *connection->next);
    return connection;
}

static void subscriber(struct channel *channel, uint32_t nth) {
    channel->subscribers[nth] = member(channel);
    channel->subscribers[nth]->receives = true;
}

static void publisher(struct channel *channel, uint32_t nth) {
    struct connection *connection = channel->publishers[nth] = member(channel);
    connection->publisher = load.publisher_count++;
    connection->receives = integer();
    connection->echoes = integer();
    connection->post.text_at = integer();
    connection->post.id_at = integer();
    connection->post.packet_id_at = integer();
    connection->post.bytes = bytes(&connection->post.size);
}

static void channel(struct channel *channel) {
    channel->subscriber_count = (uint32_t)integer();
    channel->publisher_count = (uint32_t)integer();
    channel->first_publisher = load.publisher_count;
    channel->subscribers = room(channel->subscriber_count * sizeof *channel->subscribers);
    channel->publishers = room(channel->publisher_count * sizeof *channel->publishers);
    for (uint32_t nth = 0; nth < channel->subscriber_count; nth++) subscriber(channel, nth);
    for (uint32_t nth = 0; nth < channel->publisher_count; nth++) publisher(channel, nth);
}

/* A client that is to log in is the subscriber of a channel of its own with one publisher, who has posted already. */
static void client(void) {
    struct channel *channel = room(sizeof *channel);
    channel->publisher_count = 1;
    struct connection *connection = new_connection(protocol(), -1);
    connection->channel = channel;
    connection->receives = true;
    connection->next = room(sizeof *connection->next);
    size_t size;
    char *login = bytes(&size);
    queue(connection, login, size);
    free(login);
}

void read_description(void) {
    char seconds[32];
    word(load.name, sizeof load.name);
    word(seconds, sizeof seconds);
    load.seconds = strtod(seconds, NULL);
    load.posts = (uint32_t)integer();
    load.rate = (uint32_t)integer();
    load.window = (uint32_t)integer();
    load.in_flight = (uint32_t)integer();
    load.text_size = (size_t)integer();
    load.port = (uint16_t)integer();
    load.at_once = (uint32_t)integer();
    load.missed = (uint32_t)integer();
    load.welcomed = bytes(&load.welcomed_size);
    load.channel_count = (uint32_t)integer();
    load.channels = room(load.channel_count * sizeof *load.channels);
    for (uint32_t nth = 0; nth < load.channel_count; nth++) channel(&load.channels[nth]);
    for (long clients = integer(); clients > 0; clients--) client();
}
