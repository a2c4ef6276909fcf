// Networks that run step by step, on their own, against equations in double precision:
//
//   network_test [cases [first]]
//
// Case k is the same in every run. Every array of weights is as large as network.h says, so that
// AddressSanitizer sees one number too many.

#include "network.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>

#include "recurrence.h"

namespace {

using seqmask::Network;
using seqmask::Rows;
using seqmask::Stage;
using seqmask::StageKind;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr int kSteps = 7, kThreads = 7;
constexpr double kTolerance = 2e-5;      // several times what float32 loses here

std::string description;     // of what is running
int failures = 0;

void Fail(const std::string& what) {
  ++failures;
  std::printf("%s: %s\n", description.c_str(), what.c_str());
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed * 2 + 1) {}
  double Number() { return (engine_() >> 11) * 0x1p-53; }      // in [0, 1)
  int64_t Integer(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(Number() * (last - first + 1));
  }
  Floats Array(int64_t size, double scale, double middle = 0.0) {
    Floats numbers(size);
    for (float& number : numbers) number = middle + scale * (2.0 * Number() - 1.0);
    return numbers;
  }

 private:
  std::mt19937_64 engine_;
};

// --- A case ---------------------------------------------------------------------------------------

struct Case {
  int64_t batch;
  std::vector<Stage> stages;           // point into the arrays
  std::vector<Floats> weights;
  std::vector<Floats> inputs;          // [steps][B, D]
};

const char* const kNames[] = {"standardize", "dense", "convolution", "lstm",
                              "gru", "gru_reset_before", "mgu"};

bool IsCell(StageKind kind) { return kind >= StageKind::kLstm; }
int64_t Gates(StageKind kind) {
  return kind == StageKind::kLstm ? 4 : kind == StageKind::kMgu ? 2 : IsCell(kind) ? 3 : 1;
}
int64_t Past(const Stage& stage) { return (stage.kernel_size - 1) * stage.dilation; }

Case MakeCase(int64_t index) {
  Random random(index);
  Case made{};
  made.weights.reserve(64);
  auto keep = [&](Floats numbers) {
    made.weights.push_back(std::move(numbers));
    return made.weights.back().data();
  };
  auto size = [&] {
    constexpr int64_t kSizes[] = {1, 3, 16, 32, 64, 128};
    const int64_t chosen = random.Integer(0, 11);
    return chosen < 6 ? kSizes[chosen] : random.Integer(1, 150);
  };
  constexpr int64_t kBatches[] = {1, 1, 2, 5, 13, 30};
  made.batch = kBatches[index % 6];
  int64_t D = size();
  description = "case " + std::to_string(index) + ": B=" + std::to_string(made.batch);
  const int64_t count = random.Integer(1, 4);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t kind = k == 0 ? index % 7 : random.Integer(0, 6);
    Stage stage{};
    stage.kind = static_cast<StageKind>(kind);
    stage.input_size = D;
    stage.output_size = stage.kind == StageKind::kStandardize ? D : size();
    stage.kernel_size = random.Integer(1, 3), stage.dilation = random.Integer(1, 3);
    stage.relu = random.Integer(0, 1);
    stage.residual = stage.kind == StageKind::kConvolution && random.Integer(0, 1);
    if (stage.residual) stage.output_size = D;
    const int64_t H = stage.output_size, GH = Gates(stage.kind) * H;
    const double scale = 1.0 / std::sqrt(1.0 + D);
    if (stage.kind == StageKind::kStandardize) {
      stage.weights[0] = keep(random.Array(D, 1.0));
      stage.weights[1] = keep(random.Array(D, 0.5, 1.0));
    } else if (IsCell(stage.kind)) {
      stage.weights[0] = keep(random.Array(D * GH, scale));
      stage.weights[1] = keep(random.Array(H * GH, 1.0 / std::sqrt(1.0 + H)));
      stage.weights[2] = keep(random.Array(stage.kind == StageKind::kGru ? 2 * GH : GH, 1.0));
    } else {
      const int64_t taps = stage.kind == StageKind::kConvolution ? stage.kernel_size : 1;
      stage.weights[0] = keep(random.Array(taps * D * H, scale));
      stage.weights[1] = random.Integer(0, 2) ? keep(random.Array(H, 1.0)) : nullptr;
    }
    description += std::string(" ") + kNames[kind] + " " + std::to_string(D) + "->" +
                   std::to_string(H);
    made.stages.push_back(stage);
    D = H;
  }
  for (int t = 0; t < kSteps; ++t)
    made.inputs.push_back(random.Array(made.batch * made.stages[0].input_size, 1.0));
  return made;
}

