// What recurrence.cc passes to a target, one instruction set that steps.cc is compiled for.
//
// A gate fills a plane of `padded` numbers: H rounded up to whole vectors, so that no vector holds
// two gates. A row of sums, or of saved gates, is the planes of a cell one after the other.

#pragma once

#include "network.h"
#include "recurrence.h"

namespace seqmask {

// The `count` planes, from `first` on, that a product writes or sums over.
struct Window {
  int first, count;
};

// The planes of a cell; d is h_tm1 after dropout. A GRU that resets after the product keeps
// u = d U_g + b' in a plane separate from the input projection of g. One that resets before the
// product multiplies e = r d with U_g in a separate product.
struct Planes {
  int all;
  Window input, recurrent, reset;
  int gate[4];               // the gate of each plane, in Keras's order
  int extra;                 // planes saved besides the gates: an LSTM's cell state; e
};
constexpr Planes kPlanes[] = {
    {4, {0, 4}, {0, 4}, {0, 0}, {0, 1, 2, 3}, 1},    // i f g o
    {4, {1, 3}, {0, 3}, {0, 0}, {2, 0, 1, 2}, 0},    // u z r g
    {3, {0, 3}, {0, 2}, {2, 1}, {0, 1, 2, 0}, 1},    // z r g
};
constexpr const Planes& PlanesOf(Cell cell) { return kPlanes[static_cast<int>(cell)]; }

// Of the stages of a network: the cells above, one that runs step by step only, and a dense map.
constexpr Planes kMguPlanes = {2, {0, 2}, {0, 1}, {1, 1}, {0, 1}, 0};    // f g
constexpr Planes kDensePlanes = {1, {0, 1}, {0, 0}, {0, 0}, {0}, 0};
constexpr const Planes& PlanesOf(StageKind kind) {
  switch (kind) {
    case StageKind::kLstm: return PlanesOf(Cell::kLstm);
    case StageKind::kGru: return PlanesOf(Cell::kGru);
    case StageKind::kGruResetBefore: return PlanesOf(Cell::kGruResetBefore);
    case StageKind::kMgu: return kMguPlanes;
    default: return kDensePlanes;
  }
}

// The weight matrices, packed into panels.
struct Panels {
  float* input;              // kernel
  float* recurrent;          // recurrent_kernel, the gates of Planes::recurrent
  float* reset;              // recurrent_kernel, the gate of Planes::reset
};

struct Job {
  Call call;
  Results results;           // of the forward pass
  Gradients gradients;       // of the backward pass
  int64_t padded;            // numbers in a plane
  const int64_t* first_row;  // [B], the saved row of each sequence's first step
  float* bias;               // [planes, padded]
  Panels panels;
};

// Sequences that one thread runs through all their steps, longest first.
struct Group {
  const int32_t* sequences;  // [size], rows of the batch
  int64_t size;
};

// Inputs are projected this many rows at a time, because products of a few rows are slow.
constexpr int64_t kBlockRows = 48;
// Weight gradients are summed over this many steps at a time.
constexpr int64_t kBlockSteps = 128;

inline int64_t RoundUp(int64_t size, int64_t width) { return (size + width - 1) / width * width; }

// A stage of a network, its weights packed, with room for its state, its outputs and what is between.
struct Layer {
  Stage stage;
  int64_t padded;            // numbers of a plane; a dense map is one plane
  float* bias;               // [planes, padded]; of kStandardize the means, then the scales
  Panels panels;             // input: [depth, planes padded]; recurrent; reset
  Rows state[2];             // [B, H], or [B, reach D] of a convolution
  Rows outputs;              // [B, K]; of a cell its state
  float* sums;               // [B, planes padded] of a cell
  float* seen;               // [B, kernel_size D], the taps of a convolution; or e [B, padded]
};

struct Target {
  const char* name;
  int64_t width;             // numbers in a vector
  void (*pack)(const Job&, bool backward, int64_t task, int64_t tasks);
  void (*forward)(const Job&, const Group&, float* scratch);
  void (*backward)(const Job&, const Group&, float* scratch);
  void (*weight_gradients)(const Job&, int64_t task, int64_t tasks, float* scratch);
  void (*activate)(Activation, int64_t count, float* numbers);    // in place, whole vectors
  // The weights of a layer into its panels; one step of it.
  void (*pack_layer)(const Layer&);
  void (*run_layer)(const Layer&, int64_t batch, Rows x);
  // A call of one step; of the job neither `first_row` nor `panels` are read.
  void (*step_forward)(const Job&, float* scratch);
  void (*step_backward)(const Job&, float* scratch);
};
const Target& CurrentTarget();

// Scratch floats of a group, and of a weight-gradient task. Each piece starts on a cache line.
constexpr int64_t kLine = 16, kMaxPieces = 8;
inline int64_t GroupFloats(const Job& job, int64_t rows) {
  const int64_t planes = PlanesOf(job.call.cell).all;
  const int64_t block = rows > kBlockRows ? rows : kBlockRows;
  return block * (planes * job.padded + RoundUp(job.call.input_size, kLine)) +
         6 * rows * job.padded + kMaxPieces * kLine;
}
inline int64_t WeightsFloats(const Job& job, int64_t features) {
  const int64_t planes = PlanesOf(job.call.cell).all;
  return features * planes * job.padded + kBlockSteps * (features + 4 * kLine) +
         planes * job.padded + kMaxPieces * kLine;
}

constexpr int64_t kBlockVectors = 4;      // of a block of columns that a step copies
inline int64_t StepFloats(const Job& job) {
  const int64_t deepest = job.call.input_size > job.call.hidden_size ? job.call.input_size
                                                                     : job.call.hidden_size;
  return job.call.batch * (PlanesOf(job.call.cell).all + 2) * job.padded +
         kBlockVectors * deepest * kLine + kMaxPieces * kLine;
}

}  // namespace seqmask
