// Vectors as wide as the target's registers.
//
// Written with the vector types of GCC and clang: the same lines compile to AVX-512, AVX2, SSE2 or
// NEON, whichever the compiler was told to use.

#pragma once

#include <cstdint>

namespace seqmask::SEQMASK_TARGET {

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
typedef int32_t Integers __attribute__((vector_size(4 * kWidth)));

inline Vector Load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void Store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
inline Vector Fill(float value) { return value - Vector{}; }
// Reinterpret the bits.
inline Integers AsIntegers(Vector v) { return (Integers)v; }
inline Vector AsVector(Integers v) { return (Vector)v; }

// A vector from a row that ends after `count` numbers; zeros from there on.
inline Vector LoadPart(const float* from, int64_t count) {
  if (count >= kWidth) return Load(from);
  float part[kWidth] = {};
  for (int64_t k = 0; k < count; ++k) part[k] = from[k];
  return Load(part);
}

}  // namespace seqmask::SEQMASK_TARGET
