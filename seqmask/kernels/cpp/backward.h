// Runs a group of sequences backward in time: gradients to gates, inputs and initial states.

#pragma once

#include "arrays.h"
#include "cells.h"
#include "product.h"

namespace seqmask::SEQMASK_TARGET {

void BackwardGroup(const Job& job, const Group& group, float* scratch) {
  const Call& call = job.call;
  const Gradients& grad = job.gradients;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, size = group.size;
  const int64_t gate_floats = planes.all * P, input_floats = RoundUp(D, kWidth);
  const int64_t states = NumStates(call.cell);
  const bool reset_before = call.cell == Cell::kGruResetBefore;
  Arena arena(scratch);
  float* d_gates = arena.Take(size * gate_floats);
  float* d_x = arena.Take(size * input_floats);
  float* d_h = arena.Take(size * P);
  float* d_c = arena.Take(size * P);
  float* d_d = call.dropout == nullptr ? d_h : arena.Take(size * P);
  float* d_e = arena.Take(size * P);
  float* d = arena.Take(P);
  Clear(d_h, size * P);
  Clear(d_c, size * P);
  for (int64_t r = 0; r < size; ++r) {
    const int64_t b = group.sequences[r];
    Copy(d_h + r * P, grad.d_final_state[0] + b * H, H);
    if (states == 2) Copy(d_c + r * P, grad.d_final_state[1] + b * H, H);
    if (grad.d_inputs != nullptr)
      Clear(grad.d_inputs + (b * call.maxlen + call.lengths[b]) * D,
            (call.maxlen - call.lengths[b]) * D);
  }

  int64_t alive = 0;
  for (int64_t step = size > 0 ? call.lengths[group.sequences[0]] - 1 : -1; step >= 0; --step) {
    while (alive < size && call.lengths[group.sequences[alive]] > step) ++alive;
    auto before = [&](int64_t b) {     // h_tm1
      return step == 0 ? call.initial_state[0] + b * H : grad.outputs + At(call, b, step - 1) * H;
    };
    for (int64_t r = 0; r < alive; ++r) {
      const int64_t b = group.sequences[r], saved_row = job.first_row[b] + step;
      BackwardRow here{};
      here.gates = grad.gates + saved_row * gate_floats;
      here.d_gates = d_gates + r * gate_floats;
      here.h_tm1 = before(b);
      here.d_output = grad.d_outputs + At(call, b, step) * H;
      here.d_h = d_h + r * P;
      if (call.cell == Cell::kLstm) {
        here.c = grad.extra + saved_row * P;
        here.c_tm1 = step == 0 ? call.initial_state[1] + b * H : here.c - P;
        here.c_tm1_size = step == 0 ? H : P;
        here.d_c = d_c + r * P;
        LstmBackward(here, P, H);
      } else if (call.cell == Cell::kGru) {
        GruBackward(here, P, H);
      } else {
        GruResetBeforeBackward(here, P, H);
      }
    }
    if (call.dropout != nullptr) Clear(d_d, alive * P);
    if (reset_before) {
      Clear(d_e, alive * P);
      MultiplyPanels(alive, {d_gates + planes.reset.first * P, gate_floats, 1},
                     planes.reset.count * P, job.panels.reset, P, d_e, P);
      for (int64_t r = 0; r < alive; ++r) {
        const int64_t b = group.sequences[r];
        const float* h_tm1 = before(b);
        Copy(d, h_tm1, H);
        if (call.dropout != nullptr)
          for (int64_t k = 0; k < H; ++k) d[k] *= call.dropout[b * H + k];
        ResetBackward(grad.gates + (job.first_row[b] + step) * gate_floats,
                      d_gates + r * gate_floats, d, d_e + r * P, P, H);
        for (int64_t k = 0; k < P; k += kWidth)
          Store(d_d + r * P + k, Load(d_d + r * P + k) + Load(d_e + r * P + k));
      }
    }
    MultiplyPanels(alive, {d_gates + planes.recurrent.first * P, gate_floats, 1},
                   planes.recurrent.count * P, job.panels.recurrent, P, d_d, P);
    if (call.dropout != nullptr)
      for (int64_t r = 0; r < alive; ++r)
        for (int64_t k = 0; k < H; ++k)
          d_h[r * P + k] += d_d[r * P + k] * call.dropout[group.sequences[r] * H + k];
    if (grad.d_inputs != nullptr) {
      Clear(d_x, alive * input_floats);
      MultiplyPanels(alive, {d_gates + planes.input.first * P, gate_floats, 1},
                     planes.input.count * P, job.panels.input, input_floats, d_x, input_floats);
    }
    for (int64_t r = 0; r < alive; ++r) {
      const int64_t b = group.sequences[r];
      Copy(grad.d_gates + (job.first_row[b] + step) * gate_floats, d_gates + r * gate_floats,
           gate_floats);
      if (grad.d_inputs != nullptr)
        Copy(grad.d_inputs + At(call, b, step) * D, d_x + r * input_floats, D);
    }
  }
  for (int64_t r = 0; r < size; ++r) {
    const int64_t b = group.sequences[r];
    Copy(grad.d_initial_state[0] + b * H, d_h + r * P, H);
    if (states == 2) Copy(grad.d_initial_state[1] + b * H, d_c + r * P, H);
  }
}

}  // namespace seqmask::SEQMASK_TARGET
