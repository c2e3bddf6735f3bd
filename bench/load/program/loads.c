/* The loads on connections that have joined: saturated, one post at a time, and at a steady rate. */
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "load.h"

static int64_t stop_at; /* ns */

static uint64_t posted(const struct channel *channel) {
    uint64_t posts = 0;
    for (uint32_t nth = 0; nth < channel->publisher_count; nth++) posts += channel->publishers[nth]->posted;
    return posts;
}

/* Returns the deliveries of all posts. */
static uint64_t expected(void) {
    uint64_t deliveries = 0;
    for (uint32_t nth = 0; nth < load.channel_count; nth++) {
        const struct channel *channel = &load.channels[nth];
        deliveries += posted(channel) * channel->subscriber_count;
        for (uint32_t each = 0; each < channel->publisher_count; each++) {
            const struct connection *publisher = channel->publishers[each];
            if (publisher->receives) deliveries += posted(channel) - (publisher->echoes ? 0 : publisher->posted);
        }
    }
    return deliveries;
}

static bool acknowledged(void) {
    for (uint32_t nth = 0; nth < load.count; nth++) {
        const struct connection *publisher = load.all[nth];
        if (publisher->post.packet_id_at >= 0 && publisher->acknowledged < publisher->posted) return false;
    }
    return true;
}

/* Lets a channel's publishers post up to the window ahead of its slowest subscriber, if that frees a quarter of it. */
static void widen(struct channel *channel) {
    uint64_t posts = posted(channel), slowest = posts;
    for (uint32_t nth = 0; nth < channel->subscriber_count; nth++)
        if (channel->subscribers[nth]->received < slowest) slowest = channel->subscribers[nth]->received;
    uint64_t ahead = posts - slowest, share = ahead < load.window ? (load.window - ahead) / channel->publisher_count : 0;
    bool widens = share > 0 && share * channel->publisher_count * 4 >= load.window;
    for (uint32_t nth = 0; nth < channel->publisher_count; nth++) {
        struct connection *publisher = channel->publishers[nth];
        if (widens) publisher->allowed = publisher->posted + (uint32_t)share;
        if (load.posts && publisher->allowed > load.posts) publisher->allowed = load.posts;
        if (!publisher->waits) push(publisher);
    }
}

static bool all_posted(void) {
    if (!load.posts) return now_ns() >= stop_at;
    for (uint32_t nth = 0; nth < load.count; nth++)
        if (load.all[nth]->post.size && load.all[nth]->posted < load.posts) return false;
    return true;
}

static void saturate(void) {
    for (uint32_t nth = 0; nth < load.channel_count; nth++) load.channels[nth].touched = true;
    while (!all_posted()) {
        for (uint32_t nth = 0; nth < load.channel_count; nth++) {
            struct channel *channel = &load.channels[nth];
            if (channel->touched) widen(channel);
            channel->touched = false;
        }
        wait_for_events(1);
    }
}

static void post_once(struct connection *publisher) {
    publisher->allowed++;
    push(publisher);
}

static void one_at_a_time(struct connection *publisher) {
    while (now_ns() < stop_at) {
        post_once(publisher);
        uint64_t target = expected();
        while (load.deliveries < target || !acknowledged()) wait_for_events(1000);
    }
}

static void paced(struct connection *publisher) {
    uint64_t total = (uint64_t)(load.seconds * load.rate), left = total, expirations;
    int64_t interval = INT64_C(1000000000) / load.rate;
    struct timespec each = {interval / 1000000000, interval % 1000000000};
    struct itimerspec timer = {each, each};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &timer, NULL) < 0) fail("no timer");
    watch_timer(fd);
    load.latencies = room(total * load.count * sizeof *load.latencies);
    load.keeps_latencies = true;
    while (left > 0) {
        wait_for_events(1000);
        if (read(fd, &expirations, sizeof expirations) != sizeof expirations) continue;
        for (; expirations > 0 && left > 0; expirations--, left--) post_once(publisher);
    }
    close(fd);
}

/* Receives until every member has every post, and nothing more comes. */
static void finish(void) {
    for (uint32_t nth = 0; nth < load.count; nth++) load.all[nth]->allowed = load.all[nth]->posted;
    uint64_t target = expected();
    while (load.deliveries < target || !acknowledged()) wait_for_events(1000);
    int64_t last = load.heard_at;
    while (wait_for_events(QUIET_MS)) {}
    if (load.deliveries != target) fail("%lu deliveries too many", (unsigned long)(load.deliveries - target));
    load.heard_at = last;
}

void run_load(void) {
    struct connection *publisher = load.channels[0].publishers[0];
    stop_at = now_ns() + (int64_t)(load.seconds * 1e9);
    on_received = take_frames;
    on_writable = push;
    for (uint32_t nth = 0; nth < load.count; nth++) watch(load.all[nth], false);
    if (strcmp(load.name, "saturated") == 0)
        saturate();
    else if (strcmp(load.name, "one-at-a-time") == 0)
        one_at_a_time(publisher);
    else
        paced(publisher);
    finish();
}
