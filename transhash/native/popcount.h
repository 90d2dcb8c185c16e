/* The number of ones in a word, for code without vector instructions. */
#ifndef TRANSHASH_POPCOUNT_H
#define TRANSHASH_POPCOUNT_H

#include <stdint.h>

#if defined(__GNUC__)
#define POPCOUNT(x) ((uint32_t)__builtin_popcountll(x))
#else
static uint32_t POPCOUNT(uint64_t x)
{
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)((x * 0x0101010101010101u) >> 56);
}
#endif

#endif