// --- What must come out ---------------------------------------------------------------------------

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// One row of a network.
struct Row {
  const Case& of;
  std::vector<Doubles> h, c;           // of each stage

  explicit Row(const Case& made) : of(made), h(made.stages.size()), c(made.stages.size()) {
    for (size_t k = 0; k < h.size(); ++k) {
      const Stage& stage = of.stages[k];
      const bool convolution = stage.kind == StageKind::kConvolution;
      h[k].assign(convolution ? Past(stage) * stage.input_size : stage.output_size, 0.0);
      c[k].assign(stage.output_size, 0.0);
    }
  }

  // Column n of x w, w [size of x, columns].
  static double Product(const Doubles& x, const float* w, int64_t columns, int64_t n) {
    double sum = 0.0;
    for (size_t k = 0; k < x.size(); ++k) sum += x[k] * w[k * columns + n];
    return sum;
  }

  Doubles Step(Doubles x) {
    for (size_t k = 0; k < of.stages.size(); ++k) x = One(of.stages[k], x, &h[k], &c[k]);
    return x;
  }

  static Doubles One(const Stage& stage, const Doubles& x, Doubles* h, Doubles* c) {
    const int64_t D = stage.input_size, H = stage.output_size;
    const float *W = stage.weights[0], *U = stage.weights[1], *b = stage.weights[2];
    Doubles y(H);
    switch (stage.kind) {
      case StageKind::kStandardize:
        for (int64_t n = 0; n < H; ++n) y[n] = (x[n] - W[n]) / U[n];
        return y;
      case StageKind::kDense:
        for (int64_t n = 0; n < H; ++n) y[n] = Product(x, W, H, n) + (U ? U[n] : 0.0);
        return y;
      case StageKind::kConvolution: {
        h->insert(h->end(), x.begin(), x.end());
        for (int64_t n = 0; n < H; ++n) {
          y[n] = U ? U[n] : 0.0;
          for (int64_t tap = 0; tap < stage.kernel_size; ++tap)
            for (int64_t k = 0; k < D; ++k)
              y[n] += (*h)[tap * stage.dilation * D + k] * W[(tap * D + k) * H + n];
          if (stage.relu) y[n] = std::max(y[n], 0.0);
          if (stage.residual) y[n] += x[n];
        }
        h->erase(h->begin(), h->begin() + D);
        return y;
      }
      default: return Cell(stage, x, b, h, c);
    }
  }

  static Doubles Cell(const Stage& stage, const Doubles& x, const float* b, Doubles* h,
                      Doubles* c) {
    const int64_t H = stage.output_size, GH = Gates(stage.kind) * H;
    const float *W = stage.weights[0], *U = stage.weights[1];
    const Doubles h_tm1 = *h;
    auto input = [&](int64_t gate, int64_t n) {
      return Product(x, W, GH, gate * H + n) + b[gate * H + n];
    };
    auto state = [&](const Doubles& d, int64_t gate, int64_t n) {
      return Product(d, U, GH, gate * H + n);
    };
    Doubles e(H);            // what the candidate sees of the state
    const bool mgu = stage.kind == StageKind::kMgu;
    for (int64_t n = 0; n < H; ++n)
      e[n] = h_tm1[n] * Sigmoid(input(mgu ? 0 : 1, n) + state(h_tm1, mgu ? 0 : 1, n));
    for (int64_t n = 0; n < H; ++n) {
      const double first = Sigmoid(input(0, n) + state(h_tm1, 0, n));
      if (stage.kind == StageKind::kLstm) {
        const double f = Sigmoid(input(1, n) + state(h_tm1, 1, n));
        const double g = std::tanh(input(2, n) + state(h_tm1, 2, n));
        const double o = Sigmoid(input(3, n) + state(h_tm1, 3, n));
        (*c)[n] = f * (*c)[n] + first * g;
        (*h)[n] = o * std::tanh((*c)[n]);
      } else if (stage.kind == StageKind::kGru) {
        const float* b2 = b + GH;
        const double z = Sigmoid(input(0, n) + state(h_tm1, 0, n) + b2[n]);
        const double r = Sigmoid(input(1, n) + state(h_tm1, 1, n) + b2[H + n]);
        const double g = std::tanh(input(2, n) + r * (state(h_tm1, 2, n) + b2[2 * H + n]));
        (*h)[n] = z * h_tm1[n] + (1.0 - z) * g;
      } else if (mgu) {
        const double g = std::tanh(input(1, n) + state(e, 1, n));
        (*h)[n] = (1.0 - first) * h_tm1[n] + first * g;
      } else {
        const double g = std::tanh(input(2, n) + state(e, 2, n));
        (*h)[n] = first * h_tm1[n] + (1.0 - first) * g;
      }
    }
    return *h;
  }
};

