/* The load generator: its data, and what each file does with it. One thread, one epoll.
 *
 * `description.c` reads the connections, which have logged in and joined already, and the load. `posts.c` writes posts,
 * `frames.c` reads deliveries, `loop.c` waits for events. `loads.c` has the loads on connections that are there, and
 * `logins.c` the load of clients that connect. Every protocol is sent and counted by the same code; `frames.c` alone
 * knows where a protocol's frame ends.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAD = 25,           /* bytes of a text before its padding: `^`, then sequence, publisher and time, 8 bytes each */
    BLOCK = 64 << 10,    /* bytes of posts in one `send`, or one post if that is longer */
    CHUNK = 256 << 10,   /* bytes in one `recv` */
    FRAME = 1 << 20,     /* bytes of the longest frame */
    STALL_MS = 8000,     /* without a byte, after which missing deliveries count as lost */
    QUIET_MS = 50,       /* without a byte, after which no delivery too many is on its way */
};

enum protocol { LINES, NATS, MQTT };

/* A text is `^`, its sequence at its publisher, its publisher, its time, padding, and `$`. */
struct post {
    char *bytes;         /* of one post */
    size_t size;
    long text_at;        /* offset of the text */
    long id_at;          /* offset of the 12 bytes of its id, or -1 */
    long packet_id_at;   /* offset of the 2 bytes of its packet identifier, or -1 */
};

struct connection {
    int fd;
    enum protocol protocol;
    struct channel *channel;
    bool receives, echoes;     /* the posts of others; those of its own */
    uint32_t *next;            /* the next sequence from each publisher of its channel */
    uint64_t received;         /* deliveries */
    char *rest;                /* the beginning of a frame */
    size_t rest_size;
    char *out;                 /* posts and acknowledgements to be sent */
    size_t out_size, out_sent, out_room;
    bool watched, waits;       /* in the epoll; also for being writable */
    struct post post;          /* of a publisher */
    uint32_t publisher;        /* its number, among all publishers */
    uint32_t posted, allowed;  /* posts */
    uint32_t acknowledged;     /* posts at QoS 1 */
};

struct channel {
    struct connection **subscribers, **publishers;
    uint32_t subscriber_count, publisher_count;
    uint32_t first_publisher;  /* number of the first publisher */
    bool touched;              /* received something since its window was last looked at */
};

struct load {
    char name[16];             /* saturated, one-at-a-time, paced or logins */
    double seconds;
    uint32_t posts;            /* of each publisher, instead of `seconds`, if not 0 */
    uint32_t rate;             /* posts a second, if paced */
    uint32_t window;           /* undelivered posts of a channel */
    uint32_t in_flight;        /* posts of a publisher without a PUBACK, or 0 at QoS 0 */
    size_t text_size;
    struct channel *channels;
    uint32_t channel_count;
    struct connection **all;
    uint32_t count, publisher_count;
    /* logins: */
    uint16_t port;
    uint32_t at_once;          /* clients that are logging in */
    uint32_t missed;           /* deliveries after which a client is done, or 0: after the `welcomed` bytes */
    char *welcomed;
    size_t welcomed_size;
    /* so far: */
    uint64_t deliveries;
    uint32_t *latencies;       /* of each delivery in ticks, if `keeps_latencies` */
    bool keeps_latencies;
    int64_t heard_at;          /* ns, the last time that something was received */
};

extern struct load load;

void read_description(void);
struct connection *new_connection(enum protocol protocol, int fd);

void queue(struct connection *connection, const char *bytes, size_t size);
bool flush(struct connection *connection);
void push(struct connection *connection);

void take_frames(struct connection *connection, char *data, size_t size);
void keep_rest(struct connection *connection, const char *data, size_t size);
const char *last_notice(void);

int64_t now_ns(void);
uint32_t ticks(int64_t ns);
void start_loop(void);
void watch(struct connection *connection, bool writable);
void unwatch(struct connection *connection);
void watch_timer(int fd);
bool wait_for_events(int milliseconds);
extern void (*on_received)(struct connection *connection, char *data, size_t size);
extern void (*on_writable)(struct connection *connection);

void run_load(void);
void run_logins(void);

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *room(size_t size);

#endif
