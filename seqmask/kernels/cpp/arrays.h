// Plain arrays: scratch in pieces, clearing and copying, and where a step of a sequence stands.

#pragma once

#include <cstdint>
#include <cstring>

#include "target.h"
#include "vector.h"

namespace seqmask::SEQMASK_TARGET {

static_assert(kWidth <= kLine, "scratch is counted in lines");

// Takes pieces of scratch, each on a cache line of its own.
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

// Step `step` of a sequence stands at this time.
inline int64_t Time(const Call& call, int64_t sequence, int64_t step) {
  return call.reverse ? call.lengths[sequence] - 1 - step : step;
}
inline int64_t At(const Call& call, int64_t sequence, int64_t step) {
  return sequence * call.maxlen + Time(call, sequence, step);
}

}  // namespace seqmask::SEQMASK_TARGET
