/* GRU, LSTM, and RNN with tanh or relu: all steps of a window forward, and all the way back through it.

   Sizes are of time, batch, input and hidden units. Weights and biases are laid out as torch's: gates of a GRU are r
   (reset), z (update) and n (candidate), behind one another, those of an LSTM i (input), f (forget), g (candidate) and
   o (output). In place of inputs there may be numbers of vectors, and what each vector gives the gates: of few vectors
   that is soon told, and each step looks it up. For the way back a GRU keeps r, z, n and what h(t-1) gave n, with its
   bias, (time, batch, 4 hidden); an LSTM its gates, of the same shape, and its cell states; an RNN its outputs alone. */

#include <stdint.h>

#include "activations.h"
#include "windows.h"

enum kind { TANH, RELU, GRU, LSTM };

/* Rows of weights, and how many of them give sums of what x and h(t-1) see: n of a GRU is apart. */
INLINE long rows_of(int kind, sizes of) { return (kind == LSTM ? 4 : kind == GRU ? 3 : 1) * of.hidden; }
INLINE long shared_of(int kind, sizes of) { return kind == GRU ? 2 * of.hidden : rows_of(kind, of); }

/* Distance between two streams in the gradients of gates: rows a power of 2 apart would share few cache lines. */
INLINE long gradient_row(int kind, sizes of) { return (kind >= GRU ? 4 : 1) * of.hidden + 16; }

/* Floats that both ways work in. */
long work_size(int kind, sizes of) {
    const long rows = rows_of(kind, of);
    const long at_once = steps_at_once(of) * of.batch;
    const long ahead = packed_size(of.inputs + of.hidden, rows) + PANEL * of.hidden; /* n is apart */
    const long gates = kind >= GRU ? at_once * 4 * of.hidden : 0; /* where none are kept */
    const long from_hidden = packed_size(rows, of.hidden), from_input = packed_size(rows, of.inputs);
    const long gradients = at_once * gradient_row(kind, of);
    return greater(ahead + gates, from_hidden + from_input + gradients + transposed_size(greater(of.inputs, of.hidden)));
}

/* One step of a GRU behind its products: gates (batch, 4 hidden) hold x's part of r, z, n and h's of r, z, n. */
OUTLINE void gru_step(sizes of, const float *input_bias, const float *hidden_bias, const float *before, float *gates,
                      float *outputs) {
    const long hidden = of.hidden;
    const float *r_bias = input_bias, *z_bias = r_bias + hidden, *n_bias = z_bias + hidden;
    const float *r_other = hidden_bias, *z_other = r_other + hidden, *h_bias = z_other + hidden;
    for (long i = 0; i < of.batch; i++) {
        float *restrict r = gates + i * 4 * hidden, *restrict z = r + hidden, *restrict n = z + hidden,
                        *restrict h = n + hidden, *restrict output = outputs + i * hidden;
        const float *restrict past = before + i * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            r[j] = sigmoid(r[j] + (r_bias[j] + r_other[j]));
            z[j] = sigmoid(z[j] + (z_bias[j] + z_other[j]));
            h[j] += h_bias[j];
            n[j] = hyperbolic_tangent(n[j] + n_bias[j] + r[j] * h[j]);
            output[j] = n[j] + z[j] * (past[j] - n[j]);
        }
    }
}

/* Back through that; `carried` is what reaches the step's h from behind, and becomes what goes past its gates.

   to_gates (batch, row): of n as x sees it, r, z, and n as h(t-1) sees it. */
OUTLINE void gru_step_back(sizes of, const float *before, const float *gates, const float *to_outputs, float *carried,
                           float *to_gates, long row) {
    const long hidden = of.hidden;
    for (long i = 0; i < of.batch; i++) {
        const float *restrict r = gates + i * 4 * hidden, *restrict z = r + hidden, *restrict n = z + hidden,
                              *restrict h = n + hidden, *restrict past = before + i * hidden,
                              *restrict own = to_outputs + i * hidden;
        float *restrict to_n = to_gates + i * row, *restrict to_r = to_n + hidden, *restrict to_z = to_r + hidden,
                        *restrict to_h = to_z + hidden, *restrict back = carried + i * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            const float reaching = back[j] + own[j];
            const float candidate = reaching * (1.0f - z[j]) * (1.0f - n[j] * n[j]);
            to_n[j] = candidate;
            to_r[j] = candidate * h[j] * r[j] * (1.0f - r[j]);
            to_z[j] = reaching * (past[j] - n[j]) * z[j] * (1.0f - z[j]);
            to_h[j] = candidate * r[j];
            back[j] = reaching * z[j];
        }
    }
}

