// What recurrence.cc prepares and hands to one of the targets that steps.cc is compiled for.
//
// A gate fills a plane of `padded` numbers, H rounded up to whole vectors, so that no vector holds
// two gates. A row of sums, or of saved gates, is the planes of a cell one after the other.

#pragma once

#include "recurrence.h"

namespace seqmask {

// Which planes a product fills, or is taken over: `count` of them, from `first` on.
struct Window {
  int first, count;
};

// The planes of a cell. A GRU that resets after the product keeps u = d U_g + b' apart from the
// inputs' share of g; d is the state that the gates see, h_tm1 after dropout. One that resets
// before the product multiplies e = r d with U_g in a product of its own.
struct Planes {
  int all;
  Window input, recurrent, reset;
  int gate[4];               // of each plane, in Keras's order
  int extra;                 // planes saved apart: an LSTM's cell states; e
};
constexpr Planes kPlanes[] = {
    {4, {0, 4}, {0, 4}, {0, 0}, {0, 1, 2, 3}, 1},    // i f g o
    {4, {1, 3}, {0, 3}, {0, 0}, {2, 0, 1, 2}, 0},    // u z r g
    {3, {0, 3}, {0, 2}, {2, 1}, {0, 1, 2, 0}, 1},    // z r g
};
constexpr const Planes& PlanesOf(Cell cell) { return kPlanes[static_cast<int>(cell)]; }

// A weight matrix [rows, G H] packed into panels.
struct Panels {
  float* input;              // kernel
  float* recurrent;          // recurrent_kernel, the gates of Planes::recurrent
  float* reset;              // recurrent_kernel, the gate of Planes::reset
};

struct Job {
  Call call;
  Results results;           // of the forward pass
  Gradients gradients;       // of the backward pass
  int64_t padded;            // numbers of a plane
  const int64_t* first_row;  // [B], the saved row of each sequence's first step
  float* bias;               // [planes, padded]
  Panels panels;
};

// Sequences that one thread takes through all their steps, longest first.
struct Group {
  const int32_t* sequences;  // [size], rows of the batch
  int64_t size;
};

// Inputs are multiplied for this many rows at a time: a few sequences alone make thin products.
constexpr int64_t kChunkRows = 48;
// Weight gradients are added up over this many steps at a time.
constexpr int64_t kChunkSteps = 128;

inline int64_t RoundUp(int64_t size, int64_t width) { return (size + width - 1) / width * width; }

struct Target {
  const char* name;
  int64_t width;             // numbers of a vector
  // Task `task` of `tasks`.
  void (*pack)(const Job&, bool backward, int64_t task, int64_t tasks);
  void (*forward)(const Job&, const Group&, float* scratch);
  void (*backward)(const Job&, const Group&, float* scratch);
  void (*weight_gradients)(const Job&, int64_t task, int64_t tasks, float* scratch);
  // Of `count` numbers, whole vectors.
  void (*activate)(Activation, int64_t count, float* numbers);
};

// Numbers of scratch that a group, and a task of the weight gradients, need; their pieces start on
// cache lines of their own.
constexpr int64_t kLine = 16, kMostPieces = 8;
inline int64_t GroupFloats(const Job& job, int64_t rows) {
  const int64_t planes = PlanesOf(job.call.cell).all;
  const int64_t chunk = rows > kChunkRows ? rows : kChunkRows;
  return chunk * (planes * job.padded + RoundUp(job.call.input_size, kLine)) +
         6 * rows * job.padded + kMostPieces * kLine;
}
inline int64_t WeightsFloats(const Job& job, int64_t features) {
  const int64_t planes = PlanesOf(job.call.cell).all;
  return features * planes * job.padded + kChunkSteps * (features + 4 * kLine) +
         planes * job.padded + kMostPieces * kLine;
}

}  // namespace seqmask
