/* Sigmoid and hyperbolic tangent without branches, so that compilers run them over vectors.

   Right to 3 units in the last place, tanh near 0 too; what is no number stays none. */

#include <string.h>

/* Split e ** x - 1 into scale * rest + (scale - 1), scale a power of 2 and |rest| < 0.42; for |x| <= 87. */
static inline __attribute__((always_inline)) void exponential(float x, float *scale, float *rest) {
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2 ** 23: the whole part is in the last bits now */
    const float whole = shifted - 12582912.0f;
    const float left = (x - whole * 0.693359375f) + whole * 2.12194440e-4f; /* log 2, the second part negative */
    unsigned bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(scale, &bits, sizeof bits);
    /* Taylor's series: the first term left out is below 2e-8 of the sum where |left| <= log(2) / 2. */
    float sum = left * (1.0f / 5040) + 1.0f / 720;
    sum = sum * left + 1.0f / 120;
    sum = sum * left + 1.0f / 24;
    sum = sum * left + 1.0f / 6;
    sum = sum * left + 0.5f;
    *rest = sum * left * left + left;
}

static inline __attribute__((always_inline)) float within(float x, float limit) {
    x = x > limit ? limit : x;
    return x < -limit ? -limit : x;
}

static inline __attribute__((always_inline)) float sigmoid(float x) {
    float scale, rest;
    exponential(within(-x, 87.0f), &scale, &rest);
    return 1.0f / (1.0f + (scale * rest + scale));
}

/* Sigmoids of x and of -x, neither of which loses its digits where the other is nearly 1. */
static inline __attribute__((always_inline)) void both_sigmoids(float x, float *of, float *of_negative) {
    float scale, rest;
    exponential(within(-x, 87.0f), &scale, &rest);
    const float grown = scale * rest + scale;
    *of = 1.0f / (1.0f + grown);
    *of_negative = grown * *of;
}

static inline __attribute__((always_inline)) float hyperbolic_tangent(float x) {
    float scale, rest;
    exponential(2.0f * within(x, 10.0f), &scale, &rest);
    const float grown = scale * rest + (scale - 1.0f);
    return grown / (grown + 2.0f);
}

static inline __attribute__((always_inline)) float rectified(float x) { return x < 0.0f ? 0.0f : x; }
