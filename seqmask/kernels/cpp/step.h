// One step of every sequence, forward and backward, with the weights as they stand: to pack all of
// them first would take longer than a step of a few sequences.

#ifndef SEQMASK_STEP_H_
#define SEQMASK_STEP_H_

#include "arrays.h"
#include "cells.h"
#include "product.h"
#include "target.h"
#include "vector.h"

namespace seqmask {
namespace SEQMASK_TARGET {

// Takes f(plane, gate's first column, unit, vectors) through the units of a window's planes: blocks
// of whole vectors, then, with 0 vectors, those that are left.
template <typename Function>
inline void ForBlocks(const Job& job, Window window, Function f) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size;
  for (int p = window.first; p < window.first + window.count; ++p) {
    int64_t unit = 0;
    while (H - unit >= kWidth) {
      const int64_t left = (H - unit) / kWidth;
      const int64_t vectors = left < kBlockVectors ? left : kBlockVectors;
      f(p, planes.gate[p] * H, unit, vectors);
      unit += vectors * kWidth;
    }
    if (unit < H) f(p, planes.gate[p] * H, unit, 0);
  }
}

// From this many rows on a block of columns is copied first: each tile of rows reads it again, and
// where its rows stand a page apart the cache cannot hold them.
constexpr int64_t kRowsWorthACopy = 4;

// sums += a W, W [depth, G H]. `room` is for [depth, kBlockVectors kWidth].
inline void MultiplyAsIs(const Job& job, Matrix a, int64_t depth, const float* weights,
                         Window window, float* sums, float* room) {
  const int64_t H = job.call.hidden_size, GH = NumGates(job.call.cell) * H, P = job.padded;
  const int64_t rows = job.call.batch, gate_floats = PlanesOf(job.call.cell).all * P;
  ForBlocks(job, window, [&](int64_t plane, int64_t gate, int64_t unit, int64_t vectors) {
    const float* from = weights + gate + unit;
    const Sums to{sums + plane * P + unit, gate_floats, kWidth};
    if (vectors > 0 && rows < kRowsWorthACopy)
      return Multiply(vectors, rows, a, depth, from, GH, to);
    const int64_t here = vectors > 0 ? vectors : 1;
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t v = 0; v < here; ++v)
        Store(room + (k * here + v) * kWidth, LoadPart(from + k * GH + v * kWidth,
                                                       H - unit - v * kWidth));
    Multiply(here, rows, a, depth, room, here * kWidth, to);
  });
}

// d_W = a^T d_gates, a [B, depth].
inline void WeightGradient(const Job& job, const float* a, int64_t a_row, int64_t depth,
                           Window window, const float* d_gates, float* d_weights, float* room) {
  const int64_t H = job.call.hidden_size, GH = NumGates(job.call.cell) * H, P = job.padded;
  const int64_t rows = job.call.batch, gate_floats = PlanesOf(job.call.cell).all * P;
  const Matrix turned{a, 1, a_row};
  ForBlocks(job, window, [&](int64_t plane, int64_t gate, int64_t unit, int64_t vectors) {
    float* to = d_weights + gate + unit;
    const float* panel = d_gates + plane * P + unit;
    if (vectors > 0) {
      for (int64_t k = 0; k < depth; ++k) Clear(to + k * GH, vectors * kWidth);
      return Multiply(vectors, depth, turned, rows, panel, gate_floats, {to, GH, kWidth});
    }
    Clear(room, depth * kWidth);
    Multiply(1, depth, turned, rows, panel, gate_floats, {room, kWidth, kWidth});
    for (int64_t k = 0; k < depth; ++k) Copy(to + k * GH, room + k * kWidth, H - unit);
  });
}

inline float Total(Vector v) {
  float numbers[kWidth], total = 0.0f;
  Store(numbers, v);
  for (int k = 0; k < kWidth; ++k) total += numbers[k];
  return total;
}

