// One step of each cell for one row of a group, forward and backward; the equations are those of
// cells.py. Gates and states are planes (target.h); `first` and `last` bound the units, in whole
// vectors.

#pragma once

#include "activations.h"
#include "target.h"
#include "vector.h"

namespace seqmask::SEQMASK_TARGET {

inline Vector DSigmoid(Vector y, Vector dy) { return dy * y * (1.0f - y); }
inline Vector DTanh(Vector y, Vector dy) { return dy * (1.0f - y * y); }

// One row, forward. `gates` holds the gates' sums and is overwritten with the gates.
struct ForwardRow {
  float* gates;
  const float* h_tm1;
  float* h;
  float* c;                  // LSTM: c_tm1, overwritten with c
};

inline void LstmForward(const ForwardRow& row, int64_t plane, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; k += kWidth) {
    float* gates = row.gates + k;
    const Vector i = Sigmoid(Load(gates));
    const Vector f = Sigmoid(Load(gates + plane));
    const Vector g = Tanh(Load(gates + 2 * plane));
    const Vector o = Sigmoid(Load(gates + 3 * plane));
    const Vector c = f * Load(row.c + k) + i * g;
    Store(gates, i);
    Store(gates + plane, f);
    Store(gates + 2 * plane, g);
    Store(gates + 3 * plane, o);
    Store(row.c + k, c);
    Store(row.h + k, o * Tanh(c));
  }
}

inline void GruForward(const ForwardRow& row, int64_t plane, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; k += kWidth) {
    float* gates = row.gates + k;
    const Vector u = Load(gates);
    const Vector z = Sigmoid(Load(gates + plane));
    const Vector r = Sigmoid(Load(gates + 2 * plane));
    const Vector g = Tanh(Load(gates + 3 * plane) + r * u);
    Store(gates + plane, z);
    Store(gates + 2 * plane, r);
    Store(gates + 3 * plane, g);
    Store(row.h + k, z * Load(row.h_tm1 + k) + (1.0f - z) * g);
  }
}

// The reset gate of a GRU that resets before the product: e = r d.
inline void ResetForward(float* gates, const float* d, float* e, int64_t plane, int64_t first,
                         int64_t last) {
  for (int64_t k = first; k < last; k += kWidth) {
    const Vector r = Sigmoid(Load(gates + plane + k));
    Store(gates + plane + k, r);
    Store(e + k, r * Load(d + k));
  }
}

inline void GruResetBeforeForward(const ForwardRow& row, int64_t plane, int64_t first,
                                  int64_t last) {
  for (int64_t k = first; k < last; k += kWidth) {
    float* gates = row.gates + k;
    const Vector z = Sigmoid(Load(gates));
    const Vector g = Tanh(Load(gates + 2 * plane));
    Store(gates, z);
    Store(gates + 2 * plane, g);
    Store(row.h + k, z * Load(row.h_tm1 + k) + (1.0f - z) * g);
  }
}

// One row, backward. `d_h` holds the gradient to h and is overwritten with the part that reaches
// h_tm1 past the gates; `d_c` likewise. h_tm1 and d_output are rows of H numbers.
struct BackwardRow {
  const float* gates;
  float* d_gates;
  const float* h_tm1;
  const float* c;
  const float* c_tm1;
  int64_t c_tm1_size;        // a saved state is a whole plane, an initial one is H numbers
  const float* d_output;
  float* d_h;
  float* d_c;
};

inline void LstmBackward(const BackwardRow& row, int64_t plane, int64_t hidden_size) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector i = Load(row.gates + k), f = Load(row.gates + plane + k);
    const Vector g = Load(row.gates + 2 * plane + k), o = Load(row.gates + 3 * plane + k);
    const Vector y = Tanh(Load(row.c + k));
    const Vector d_h = Load(row.d_h + k) + LoadPart(row.d_output + k, hidden_size - k);
    const Vector d_c = Load(row.d_c + k) + DTanh(y, d_h * o);
    Store(row.d_gates + k, DSigmoid(i, d_c * g));
    Store(row.d_gates + plane + k, DSigmoid(f, d_c * LoadPart(row.c_tm1 + k, row.c_tm1_size - k)));
    Store(row.d_gates + 2 * plane + k, DTanh(g, d_c * i));
    Store(row.d_gates + 3 * plane + k, DSigmoid(o, d_h * y));
    Store(row.d_h + k, Vector{});
    Store(row.d_c + k, d_c * f);
  }
}

inline void GruBackward(const BackwardRow& row, int64_t plane, int64_t hidden_size) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector u = Load(row.gates + k), z = Load(row.gates + plane + k);
    const Vector r = Load(row.gates + 2 * plane + k), g = Load(row.gates + 3 * plane + k);
    const Vector h_tm1 = LoadPart(row.h_tm1 + k, hidden_size - k);
    const Vector d_h = Load(row.d_h + k) + LoadPart(row.d_output + k, hidden_size - k);
    const Vector d_g = DTanh(g, d_h - d_h * z);
    Store(row.d_gates + k, d_g * r);
    Store(row.d_gates + plane + k, DSigmoid(z, d_h * (h_tm1 - g)));
    Store(row.d_gates + 2 * plane + k, DSigmoid(r, d_g * u));
    Store(row.d_gates + 3 * plane + k, d_g);
    Store(row.d_h + k, d_h * z);
  }
}

// Up to the product with U_g; ResetBackward computes the gradient to r after that product.
inline void GruResetBeforeBackward(const BackwardRow& row, int64_t plane, int64_t hidden_size) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector z = Load(row.gates + k), g = Load(row.gates + 2 * plane + k);
    const Vector h_tm1 = LoadPart(row.h_tm1 + k, hidden_size - k);
    const Vector d_h = Load(row.d_h + k) + LoadPart(row.d_output + k, hidden_size - k);
    Store(row.d_gates + k, DSigmoid(z, d_h * (h_tm1 - g)));
    Store(row.d_gates + 2 * plane + k, DTanh(g, d_h - d_h * z));
    Store(row.d_h + k, d_h * z);
  }
}

// d_e is overwritten with d_e r, its part of the gradient to d.
inline void ResetBackward(const float* gates, float* d_gates, const float* d, float* d_e,
                          int64_t plane, int64_t hidden_size) {
  for (int64_t k = 0; k < plane; k += kWidth) {
    const Vector r = Load(gates + plane + k), d_r = Load(d_e + k);
    Store(d_gates + plane + k, DSigmoid(r, d_r * LoadPart(d + k, hidden_size - k)));
    Store(d_e + k, d_r * r);
  }
}

}  // namespace seqmask::SEQMASK_TARGET
