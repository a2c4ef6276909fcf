// Weight and bias gradients: sums over all steps, from the gate gradients that backward.h leaves.

#pragma once

#include "arrays.h"
#include "product.h"

namespace seqmask::SEQMASK_TARGET {

// What a weight matrix multiplies: x, d (h_tm1 after dropout) or e (r d).
enum class Factor { kInput, kState, kReset };

// Copies features [first, first + count) of the factor at one step of sequence b.
inline void GatherFactor(const Job& job, Factor factor, int64_t first, int64_t count, int64_t b,
                         int64_t step, float* to) {
  const Call& call = job.call;
  const int64_t H = call.hidden_size;
  if (factor == Factor::kInput) {
    Copy(to, call.inputs + At(call, b, step) * call.input_size + first, count);
  } else if (factor == Factor::kReset) {
    Copy(to, job.gradients.extra + (job.first_row[b] + step) * job.padded + first, count);
  } else {
    const float* from = step == 0 ? call.initial_state[0] + b * H
                                  : job.gradients.outputs + At(call, b, step - 1) * H;
    Copy(to, from + first, count);
    if (call.dropout != nullptr)
      for (int64_t k = 0; k < count; ++k) to[k] *= call.dropout[b * H + first + k];
  }
}

// Computes this task's rows of d_weights, for the gates of `window`.
inline void ProductGradient(const Job& job, Factor factor, int64_t size, Window window,
                            int64_t task, int64_t tasks, float* d_weights, float* scratch) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, gate_floats = planes.all * P;
  const int64_t first = size * task / tasks, count = size * (task + 1) / tasks - first;
  if (count == 0 || window.count == 0) return;
  const int64_t columns = window.count * P, panel = kPanelVectors * kWidth;
  Arena arena(scratch);
  float* sums = arena.Take(count * columns);
  float* a = arena.Take(kBlockSteps * count);
  float* packed = arena.Take(kBlockSteps * panel);
  Clear(sums, count * columns);
  int64_t steps = 0, done = 0;
  auto add = [&]() {
    for (int64_t k = 0; k < columns; k += panel) {
      const int64_t width = columns - k < panel ? columns - k : panel;
      const float* from = job.gradients.d_gates + done * gate_floats + window.first * P + k;
      for (int64_t s = 0; s < steps; ++s)
        for (int64_t n = 0; n < width; n += kWidth)
          Store(packed + s * width + n, Load(from + s * gate_floats + n));
      Multiply(width / kWidth, count, {a, 1, count}, steps, packed, width,
               {sums + k, columns, kWidth});
    }
    done += steps;
    steps = 0;
  };
  for (int64_t b = 0; b < call.batch; ++b) {
    for (int64_t step = 0; step < call.lengths[b]; ++step) {
      GatherFactor(job, factor, first, count, b, step, a + steps * count);
      if (++steps == kBlockSteps) add();
    }
  }
  add();
  for (int64_t k = 0; k < count; ++k)
    for (int v = 0; v < window.count; ++v)
      Copy(d_weights + ((first + k) * NumGates(call.cell) + planes.gate[window.first + v]) * H,
           sums + k * columns + v * P, H);
}

// Computes bias gradients, sums over all steps; each task takes a range of the planes' vectors.
inline void BiasGradient(const Job& job, int64_t task, int64_t tasks, float* sums) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, gate_floats = planes.all * P;
  int64_t steps = 0;
  for (int64_t b = 0; b < call.batch; ++b) steps += call.lengths[b];
  const int64_t vectors = gate_floats / kWidth;
  const int64_t first = vectors * task / tasks * kWidth;
  const int64_t last = vectors * (task + 1) / tasks * kWidth;
  Clear(sums, gate_floats);
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t k = first; k < last; k += kWidth)
      Store(sums + k, Load(sums + k) + Load(job.gradients.d_gates + s * gate_floats + k));
  auto write = [&](Window window, float* to) {
    for (int v = window.first; v < window.first + window.count; ++v)
      for (int64_t k = 0; k < H; ++k)
        if (v * P + k >= first && v * P + k < last) to[planes.gate[v] * H + k] = sums[v * P + k];
  };
  write(planes.input, job.gradients.d_bias);
  if (BiasRows(call.cell) == 2)
    write(planes.recurrent, job.gradients.d_bias + NumGates(call.cell) * H);
}

void WeightGradients(const Job& job, int64_t task, int64_t tasks, float* scratch) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t D = job.call.input_size, H = job.call.hidden_size;
  const Gradients& grad = job.gradients;
  ProductGradient(job, Factor::kInput, D, planes.input, task, tasks, grad.d_kernel, scratch);
  ProductGradient(job, Factor::kState, H, planes.recurrent, task, tasks,
                  grad.d_recurrent_kernel, scratch);
  ProductGradient(job, Factor::kReset, H, planes.reset, task, tasks, grad.d_recurrent_kernel,
                  scratch);
  BiasGradient(job, task, tasks, scratch);
}

}  // namespace seqmask::SEQMASK_TARGET