/* One step of an LSTM behind its products: gates (batch, 4 hidden) hold the sums of i, f, g and o. */
OUTLINE void lstm_step(sizes of, const float *input_bias, const float *hidden_bias, const float *cells_before,
                       float *gates, float *cells, float *outputs) {
    const long hidden = of.hidden;
    for (long row = 0; row < of.batch; row++) {
        float *restrict i = gates + row * 4 * hidden, *restrict f = i + hidden, *restrict g = f + hidden,
                        *restrict o = g + hidden, *restrict cell = cells + row * hidden,
                        *restrict output = outputs + row * hidden;
        const float *restrict past = cells_before + row * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            i[j] = sigmoid(i[j] + (input_bias[j] + hidden_bias[j]));
            f[j] = sigmoid(f[j] + (input_bias[hidden + j] + hidden_bias[hidden + j]));
            g[j] = hyperbolic_tangent(g[j] + (input_bias[2 * hidden + j] + hidden_bias[2 * hidden + j]));
            o[j] = sigmoid(o[j] + (input_bias[3 * hidden + j] + hidden_bias[3 * hidden + j]));
            cell[j] = f[j] * past[j] + i[j] * g[j];
            output[j] = o[j] * hyperbolic_tangent(cell[j]);
        }
    }
}

/* Back through that; `carried` and `carried_cells` are what reaches the step's h and c from behind.

   to_gates (batch, row): of i, f, g and o. `carried_cells` becomes what reaches c(t-1). */
OUTLINE void lstm_step_back(sizes of, const float *cells_before, const float *gates, const float *cells,
                            const float *to_outputs, const float *carried, float *carried_cells, float *to_gates,
                            long row) {
    const long hidden = of.hidden;
    for (long stream = 0; stream < of.batch; stream++) {
        const float *restrict i = gates + stream * 4 * hidden, *restrict f = i + hidden, *restrict g = f + hidden,
                              *restrict o = g + hidden, *restrict cell = cells + stream * hidden,
                              *restrict past = cells_before + stream * hidden,
                              *restrict own = to_outputs + stream * hidden,
                              *restrict back = carried + stream * hidden;
        float *restrict to_i = to_gates + stream * row, *restrict to_f = to_i + hidden, *restrict to_g = to_f + hidden,
                        *restrict to_o = to_g + hidden, *restrict to_cell = carried_cells + stream * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            const float reaching = back[j] + own[j], shown = hyperbolic_tangent(cell[j]);
            const float inside = to_cell[j] + reaching * o[j] * (1.0f - shown * shown);
            to_i[j] = inside * g[j] * i[j] * (1.0f - i[j]);
            to_f[j] = inside * past[j] * f[j] * (1.0f - f[j]);
            to_g[j] = inside * i[j] * (1.0f - g[j] * g[j]);
            to_o[j] = reaching * shown * o[j] * (1.0f - o[j]);
            to_cell[j] = inside * f[j];
        }
    }
}

/* One step of an RNN behind its products, in place. */
OUTLINE void rnn_step(int kind, sizes of, const float *input_bias, const float *hidden_bias, float *outputs) {
    for (long i = 0; i < of.batch; i++) {
        float *restrict output = outputs + i * of.hidden;
        if (kind == TANH) {
            for (long j = 0; j < of.hidden; j++)
                output[j] = hyperbolic_tangent(output[j] + (input_bias[j] + hidden_bias[j]));
        } else {
            for (long j = 0; j < of.hidden; j++) output[j] = rectified(output[j] + (input_bias[j] + hidden_bias[j]));
        }
    }
}

/* Back through that; nothing goes past the nonlinearity. */
OUTLINE void rnn_step_back(int kind, sizes of, const float *restrict outputs, const float *restrict to_outputs,
                           const float *restrict carried, float *restrict to_gates, long row) {
    for (long i = 0; i < of.batch; i++, outputs += of.hidden, to_outputs += of.hidden, carried += of.hidden)
        for (long j = 0; j < of.hidden; j++) {
            const float slope = kind == TANH ? 1.0f - outputs[j] * outputs[j] : outputs[j] > 0.0f ? 1.0f : 0.0f;
            to_gates[i * row + j] = (carried[j] + to_outputs[j]) * slope;
        }
}

