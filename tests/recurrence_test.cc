// The C++ core on its own, against equations in double precision:
//
//   recurrence_test [cases [first [stride]]]
//
// Case k is the same in every run. Every array is a vector of its own, exactly as large as
// recurrence.h says, so that AddressSanitizer sees one number too many; an empty one is null, as in
// TensorFlow. What has to be written starts as NaN, and so does what must not be read.
//
// Sigmoid and tanh are checked on every `stride`-th block of floats, 1 for all there are.

#include "recurrence.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <thread>

namespace {

using seqmask::Cell;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinite = std::numeric_limits<float>::infinity();
constexpr int kThreads[] = {1, 2, 3, 7};
// Several times what float32 loses in the longest sums of these cases.
constexpr double kTolerance = 1e-5;

std::string description;     // of what is running
int failures = 0;
int64_t most_tasks = 0;      // that ran side by side

void Fail(const std::string& what) {
  ++failures;
  std::printf("%s: %s\n", description.c_str(), what.c_str());
}

// Each task on a thread of its own.
void RunOnThreads(int64_t count, const std::function<void(int64_t)>& task) {
  most_tasks = std::max(most_tasks, count);
  std::vector<std::thread> threads;
  for (int64_t k = 0; k < count; ++k) threads.emplace_back(task, k);
  for (std::thread& thread : threads) thread.join();
}

// --- Reverse-mode differentiation, so that the reference needs no backward equations -------------

struct Node {
  Doubles value, gradient;
};
using Var = std::shared_ptr<Node>;

Var Make(Doubles value) {
  Doubles gradient(value.size(), 0.0);
  return std::make_shared<Node>(Node{std::move(value), std::move(gradient)});
}

template <typename Iterator>
Var MakeFrom(Iterator from, int64_t size) {
  return Make(Doubles(from, from + size));
}

// A value and its derivatives to both operands.
struct Partials {
  double value, a, b;
};
Partials Plus(double a, double b) { return {a + b, 1.0, 1.0}; }
Partials Minus(double a, double b) { return {a - b, 1.0, -1.0}; }
Partials Times(double a, double b) { return {a * b, b, a}; }
Partials Sigmoid(double a, double) {
  const double y = 1.0 / (1.0 + std::exp(-a));
  return {y, y * (1.0 - y), 0.0};
}
Partials Tanh(double a, double) {
  const double y = std::tanh(a);
  return {y, 1.0 - y * y, 0.0};
}

class Tape {
 public:
  // Element by element; f(a) where there is no b.
  Var Map(Partials f(double, double), const Var& a, Var b = nullptr) {
    if (b == nullptr) b = a;
    const size_t size = a->value.size();
    Var y = Make(Doubles(size));
    std::vector<Partials> partials(size);
    for (size_t k = 0; k < size; ++k) {
      partials[k] = f(a->value[k], b->value[k]);
      y->value[k] = partials[k].value;
    }
    back_.push_back([=] {
      for (size_t k = 0; k < size; ++k) {
        a->gradient[k] += y->gradient[k] * partials[k].a;
        b->gradient[k] += y->gradient[k] * partials[k].b;
      }
    });
    return y;
  }

  // x w, w [size of x, columns]
  Var Product(const Var& x, const Var& w, size_t columns) {
    Var y = Make(Doubles(columns, 0.0));
    for (size_t k = 0; k < x->value.size(); ++k)
      for (size_t n = 0; n < columns; ++n) y->value[n] += x->value[k] * w->value[k * columns + n];
    back_.push_back([=] {
      for (size_t k = 0; k < x->value.size(); ++k) {
        for (size_t n = 0; n < columns; ++n) {
          x->gradient[k] += y->gradient[n] * w->value[k * columns + n];
          w->gradient[k * columns + n] += x->value[k] * y->gradient[n];
        }
      }
    });
    return y;
  }

  Var Part(const Var& x, int64_t first, int64_t size) {
    Var y = MakeFrom(x->value.begin() + first, size);
    back_.push_back([=] {
      for (int64_t k = 0; k < size; ++k) x->gradient[first + k] += y->gradient[k];
    });
    return y;
  }

