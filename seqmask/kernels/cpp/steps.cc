// Groups of sequences through time, compiled once for every target.
//
// No function of the standard library that might be inlined is used here: the linker keeps one copy
// of such a function, and it must not be one that only the newest processors can run.

#include "cells.h"
#include "product.h"
#include "target.h"
#include "vector.h"

namespace seqmask {
namespace SEQMASK_TARGET {

constexpr int kPanelVectors = 4;     // of a panel whose columns are not tied to gates
static_assert(kWidth <= kLine, "scratch is counted in lines");

// sums += a b, b a packed matrix of `columns` numbers, whole vectors, in panels of kPanelVectors.
inline void MultiplyPanels(int64_t rows, Rows a, int64_t depth, const float* panels,
                           int64_t columns, float* sums, int64_t sums_row) {
  for (int64_t k = 0; k < columns; k += kPanelVectors * kWidth) {
    const int64_t rest = (columns - k) / kWidth;
    const int64_t vectors = rest < kPanelVectors ? rest : kPanelVectors;
    Multiply(vectors, rows, a, depth, panels + k * depth, vectors * kWidth,
             {sums + k, sums_row, kWidth});
  }
}

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

// --- Packing -------------------------------------------------------------------------------------

// Weights [depth, G H] for the forward pass: the panel of a block of units holds that block of every
// gate of the window.
inline void PackForward(const Job& job, const float* weights, int64_t depth, Window window,
                        int64_t unit, float* panels) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size, row = NumGates(job.call.cell) * H;
  float* to = panels + unit * depth * window.count;
  for (int64_t k = 0; k < depth; ++k)
    for (int v = 0; v < window.count; ++v, to += kWidth)
      Store(to, LoadPart(weights + k * row + planes.gate[window.first + v] * H + unit, H - unit));
}

// The transposed weights for the backward pass, [window planes, rows]: columns [first, first + 4
// vectors) are the first rows of `weights`.
inline void PackBackward(const Job& job, const float* weights, int64_t rows, Window window,
                         int64_t first, float* panels) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t H = job.call.hidden_size, row = NumGates(job.call.cell) * H;
  const int64_t depth = window.count * job.padded;
  const int64_t rest = RoundUp(rows, kWidth) - first;
  const int64_t columns = rest < kPanelVectors * kWidth ? rest : kPanelVectors * kWidth;
  float* to = panels + first * depth;
  for (int v = 0; v < window.count; ++v) {
    const int64_t gate = planes.gate[window.first + v] * H;
    for (int64_t k = 0; k < job.padded; ++k, to += columns) {
      for (int64_t n = 0; n < columns; ++n) {
        const bool inside = k < H && first + n < rows;
        to[n] = inside ? weights[(first + n) * row + gate + k] : 0.0f;
      }
    }
  }
}

void Pack(const Job& job, bool backward, int64_t task, int64_t tasks) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t D = call.input_size, H = call.hidden_size;
  const Panels& panels = job.panels;
  if (backward) {
    const int64_t columns = kPanelVectors * kWidth;
    if (job.gradients.d_inputs != nullptr)
      for (int64_t k = task * columns; k < D; k += tasks * columns)
        PackBackward(job, call.kernel, D, planes.input, k, panels.input);
    for (int64_t k = task * columns; k < H; k += tasks * columns) {
      PackBackward(job, call.recurrent_kernel, H, planes.recurrent, k, panels.recurrent);
      PackBackward(job, call.recurrent_kernel, H, planes.reset, k, panels.reset);
    }
  } else {
    for (int64_t unit = task * kWidth; unit < H; unit += tasks * kWidth) {
      PackForward(job, call.kernel, D, planes.input, unit, panels.input);
      PackForward(job, call.recurrent_kernel, H, planes.recurrent, unit, panels.recurrent);
      PackForward(job, call.recurrent_kernel, H, planes.reset, unit, panels.reset);
    }
  }
}

// --- Forward -------------------------------------------------------------------------------------

