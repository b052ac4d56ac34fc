/* GRU, and RNN with tanh or relu: all steps of a window forward, and all the way back through it.

   Sizes are of time, batch, input and hidden units. Weights and biases are laid out as torch's: gates of a GRU are r
   (reset), z (update) and n (candidate), behind one another. For the way back a GRU keeps r, z, n and what h(t-1) gave
   n, with its bias, (time, batch, 4 hidden); an RNN keeps its outputs alone. */

#include "activations.h"
#include "products.h"

enum kind { TANH, RELU, GRU };

typedef struct {
    long steps, batch, inputs, hidden;
} sizes;

INLINE long greater(long a, long b) { return a > b ? a : b; }

/* Floats that both ways work in; `kind` and sizes as there. */
long work_size(int kind, sizes of) {
    const long gates = kind == GRU ? 3 : 1, width = greater(of.inputs, of.hidden);
    const long weights = greater(packed_size(width, gates * of.hidden) + PANEL * width, /* r and z apart from n */
                                 packed_size(gates * of.hidden, width));
    return greater(weights, transposed_size(gates * of.hidden, width));
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

   to_gates (batch, 4 hidden): of n as x sees it, r, z, and n as h(t-1) sees it. */
OUTLINE void gru_step_back(sizes of, const float *before, const float *gates, const float *to_outputs, float *carried,
                           float *to_gates) {
    const long hidden = of.hidden;
    for (long i = 0; i < of.batch; i++) {
        const float *restrict r = gates + i * 4 * hidden, *restrict z = r + hidden, *restrict n = z + hidden,
                              *restrict h = n + hidden, *restrict past = before + i * hidden,
                              *restrict own = to_outputs + i * hidden;
        float *restrict to_n = to_gates + i * 4 * hidden, *restrict to_r = to_n + hidden, *restrict to_z = to_r + hidden,
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
                           const float *restrict carried, float *restrict to_gates) {
    for (long j = 0; j < of.batch * of.hidden; j++) {
        const float slope = kind == TANH ? 1.0f - outputs[j] * outputs[j] : outputs[j] > 0.0f ? 1.0f : 0.0f;
        to_gates[j] = (carried[j] + to_outputs[j]) * slope;
    }
}

/* x (time, batch, inputs) and the state before it to outputs (time, batch, hidden); gates: NULL for an RNN. */
void forward(int kind, sizes of, const float *x, const float *before, const float *from_input,
             const float *from_hidden, const float *input_bias, const float *hidden_bias, float *gates, float *outputs,
             float *work) {
    const long hidden = of.hidden, row = kind == GRU ? 4 * hidden : hidden, summed = kind == GRU ? 2 * hidden : hidden;
    const long of_input = kind == GRU ? 3 * hidden : hidden;
    float *here = kind == GRU ? gates : outputs;
    pack(of.inputs, of_input, from_input, 1, of.inputs, work);
    product(of.steps * of.batch, of_input, of.inputs, x, of.inputs, work, here, row, 0);
    float *apart = pack(hidden, summed, from_hidden, 1, hidden, work);
    if (kind == GRU) pack(hidden, hidden, from_hidden + summed * hidden, 1, hidden, apart);
    for (long step = 0; step < of.steps; step++) {
        product(of.batch, summed, hidden, before, hidden, work, here, row, 1);
        if (kind == GRU) {
            product(of.batch, hidden, hidden, before, hidden, apart, here + 3 * hidden, row, 0);
            gru_step(of, input_bias, hidden_bias, before, here, outputs);
        } else {
            rnn_step(kind, of, input_bias, hidden_bias, outputs);
        }
        before = outputs;
        outputs += of.batch * hidden;
        here += of.batch * row;
    }
}

/* Sum rows (count, width); each sum in the order of the rows. */
OUTLINE void sum_rows(long count, long width, const float *rows, long row, float *sums) {
    memset(sums, 0, sizeof(float) * width);
    for (long i = 0; i < count; i++)
        for (long j = 0; j < width; j++) sums[j] += rows[i * row + j];
}

/* The gradients of weights, biases and x (unless that is NULL), all steps at once, from those of the gates. */
OUTLINE void gather(int kind, sizes of, const float *x, const float *before, const float *from_input,
                    const float *outputs, const float *to_gates, float *to_x, float *to_from_input,
                    float *to_from_hidden, float *to_input_bias, float *to_hidden_bias, float *work) {
    const long hidden = of.hidden, all = of.steps * of.batch, row = kind == GRU ? 4 * hidden : hidden;
    const long rows = kind == GRU ? 3 * hidden : hidden, shared = kind == GRU ? 2 * hidden : hidden;
    /* What h(t-1) sees lies in the order of the weights; of what x sees n comes first. */
    const float *seen = kind == GRU ? to_gates + hidden : to_gates;
    if (to_x) {
        pack(shared, of.inputs, from_input, of.inputs, 1, work);
        product(all, of.inputs, shared, seen, row, work, to_x, of.inputs, 0);
    }
    transposed_product(shared, of.inputs, all, seen, row, x, to_from_input, 0, work);
    sum_rows(all, shared, seen, row, to_input_bias);
    if (kind == GRU) {
        if (to_x) {
            pack(hidden, of.inputs, from_input + shared * of.inputs, of.inputs, 1, work);
            product(all, of.inputs, hidden, to_gates, row, work, to_x, of.inputs, 1);
        }
        transposed_product(hidden, of.inputs, all, to_gates, row, x, to_from_input + shared * of.inputs, 0, work);
        sum_rows(all, hidden, to_gates, row, to_input_bias + shared);
    }
    transposed_product(rows, hidden, of.batch, seen, row, before, to_from_hidden, 0, work);
    transposed_product(rows, hidden, all - of.batch, seen + of.batch * row, row, outputs, to_from_hidden, 1, work);
    memcpy(to_hidden_bias, to_input_bias, sizeof(float) * shared);
    if (kind == GRU) sum_rows(all, hidden, seen + shared, row, to_hidden_bias + shared);
}

/* Back through `forward`. `carried` (batch, hidden) holds the gradient of the state behind the window, beside what its
   outputs get, and then that of the state before it; to_gates is as large as what was kept, or outputs for an RNN. */
void backward(int kind, sizes of, const float *x, const float *before, const float *from_input,
              const float *from_hidden, const float *gates, const float *outputs, const float *to_outputs,
              float *carried, float *to_gates, float *to_x, float *to_from_input, float *to_from_hidden,
              float *to_input_bias, float *to_hidden_bias, float *work) {
    const long hidden = of.hidden, layer = of.batch * hidden, row = kind == GRU ? 4 * hidden : hidden;
    const long rows = kind == GRU ? 3 * hidden : hidden;
    pack(rows, hidden, from_hidden, hidden, 1, work);
    for (long step = of.steps - 1; step >= 0; step--) {
        float *here = to_gates + step * of.batch * row;
        if (kind == GRU) {
            const float *past = step ? outputs + (step - 1) * layer : before;
            gru_step_back(of, past, gates + step * of.batch * row, to_outputs + step * layer, carried, here);
        } else {
            rnn_step_back(kind, of, outputs + step * layer, to_outputs + step * layer, carried, here);
        }
        product(of.batch, hidden, rows, kind == GRU ? here + hidden : here, row, work, carried, hidden, kind == GRU);
    }
    gather(kind, of, x, before, from_input, outputs, to_gates, to_x, to_from_input, to_from_hidden, to_input_bias,
           to_hidden_bias, work);
}