  void Back() {
    for (auto step = back_.rbegin(); step != back_.rend(); ++step) (*step)();
    back_.clear();
  }

 private:
  std::vector<std::function<void()>> back_;
};

// --- A case and what must come out ---------------------------------------------------------------

struct Case {
  seqmask::Call call;        // points into the arrays below
  std::vector<int32_t> lengths;
  Floats inputs, kernel, recurrent_kernel, bias, initial_state[2], dropout;
  Floats d_outputs, d_final_state[2];
};

struct Wanted {
  Doubles outputs, final_state[2];
  Doubles d_inputs, d_kernel, d_recurrent_kernel, d_bias, d_initial_state[2];
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed * 2 + 1) {}
  double Number() { return (engine_() >> 11) * 0x1p-53; }      // in [0, 1)
  int64_t Integer(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(Number() * (last - first + 1));
  }
  Floats Array(int64_t size, double scale) {
    Floats numbers(size);
    for (float& number : numbers) number = scale * (2.0 * Number() - 1.0);
    return numbers;
  }

 private:
  std::mt19937_64 engine_;
};

int64_t Position(const seqmask::Call& call, int64_t b, int64_t step) {
  return b * call.maxlen + (call.reverse ? call.lengths[b] - 1 - step : step);
}

// Fills what stands at the padded steps of an array [B, T, width].
void Pad(const Case& of, int64_t width, Floats* array) {
  for (int64_t b = 0; b < of.call.batch; ++b)
    std::fill(array->begin() + (b * of.call.maxlen + of.lengths[b]) * width,
              array->begin() + (b + 1) * of.call.maxlen * width, kNan);
}

std::unique_ptr<Case> MakeCase(int64_t index) {
  Random random(index);
  auto made = std::make_unique<Case>();
  seqmask::Call& call = made->call;
  call = {};
  call.cell = static_cast<Cell>(index % 3);
  call.reverse = index / 3 % 2 == 1;
  const bool dropout = index / 6 % 2 == 1;
  const char* lengths = "0..T";
  if (index < 6) {           // enough work for as many threads as may run
    call.batch = 16, call.maxlen = 40, call.input_size = 20, call.hidden_size = 64;
    lengths = "T/2..T";
  } else {
    auto one_of = [&](std::initializer_list<int64_t> sizes, int64_t first, int64_t last) {
      const int64_t chosen = random.Integer(0, 2 * sizes.size());
      return chosen < static_cast<int64_t>(sizes.size()) ? sizes.begin()[chosen]
                                                         : random.Integer(first, last);
    };
    call.batch = one_of({0, 1, 20}, 1, 20);
    call.maxlen = one_of({0, 1}, 1, 15);
    call.input_size = one_of({0, 1, 64}, 1, 40);
    call.hidden_size = one_of({1, 3, 16, 32, 64}, 1, 70);
    const int64_t chosen = random.Integer(0, 7);
    if (chosen == 0) lengths = "0";
    if (chosen == 1) lengths = "T";
  }
  const int64_t B = call.batch, T = call.maxlen, D = call.input_size, H = call.hidden_size;
  const int64_t GH = seqmask::NumGates(call.cell) * H;
  for (int64_t b = 0; b < B; ++b) {
    const int64_t first = lengths[0] == '0' ? 0 : lengths[1] == '/' ? T / 2 : T;
    made->lengths.push_back(random.Integer(first, lengths[0] == '0' && lengths[1] == 0 ? 0 : T));
  }
  made->lengths.shrink_to_fit();
  made->inputs = random.Array(B * T * D, 2.0);
  made->kernel = random.Array(D * GH, 2.0 / std::sqrt(D + 1.0));
  made->recurrent_kernel = random.Array(H * GH, 2.0 / std::sqrt(H));
  made->bias = random.Array(seqmask::BiasRows(call.cell) * GH, 1.0);
  made->d_outputs = random.Array(B * T * H, 1.0);
  Pad(*made, D, &made->inputs);
  Pad(*made, H, &made->d_outputs);
  for (int k = 0; k < seqmask::NumStates(call.cell); ++k) {
    made->initial_state[k] = random.Array(B * H, 1.0);
    made->d_final_state[k] = random.Array(B * H, 1.0);
    call.initial_state[k] = made->initial_state[k].data();
  }
  if (dropout)
    for (int64_t k = 0; k < B * H; ++k)
      made->dropout.push_back(random.Number() < 0.25 ? 0.0 : 1.0 / 0.75);
  made->dropout.shrink_to_fit();
  call.lengths = made->lengths.data();
  call.inputs = made->inputs.data();
  call.kernel = made->kernel.data();
  call.recurrent_kernel = made->recurrent_kernel.data();
  call.bias = made->bias.data();
  call.dropout = made->dropout.data();

  const char* const cells[] = {"lstm", "gru", "gru_reset_before"};
  char text[200];
  std::snprintf(text, sizeof text, "case %lld: %s%s%s B=%lld T=%lld D=%lld H=%lld lengths=%s",
                static_cast<long long>(index), cells[index % 3], call.reverse ? " reverse" : "",
                dropout ? " dropout" : "", static_cast<long long>(B), static_cast<long long>(T),
                static_cast<long long>(D), static_cast<long long>(H), lengths);
  description = text;
  return made;
}