/* What numbers (rows) of a table (of.inputs, columns) stand for to c (rows, columns); 0 where there is no such number. */
OUTLINE int look_up(sizes of, long rows, long columns, const int64_t *numbers, const float *table, float *c, long c_row) {
    for (long i = 0; i < rows; i++) {
        if (numbers[i] < 0 || numbers[i] >= of.inputs) return 0;
        memcpy(c + i * c_row, table + numbers[i] * columns, sizeof(float) * columns);
    }
    return 1;
}

/* Add rows of a, from a column on, to those of a table that numbers stand for. */
OUTLINE void add_by_number(sizes of, long rows, long width, const int64_t *numbers, const float *a, long a_row,
                           float *table, long columns) {
    for (long i = 0; i < rows; i++) {
        if (numbers[i] < 0 || numbers[i] >= of.inputs) continue; /* they may have been changed since */
        for (long j = 0; j < width; j++) table[numbers[i] * columns + j] += a[i * a_row + j];
    }
}

/* x (time, batch, inputs) and the state before it to outputs (time, batch, hidden).

   With numbers (time, batch), x is what each of `inputs` vectors gives the gates, (inputs, rows of weights), and
   from_input is not read. Returns 0 where a number has no vector: then what is done is of no use.
   gates: NULL for an RNN, and where there is no way back: then cells holds but two steps, the last at (steps - 1) % 2.
   cells_before, cells: NULL but for an LSTM. */
int forward(int kind, sizes of, const float *x, const int64_t *numbers, const float *before,
            const float *cells_before, const float *from_input, const float *from_hidden, const float *input_bias,
            const float *hidden_bias, float *gates, float *cells, float *outputs, float *work) {
    const long hidden = of.hidden, row = kind >= GRU ? 4 * hidden : hidden, layer = of.batch * hidden;
    const long of_input = rows_of(kind, of), summed = shared_of(kind, of);
    float *from_past = numbers ? work : pack_transposed(of.inputs, of_input, from_input, work);
    float *apart = pack_transposed(hidden, summed, from_hidden, from_past);
    float *room = kind == GRU ? pack_transposed(hidden, hidden, from_hidden + summed * hidden, apart) : apart;
    float *here = kind < GRU ? outputs : gates ? gates : room;
    for (long step = 0; step < of.steps; step++) {
        if (step % steps_at_once(of) == 0) {
            if (kind >= GRU && !gates) here = room;
            const long rows = LEAST(steps_at_once(of), of.steps - step) * of.batch;
            if (!numbers) {
                product(rows, of_input, of.inputs, x + step * of.batch * of.inputs, of.inputs, work, here, row, 0);
            } else if (!look_up(of, rows, of_input, numbers + step * of.batch, x, here, row)) {
                return 0;
            }
        }
        product(of.batch, summed, hidden, before, hidden, from_past, here, row, 1);
        if (kind == GRU) {
            product(of.batch, hidden, hidden, before, hidden, apart, here + 3 * hidden, row, 0);
            gru_step(of, input_bias, hidden_bias, before, here, outputs);
        } else if (kind == LSTM) {
            float *now = cells + (gates ? step : step % 2) * layer;
            lstm_step(of, input_bias, hidden_bias, cells_before, here, now, outputs);
            cells_before = now;
        } else {
            rnn_step(kind, of, input_bias, hidden_bias, outputs);
        }
        before = outputs;
        outputs += layer;
        here += of.batch * row;
    }
    return 1;
}

/* Where the gradients of weights go. */
typedef struct {
    float *from_input, *from_hidden, *input_bias, *hidden_bias;
} weights;

/* What some steps give the weights, all of them at once, from the gradients of their gates; with `add`, beside what is
   there. x is NULL where it was looked up. */
