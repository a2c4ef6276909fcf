// LSTM and GRU over sequences of unequal length, forward and backward, real steps only.
//
// Plain C++17 that knows nothing of TensorFlow; ops.cc puts it into TensorFlow. Arrays are dense,
// row-major, float32. B sequences, T padded steps, D features, H hidden units, G gates. What stands
// at padded steps is never read.

#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace seqmask {

enum class Cell { kLstm, kGru, kGruResetBefore };

int NumGates(Cell cell);    // 4 for an LSTM, 3 for a GRU
int NumStates(Cell cell);   // 2 for an LSTM (hidden, cell), 1 for a GRU
int BiasRows(Cell cell);    // 2 for a GRU that resets after the product, else 1

// The arguments of a call; the caller has checked them. H is at least 1; other sizes may be 0.
struct Call {
  Cell cell;
  bool reverse;                    // each sequence from its own last step to its first
  int64_t batch, maxlen, input_size, hidden_size;
  const int32_t* lengths;          // [B], 0 <= lengths <= T
  const float* inputs;             // [B, T, D]
  const float* kernel;             // [D, G H], gates as in Keras
  const float* recurrent_kernel;   // [H, G H]
  const float* bias;               // [BiasRows, G H]
  const float* initial_state[2];   // [B, H] each
  const float* dropout;            // [B, H], multiplies the state that the gates see; or null
};

// What the backward pass takes from the forward pass: one row for each real step, in an order and
// a layout of their own.
struct Saved {
  float* gates;                    // [steps, GateFloats]
  float* extra;                    // [steps, ExtraFloats]
};
int64_t CountSteps(const Call& call);
int64_t GateFloats(const Call& call);
int64_t ExtraFloats(const Call& call);

struct Results {
  float* outputs;                  // [B, T, H], 0 at padded steps
  float* final_state[2];           // [B, H] each
  Saved saved;                     // null where nothing will go backward
};

struct Gradients {
  const float* outputs;            // [B, T, H], as results of the forward pass
  const float* gates;              // as saved
  const float* extra;
  float* d_gates;                  // like gates, scratch; may be gates
  const float* d_outputs;          // [B, T, H]
  const float* d_final_state[2];   // [B, H] each
  float* d_inputs;                 // [B, T, D], 0 at padded steps; or null
  float* d_kernel;                 // [D, G H]
  float* d_recurrent_kernel;       // [H, G H]
  float* d_bias;                   // [BiasRows, G H]
  float* d_initial_state[2];       // [B, H] each
};

// Runs task(0) to task(count - 1), side by side if it can, and returns when all are done.
using Parallel = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// Both throw std::bad_alloc and nothing else. The results do not depend on `threads`.
void Forward(const Call& call, const Results& results, int threads, const Parallel& parallel);
void Backward(const Call& call, const Gradients& gradients, int threads, const Parallel& parallel);

// What the gates go through, in place; for tests. `count` is a multiple of 16.
enum class Activation { kSigmoid, kTanh };
void Activate(Activation activation, int64_t count, float* numbers);

// The instruction sets that this processor can run, best first, and the one in use: the best, until
// UseTarget is called, which is false for a name that is not among them. It must not be called
// while anything runs, nor between a forward pass and its way back: what was saved has the old
// layout.
std::vector<std::string> Targets();
std::string TargetInUse();
bool UseTarget(const std::string& name);

}  // namespace seqmask
