/* The load of clients that connect and log in, so many at a time, and stay. */
#define _GNU_SOURCE /* memmem */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include "load.h"

static uint32_t ended; /* clients that have what they wait for */

static void connect_client(struct connection *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(load.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) fail("cannot open a socket: %s", strerror(errno));
    int on = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("cannot connect: %s", strerror(errno));
    watch(client, true);
}

static void send_login(struct connection *client) { flush(client); }

/* A client stays connected when it has what it waits for, and receives nothing more. */
static void end(struct connection *client) {
    unwatch(client);
    ended++;
}

static void take_answer(struct connection *client, char *data, size_t size) {
    if (memmem(data, size, load.welcomed, load.welcomed_size))
        end(client);
    else
        keep_rest(client, data, size);
}

static void take_missed(struct connection *client, char *data, size_t size) {
    take_frames(client, data, size);
    if (client->received < load.missed) return;
    flush(client);
    end(client);
}

void run_logins(void) {
    on_received = load.missed ? take_missed : take_answer;
    on_writable = send_login;
    for (uint32_t begun = 0; ended < load.count;) {
        while (begun < load.count && begun - ended < load.at_once) connect_client(load.all[begun++]);
        wait_for_events(1000);
    }
}
