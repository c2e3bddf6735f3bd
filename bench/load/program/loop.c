/* The clock, and one epoll for all connections and the timer. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include "load.h"

enum { EVENTS = 1024, TICK_NS = 100 };

static int epoll;
static char buffer[FRAME + CHUNK];
void (*on_received)(struct connection *connection, char *data, size_t size);
void (*on_writable)(struct connection *connection);

int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* Returns the unit of the times in texts: 100 ns, which wrap after 7 minutes. */
uint32_t ticks(int64_t ns) { return (uint32_t)(ns / TICK_NS); }

static void control(int operation, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, operation, fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

void watch(struct connection *connection, bool writable) {
    uint32_t events = writable ? EPOLLIN | EPOLLOUT : EPOLLIN;
    control(connection->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, connection->fd, events, connection);
    connection->watched = true;
    connection->waits = writable;
}

void unwatch(struct connection *connection) {
    control(EPOLL_CTL_DEL, connection->fd, 0, NULL);
    connection->watched = connection->waits = false;
}

void watch_timer(int fd) { control(EPOLL_CTL_ADD, fd, EPOLLIN, NULL); }

void start_loop(void) {
    epoll = epoll_create1(EPOLL_CLOEXEC);
    load.heard_at = now_ns();
}

static void receive(struct connection *connection) {
    size_t had = connection->rest_size;
    ssize_t got = recv(connection->fd, buffer + had, CHUNK, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("cannot receive: %s; %s", strerror(errno), last_notice());
    if (got == 0) fail("the server closed a connection; %s", last_notice());
    load.heard_at = now_ns();
    if (had) memcpy(buffer, connection->rest, had);
    connection->channel->touched = true;
    on_received(connection, buffer, had + (size_t)got);
    if (connection->out_size && !connection->waits) flush(connection);
}

/* Handles the events of one wake-up; returns false after a wait without an event. Does not handle the timer. */
bool wait_for_events(int milliseconds) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, milliseconds);
    if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int nth = 0; nth < count; nth++) {
        struct connection *connection = events[nth].data.ptr;
        if (!connection) continue;
        if (events[nth].events & ~(uint32_t)EPOLLOUT) receive(connection);
        if (events[nth].events & EPOLLOUT) on_writable(connection);
    }
    if (count <= 0 && now_ns() - load.heard_at > STALL_MS * INT64_C(1000000))
        fail("received nothing for %d s; %s", STALL_MS / 1000, last_notice());
    return count > 0;
}
