/* Matrix products in single precision on one thread, with one factor packed once and used at many steps.

   Matrices are row-major; `a_row` is the distance between two rows of `a`. Every sum runs in one order, whatever the
   other rows are, so the same numbers give the same bits. Needs the vectors of GNU C: gcc or clang. */

#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define TILE_ROWS 8
#elif defined(__AVX__)
#define LANES 8
#define TILE_ROWS 4
#elif defined(__aarch64__)
#define LANES 4
#define TILE_ROWS 8
#else
#define LANES 4
#define TILE_ROWS 4
#endif
#define VECTORS 2
#define PANEL (VECTORS * LANES) /* columns of a tile: its sums, TILE_ROWS * VECTORS, stay in registers */
#define BLOCK_ROWS 32           /* rows for which a panel is fetched from far away once */
#define AHEAD (PANEL * TILE_ROWS / BLOCK_ROWS) /* floats of the panel behind, fetched at each term of a tile */
#define DEPTH 256               /* terms of a sum formed at once where both factors must be packed */
#define STRIP_ROWS 256          /* rows of the other factor packed at once: with DEPTH, a part of a core's cache */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define OUTLINE static __attribute__((noinline))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))

OUTLINE void put(const float *found, float *to, long columns, int add) {
    for (long j = 0; j < columns; j++) to[j] = add ? to[j] + found[j] : found[j];
}

/* The sum, over `depth`, of a (rows, depth) times a panel (depth, PANEL), into c (rows, columns <= PANEL).

   What is read `next` is fetched meanwhile: a large layer's weights come from far away at each step. */
INLINE void tile(const int rows, long depth, const float *a, long a_row, const long a_column, const float *panel,
                 const float *next, float *c, long c_row, long columns, int add) {
    vector sums[TILE_ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) sums[i][v] = (vector){0};
    for (long k = 0; k < depth; k++) {
        __builtin_prefetch(next + k * AHEAD);
        vector row[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) row[v] = *(const vector *)(panel + k * PANEL + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const float factor = a[i * a_row + k * a_column];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) sums[i][v] += factor * row[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        float *to = c + i * c_row;
        if (columns == PANEL) {
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                vector *whole = (vector *)(to + v * LANES);
                if (add) sums[i][v] += *whole;
                *whole = sums[i][v];
            }
        } else {
            float found[PANEL];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) *(vector *)(found + v * LANES) = sums[i][v];
            put(found, to, columns, add);
        }
    }
}

/* A tile whose number of rows is known only now; each has code of its own. */
INLINE void any_tile(long rows, long depth, const float *a, long a_row, const long a_column, const float *panel,
                     const float *next, float *c, long c_row, long columns, int add) {
#define ROWS(n)                                                                                                        \
    case n: tile(n, depth, a, a_row, a_column, panel, next, c, c_row, columns, add); break;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if TILE_ROWS > 4
        ROWS(5) ROWS(6) ROWS(7) ROWS(8)
#endif
    }
#undef ROWS
}

/* Floats that `pack` fills. */
INLINE long packed_size(long depth, long columns) { return (columns + PANEL - 1) / PANEL * PANEL * depth; }

/* Lay out b (depth, columns) in panels, the last one filled up with zeros; returns what follows them. */
OUTLINE float *pack(long depth, long columns, const float *b, long b_row, float *packed) {
    for (long first = 0; first < columns; first += PANEL) {
        const long width = LEAST(PANEL, columns - first);
        for (long k = 0; k < depth; k++, packed += PANEL) {
            const float *from = b + k * b_row + first;
            if (width == PANEL) {
                memcpy(packed, from, sizeof(float[PANEL])); /* of a fixed length: two moves, no call */
            } else {
                memcpy(packed, from, sizeof(float) * width);
                memset(packed + width, 0, sizeof(float) * (PANEL - width));
            }
        }
    }
    return packed;
}

/* Likewise b given as its transpose (columns, depth), a line of each of its rows at a time. */
OUTLINE float *pack_transposed(long depth, long columns, const float *b, float *packed) {
    for (long first = 0; first < columns; first += PANEL, packed += PANEL * depth)
        for (long begin = 0; begin < depth; begin += 16)
            for (long j = 0; j < PANEL; j++)
                for (long k = begin; k < LEAST(begin + 16, depth); k++)
                    packed[k * PANEL + j] = first + j < columns ? b[(first + j) * depth + k] : 0.0f;
    return packed;
}

/* c (rows, columns) = a (rows, depth) times b, which is packed; with `add`, c += that. */
OUTLINE void product(long rows, long columns, long depth, const float *a, long a_row, const float *packed, float *c,
                     long c_row, int add) {
    for (long block = 0; block < rows; block += BLOCK_ROWS) {
        const long stop = LEAST(block + BLOCK_ROWS, rows);
        for (long first = 0; first < columns; first += PANEL) {
            const float *panel = packed + first * depth, *next = panel + PANEL * depth;
            for (long row = block; row < stop; row += TILE_ROWS, next += AHEAD * depth)
                any_tile(LEAST(TILE_ROWS, stop - row), depth, a + row * a_row, a_row, 1, panel, next,
                         c + row * c_row + first, c_row, LEAST(PANEL, columns - first), add);
        }
    }
}

/* Floats that `transposed_product` works in. */
INLINE long transposed_size(long columns) { return DEPTH * STRIP_ROWS + packed_size(DEPTH, columns); }

/* Lay out a (depth, rows <= STRIP_ROWS) in strips (depth, TILE_ROWS), some at a time: a row's lines are read once. */
OUTLINE void pack_strips(long depth, long rows, const float *a, long a_row, float *strips) {
    for (long first = 0; first < rows; first += 4 * TILE_ROWS)
        for (long k = 0; k < depth; k++)
            for (long row = first; row < LEAST(first + 4 * TILE_ROWS, rows); row += TILE_ROWS) {
                const float *from = a + k * a_row + row;
                float *to = strips + row * depth + k * TILE_ROWS;
                if (row + TILE_ROWS <= rows) {
                    memcpy(to, from, sizeof(float[TILE_ROWS]));
                } else {
                    for (long i = 0; i < rows - row; i++) to[i] = from[i];
                }
            }
}

/* c (rows, columns) = a (depth, rows) turned round, times b (depth, columns); with `add`, c += that. */
OUTLINE void transposed_product(long rows, long columns, long depth, const float *a, long a_row, const float *b,
                                float *c, int add, float *work) {
    float *strips = work, *panels = work + DEPTH * STRIP_ROWS;
    for (long begin = 0; begin < depth; begin += DEPTH, add = 1) {
        const long deep = LEAST(DEPTH, depth - begin);
        pack(deep, columns, b + begin * columns, columns, panels);
        for (long block = 0; block < rows; block += STRIP_ROWS) {
            const long stop = LEAST(block + STRIP_ROWS, rows);
            pack_strips(deep, stop - block, a + begin * a_row + block, a_row, strips);
            for (long first = 0; first < columns; first += PANEL)
                for (long row = block; row < stop; row += TILE_ROWS)
                    any_tile(LEAST(TILE_ROWS, stop - row), deep, strips + (row - block) * deep, 1, TILE_ROWS,
                             panels + first * deep, panels, c + row * columns + first, columns,
                             LEAST(PANEL, columns - first), add); /* the next panel is near already */
        }
    }
}
