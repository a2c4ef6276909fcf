// A network that runs step by step: stages one after the other, their weights packed once.
//
// As recurrence.h, plain C++17 without TensorFlow: dense arrays of float32. A step runs on the thread
// that calls it; what a row becomes does not depend on the other rows. Networks share nothing, so
// each thread may have its own.

#ifndef SEQMASK_NETWORK_H_
#define SEQMASK_NETWORK_H_

#include <cstdint>
#include <memory>
#include <vector>

namespace seqmask {

enum class StageKind : int64_t {
  kStandardize,              // (x - mean) / scale
  kDense,                    // x W + b
  kConvolution,              // causal, over time
  kLstm,
  kGru,                      // resets after the product
  kGruResetBefore,
  kMgu,
};

// What a step goes through, as the caller hands it over; it has checked the sizes, all at least 1.
struct Stage {
  StageKind kind;
  int64_t input_size, output_size;       // D, K; a cell's H is K
  const float* weights[3];   // as seqmask's layers have them: mean, scale; kernel, bias (may be null);
                             // kernel, recurrent_kernel, bias
  int64_t kernel_size, dilation;         // of a convolution
  int64_t relu, residual;    // of a convolution: y = relu(y), then y = y + x; 0 or 1
};

// Where rows stand: row r at at[r * stride], `size` numbers, then zeros up to whole vectors.
struct Rows {
  float* at;
  int64_t stride, size;
};

struct Target;
struct Layer;
class Floats;

class Network {
 public:
  // Copies the weights, of at least one stage; the states are 0. Throws std::bad_alloc.
  Network(int64_t batch, int64_t count, const Stage* stages);
  ~Network();

  // Takes `inputs` and the states to `outputs` and the next states.
  void Step();

  Rows inputs() const { return inputs_; }
  Rows outputs() const;
  // Part 0 of a cell is h, part 1 an LSTM's c; that of a convolution are the steps that its window
  // still sees, [steps, D] in the order of time. Null where there is none.
  Rows state(int64_t stage, int64_t part) const;

 private:
  float* Take(int64_t floats);
  Rows TakeRows(int64_t size);

  int64_t batch_;
  const Target& target_;     // that was in use when the weights were packed
  Rows inputs_;
  std::vector<std::unique_ptr<Floats>> memory_;
  std::vector<Layer> layers_;
};

}  // namespace seqmask

#endif  // SEQMASK_NETWORK_H_