// The equations of cells.py, one sequence after the other.
Wanted Reference(const Case& of) {
  const seqmask::Call& call = of.call;
  const int64_t B = call.batch, T = call.maxlen, D = call.input_size, H = call.hidden_size;
  const int64_t GH = seqmask::NumGates(call.cell) * H;
  const int num_states = seqmask::NumStates(call.cell);
  Wanted wanted;
  wanted.outputs.assign(B * T * H, 0.0);
  wanted.d_inputs.assign(B * T * D, 0.0);
  Tape tape;
  const Var W = MakeFrom(of.kernel.begin(), D * GH);
  const Var U = MakeFrom(of.recurrent_kernel.begin(), H * GH);
  const Var bias = MakeFrom(of.bias.begin(), of.bias.size());
  for (int64_t b = 0; b < B; ++b) {
    Var initial[2], state[2];
    for (int k = 0; k < num_states; ++k)
      state[k] = initial[k] = MakeFrom(of.initial_state[k].begin() + b * H, H);
    std::vector<Var> inputs, outputs;
    for (int64_t step = 0; step < of.lengths[b]; ++step) {
      const Var h_tm1 = state[0];
      const Var x_t = MakeFrom(of.inputs.begin() + Position(call, b, step) * D, D);
      const Var x = tape.Map(Plus, tape.Product(x_t, W, GH), tape.Part(bias, 0, GH));
      const Var d = of.dropout.empty()
                        ? h_tm1
                        : tape.Map(Times, h_tm1, MakeFrom(of.dropout.begin() + b * H, H));
      Var u = tape.Product(d, U, GH);
      if (call.cell == Cell::kGru) u = tape.Map(Plus, u, tape.Part(bias, GH, GH));
      auto gate = [&](Partials f(double, double), int k) {
        return tape.Map(f, tape.Map(Plus, tape.Part(x, k * H, H), tape.Part(u, k * H, H)));
      };
      if (call.cell == Cell::kLstm) {
        const Var i = gate(Sigmoid, 0), f = gate(Sigmoid, 1);
        const Var g = gate(Tanh, 2), o = gate(Sigmoid, 3);
        state[1] = tape.Map(Plus, tape.Map(Times, f, state[1]), tape.Map(Times, i, g));
        state[0] = tape.Map(Times, o, tape.Map(Tanh, state[1]));
      } else {
        const Var z = gate(Sigmoid, 0), r = gate(Sigmoid, 1);
        const Var u_g =
            call.cell == Cell::kGru
                ? tape.Map(Times, r, tape.Part(u, 2 * H, H))
                : tape.Part(tape.Product(tape.Map(Times, r, d), U, GH), 2 * H, H);
        const Var g = tape.Map(Tanh, tape.Map(Plus, tape.Part(x, 2 * H, H), u_g));
        state[0] = tape.Map(Plus, g, tape.Map(Times, z, tape.Map(Minus, h_tm1, g)));
      }
      inputs.push_back(x_t);
      outputs.push_back(state[0]);
    }
    for (int64_t step = 0; step < of.lengths[b]; ++step) {
      const int64_t at = Position(call, b, step) * H;
      std::copy_n(outputs[step]->value.begin(), H, wanted.outputs.begin() + at);
      for (int64_t k = 0; k < H; ++k) outputs[step]->gradient[k] += of.d_outputs[at + k];
    }
    for (int k = 0; k < num_states; ++k)
      for (int64_t n = 0; n < H; ++n) {
        wanted.final_state[k].push_back(state[k]->value[n]);
        state[k]->gradient[n] += of.d_final_state[k][b * H + n];
      }
    tape.Back();
    for (int64_t step = 0; step < of.lengths[b]; ++step)
      std::copy_n(inputs[step]->gradient.begin(), D,
                  wanted.d_inputs.begin() + Position(call, b, step) * D);
    for (int k = 0; k < num_states; ++k)
      wanted.d_initial_state[k].insert(wanted.d_initial_state[k].end(),
                                       initial[k]->gradient.begin(), initial[k]->gradient.end());
  }
  wanted.d_kernel = W->gradient;
  wanted.d_recurrent_kernel = U->gradient;
  wanted.d_bias = bias->gradient;
  return wanted;
}