// What a group carries from step to step, a plane for each of its sequences.
struct State {
  float* h;
  float* h_tm1;
  float* c;                  // LSTM
  float* dropout;            // of the state that the gates see, or null
  float* d;                  // that state; h_tm1 itself without dropout
  float* e;                  // GRU that resets before the product
};

// Runs the rows of one step: `sums` hold the inputs' share of the gates, and become the gates.
inline void ForwardStep(const Job& job, int64_t rows, float* sums, const State& state) {
  const int64_t P = job.padded, H = job.call.hidden_size;
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t row = planes.all * P;
  const Window window = planes.recurrent;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    Multiply(window.count, rows, {state.d, P, 1}, H, job.panels.recurrent + unit * H * window.count,
             window.count * kWidth, {sums + window.first * P + unit, row, P});
    for (int64_t r = 0; r < rows; ++r) {
      const ForwardRow at{sums + r * row, state.h_tm1 + r * P, state.h + r * P, state.c + r * P};
      if (job.call.cell == Cell::kLstm)
        LstmForward(at, P, unit, unit + kWidth);
      else if (job.call.cell == Cell::kGru)
        GruForward(at, P, unit, unit + kWidth);
      else
        ResetForward(at.gates, state.d + r * P, state.e + r * P, P, unit, unit + kWidth);
    }
  }
  if (job.call.cell != Cell::kGruResetBefore) return;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    Multiply(1, rows, {state.e, P, 1}, H, job.panels.reset + unit * H, kWidth,
             {sums + planes.reset.first * P + unit, row, P});
    for (int64_t r = 0; r < rows; ++r)
      GruResetBeforeForward({sums + r * row, state.h_tm1 + r * P, state.h + r * P, nullptr}, P, unit,
                            unit + kWidth);
  }
}

// The inputs' share of all gates, biases added.
inline void Project(const Job& job, int64_t rows, const float* x, float* sums) {
  const int64_t P = job.padded, D = job.call.input_size;
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t row = planes.all * P;
  const Window window = planes.input;
  for (int64_t unit = 0; unit < P; unit += kWidth) {
    for (int v = 0; v < planes.all; ++v) {
      const Vector bias = Load(job.bias + v * P + unit);
      for (int64_t r = 0; r < rows; ++r) Store(sums + r * row + v * P + unit, bias);
    }
    Multiply(window.count, rows, {x, D, 1}, D, job.panels.input + unit * D * window.count,
             window.count * kWidth, {sums + window.first * P + unit, row, P});
  }
}