// --- What is checked ------------------------------------------------------------------------------

void CheckRow(const char* name, Rows found, int64_t row, const Doubles& wanted) {
  if (found.size != static_cast<int64_t>(wanted.size()))
    return Fail(std::string(name) + " has another size");
  double largest = 1.0;
  for (const double number : wanted) largest = std::max(largest, std::abs(number));
  for (int64_t k = 0; k < found.size; ++k) {
    const double number = found.at[row * found.stride + k];
    if (std::abs(number - wanted[k]) <= kTolerance * largest) continue;      // not NaN
    char text[100];
    std::snprintf(text, sizeof text, "%s[%lld] is %.9g, must be %.9g", name,
                  static_cast<long long>(k), number, wanted[k]);
    return Fail(text);
  }
}

void Write(const Floats& rows, int64_t first, int64_t count, Rows to) {
  for (int64_t r = 0; r < count; ++r)
    std::copy_n(rows.begin() + (first + r) * to.size, to.size, to.at + r * to.stride);
}

// The outputs of all steps, of `count` rows of a case from `first` on.
Floats Run(const Case& of, int64_t first, int64_t count) {
  Network network(count, of.stages.size(), of.stages.data());
  Floats found;
  for (const Floats& inputs : of.inputs) {
    Write(inputs, first, count, network.inputs());
    network.Step();
    const Rows y = network.outputs();
    for (int64_t r = 0; r < count; ++r)
      found.insert(found.end(), y.at + r * y.stride, y.at + r * y.stride + y.size);
  }
  return found;
}

bool SameBits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void CheckValues(const Case& of) {
  Network network(of.batch, of.stages.size(), of.stages.data());
  std::vector<Row> rows(of.batch, Row(of));
  for (const Floats& inputs : of.inputs) {
    Write(inputs, 0, of.batch, network.inputs());
    network.Step();
    const int64_t D = network.inputs().size;
    for (int64_t r = 0; r < of.batch; ++r) {
      const Doubles x(inputs.begin() + r * D, inputs.begin() + (r + 1) * D);
      CheckRow("outputs", network.outputs(), r, rows[r].Step(x));
      for (size_t k = 0; k < of.stages.size(); ++k) {
        const StageKind kind = of.stages[k].kind;
        if (IsCell(kind) || kind == StageKind::kConvolution)
          CheckRow("state 0", network.state(k, 0), r, rows[r].h[k]);
        if (kind == StageKind::kLstm) CheckRow("state 1", network.state(k, 1), r, rows[r].c[k]);
      }
    }
  }
}

void CheckBits(const Case& of) {
  const Floats wanted = Run(of, 0, of.batch);
  std::vector<Floats> found(kThreads);
  std::vector<std::thread> threads;
  for (Floats& result : found) threads.emplace_back([&] { result = Run(of, 0, of.batch); });
  for (std::thread& thread : threads) thread.join();
  for (const Floats& result : found)
    if (!SameBits(result, wanted)) return Fail("outputs depend on what other threads do");
  const int64_t K = of.stages.back().output_size;
  for (int64_t r = 0; r < of.batch; ++r) {
    const Floats alone = Run(of, r, 1);
    for (int t = 0; t < kSteps; ++t)
      if (std::memcmp(&alone[t * K], &wanted[(t * of.batch + r) * K], K * sizeof(float)) != 0)
        return Fail("a row depends on its batch-mates");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t cases = argc > 1 ? std::atoll(argv[1]) : 100;
  const int64_t first = argc > 2 ? std::atoll(argv[2]) : 0;
  // A sanitizer that aborts does not know the case.
  std::signal(SIGABRT, [](int) { std::fprintf(stderr, "%s: aborted\n", description.c_str()); });
  for (int64_t index = first; index < first + cases; ++index) {
    const Case made = MakeCase(index);
    const std::string known = description;
    for (const std::string& target : seqmask::Targets()) {
      seqmask::UseTarget(target);
      description = known + " target=" + target;
      CheckValues(made);
      CheckBits(made);
    }
  }
  std::printf("%lld cases, %d failures\n", static_cast<long long>(cases), failures);
  return failures == 0 ? 0 : 1;
}
