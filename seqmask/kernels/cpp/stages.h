// One step of a stage of a network, for all rows: each weight is read once.

#ifndef SEQMASK_STAGES_H_
#define SEQMASK_STAGES_H_

#include "activations.h"
#include "arrays.h"
#include "cells.h"
#include "product.h"
#include "target.h"
#include "vector.h"

namespace seqmask {
namespace SEQMASK_TARGET {

// Vectors of a panel: one row alone needs as many sums under way to wait for none of them.
constexpr int kStepVectors = 8;

// Columns of weights [depth, row], those of the gates in a window, each padded to a plane.
inline void PackColumns(const float* weights, int64_t depth, int64_t row, const Layer& layer,
                        Window window, float* to) {
  const Planes& planes = PlanesOf(layer.stage.kind);
  const int64_t P = layer.padded, H = layer.stage.output_size;
  const int64_t columns = window.count * P, widest = kStepVectors * kWidth;
  for (int64_t first = 0; first < columns; first += widest) {
    const int64_t last = columns - first < widest ? columns : first + widest;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t column = first; column < last; column += kWidth, to += kWidth) {
        const int64_t unit = column % P, gate = planes.gate[window.first + column / P];
        Store(to, LoadPart(weights + k * row + gate * H + unit, H - unit));
      }
    }
  }
}

void PackLayer(const Layer& layer) {
  const Stage& stage = layer.stage;
  const Planes& planes = PlanesOf(stage.kind);
  const int64_t H = stage.output_size;
  const int64_t taps = stage.kind == StageKind::kConvolution ? stage.kernel_size : 1;
  int64_t gates = 1;
  for (int p = 0; p < planes.all; ++p)
    if (planes.gate[p] >= gates) gates = planes.gate[p] + 1;
  PackColumns(stage.weights[0], taps * stage.input_size, gates * H, layer, planes.input,
              layer.panels.input);
  PackColumns(stage.weights[1], H, gates * H, layer, planes.recurrent, layer.panels.recurrent);
  PackColumns(stage.weights[1], H, gates * H, layer, planes.reset, layer.panels.reset);
}

template <int kVectors>
inline void OneRow(int64_t vectors, const float* a, int64_t depth, const float* panel,
                   float* sums) {
  if constexpr (kVectors > 0) {
    if (vectors == kVectors)
      return Tile<1, kVectors>({a, 0, 1}, depth, panel, kVectors * kWidth, {sums, 0, kWidth});
    OneRow<kVectors - 1>(vectors, a, depth, panel, sums);
  }
}

// sums += a b, b the packed columns of a window.
inline void MultiplyColumns(int64_t rows, Rows a, int64_t depth, const float* panels,
                            int64_t columns, float* sums, int64_t sums_row) {
  const int64_t widest = kStepVectors * kWidth, half = kPanelVectors * kWidth;
  for (int64_t first = 0; first < columns; first += widest) {
    const int64_t here = columns - first < widest ? columns - first : widest;
    const float* panel = panels + first * depth;
    if (rows == 1) {
      OneRow<kStepVectors>(here / kWidth, a.at, depth, panel, sums + first);
      continue;
    }
    for (int64_t part = 0; part < here; part += half) {
      const int64_t vectors = (here - part < half ? here - part : half) / kWidth;
      Multiply(vectors, rows, {a.at, a.stride, 1}, depth, panel + part, here,
               {sums + first + part, sums_row, kWidth});
    }
  }
}

inline void Standardize(const Layer& layer, int64_t rows, Rows x) {
  const float *mean = layer.bias, *scale = layer.bias + layer.padded;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < layer.padded; k += kWidth)
      Store(layer.outputs.at + r * layer.outputs.stride + k,
            (Load(x.at + r * x.stride + k) - Load(mean + k)) / Load(scale + k));
}

// Where every row begins.
inline void AddBias(const Layer& layer, int64_t rows, int64_t floats, float* sums) {
  for (int64_t r = 0; r < rows; ++r) Copy(sums + r * floats, layer.bias, floats);
}

inline void Dense(const Layer& layer, int64_t rows, Rows x) {
  AddBias(layer, rows, layer.padded, layer.outputs.at);
  MultiplyColumns(rows, x, layer.stage.input_size, layer.panels.input, layer.padded,
                  layer.outputs.at, layer.padded);
}

