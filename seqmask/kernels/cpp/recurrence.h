// LSTM and GRU over sequences of unequal length, forward and backward, real steps only.
//
// Plain C++17 without TensorFlow, which ops.cc connects it to. Arrays are dense, row-major,
// float32. B sequences, T padded steps, D features, H hidden units, G gates. Values at padded steps
// are never read.

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

// The arguments of a call, which the caller has checked. H is at least 1; other sizes may be 0.
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
  const float* dropout;            // [B, H], multiplies h_tm1 before the gates; or null
};

// What the forward pass keeps for the backward pass: one row for each real step, in a private order
// and layout.
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
  Saved saved;                     // null if there will be no backward pass
};

struct Gradients {
  const float* outputs;            // [B, T, H], from the forward pass
  const float* gates;              // as saved
  const float* extra;
  float* d_gates;                  // scratch of the shape of gates; may be gates itself
  const float* d_outputs;          // [B, T, H]
  const float* d_final_state[2];   // [B, H] each
  float* d_inputs;                 // [B, T, D], 0 at padded steps; or null
  float* d_kernel;                 // [D, G H]
  float* d_recurrent_kernel;       // [H, G H]
  float* d_bias;                   // [BiasRows, G H]
  float* d_initial_state[2];       // [B, H] each
};

// Runs task(0) to task(count - 1), in parallel where possible, and returns when all are done.
using Parallel = std::function<void(int64_t count, const std::function<void(int64_t)>& task)>;

// Both throw std::bad_alloc and nothing else. The results do not depend on `threads`.
void Forward(const Call& call, const Results& results, int threads, const Parallel& parallel);
void Backward(const Call& call, const Gradients& gradients, int threads, const Parallel& parallel);

// One step of every sequence, as a call with T = 1 and lengths 1, on the calling thread; `lengths`
// and `dropout` are not read. The weights are taken as they stand, not packed first. The new state
// is `final_state`; `outputs` and `d_outputs` are not used, nor is `d_gates`.
void StepForward(const Call& call, const Results& results);
void StepBackward(const Call& call, const Gradients& gradients);

// Applies a gate's activation in place; for tests. `count` is a multiple of 16.
enum class Activation { kSigmoid, kTanh };
void Activate(Activation activation, int64_t count, float* numbers);

// The instruction sets that this processor can run, best first, and the one in use: the best, until
// UseTarget chooses another. UseTarget returns false for any other name. Never call it while a pass
// runs, or between a forward pass and its backward pass: the saved gates have the old layout.
std::vector<std::string> Targets();
std::string TargetInUse();
bool UseTarget(const std::string& name);

}  // namespace seqmask
