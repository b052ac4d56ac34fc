/* The LSTM with layer normalisation inside, all steps of a window forward, and all the way back through it.

   With v = W h(t-1): (f, i, o, g) = drive(t) + gain * normed(v), c(t) = f c(t-1) + i g, shown = tanh(gain * normed(c) +
   bias), h(t) = o shown, f, i, o behind a sigmoid and g behind a tanh. Rows are of one stream at one step. */

#include <math.h>

#include "activations.h"
#include "windows.h"

#define EPSILON 1e-5f

/* What is kept of each step for the way back, (time, batch, ...), beside the outputs. */
typedef struct {
    float *gates, *normed, *cells, *normed_cells, *shown, *scales; /* 4 hidden, 4 hidden, hidden three times, 2 */
} kept;

typedef struct {
    float *from_hidden, *gain, *cell_gain, *cell_bias;
} weights;

OUTLINE float sum(long count, const float *values) {
    vector lanes = {0};
    float parts[LANES], total = 0.0f;
    long j = 0;
    for (; j + LANES <= count; j += LANES) lanes += *(const vector *)(values + j);
    *(vector *)parts = lanes;
    for (int lane = 0; lane < LANES; lane++) total += parts[lane];
    for (; j < count; j++) total += values[j];
    return total;
}

OUTLINE float dot(long count, const float *values, const float *others) {
    vector lanes = {0};
    float parts[LANES], total = 0.0f;
    long j = 0;
    for (; j + LANES <= count; j += LANES) lanes += *(const vector *)(values + j) * *(const vector *)(others + j);
    *(vector *)parts = lanes;
    for (int lane = 0; lane < LANES; lane++) total += parts[lane];
    for (; j < count; j++) total += values[j] * others[j];
    return total;
}

/* Move `values` to mean 0 and variance 1 into `normed`, which may be the same; returns what they were scaled by. */
OUTLINE float normalise(long count, const float *values, float *normed) {
    const float mean = sum(count, values) / count;
    for (long j = 0; j < count; j++) normed[j] = values[j] - mean;
    const float scale = 1.0f / sqrtf(dot(count, normed, normed) / count + EPSILON);
    for (long j = 0; j < count; j++) normed[j] *= scale;
    return scale;
}

/* Back through that, in place: the gradient of `normed` becomes that of the values. */
OUTLINE void normalise_back(long count, const float *normed, float scale, float *gradient) {
    const float mean = sum(count, gradient) / count, slope = dot(count, gradient, normed) / count;
    for (long j = 0; j < count; j++) gradient[j] = scale * (gradient[j] - mean - normed[j] * slope);
}

INLINE long gradient_row(sizes of) { return 4 * of.hidden + 16; }

/* Floats that both ways work in. */
long layer_norm_lstm_work_size(sizes of) {
    const long gradients = steps_at_once(of) * of.batch * gradient_row(of);
    return packed_size(4 * of.hidden, of.hidden) + PANEL * 4 * of.hidden + gradients + transposed_size(of.hidden);
}

INLINE void step_row(long hidden, const float *restrict drive, const float *restrict gain,
                     const float *restrict normed, const float *restrict before, float *restrict gates,
                     float *restrict cell) {
    float *restrict f = gates, *restrict i = f + hidden, *restrict o = i + hidden, *restrict g = o + hidden;
#pragma GCC ivdep
    for (long j = 0; j < hidden; j++) {
        f[j] = sigmoid(drive[j] + gain[j] * normed[j]);
        i[j] = sigmoid(drive[hidden + j] + gain[hidden + j] * normed[hidden + j]);
        o[j] = sigmoid(drive[2 * hidden + j] + gain[2 * hidden + j] * normed[2 * hidden + j]);
        g[j] = hyperbolic_tangent(drive[3 * hidden + j] + gain[3 * hidden + j] * normed[3 * hidden + j]);
        cell[j] = f[j] * before[j] + i[j] * g[j];
    }
}

/* drives (time, batch, 4 hidden) and the state before them to outputs (time, batch, hidden). */
void layer_norm_lstm_forward(sizes of, const float *drives, const float *before, const float *cell_before,
                             weights with, kept to, float *outputs, float *work) {
    const long hidden = of.hidden, layer = of.batch * hidden, wide = 4 * hidden;
    pack_transposed(hidden, wide, with.from_hidden, work);
    for (long step = 0; step < of.steps; step++, before = outputs, outputs += layer) {
        float *normed = to.normed + step * 4 * layer;
        product(of.batch, wide, hidden, before, hidden, work, normed, wide, 0);
        for (long stream = 0; stream < of.batch; stream++) {
            const long place = step * of.batch + stream;
            const float *past = step ? to.cells + (place - of.batch) * hidden : cell_before + stream * hidden;
            float *row = normed + stream * wide, *gates = to.gates + place * wide, *cell = to.cells + place * hidden;
            float *restrict shown = to.shown + place * hidden, *restrict output = outputs + stream * hidden;
            float *restrict normed_cell = to.normed_cells + place * hidden;
            to.scales[2 * place] = normalise(wide, row, row);
            step_row(hidden, drives + place * wide, with.gain, row, past, gates, cell);
            to.scales[2 * place + 1] = normalise(hidden, cell, normed_cell);
#pragma GCC ivdep
            for (long j = 0; j < hidden; j++) {
                shown[j] = hyperbolic_tangent(with.cell_gain[j] * normed_cell[j] + with.cell_bias[j]);
                output[j] = gates[2 * hidden + j] * shown[j];
            }
        }
    }
}

