// Plain arrays: an arena for scratch, clearing and copying, and where a step lies in its array.

#pragma once

#include <cstdint>
#include <cstring>

#include "target.h"
#include "vector.h"

namespace seqmask::SEQMASK_TARGET {

static_assert(kWidth <= kLine, "scratch is counted in cache lines");

// Hands out pieces of scratch, each starting on a cache line of its own.
class Arena {
 public:
  explicit Arena(float* from) : next_(from) {}
  float* Take(int64_t floats) {
    float* piece = next_;
    next_ += RoundUp(floats, kLine);
    return piece;
  }

 private:
  float* next_;
};

// An empty array may be null, which memset and memcpy do not allow.
inline void Clear(float* to, int64_t count) {
  if (count > 0) std::memset(to, 0, count * sizeof(float));
}
inline void Copy(float* to, const float* from, int64_t count) {
  if (count > 0) std::memcpy(to, from, count * sizeof(float));
}

// The row of a [B, T, ...] array that holds step `step` of a sequence, in the order of the call.
inline int64_t At(const Call& call, int64_t sequence, int64_t step) {
  const int64_t time = call.reverse ? call.lengths[sequence] - 1 - step : step;
  return sequence * call.maxlen + time;
}

}  // namespace seqmask::SEQMASK_TARGET
