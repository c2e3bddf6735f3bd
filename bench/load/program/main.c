/* The program: reads a load, runs it, and prints its deliveries, its seconds and, if paced, its latencies. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "load.h"

struct load load;

_Noreturn void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    exit(1);
}

/* Returns zeroed memory. */
void *room(size_t size) {
    void *found = calloc(1, size ? size : 1);
    if (!found) fail("out of memory");
    return found;
}

static int compare(const void *one, const void *other) {
    uint32_t left = *(const uint32_t *)one, right = *(const uint32_t *)other;
    return (left > right) - (left < right);
}

/* Returns seconds. */
static double latency(unsigned percent) {
    return load.keeps_latencies ? load.latencies[load.deliveries * percent / 100] * 1e-7 : 0.0;
}

static uint64_t posts(void) {
    uint64_t sum = 0;
    for (uint32_t nth = 0; nth < load.count; nth++) sum += load.all[nth]->posted;
    return sum;
}

int main(void) {
    read_description();
    start_loop();
    int64_t start = now_ns();
    if (strcmp(load.name, "logins") == 0)
        run_logins();
    else
        run_load();
    double seconds = (double)(load.heard_at - start) / 1e9;
    if (load.keeps_latencies) qsort(load.latencies, load.deliveries, sizeof *load.latencies, compare);
    printf("{\"posts\": %lu, \"deliveries\": %lu, \"seconds\": %.9f, \"p50\": %.9f, \"p99\": %.9f}\n",
           (unsigned long)posts(), (unsigned long)load.deliveries, seconds, latency(50), latency(99));
    return 0;
}
