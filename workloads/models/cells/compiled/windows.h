/* Windows of streams, and how they are cut for products of many steps at once. */

#include "products.h"

typedef struct {
    long steps, batch, inputs, hidden;
} sizes;

INLINE long greater(long a, long b) { return a > b ? a : b; }

/* Steps that are run through all products before the next: then what they made is still near. */
INLINE long steps_at_once(sizes of) { return greater(DEPTH / of.batch, 1); }

/* Sum up rows: what they give a bias; with `add`, beside what is there. */
OUTLINE void sum_rows(long count, long width, const float *rows, long row, float *sums, int add) {
    if (!add) memset(sums, 0, sizeof(float) * width);
    for (long i = 0; i < count; i++)
        for (long j = 0; j < width; j++) sums[j] += rows[i * row + j];
}