// --- What the core makes of it -------------------------------------------------------------------

struct Made {
  const char* name;
  Floats got;
  const Doubles* wanted;     // null where only the bits of two runs are compared
};

void CheckValues(const Made& made) {
  double scale = 1.0;
  for (const double number : *made.wanted) scale = std::max(scale, std::abs(number));
  for (size_t k = 0; k < made.got.size(); ++k) {
    if (std::abs(made.got[k] - (*made.wanted)[k]) <= kTolerance * scale) continue;   // not NaN
    char text[100];
    std::snprintf(text, sizeof text, "%s[%zu] is %.9g, must be %.9g", made.name, k, made.got[k],
                  (*made.wanted)[k]);
    return Fail(text);
  }
}

void CheckSilence(const Case& of, int64_t width, const Made& made) {
  for (int64_t b = 0; b < of.call.batch; ++b)
    for (int64_t k = (b * of.call.maxlen + of.lengths[b]) * width;
         k < (b + 1) * of.call.maxlen * width; ++k)
      if (made.got[k] != 0.0f) return Fail(std::string(made.name) + " is not 0 at a padded step");
}

bool SameBits(const Floats& a, const Floats& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void CheckBits(const std::vector<Made>& one, const std::vector<Made>& other) {
  for (size_t k = 0; k < one.size(); ++k)
    if (!SameBits(one[k].got, other[k].got))
      Fail(std::string(one[k].name) + " depends on the number of threads or on what is wanted");
}

// Outputs, final states, gates, extra.
std::vector<Made> RunForward(const Case& of, const Wanted& wanted, bool save, int threads) {
  const seqmask::Call& call = of.call;
  const int64_t state = call.batch * call.hidden_size;
  const int64_t steps = seqmask::CountSteps(call);
  std::vector<Made> made = {
      {"outputs", Floats(call.maxlen * state, kNan), &wanted.outputs},
      {"final_state[0]", Floats(state, kNan), &wanted.final_state[0]},
      {"final_state[1]", Floats(seqmask::NumStates(call.cell) == 2 ? state : 0, kNan),
       &wanted.final_state[1]},
      {"gates", Floats(steps * seqmask::GateFloats(call), kNan), nullptr},
      {"extra", Floats(steps * seqmask::ExtraFloats(call), kNan), nullptr}};
  seqmask::Results results{};
  results.outputs = made[0].got.data();
  for (int k = 0; k < 2; ++k) results.final_state[k] = made[1 + k].got.data();
  if (save) results.saved = {made[3].got.data(), made[4].got.data()};
  seqmask::Forward(call, results, threads, RunOnThreads);
  if (!save) made.resize(3);
  return made;
}

// All gradients, d_inputs last.
std::vector<Made> RunBackward(const Case& of, const Wanted& wanted,
                              const std::vector<Made>& forward, bool in_place, bool d_inputs,
                              int threads) {
  const seqmask::Call& call = of.call;
  const int64_t state = call.batch * call.hidden_size;
  std::vector<Made> made = {
      {"d_kernel", Floats(of.kernel.size(), kNan), &wanted.d_kernel},
      {"d_recurrent_kernel", Floats(of.recurrent_kernel.size(), kNan), &wanted.d_recurrent_kernel},
      {"d_bias", Floats(of.bias.size(), kNan), &wanted.d_bias},
      {"d_initial_state[0]", Floats(state, kNan), &wanted.d_initial_state[0]},
      {"d_initial_state[1]", Floats(of.initial_state[1].size(), kNan),
       &wanted.d_initial_state[1]},
      {"d_inputs", Floats(of.inputs.size(), kNan), &wanted.d_inputs}};
  Floats outputs = forward[0].got, gates = forward[3].got;
  Pad(of, call.hidden_size, &outputs);
  Floats apart(in_place ? 0 : gates.size(), kNan);
  seqmask::Gradients gradients{};
  gradients.outputs = outputs.data();
  gradients.gates = gates.data();
  gradients.extra = forward[4].got.data();
  gradients.d_gates = in_place ? gates.data() : apart.data();
  gradients.d_outputs = of.d_outputs.data();
  gradients.d_kernel = made[0].got.data();
  gradients.d_recurrent_kernel = made[1].got.data();
  gradients.d_bias = made[2].got.data();
  for (int k = 0; k < 2; ++k) {
    gradients.d_final_state[k] = of.d_final_state[k].data();
    gradients.d_initial_state[k] = made[3 + k].got.data();
  }
  if (d_inputs) gradients.d_inputs = made[5].got.data();
  seqmask::Backward(call, gradients, threads, RunOnThreads);
  if (!in_place && !SameBits(gates, forward[3].got)) Fail("gates are overwritten");
  if (!d_inputs) made.pop_back();
  return made;
}

// Everything that a call may ask for, on the target in use.
void CheckCase(int64_t index, const Case& of, const Wanted& wanted) {
  const std::string known = description + " target=" + seqmask::TargetInUse();
  std::vector<Made> forward, backward;     // of one thread
  for (const int threads : kThreads) {
    description = known + " threads=" + std::to_string(threads);
    const auto saving = RunForward(of, wanted, true, threads);
    if (threads == 1) {
      forward = saving;
      for (int k = 0; k < 3; ++k) CheckValues(forward[k]);
      CheckSilence(of, of.call.hidden_size, forward[0]);
      for (int k = 3; k < 5; ++k)
        for (const float number : forward[k].got)
          if (!std::isfinite(number)) {
            Fail(std::string(forward[k].name) + " are not all written");
            break;
          }
    } else {
      CheckBits(saving, forward);
    }
    CheckBits(RunForward(of, wanted, false, threads), forward);
    for (const bool d_inputs : {true, false}) {
      const bool in_place = (index + threads + d_inputs) % 2 == 1;
      description = known + " threads=" + std::to_string(threads) +
                    (d_inputs ? "" : " no d_inputs") + (in_place ? " in place" : "");
      const auto made = RunBackward(of, wanted, forward, in_place, d_inputs, threads);
      if (backward.empty()) {
        backward = made;
        for (const Made& gradient : backward) CheckValues(gradient);
        CheckSilence(of, of.call.input_size, backward[5]);
      } else {
        CheckBits(made, backward);
      }
    }
  }
}

// The same case with one step a sequence, and no dropout.
Case OneStep(const Case& of, int64_t index) {
  Random random(index);
  Case made = of;
  seqmask::Call& call = made.call;
  call.maxlen = 1, call.reverse = false, call.dropout = nullptr;
  made.lengths.assign(call.batch, 1);
  made.inputs = random.Array(call.batch * call.input_size, 2.0);
  made.d_outputs.assign(call.batch * call.hidden_size, 0.0f);
  made.dropout.clear();
  call.lengths = nullptr;
  call.inputs = made.inputs.data();
  call.kernel = made.kernel.data();
  call.recurrent_kernel = made.recurrent_kernel.data();
  call.bias = made.bias.data();
  for (int k = 0; k < 2; ++k) call.initial_state[k] = made.initial_state[k].data();
  return made;
}

// A step with the weights as they stand, on the target in use.
void CheckStep(const Case& of, const Wanted& wanted) {
  const seqmask::Call& call = of.call;
  const int64_t B = call.batch, state = B * call.hidden_size;
  const int64_t second = seqmask::NumStates(call.cell) == 2 ? state : 0;
  Floats gates(B * seqmask::GateFloats(call), kNan), extra(B * seqmask::ExtraFloats(call), kNan);
  auto forward = [&](bool save) {
    std::vector<Made> made = {
        {"step final_state[0]", Floats(state, kNan), &wanted.final_state[0]},
        {"step final_state[1]", Floats(second, kNan), &wanted.final_state[1]}};
    seqmask::Results results{};
    for (int k = 0; k < 2; ++k) results.final_state[k] = made[k].got.data();
    if (save) results.saved = {gates.data(), extra.data()};
    seqmask::StepForward(call, results);
    return made;
  };
  const auto saving = forward(true);
  for (const Made& result : saving) CheckValues(result);
  CheckBits(forward(false), saving);
  std::vector<Made> made = {
      {"step d_kernel", Floats(of.kernel.size(), kNan), &wanted.d_kernel},
      {"step d_recurrent_kernel", Floats(of.recurrent_kernel.size(), kNan),
       &wanted.d_recurrent_kernel},
      {"step d_bias", Floats(of.bias.size(), kNan), &wanted.d_bias},
      {"step d_initial_state[0]", Floats(state, kNan), &wanted.d_initial_state[0]},
      {"step d_initial_state[1]", Floats(second, kNan), &wanted.d_initial_state[1]},
      {"step d_inputs", Floats(of.inputs.size(), kNan), &wanted.d_inputs}};
  seqmask::Gradients gradients{};
  gradients.gates = gates.data();
  gradients.extra = extra.data();
  gradients.d_kernel = made[0].got.data();
  gradients.d_recurrent_kernel = made[1].got.data();
  gradients.d_bias = made[2].got.data();
  gradients.d_inputs = made[5].got.data();
  for (int k = 0; k < 2; ++k) {
    gradients.d_final_state[k] = of.d_final_state[k].data();
    gradients.d_initial_state[k] = made[3 + k].got.data();
  }
  seqmask::StepBackward(call, gradients);
  for (const Made& gradient : made) CheckValues(gradient);
}

// --- Sigmoid and tanh, number by number -----------------------------------------------------------

using seqmask::Activation;

constexpr int64_t kBlock = 1024;         // numbers, one beside the other
constexpr int64_t kInfinity = 0x7f800000;
constexpr int kMostUlp = 4;

// All floats from -infinity (-kInfinity) to infinity (kInfinity), in their order.
float Nth(int64_t n) {
  const uint32_t bits = n < 0 ? 0x80000000u | static_cast<uint32_t>(-n) : static_cast<uint32_t>(n);
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

struct Judge {
  Activation activation;
  float last = -2.0f;        // result

  // What is wrong with a result, or null.
  const char* Of(float x, float y, bool with_error) {
    const bool sigmoid = activation == Activation::kSigmoid;
    if (!(y >= (sigmoid ? 0.0f : -1.0f) && y <= 1.0f)) return "is out of range";
    if (!(y >= last)) return "is less than that of the number before";
    last = y;
    if (!with_error) return nullptr;
    const double wanted = sigmoid ? 1.0 / (1.0 + std::exp(-static_cast<double>(x)))
                                  : std::tanh(static_cast<double>(x));
    if (static_cast<float>(wanted) == 1.0f && y != 1.0f) return "is not 1";
    // Results below the normal numbers may be 0.
    if (std::abs(wanted) < std::numeric_limits<float>::min())
      return std::abs(y) <= std::numeric_limits<float>::min() ? nullptr : "is too large";
    const double ulp = std::ldexp(1.0, std::ilogb(wanted) - 23);
    return std::abs(y - wanted) <= kMostUlp * ulp ? nullptr : "is not accurate";
  }
};

// Every `stride`-th block of numbers; the error of every number if all blocks, else of some.
void CheckActivation(Activation activation, int64_t stride) {
  Judge judge{activation};
  Floats x(kBlock), y(kBlock), mirrored(kBlock);
  auto fail = [&](size_t k, const char* what) {
    char text[100];
    std::snprintf(text, sizeof text, "%s of %.9g, %.9g, %s",
                  activation == Activation::kTanh ? "tanh" : "sigmoid", x[k], y[k], what);
    Fail(text);
  };
  for (int64_t first = -kInfinity; first <= kInfinity; first += stride * kBlock) {
    for (int64_t k = 0; k < kBlock; ++k) x[k] = Nth(std::min(first + k, kInfinity));
    y = x;
    seqmask::Activate(activation, kBlock, y.data());
    for (int64_t k = 0; k < kBlock; ++k)
      if (const char* what = judge.Of(x[k], y[k], stride == 1 || k % 8 == 0)) return fail(k, what);
    if (activation == Activation::kSigmoid) continue;
    for (int64_t k = 0; k < kBlock; ++k) mirrored[k] = -x[k];
    seqmask::Activate(activation, kBlock, mirrored.data());
    for (float& number : mirrored) number = -number;
    for (int64_t k = 0; k < kBlock; ++k)
      if (std::memcmp(&mirrored[k], &y[k], sizeof(float)) != 0) return fail(k, "is not odd");
  }
  // The two infinities, a zero with a sign, and NaN of any bits.
  for (int64_t k = 0; k < kBlock; ++k) x[k] = Nth((k % 2 ? 1 : -1) * (kInfinity + 1 + 8191 * k));
  x[0] = -kInfinite, x[1] = kInfinite, x[2] = -0.0f;
  y = x;
  seqmask::Activate(activation, kBlock, y.data());
  const bool sigmoid = activation == Activation::kSigmoid;
  if (y[0] != (sigmoid ? 0.0f : -1.0f)) fail(0, "is not the least");
  if (y[1] != 1.0f) fail(1, "is not 1");
  if (!sigmoid && !std::signbit(y[2])) fail(2, "has lost its sign");
  for (int64_t k = 3; k < kBlock; ++k)
    if (!std::isnan(y[k])) return fail(k, "is not NaN");
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t cases = argc > 1 ? std::atoll(argv[1]) : 100;
  const int64_t first = argc > 2 ? std::atoll(argv[2]) : 0;
  const int64_t stride = argc > 3 ? std::atoll(argv[3]) : 487;     // 1 for all floats
  // A sanitizer that aborts does not know the case.
  std::signal(SIGABRT, [](int) { std::fprintf(stderr, "%s: aborted\n", description.c_str()); });
  if (seqmask::UseTarget("abacus")) Fail("a target that does not exist is in use");
  for (int64_t index = first; index < first + cases; ++index) {
    const auto made = MakeCase(index);
    const std::string known = description;
    const Wanted wanted = Reference(*made);
    const Case step = OneStep(*made, index);
    const Wanted wanted_of_step = Reference(step);
    for (const std::string& target : seqmask::Targets()) {
      description = known;
      if (!seqmask::UseTarget(target) || seqmask::TargetInUse() != target)
        Fail("the target is " + seqmask::TargetInUse() + ", must be " + target);
      CheckCase(index, *made, wanted);
      description = known + " target=" + target;
      CheckStep(step, wanted_of_step);
    }
  }
  for (const std::string& target : seqmask::Targets()) {
    if (first > 0 || !seqmask::UseTarget(target)) continue;
    description = "target=" + target;
    CheckActivation(Activation::kSigmoid, stride);
    CheckActivation(Activation::kTanh, stride);
  }
  description = "all cases";
  // The first cases are large enough for all threads.
  if (first == 0 && cases > 0 && most_tasks != kThreads[3])
    Fail("no more than " + std::to_string(most_tasks) + " tasks ran side by side");
  std::printf("%lld cases, %d failures\n", static_cast<long long>(cases), failures);
  return failures == 0 ? 0 : 1;
}