void Forward(const Job& job, const Group& group, float* scratch) {
  const Call& call = job.call;
  const Results& to = job.results;
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, G = group.size;
  const int64_t row = PlanesOf(call.cell).all * P;
  const int64_t states = NumStates(call.cell);
  Arena arena(scratch);
  const int64_t chunk = G > kChunkRows ? G : kChunkRows;
  float* sums = arena.Take(chunk * row);
  float* x = arena.Take(chunk * D);
  State state{arena.Take(G * P), arena.Take(G * P), arena.Take(G * P), nullptr, nullptr, nullptr};
  if (call.dropout != nullptr) state.dropout = arena.Take(G * P), state.d = arena.Take(G * P);
  state.e = arena.Take(G * P);
  Clear(state.h, G * P);
  Clear(state.c, G * P);
  for (int64_t r = 0; r < G; ++r) {
    const int64_t b = group.rows[r];
    Copy(state.h + r * P, call.initial_state[0] + b * H, H);
    if (states == 2) Copy(state.c + r * P, call.initial_state[1] + b * H, H);
    if (call.dropout != nullptr) {
      Clear(state.dropout + r * P, P);
      Copy(state.dropout + r * P, call.dropout + b * H, H);
    }
    Clear(to.outputs + (b * call.maxlen + call.lengths[b]) * H,
          (call.maxlen - call.lengths[b]) * H);
  }

  int64_t alive = G;         // rows whose sequence has a step `step`
  auto leave = [&](int64_t step) {
    for (; alive > 0 && call.lengths[group.rows[alive - 1]] == step; --alive) {
      const int64_t b = group.rows[alive - 1];
      Copy(to.final_state[0] + b * H, state.h + (alive - 1) * P, H);
      if (states == 2) Copy(to.final_state[1] + b * H, state.c + (alive - 1) * P, H);
    }
  };
  leave(0);
  for (int64_t step = 0; alive > 0;) {
    int64_t rows = 0, end = step;    // a chunk of steps
    for (int64_t n = alive; n > 0 && (end == step || rows + n <= kChunkRows); ++end) {
      for (int64_t r = 0; r < n; ++r, ++rows)
        Copy(x + rows * D, call.inputs + At(call, group.rows[r], end) * D, D);
      while (n > 0 && call.lengths[group.rows[n - 1]] == end + 1) --n;
    }
    Project(job, rows, x, sums);
    for (float* here = sums; step < end;) {
      float* swapped = state.h;
      state.h = state.h_tm1;
      state.h_tm1 = swapped;
      if (call.dropout == nullptr) {
        state.d = state.h_tm1;
      } else {
        for (int64_t k = 0; k < alive * P; k += kWidth)
          Store(state.d + k, Load(state.h_tm1 + k) * Load(state.dropout + k));
      }
      ForwardStep(job, alive, here, state);
      for (int64_t r = 0; r < alive; ++r) {
        const int64_t b = group.rows[r];
        Copy(to.outputs + At(call, b, step) * H, state.h + r * P, H);
        if (to.saved.gates == nullptr) continue;
        const int64_t at = job.first[b] + step;
        Copy(to.saved.gates + at * row, here + r * row, row);
        if (call.cell == Cell::kLstm) Copy(to.saved.extra + at * P, state.c + r * P, P);
        if (call.cell == Cell::kGruResetBefore) Copy(to.saved.extra + at * P, state.e + r * P, P);
      }
      here += alive * row;
      leave(++step);
    }
  }
}

// --- Backward ------------------------------------------------------------------------------------