/* Back through a row's c and h: gradients of its gates' inputs, those of the cell's norm, and what its c hands on. */
INLINE void step_row_back(long hidden, const float *restrict gates, const float *restrict before,
                          const float *restrict to_cell, float *restrict to_gates, float *restrict carried) {
    const float *restrict f = gates, *restrict i = f + hidden, *restrict g = i + 2 * hidden;
#pragma GCC ivdep
    for (long j = 0; j < hidden; j++) {
        const float reaching = carried[j] + to_cell[j];
        to_gates[j] = reaching * before[j] * f[j] * (1.0f - f[j]);
        to_gates[hidden + j] = reaching * g[j] * i[j] * (1.0f - i[j]);
        to_gates[3 * hidden + j] = reaching * i[j] * (1.0f - g[j] * g[j]);
        carried[j] = reaching * f[j];
    }
}

/* One step back. `carried` (batch, hidden) becomes unknown; `to_products` (batch, row) is the gradient of W h(t-1). */
OUTLINE void step_back(sizes of, const float *cell_before, weights with, kept from, const float *to_outputs,
                       const float *carried, float *cell_carried, float *to_drives, weights to, float *to_products,
                       float *to_cell) {
    const long hidden = of.hidden, wide = 4 * hidden;
    for (long stream = 0; stream < of.batch; stream++) {
        const float *gates = from.gates + stream * wide, *normed = from.normed + stream * wide;
        const float *restrict shown = from.shown + stream * hidden, *restrict o = gates + 2 * hidden;
        const float *restrict own = to_outputs + stream * hidden, *restrict back = carried + stream * hidden;
        const float *restrict normed_cell = from.normed_cells + stream * hidden;
        float *restrict to_row = to_drives + stream * wide;
        float *restrict product_row = to_products + stream * gradient_row(of);
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            const float reaching = back[j] + own[j];
            const float through = reaching * o[j] * (1.0f - shown[j] * shown[j]);
            to_row[2 * hidden + j] = reaching * shown[j] * o[j] * (1.0f - o[j]);
            to.cell_gain[j] += through * normed_cell[j];
            to.cell_bias[j] += through;
            to_cell[j] = through * with.cell_gain[j];
        }
        normalise_back(hidden, normed_cell, from.scales[2 * stream + 1], to_cell);
        step_row_back(hidden, gates, cell_before + stream * hidden, to_cell, to_row, cell_carried + stream * hidden);
#pragma GCC ivdep
        for (long j = 0; j < wide; j++) {
            to.gain[j] += to_row[j] * normed[j];
            product_row[j] = to_row[j] * with.gain[j];
        }
        normalise_back(wide, normed, from.scales[2 * stream], product_row);
    }
}

/* Back through `layer_norm_lstm_forward`. `carried` and `cell_carried` (batch, hidden) hold the gradients of the state
   behind the window, and then those of the state before it. Those of weights are added to. */
void layer_norm_lstm_backward(sizes of, const float *before, const float *cell_before, weights with, kept from,
                              const float *outputs, const float *to_outputs, float *carried, float *cell_carried,
                              float *to_drives, weights to, float *work) {
    const long hidden = of.hidden, layer = of.batch * hidden, wide = 4 * hidden, row = gradient_row(of);
    float *to_cell = pack(wide, hidden, with.from_hidden, hidden, work), *to_products = to_cell + hidden;
    float *rest = to_products + steps_at_once(of) * of.batch * row;
    for (long stop = of.steps; stop > 0;) {
        const long start = stop > steps_at_once(of) ? stop - steps_at_once(of) : 0;
        for (long step = stop - 1; step >= start; step--) {
            const long place = step * of.batch;
            const kept here = {from.gates + place * wide,          from.normed + place * wide,
                               from.cells + place * hidden,        from.normed_cells + place * hidden,
                               from.shown + place * hidden,        from.scales + 2 * place};
            const float *past = step ? from.cells + (place - of.batch) * hidden : cell_before;
            float *products = to_products + (step - start) * of.batch * row;
            step_back(of, past, with, here, to_outputs + step * layer, carried, cell_carried, to_drives + place * wide,
                      to, products, to_cell);
            product(of.batch, hidden, wide, products, row, work, carried, hidden, 0);
        }
        const long all = (stop - start) * of.batch, apart = start ? 0 : of.batch; /* rows behind `before` */
        transposed_product(wide, hidden, apart, to_products, row, before, to.from_hidden, 1, rest);
        transposed_product(wide, hidden, all - apart, to_products + apart * row, row,
                           start ? outputs + (start - 1) * layer : outputs, to.from_hidden, 1, rest);
        stop = start;
    }
}
