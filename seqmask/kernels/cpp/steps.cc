// All vector code, compiled once for each target. It is one translation unit because all passes
// share the tiles of product.h, which take most of the compile time.
//
// None of these headers uses an inline function of the standard library: the linker keeps one copy
// of such a function, and older processors could not run a copy compiled for the newest ones.
//
// The headers stand in the order of a call, because it decides what GCC inlines, and so the speed.
// After a change here compare the instructions (objdump -d), not only the results.

#include "pack.h"
#include "forward.h"
#include "backward.h"
#include "weights.h"
#include "stages.h"
#include "step.h"

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
                        WeightGradients, Activate, PackLayer, RunLayer, StepForward, StepBackward};

}  // namespace seqmask::SEQMASK_TARGET