void Backward(const Job& job, const Group& group, float* scratch) {
  const Call& call = job.call;
  const Gradients& g = job.gradients;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, D = call.input_size, G = group.size;
  const int64_t row = planes.all * P, x_row = RoundUp(D, kWidth);
  const int64_t states = NumStates(call.cell);
  const bool reset_before = call.cell == Cell::kGruResetBefore;
  Arena arena(scratch);
  float* d_gates = arena.Take(G * row);
  float* d_x = arena.Take(G * x_row);
  float* d_h = arena.Take(G * P);
  float* d_c = arena.Take(G * P);
  float* d_d = call.dropout == nullptr ? d_h : arena.Take(G * P);
  float* d_e = arena.Take(G * P);
  float* d = arena.Take(P);
  Clear(d_h, G * P);
  Clear(d_c, G * P);
  for (int64_t r = 0; r < G; ++r) {
    const int64_t b = group.rows[r];
    Copy(d_h + r * P, g.d_final_state[0] + b * H, H);
    if (states == 2) Copy(d_c + r * P, g.d_final_state[1] + b * H, H);
    if (g.d_inputs != nullptr)
      Clear(g.d_inputs + (b * call.maxlen + call.lengths[b]) * D,
            (call.maxlen - call.lengths[b]) * D);
  }

  int64_t alive = 0;
  for (int64_t step = G > 0 ? call.lengths[group.rows[0]] - 1 : -1; step >= 0; --step) {
    while (alive < G && call.lengths[group.rows[alive]] > step) ++alive;
    auto before = [&](int64_t b) {     // h_tm1
      return step == 0 ? call.initial_state[0] + b * H : g.outputs + At(call, b, step - 1) * H;
    };
    for (int64_t r = 0; r < alive; ++r) {
      const int64_t b = group.rows[r], at = job.first[b] + step;
      BackwardRow here{};
      here.gates = g.gates + at * row;
      here.d_gates = d_gates + r * row;
      here.h_tm1 = before(b);
      here.d_output = g.d_outputs + At(call, b, step) * H;
      here.d_h = d_h + r * P;
      if (call.cell == Cell::kLstm) {
        here.c = g.extra + at * P;
        here.c_tm1 = step == 0 ? call.initial_state[1] + b * H : here.c - P;
        here.c_tm1_size = step == 0 ? H : P;
        here.d_c = d_c + r * P;
        LstmBackward(here, P, H);
      } else if (call.cell == Cell::kGru) {
        GruBackward(here, P, H);
      } else {
        GruResetBeforeBackward(here, P, H);
      }
    }
    if (call.dropout != nullptr) Clear(d_d, alive * P);
    if (reset_before) {
      Clear(d_e, alive * P);
      MultiplyPanels(alive, {d_gates + planes.reset.first * P, row, 1}, planes.reset.count * P,
                     job.panels.reset, P, d_e, P);
      for (int64_t r = 0; r < alive; ++r) {
        const int64_t b = group.rows[r];
        const float* h_tm1 = before(b);
        Copy(d, h_tm1, H);
        if (call.dropout != nullptr)
          for (int64_t k = 0; k < H; ++k) d[k] *= call.dropout[b * H + k];
        ResetBackward(g.gates + (job.first[b] + step) * row, d_gates + r * row, d, d_e + r * P, P,
                      H);
        for (int64_t k = 0; k < P; k += kWidth)
          Store(d_d + r * P + k, Load(d_d + r * P + k) + Load(d_e + r * P + k));
      }
    }
    MultiplyPanels(alive, {d_gates + planes.recurrent.first * P, row, 1},
                   planes.recurrent.count * P, job.panels.recurrent, P, d_d, P);
    if (call.dropout != nullptr)
      for (int64_t r = 0; r < alive; ++r)
        for (int64_t k = 0; k < H; ++k)
          d_h[r * P + k] += d_d[r * P + k] * call.dropout[group.rows[r] * H + k];
    if (g.d_inputs != nullptr) {
      Clear(d_x, alive * x_row);
      MultiplyPanels(alive, {d_gates + planes.input.first * P, row, 1}, planes.input.count * P,
                     job.panels.input, x_row, d_x, x_row);
    }
    for (int64_t r = 0; r < alive; ++r) {
      const int64_t b = group.rows[r];
      Copy(g.d_gates + (job.first[b] + step) * row, d_gates + r * row, row);
      if (g.d_inputs != nullptr) Copy(g.d_inputs + At(call, b, step) * D, d_x + r * x_row, D);
    }
  }
  for (int64_t r = 0; r < G; ++r) {
    const int64_t b = group.rows[r];
    Copy(g.d_initial_state[0] + b * H, d_h + r * P, H);
    if (states == 2) Copy(g.d_initial_state[1] + b * H, d_c + r * P, H);
  }
}

// --- Weight gradients ----------------------------------------------------------------------------

// What a weight is multiplied with: x, d (the state that the gates see) or e.
enum class Factor { kInput, kState, kReset };

// The factor's features [first, first + count) at the steps from (sequence, step) on.
inline void GatherFactor(const Job& job, Factor factor, int64_t first, int64_t count, int64_t b,
                         int64_t step, float* to) {
  const Call& call = job.call;
  const int64_t H = call.hidden_size;
  if (factor == Factor::kInput) {
    Copy(to, call.inputs + At(call, b, step) * call.input_size + first, count);
  } else if (factor == Factor::kReset) {
    Copy(to, job.gradients.extra + (job.first[b] + step) * job.padded + first, count);
  } else {
    const float* from = step == 0 ? call.initial_state[0] + b * H
                                  : job.gradients.outputs + At(call, b, step - 1) * H;
    Copy(to, from + first, count);
    if (call.dropout != nullptr)
      for (int64_t k = 0; k < count; ++k) to[k] *= call.dropout[b * H + first + k];
  }
}

