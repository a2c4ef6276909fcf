// Memory for floats.

#ifndef SEQMASK_FLOATS_H_
#define SEQMASK_FLOATS_H_

#include <cstdint>
#include <cstdlib>
#include <new>

namespace seqmask {

// Floats on a cache line of their own.
class Floats {
 public:
  explicit Floats(int64_t size)
      : at_(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) / 64 + 1) * 64))) {
    if (at_ == nullptr) throw std::bad_alloc();
  }
  ~Floats() { std::free(at_); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* get() const { return at_; }

 private:
  float* at_;
};

}  // namespace seqmask

#endif  // SEQMASK_FLOATS_H_
