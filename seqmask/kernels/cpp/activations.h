// Sigmoid and tanh of a vector: relative error at most 3 ulp, down to subnormal results; monotone;
// in [0, 1] and [-1, 1], whose ends they reach; tanh is odd; NaN stays NaN. recurrence_test.cc
// can check every float.

#pragma once

#include "vector.h"

namespace seqmask::SEQMASK_TARGET {

// exp(x) = scale (1 + rest). `scale` is a power of 2, infinite from x = 88.4 on.
struct Exponential {
  Vector scale, rest;
};

// For -88 <= x <= 89, within 1 ulp (the polynomial is within 2e-8 of exp(r) - 1, relatively).
inline Exponential Exp(Vector x) {
  // Adding 1.5 2^23 rounds to an integer and leaves it in the lowest bits: here n + 127, the
  // exponent bits of 2^n.
  const Vector shifted = x * 1.44269504f + 12583039.0f;
  const Vector n = shifted - 12583039.0f;
  // r = x - n ln 2, with ln 2 in two parts: n times the first is exact.
  const Vector r = x - 0.693359375f * n + 2.12194440e-4f * n;
  Vector h = Fill(1.38825165e-3f);
  h = h * r + 8.36654713e-3f;
  h = h * r + 4.16672007e-2f;
  h = h * r + 1.66665434e-1f;
  h = h * r + 0.49999998f;
  // r + r^2 h, not r (1 + r h): rounding the second factor would break monotonicity.
  return {AsVector(AsIntegers(shifted) << 23), r + r * r * h};
}

// Comparisons with NaN are false, so both pass NaN through.
inline Vector AtMost(Vector x, float high) { return x > high ? Fill(high) : x; }
inline Vector AtLeast(Vector x, float low) { return x < low ? Fill(low) : x; }

inline Vector Sigmoid(Vector x) {
  const Exponential e = Exp(-AtLeast(AtMost(x, 80.0f), -89.0f));
  return 1.0f / (1.0f + e.scale * (1.0f + e.rest));
}

// tanh |x| = u / (2 - u), u = 1 - exp(-2 |x|): the denominator falls where u rises.
inline Vector Tanh(Vector x) {
  const Integers sign = AsIntegers(x) & INT32_MIN;
  const Vector size = AsVector(AsIntegers(x) ^ sign);
  const Exponential e = Exp(-2.0f * AtMost(size, 40.0f));
  const Vector u = 1.0f - e.scale - e.scale * e.rest;
  return AsVector(AsIntegers(u / (2.0f - u)) | sign);
}

}  // namespace seqmask::SEQMASK_TARGET
