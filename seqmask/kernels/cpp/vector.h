// Vectors of the width that a target has, and the activation functions on them.
//
// Written with the vector types of GCC and clang: the same lines compile to AVX-512, AVX2, SSE2 or
// NEON, whichever the compiler was told to use.

#ifndef SEQMASK_VECTOR_H_
#define SEQMASK_VECTOR_H_

#include <cstdint>
#include <cstring>

namespace seqmask {
namespace SEQMASK_TARGET {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kWidth = 4, kRegisters = 32;
#else
constexpr int kWidth = 4, kRegisters = 16;
#endif

typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef float Unaligned __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void Store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
inline Vector Fill(float value) { return value - Vector{}; }

// The first `count` numbers of a row that ends there, then zeros.
inline Vector LoadPart(const float* from, int64_t count) {
  if (count >= kWidth) return Load(from);
  float part[kWidth] = {};
  for (int64_t k = 0; k < count; ++k) part[k] = from[k];
  return Load(part);
}

// tanh(x) = x p(x^2) / q(x^2), fitted for the least relative error (2e-8) up to |x| = 9, where
// tanh is 1 to float32 rounding. NaN stays NaN: no comparison with it is true.
inline Vector Tanh(Vector x) {
  x = x > 9.0f ? Fill(9.0f) : x;
  x = x < -9.0f ? Fill(-9.0f) : x;
  const Vector y = x * x;
  Vector p = Fill(1.33547348e-08f);
  p = p * y + 2.06091413e-05f;
  p = p * y + 3.49559199e-03f;
  p = p * y + 1.33810290e-01f;
  p = p * y + 9.99999979e-01f;
  Vector q = Fill(7.77659006e-07f);
  q = q * y + 3.28564094e-04f;
  q = q * y + 2.58769972e-02f;
  q = q * y + 4.67143446e-01f;
  q = q * y + 1.0f;
  return x * p / q;
}

inline Vector Sigmoid(Vector x) { return 0.5f + 0.5f * Tanh(0.5f * x); }

}  // namespace SEQMASK_TARGET
}  // namespace seqmask

#endif  // SEQMASK_VECTOR_H_
