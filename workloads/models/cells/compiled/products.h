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
#define DEPTH 256               /* steps of a sum formed at once where both factors must be packed */

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define OUTLINE static __attribute__((noinline))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))

OUTLINE void put(const float *found, float *to, long columns, int add) {
    for (long j = 0; j < columns; j++) to[j] = add ? to[j] + found[j] : found[j];
}

/* The sum, over `depth`, of a (rows, depth) times a panel (depth, PANEL), into c (rows, columns <= PANEL). */
INLINE void tile(const int rows, long depth, const float *a, long a_row, const long a_column, const float *panel,
                 float *c, long c_row, long columns, int add) {
    vector sums[TILE_ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) sums[i][v] = (vector){0};
    for (long k = 0; k < depth; k++) {
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
                     float *c, long c_row, long columns, int add) {
#define ROWS(n)                                                                                                        \
    case n: tile(n, depth, a, a_row, a_column, panel, c, c_row, columns, add); break;
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
OUTLINE float *pack(long depth, long columns, const float *b, long b_row, long b_column, float *packed) {
    for (long first = 0; first < columns; first += PANEL) {
        const long width = LEAST(PANEL, columns - first);
        for (long k = 0; k < depth; k++, packed += PANEL) {
            const float *from = b + k * b_row + first * b_column;
            if (b_column == 1 && width == PANEL) {
                memcpy(packed, from, sizeof(float[PANEL]));
            } else {
                for (long j = 0; j < PANEL; j++) packed[j] = j < width ? from[j * b_column] : 0.0f;
            }
        }
    }
    return packed;
}

/* c (rows, columns) = a (rows, depth) times b, which is packed; with `add`, c += that. */
OUTLINE void product(long rows, long columns, long depth, const float *a, long a_row, const float *packed, float *c,
                     long c_row, int add) {
    for (long block = 0; block < rows; block += BLOCK_ROWS) {
        const long stop = LEAST(block + BLOCK_ROWS, rows);
        for (long first = 0; first < columns; first += PANEL)
            for (long row = block; row < stop; row += TILE_ROWS)
                any_tile(LEAST(TILE_ROWS, stop - row), depth, a + row * a_row, a_row, 1, packed + first * depth,
                         c + row * c_row + first, c_row, LEAST(PANEL, columns - first), add);
    }
}

/* Floats that `transposed_product` works in. */
INLINE long transposed_size(long rows, long columns) {
    return DEPTH * (rows + TILE_ROWS) + packed_size(DEPTH, columns);
}

/* c (rows, columns) = a (depth, rows) turned round, times b (depth, columns); with `add`, c += that. */
OUTLINE void transposed_product(long rows, long columns, long depth, const float *a, long a_row, const float *b,
                                float *c, int add, float *work) {
    for (long begin = 0; begin < depth; begin += DEPTH, add = 1) {
        const long deep = LEAST(DEPTH, depth - begin);
        const float *panels = work;
        float *strips = pack(deep, columns, b + begin * columns, columns, 1, work); /* (rows / TILE_ROWS, deep, ...) */
        for (long row = 0; row < rows; row += TILE_ROWS)
            for (long k = 0; k < deep; k++) {
                const float *from = a + (begin + k) * a_row + row;
                float *to = strips + row * deep + k * TILE_ROWS;
                if (row + TILE_ROWS <= rows) {
                    memcpy(to, from, sizeof(float[TILE_ROWS]));
                } else {
                    for (long i = 0; i < rows - row; i++) to[i] = from[i];
                }
            }
        for (long first = 0; first < columns; first += PANEL)
            for (long row = 0; row < rows; row += TILE_ROWS)
                any_tile(LEAST(TILE_ROWS, rows - row), deep, strips + row * deep, 1, TILE_ROWS, panels + first * deep,
                         c + row * columns + first, columns, LEAST(PANEL, columns - first), add);
    }
}
