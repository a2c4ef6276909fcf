// Packs weights into panels, once per call.

#pragma once

#include "arrays.h"
#include "product.h"

namespace seqmask::SEQMASK_TARGET {

// Weights [depth, G H] for the forward pass: the panel of one vector of units holds that vector of
// every gate in the window.
inline void PackForward(const Job& job, const float* weights, int64_t depth, Window window,
                        int64_t unit, float* panels) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size, GH = NumGates(job.call.cell) * H;
  float* to = panels + unit * depth * window.count;
  for (int64_t k = 0; k < depth; ++k)
    for (int v = 0; v < window.count; ++v, to += kWidth)
      Store(to, LoadPart(weights + k * GH + planes.gate[window.first + v] * H + unit, H - unit));
}

// Transposed weights [window planes, rows] for the backward pass: the panel of the columns from
// `first_column` on. They are rows of `weights`.
inline void PackBackward(const Job& job, const float* weights, int64_t rows, Window window,
                         int64_t first_column, float* panels) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size, GH = NumGates(job.call.cell) * H;
  const int64_t depth = window.count * job.padded;
  const int64_t rest = RoundUp(rows, kWidth) - first_column;
  const int64_t columns = rest < kPanelVectors * kWidth ? rest : kPanelVectors * kWidth;
  float* to = panels + first_column * depth;
  for (int v = 0; v < window.count; ++v) {
    const int64_t gate = planes.gate[window.first + v] * H;
    for (int64_t k = 0; k < job.padded; ++k, to += columns) {
      for (int64_t n = 0; n < columns; ++n) {
        const bool inside = k < H && first_column + n < rows;
        to[n] = inside ? weights[(first_column + n) * GH + gate + k] : 0.0f;
      }
    }
  }
}

void Pack(const Job& job, bool backward, int64_t task, int64_t tasks) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t D = call.input_size, H = call.hidden_size;
  const Panels& panels = job.panels;
  if (backward) {
    const int64_t columns = kPanelVectors * kWidth;
    if (job.gradients.d_inputs != nullptr)
      for (int64_t k = task * columns; k < D; k += tasks * columns)
        PackBackward(job, call.kernel, D, planes.input, k, panels.input);
    for (int64_t k = task * columns; k < H; k += tasks * columns) {
      PackBackward(job, call.recurrent_kernel, H, planes.recurrent, k, panels.recurrent);
      PackBackward(job, call.recurrent_kernel, H, planes.reset, k, panels.reset);
    }
  } else {
    for (int64_t unit = task * kWidth; unit < H; unit += tasks * kWidth) {
      PackForward(job, call.kernel, D, planes.input, unit, panels.input);
      PackForward(job, call.recurrent_kernel, H, planes.recurrent, unit, panels.recurrent);
      PackForward(job, call.recurrent_kernel, H, planes.reset, unit, panels.reset);
    }
  }
}

}  // namespace seqmask::SEQMASK_TARGET