// Adds up d_weights[first : first + count] over all steps, and writes the gates of `window`.
inline void WeightGradient(const Job& job, Factor factor, int64_t size, Window window, int64_t task,
                           int64_t tasks, float* d_weights, float* scratch) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, row = planes.all * P;
  const int64_t first = size * task / tasks, count = size * (task + 1) / tasks - first;
  if (count == 0 || window.count == 0) return;
  const int64_t columns = window.count * P, panel = kPanelVectors * kWidth;
  Arena arena(scratch);
  float* sums = arena.Take(count * columns);
  float* a = arena.Take(kChunkSteps * count);
  float* packed = arena.Take(kChunkSteps * panel);
  Clear(sums, count * columns);
  int64_t steps = 0, done = 0;
  auto add = [&]() {
    for (int64_t k = 0; k < columns; k += panel) {
      const int64_t width = columns - k < panel ? columns - k : panel;
      const float* from = job.gradients.d_gates + done * row + window.first * P + k;
      for (int64_t s = 0; s < steps; ++s)
        for (int64_t n = 0; n < width; n += kWidth)
          Store(packed + s * width + n, Load(from + s * row + n));
      Multiply(width / kWidth, count, {a, 1, count}, steps, packed, width,
               {sums + k, columns, kWidth});
    }
    done += steps;
    steps = 0;
  };
  for (int64_t b = 0; b < call.batch; ++b) {
    for (int64_t step = 0; step < call.lengths[b]; ++step) {
      GatherFactor(job, factor, first, count, b, step, a + steps * count);
      if (++steps == kChunkSteps) add();
    }
  }
  add();
  for (int64_t k = 0; k < count; ++k)
    for (int v = 0; v < window.count; ++v)
      Copy(d_weights + ((first + k) * NumGates(call.cell) + planes.gate[window.first + v]) * H,
           sums + k * columns + v * P, H);
}

// Bias gradients are sums over all steps; a task has some of the planes' vectors.
inline void BiasGradient(const Job& job, int64_t task, int64_t tasks, float* sums) {
  const Call& call = job.call;
  const Planes& planes = PlanesOf(call.cell);
  const int64_t P = job.padded, H = call.hidden_size, row = planes.all * P;
  int64_t steps = 0;
  for (int64_t b = 0; b < call.batch; ++b) steps += call.lengths[b];
  const int64_t vectors = row / kWidth;
  const int64_t first = vectors * task / tasks * kWidth;
  const int64_t last = vectors * (task + 1) / tasks * kWidth;
  Clear(sums, row);
  for (int64_t s = 0; s < steps; ++s)
    for (int64_t k = first; k < last; k += kWidth)
      Store(sums + k, Load(sums + k) + Load(job.gradients.d_gates + s * row + k));
  auto write = [&](Window window, float* to) {
    for (int v = window.first; v < window.first + window.count; ++v)
      for (int64_t k = 0; k < H; ++k)
        if (v * P + k >= first && v * P + k < last) to[planes.gate[v] * H + k] = sums[v * P + k];
  };
  write(planes.input, job.gradients.d_bias);
  if (BiasRows(call.cell) == 2)
    write(planes.recurrent, job.gradients.d_bias + NumGates(call.cell) * H);
}

void Weights(const Job& job, int64_t task, int64_t tasks, float* scratch) {
  const Planes& planes = PlanesOf(job.call.cell);
  const int64_t D = job.call.input_size, H = job.call.hidden_size;
  const Gradients& g = job.gradients;
  WeightGradient(job, Factor::kInput, D, planes.input, task, tasks, g.d_kernel, scratch);
  WeightGradient(job, Factor::kState, H, planes.recurrent, task, tasks, g.d_recurrent_kernel,
                 scratch);
  WeightGradient(job, Factor::kReset, H, planes.reset, task, tasks, g.d_recurrent_kernel, scratch);
  BiasGradient(job, task, tasks, scratch);
}

#define SEQMASK_QUOTED(name) #name
#define SEQMASK_NAME(name) SEQMASK_QUOTED(name)
extern const Target kTarget;
const Target kTarget = {SEQMASK_NAME(SEQMASK_TARGET), kWidth, Pack, Forward, Backward, Weights};

}  // namespace SEQMASK_TARGET
}  // namespace seqmask
