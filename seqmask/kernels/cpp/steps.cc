// Everything that works with vectors, compiled once for each target. It is one unit because all
// passes share the tiles of product.h, which take most of the compiler's time.
//
// None of these headers uses a function of the standard library that might be inlined: the linker
// keeps one copy of such a function, and it must not be one that only the newest processors can
// run.
//
// In the order of a call: GCC's choice of what to inline follows it, and the speed follows that.

#include "pack.h"
#include "forward.h"
#include "backward.h"
#include "weights.h"

namespace seqmask::SEQMASK_TARGET {

void Activate(Activation activation, int64_t count, float* numbers) {
  for (int64_t k = 0; k < count; k += kWidth) {
    const Vector x = Load(numbers + k);
    Store(numbers + k, activation == Activation::kSigmoid ? Sigmoid(x) : Tanh(x));
  }
}

#define SEQMASK_QUOTED(name) #name
#define SEQMASK_NAME(name) SEQMASK_QUOTED(name)
extern const Target kTarget;
const Target kTarget = {SEQMASK_NAME(SEQMASK_TARGET), kWidth, Pack, ForwardGroup, BackwardGroup,
                        WeightGradients, Activate};

}  // namespace seqmask::SEQMASK_TARGET
