// Runs a group of sequences forward in time.

#pragma once

#include "arrays.h"
#include "cells.h"
#include "product.h"

namespace seqmask::SEQMASK_TARGET {

// What a group carries from step to step: one plane per sequence.
struct State {
  float* h;
  float* h_tm1;
  float* c;                  // LSTM
  float* dropout;            // the mask of h_tm1, or null
  float* d;                  // h_tm1 after dropout; h_tm1 itself without
  float* e;                  // r d, of a GRU that resets before the product
};

// Runs one step of `rows` sequences. `sums` holds the input projections of the gates and is
// overwritten with the gates.
inline void ForwardStep(const Job& job, int64_t rows, float* sums, const State& state) {
  const int64_t P = job.padded, H = job.call.hidden_size;
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t gate_floats = planes.all * P;
  const Window window = planes.recurrent;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    Multiply(window.count, rows, {state.d, P, 1}, H, job.panels.recurrent + unit * H * window.count,
             window.count * kWidth, {sums + window.first * P + unit, gate_floats, P});
    for (int64_t r = 0; r < rows; ++r) {
      const ForwardRow at{sums + r * gate_floats, state.h_tm1 + r * P, state.h + r * P,
                          state.c + r * P};
      if (job.call.cell == Cell::kLstm)
        LstmForward(at, P, unit, unit + kWidth);
      else if (job.call.cell == Cell::kGru)
        GruForward(at, P, unit, unit + kWidth);
      else
        ResetForward(at.gates, state.d + r * P, state.e + r * P, P, unit, unit + kWidth);
    }
  }
  if (job.call.cell != Cell::kGruResetBefore) return;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    Multiply(1, rows, {state.e, P, 1}, H, job.panels.reset + unit * H, kWidth,
             {sums + planes.reset.first * P + unit, gate_floats, P});
    for (int64_t r = 0; r < rows; ++r)
      GruResetBeforeForward({sums + r * gate_floats, state.h_tm1 + r * P, state.h + r * P, nullptr},
                            P, unit, unit + kWidth);
  }
}

// Projects the inputs of all gates and adds the biases.
inline void Project(const Job& job, int64_t rows, const float* x, float* sums) {
  const int64_t P = job.padded, D = job.call.input_size;
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t gate_floats = planes.all * P;
  const Window window = planes.input;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    for (int v = 0; v < planes.all; ++v) {
      const Vector bias = Load(job.bias + v * P + unit);
      for (int64_t r = 0; r < rows; ++r) Store(sums + r * gate_floats + v * P + unit, bias);
    }
    Multiply(window.count, rows, {x, D, 1}, D, job.panels.input + unit * D * window.count,
             window.count * kWidth, {sums + window.first * P + unit, gate_floats, P});
  }
}

void ForwardGroup(const Job& job, const Group& group, float* scratch) {
  const Call& call = job.call;
  const Results& to = job.results;
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, size = group.size;
  const int64_t gate_floats = PlanesOf(call.cell).all * P;
  const int64_t states = NumStates(call.cell);
  Arena arena(scratch);
  const int64_t block = size > kBlockRows ? size : kBlockRows;
  float* sums = arena.Take(block * gate_floats);
  float* x = arena.Take(block * D);
  State state{};
  state.h = arena.Take(size * P);
  state.h_tm1 = arena.Take(size * P);
  state.c = arena.Take(size * P);
  if (call.dropout != nullptr) state.dropout = arena.Take(size * P), state.d = arena.Take(size * P);
  state.e = arena.Take(size * P);
  Clear(state.h, size * P);
  Clear(state.c, size * P);
  for (int64_t r = 0; r < size; ++r) {
    const int64_t b = group.sequences[r];
    Copy(state.h + r * P, call.initial_state[0] + b * H, H);
    if (states == 2) Copy(state.c + r * P, call.initial_state[1] + b * H, H);
    if (call.dropout != nullptr) {
      Clear(state.dropout + r * P, P);
      Copy(state.dropout + r * P, call.dropout + b * H, H);
    }
    Clear(to.outputs + (b * call.maxlen + call.lengths[b]) * H,
          (call.maxlen - call.lengths[b]) * H);
  }

  int64_t alive = size;      // sequences that have a step `step`
  auto leave = [&](int64_t step) {
    for (; alive > 0 && call.lengths[group.sequences[alive - 1]] == step; --alive) {
      const int64_t b = group.sequences[alive - 1];
      Copy(to.final_state[0] + b * H, state.h + (alive - 1) * P, H);
      if (states == 2) Copy(to.final_state[1] + b * H, state.c + (alive - 1) * P, H);
    }
  };
  leave(0);
  for (int64_t step = 0; alive > 0;) {
    int64_t rows = 0, end = step;    // a block of steps
    for (int64_t n = alive; n > 0 && (end == step || rows + n <= kBlockRows); ++end) {
      for (int64_t r = 0; r < n; ++r, ++rows)
        Copy(x + rows * D, call.inputs + At(call, group.sequences[r], end) * D, D);
      while (n > 0 && call.lengths[group.sequences[n - 1]] == end + 1) --n;
    }
    Project(job, rows, x, sums);
    for (float* here = sums; step < end;) {
      float* swapped = state.h;
      state.h = state.h_tm1;
      state.h_tm1 = swapped;
      if (call.dropout == nullptr) {
        state.d = state.h_tm1;
      } else {
        for (int64_t k = 0; k < alive * P; k += kWidth)
          Store(state.d + k, Load(state.h_tm1 + k) * Load(state.dropout + k));
      }
      ForwardStep(job, alive, here, state);
      for (int64_t r = 0; r < alive; ++r) {
        const int64_t b = group.sequences[r];
        Copy(to.outputs + At(call, b, step) * H, state.h + r * P, H);
        if (to.saved.gates == nullptr) continue;
        const int64_t saved_row = job.first_row[b] + step;
        Copy(to.saved.gates + saved_row * gate_floats, here + r * gate_floats, gate_floats);
        if (call.cell == Cell::kLstm) Copy(to.saved.extra + saved_row * P, state.c + r * P, P);
        if (call.cell == Cell::kGruResetBefore)
          Copy(to.saved.extra + saved_row * P, state.e + r * P, P);
      }
      here += alive * gate_floats;
      leave(++step);
    }
  }
}

}  // namespace seqmask::SEQMASK_TARGET