OUTLINE void give_weights(int kind, sizes of, const float *x, const float *before, const float *outputs,
                          const float *to_gates, weights to, int add, float *work) {
    const long hidden = of.hidden, all = of.steps * of.batch, row = gradient_row(kind, of);
    const long apart = before + of.batch * hidden == outputs ? 0 : of.batch; /* rows before the first step's, if any */
    const long rows = rows_of(kind, of), shared = shared_of(kind, of);
    /* What h(t-1) sees lies in the order of the weights; of what x sees n comes first. */
    const float *seen = kind == GRU ? to_gates + hidden : to_gates;
    transposed_product(rows, hidden, apart, seen, row, before, to.from_hidden, add, work);
    transposed_product(rows, hidden, all - apart, seen + apart * row, row, apart ? outputs : before, to.from_hidden,
                       add || apart, work);
    sum_rows(all, rows, seen, row, to.hidden_bias, add);
    sum_rows(all, shared, seen, row, to.input_bias, add);
    if (kind == GRU) sum_rows(all, hidden, to_gates, row, to.input_bias + shared, add);
    if (!x) return;
    transposed_product(shared, of.inputs, all, seen, row, x, to.from_input, add, work);
    if (kind == GRU)
        transposed_product(hidden, of.inputs, all, to_gates, row, x, to.from_input + shared * of.inputs, add, work);
}

/* Back through `forward`. `carried` (batch, hidden) holds the gradient of the state behind the window, beside what its
   outputs get, and then that of the state before it, `carried_cells` that of c; to_x may be NULL. With numbers, it is
   (inputs, rows of weights) and added to, and from_input gets nothing. */
void backward(int kind, sizes of, const float *x, const int64_t *numbers, const float *before,
              const float *cells_before, const float *from_input, const float *from_hidden, const float *gates,
              const float *cells, const float *outputs, const float *to_outputs, float *carried,
              float *carried_cells, float *to_x, weights to, float *work) {
    const long hidden = of.hidden, layer = of.batch * hidden, row = gradient_row(kind, of);
    const long rows = rows_of(kind, of), shared = shared_of(kind, of);
    float *to_past = pack(rows, hidden, from_hidden, hidden, work);
    float *apart = numbers ? to_past : pack(shared, of.inputs, from_input, of.inputs, to_past), *to_gates = apart;
    if (kind == GRU && !numbers)
        to_gates = pack(hidden, of.inputs, from_input + shared * of.inputs, of.inputs, apart);
    for (long stop = of.steps; stop > 0;) {
        const long start = greater(stop - steps_at_once(of), 0), count = (stop - start) * of.batch;
        for (long step = stop - 1; step >= start; step--) {
            float *here = to_gates + (step - start) * of.batch * row;
            if (kind == GRU) {
                const float *past = step ? outputs + (step - 1) * layer : before;
                gru_step_back(of, past, gates + step * 4 * layer, to_outputs + step * layer, carried, here, row);
            } else if (kind == LSTM) {
                const float *past = step ? cells + (step - 1) * layer : cells_before;
                lstm_step_back(of, past, gates + step * 4 * layer, cells + step * layer, to_outputs + step * layer,
                               carried, carried_cells, here, row);
            } else {
                rnn_step_back(kind, of, outputs + step * layer, to_outputs + step * layer, carried, here, row);
            }
            const float *seen = kind == GRU ? here + hidden : here;
            product(of.batch, hidden, rows, seen, row, work, carried, hidden, kind == GRU);
        }
        const float *seen = kind == GRU ? to_gates + hidden : to_gates;
        if (to_x && numbers) {
            add_by_number(of, count, shared, numbers + start * of.batch, seen, row, to_x, rows);
            if (kind == GRU)
                add_by_number(of, count, hidden, numbers + start * of.batch, to_gates, row, to_x + shared, rows);
        } else if (to_x) {
            float *to = to_x + start * of.batch * of.inputs;
            product(count, of.inputs, shared, seen, row, to_past, to, of.inputs, 0);
            if (kind == GRU) product(count, of.inputs, hidden, to_gates, row, apart, to, of.inputs, 1);
        }
        const sizes part = {stop - start, of.batch, of.inputs, hidden};
        give_weights(kind, part, numbers ? NULL : x + start * of.batch * of.inputs,
                     start ? outputs + (start - 1) * layer : before, outputs + start * layer, to_gates, to,
                     stop < of.steps, to_gates + steps_at_once(of) * of.batch * row);
        stop = start;
    }
}
