/* Numbers in texts: 8 letters a to p, the lowest 4 bits first, which no protocol escapes. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stdint.h>
#include <string.h>

static inline void put_number(char *at, uint32_t number) {
    uint64_t spread = number;
    spread = (spread | spread << 16) & 0x0000FFFF0000FFFF;
    spread = (spread | spread << 8) & 0x00FF00FF00FF00FF;
    spread = ((spread | spread << 4) & 0x0F0F0F0F0F0F0F0F) + 0x6161616161616161;
    memcpy(at, &spread, 8);
}

static inline uint32_t get_number(const char *at) {
    uint64_t spread;
    memcpy(&spread, at, 8);
    spread -= 0x6161616161616161;
    spread = (spread | spread >> 4) & 0x00FF00FF00FF00FF;
    spread = (spread | spread >> 8) & 0x0000FFFF0000FFFF;
    return (uint32_t)(spread | spread >> 16);
}

#endif