// to[r][k] += sum over the planes and units of a window of d_gates[r] W[k], for some r and k.
template <int kRows, int kColumns>
inline void TransposedTile(const Job& job, const float* d_gates, const float* weights,
                           Window window, float* to, int64_t to_row) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size, GH = NumGates(job.call.cell) * H, P = job.padded;
  Vector sum[kRows][kColumns] = {};
  for (int p = window.first; p < window.first + window.count; ++p) {
    for (int64_t unit = 0; unit < H; unit += kWidth) {
      Vector d[kRows];
      for (int r = 0; r < kRows; ++r) d[r] = Load(d_gates + r * planes.all * P + p * P + unit);
      for (int k = 0; k < kColumns; ++k) {
        const Vector w = LoadPart(weights + k * GH + planes.gate[p] * H + unit, H - unit);
        for (int r = 0; r < kRows; ++r) sum[r][k] += d[r] * w;
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kColumns; ++k) to[r * to_row + k] += Total(sum[r][k]);
}

// to += d_gates W^T, W [depth, G H].
inline void MultiplyTransposed(const Job& job, const float* d_gates, const float* weights,
                               int64_t depth, Window window, float* to, int64_t to_row) {
  const int64_t rows = job.call.batch, GH = NumGates(job.call.cell) * job.call.hidden_size;
  const int64_t gate_floats = PlanesOf(job.call.cell).all * job.padded;
  for (int64_t k = 0; k < depth;) {
    const int64_t columns = depth - k < 4 ? 1 : 4;
    for (int64_t r = 0; r < rows;) {
      const bool two = rows - r > 1;
      (two ? columns == 4 ? TransposedTile<2, 4> : TransposedTile<2, 1>
           : columns == 4 ? TransposedTile<1, 4> : TransposedTile<1, 1>)(
          job, d_gates + r * gate_floats, weights + k * GH, window, to + r * to_row + k, to_row);
      r += two ? 2 : 1;
    }
    k += columns;
  }
}

inline void ToPlanes(const Job& job, const float* from, float* to) {
  const int64_t H = job.call.hidden_size, P = job.padded;
  Clear(to, job.call.batch * P);
  for (int64_t r = 0; r < job.call.batch; ++r) Copy(to + r * P, from + r * H, H);
}

inline void FromPlanes(const Job& job, const float* from, float* to) {
  const int64_t H = job.call.hidden_size, P = job.padded;
  for (int64_t r = 0; r < job.call.batch; ++r) Copy(to + r * H, from + r * P, H);
}

void StepForward(const Job& job, float* scratch) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, rows = call.batch;
  const int64_t gate_floats = planes.all * P;
  Arena arena(scratch);
  float* own_sums = arena.Take(rows * gate_floats);
  float* own_extra = arena.Take(rows * P);
  float* h = arena.Take(rows * P);
  float* room = arena.Take((D > H ? D : H) * kBlockVectors * kWidth);
  float* sums = job.results.saved.gates != nullptr ? job.results.saved.gates : own_sums;
  float* extra = job.results.saved.extra != nullptr ? job.results.saved.extra : own_extra;
  for (int64_t r = 0; r < rows; ++r) Copy(sums + r * gate_floats, job.bias, gate_floats);
  MultiplyAsIs(job, {call.inputs, D, 1}, D, call.kernel, planes.input, sums, room);
  MultiplyAsIs(job, {call.initial_state[0], H, 1}, H, call.recurrent_kernel, planes.recurrent,
               sums, room);
  ToPlanes(job, call.initial_state[0], h);
  if (call.cell == Cell::kLstm) ToPlanes(job, call.initial_state[1], extra);
  for (int64_t r = 0; r < rows; ++r) {
    const ForwardRow at{sums + r * gate_floats, h + r * P, h + r * P, extra + r * P};
    if (call.cell == Cell::kLstm)
      LstmForward(at, P, 0, P);
    else if (call.cell == Cell::kGru)
      GruForward(at, P, 0, P);
    else
      ResetForward(at.gates, h + r * P, extra + r * P, P, 0, P);
  }
  if (call.cell == Cell::kGruResetBefore) {
    MultiplyAsIs(job, {extra, P, 1}, H, call.recurrent_kernel, planes.reset, sums, room);
    for (int64_t r = 0; r < rows; ++r)
      GruResetBeforeForward({sums + r * gate_floats, h + r * P, h + r * P, nullptr}, P, 0, P);
  }
  FromPlanes(job, h, job.results.final_state[0]);
  if (call.cell == Cell::kLstm) FromPlanes(job, extra, job.results.final_state[1]);
}

