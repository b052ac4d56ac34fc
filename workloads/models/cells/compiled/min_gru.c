/* minGRU: all steps of a window forward, and all the way back through it.

   With (a, c) = W x + b, gate above candidate: h(t) = sigmoid(-a) h(t-1) + sigmoid(a) c. Units meet in the product alone,
   which is one for many steps. Kept for the way back: sums (time, batch, 2 hidden) and outputs. */

#include "activations.h"
#include "windows.h"

/* Distance between two rows of gradients of sums: rows a power of 2 apart would share few cache lines. */
INLINE long gradient_row(sizes of) { return 2 * of.hidden + 16; }

/* Floats that both ways work in. */
long min_gru_work_size(sizes of) {
    const long back = packed_size(2 * of.hidden, of.inputs) + steps_at_once(of) * of.batch * gradient_row(of);
    return greater(packed_size(of.inputs, 2 * of.hidden), back + transposed_size(of.inputs));
}

/* One step behind its product. */
OUTLINE void step(sizes of, const float *bias, const float *before, float *sums, float *outputs) {
    const long hidden = of.hidden;
    const float *other = bias + hidden;
    for (long i = 0; i < of.batch; i++) {
        float *restrict gate = sums + i * 2 * hidden, *restrict candidate = gate + hidden,
                        *restrict output = outputs + i * hidden;
        const float *restrict past = before + i * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            gate[j] += bias[j];
            candidate[j] += other[j];
            float open, closed;
            both_sigmoids(gate[j], &open, &closed);
            output[j] = closed * past[j] + open * candidate[j];
        }
    }
}

/* Back through that; `carried` is what reaches the step's h from behind, and becomes what reaches h(t-1). */
OUTLINE void step_back(sizes of, const float *before, const float *sums, const float *to_outputs, float *carried,
                       float *to_sums) {
    const long hidden = of.hidden;
    for (long i = 0; i < of.batch; i++) {
        const float *restrict gate = sums + i * 2 * hidden, *restrict candidate = gate + hidden,
                              *restrict past = before + i * hidden, *restrict own = to_outputs + i * hidden;
        float *restrict to_gate = to_sums + i * gradient_row(of), *restrict to_candidate = to_gate + hidden,
                        *restrict back = carried + i * hidden;
#pragma GCC ivdep
        for (long j = 0; j < hidden; j++) {
            float open, closed;
            both_sigmoids(gate[j], &open, &closed);
            const float reaching = back[j] + own[j];
            to_candidate[j] = reaching * open;
            to_gate[j] = reaching * open * closed * (candidate[j] - past[j]);
            back[j] = reaching * closed;
        }
    }
}

/* x (time, batch, inputs) and the state before it to sums (time, batch, 2 hidden) and outputs (time, batch, hidden). */
void min_gru_forward(sizes of, const float *x, const float *before, const float *from_input, const float *bias,
                     float *sums, float *outputs, float *work) {
    const long row = 2 * of.hidden, layer = of.batch * of.hidden;
    pack_transposed(of.inputs, row, from_input, work);
    for (long at = 0; at < of.steps; at++, before = outputs, outputs += layer) {
        float *here = sums + at * of.batch * row;
        if (at % steps_at_once(of) == 0) {
            const long rows = LEAST(steps_at_once(of), of.steps - at) * of.batch;
            product(rows, row, of.inputs, x + at * of.batch * of.inputs, of.inputs, work, here, row, 0);
        }
        step(of, bias, before, here, outputs);
    }
}

/* Back through that. `carried` (batch, hidden) holds the gradient of the state behind the window, beside what its
   outputs get, and then that of the state before it; to_x may be NULL. Those of weight and bias are added to. */
void min_gru_backward(sizes of, const float *x, const float *before, const float *from_input, const float *sums,
                      const float *outputs, const float *to_outputs, float *carried, float *to_x, float *to_weight,
                      float *to_bias, float *work) {
    const long row = gradient_row(of), width = 2 * of.hidden, layer = of.batch * of.hidden;
    float *to_sums = pack(width, of.inputs, from_input, of.inputs, work);
    float *room = to_sums + steps_at_once(of) * of.batch * row;
    for (long stop = of.steps; stop > 0;) {
        const long start = greater(stop - steps_at_once(of), 0), count = (stop - start) * of.batch;
        for (long at = stop - 1; at >= start; at--)
            step_back(of, at ? outputs + (at - 1) * layer : before, sums + at * 2 * layer, to_outputs + at * layer, carried,
                      to_sums + (at - start) * of.batch * row);
        const float *read = x + start * of.batch * of.inputs;
        if (to_x)
            product(count, of.inputs, width, to_sums, row, work, to_x + start * of.batch * of.inputs, of.inputs, 0);
        transposed_product(width, of.inputs, count, to_sums, row, read, to_weight, 1, room);
        sum_rows(count, width, to_sums, row, to_bias, 1);
        stop = start;
    }
}