// What the taps see, side by side; then the window moves on.
inline Rows Look(const Layer& layer, int64_t rows, Rows x) {
  const Stage& stage = layer.stage;
  const int64_t D = stage.input_size, taps = stage.kernel_size, past = layer.state[0].size;
  for (int64_t r = 0; r < rows; ++r) {
    float* state = layer.state[0].at + r * layer.state[0].stride;
    float* seen = layer.seen + r * taps * D;
    for (int64_t tap = 0; tap < taps - 1; ++tap)
      Copy(seen + tap * D, state + tap * stage.dilation * D, D);
    Copy(seen + (taps - 1) * D, x.at + r * x.stride, D);
    if (past == 0) continue;
    std::memmove(state, state + D, (past - D) * sizeof(float));
    Copy(state + past - D, x.at + r * x.stride, D);
  }
  return {layer.seen, taps * D, taps * D};
}

inline void Convolve(const Layer& layer, int64_t rows, Rows x) {
  const Stage& stage = layer.stage;
  const int64_t P = layer.padded;
  const Rows seen = Look(layer, rows, x);
  AddBias(layer, rows, P, layer.outputs.at);
  MultiplyColumns(rows, seen, seen.size, layer.panels.input, P, layer.outputs.at, P);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < P; k += kWidth) {
      float* at = layer.outputs.at + r * P + k;
      Vector y = Load(at);
      if (stage.relu) y = AtLeast(y, 0.0f);
      if (stage.residual) y += Load(x.at + r * x.stride + k);
      Store(at, y);
    }
  }
}

inline void MguReset(float* gates, const float* h, float* e, int64_t plane) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector f = Sigmoid(Load(gates + k));
    Store(gates + k, f);
    Store(e + k, f * Load(h + k));
  }
}

inline void MguForward(const float* gates, float* h, int64_t plane) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector f = Load(gates + k), g = Tanh(Load(gates + plane + k)), h_tm1 = Load(h + k);
    Store(h + k, h_tm1 + f * (g - h_tm1));
  }
}

// All products come before the gates, so that the state may change in its place.
inline void RunCell(const Layer& layer, int64_t rows, Rows x) {
  const StageKind kind = layer.stage.kind;
  const Planes& planes = PlanesOf(kind);
  const int64_t P = layer.padded, H = layer.stage.output_size, gate_floats = planes.all * P;
  const Rows state = layer.state[0];
  AddBias(layer, rows, gate_floats, layer.sums);
  MultiplyColumns(rows, x, layer.stage.input_size, layer.panels.input, planes.input.count * P,
                  layer.sums + planes.input.first * P, gate_floats);
  MultiplyColumns(rows, state, H, layer.panels.recurrent, planes.recurrent.count * P,
                  layer.sums + planes.recurrent.first * P, gate_floats);
  for (int64_t r = 0; r < rows; ++r) {
    float *gates = layer.sums + r * gate_floats, *h = state.at + r * P, *e = layer.seen + r * P;
    if (kind == StageKind::kLstm)
      LstmForward({gates, h, h, layer.state[1].at + r * P}, P, 0, P);
    else if (kind == StageKind::kGru)
      GruForward({gates, h, h, nullptr}, P, 0, P);
    else if (kind == StageKind::kGruResetBefore)
      ResetForward(gates, h, e, P, 0, P);
    else
      MguReset(gates, h, e, P);
  }
  if (planes.reset.count == 0) return;
  MultiplyColumns(rows, {layer.seen, P, H}, H, layer.panels.reset, P,
                  layer.sums + planes.reset.first * P, gate_floats);
  for (int64_t r = 0; r < rows; ++r) {
    float *gates = layer.sums + r * gate_floats, *h = state.at + r * P;
    if (kind == StageKind::kMgu)
      MguForward(gates, h, P);
    else
      GruResetBeforeForward({gates, h, h, nullptr}, P, 0, P);
  }
}

void RunLayer(const Layer& layer, int64_t rows, Rows x) {
  switch (layer.stage.kind) {
    case StageKind::kStandardize: return Standardize(layer, rows, x);
    case StageKind::kDense: return Dense(layer, rows, x);
    case StageKind::kConvolution: return Convolve(layer, rows, x);
    default: return RunCell(layer, rows, x);
  }
}

}  // namespace SEQMASK_TARGET
}  // namespace seqmask

#endif  // SEQMASK_STAGES_H_