void StepBackward(const Job& job, float* scratch) {
  const Call& call = job.call;
  const Gradients& to = job.gradients;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, rows = call.batch;
  const int64_t gate_floats = planes.all * P, GH = NumGates(call.cell) * H;
  Arena arena(scratch);
  float* d_gates = arena.Take(rows * gate_floats);
  float* d_h = arena.Take(rows * P);
  float* d_c = arena.Take(rows * P);       // of a GRU that resets before the product d_e
  float* room = arena.Take((D > H ? D : H) * kBlockVectors * kWidth);
  Clear(d_h, rows * P);
  Clear(d_c, rows * P);
  if (call.cell == Cell::kLstm) ToPlanes(job, to.d_final_state[1], d_c);
  for (int64_t r = 0; r < rows; ++r) {
    const float* h_tm1 = call.initial_state[0] + r * H;
    BackwardRow row{to.gates + r * gate_floats, d_gates + r * gate_floats, h_tm1, nullptr,
                    nullptr, H, to.d_final_state[0] + r * H, d_h + r * P, d_c + r * P};
    if (call.cell == Cell::kLstm) {
      row.c = to.extra + r * P;
      row.c_tm1 = call.initial_state[1] + r * H;
      LstmBackward(row, P, H);
    } else if (call.cell == Cell::kGru) {
      GruBackward(row, P, H);
    } else {
      GruResetBeforeBackward(row, P, H);
    }
  }
  if (call.cell == Cell::kGruResetBefore) {
    MultiplyTransposed(job, d_gates, call.recurrent_kernel, H, planes.reset, d_c, P);
    for (int64_t r = 0; r < rows; ++r) {
      ResetBackward(to.gates + r * gate_floats, d_gates + r * gate_floats,
                    call.initial_state[0] + r * H, d_c + r * P, P, H);
      for (int64_t k = r * P; k < (r + 1) * P; k += kWidth)
        Store(d_h + k, Load(d_h + k) + Load(d_c + k));
    }
    WeightGradient(job, to.extra, P, H, planes.reset, d_gates, to.d_recurrent_kernel, room);
  }
  MultiplyTransposed(job, d_gates, call.recurrent_kernel, H, planes.recurrent, d_h, P);
  FromPlanes(job, d_h, to.d_initial_state[0]);
  if (call.cell == Cell::kLstm) FromPlanes(job, d_c, to.d_initial_state[1]);
  if (to.d_inputs != nullptr) {
    Clear(to.d_inputs, rows * D);
    MultiplyTransposed(job, d_gates, call.kernel, D, planes.input, to.d_inputs, D);
  }
  WeightGradient(job, call.inputs, D, D, planes.input, d_gates, to.d_kernel, room);
  WeightGradient(job, call.initial_state[0], H, H, planes.recurrent, d_gates,
                 to.d_recurrent_kernel, room);
  Clear(to.d_bias, BiasRows(call.cell) * GH);
  for (int p = 0; p < planes.all; ++p) {
    const bool input = p >= planes.input.first && p < planes.input.first + planes.input.count;
    const bool recurrent = BiasRows(call.cell) == 2 && p < planes.recurrent.count;
    for (int64_t r = 0; r < rows; ++r) {
      const float* d = d_gates + r * gate_floats + p * P;
      float* d_bias = to.d_bias + planes.gate[p] * H;
      for (int64_t k = 0; k < H; ++k) {
        if (input) d_bias[k] += d[k];
        if (recurrent) d_bias[GH + k] += d[k];
      }
    }
  }
}

}  // namespace SEQMASK_TARGET
}  // namespace seqmask

#endif  // SEQMASK_STEP_H_
