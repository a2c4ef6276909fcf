// Divides the sequences among threads, prepares scratch, and chooses the target.

#include "recurrence.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "floats.h"
#include "target.h"

namespace seqmask {

namespace portable { extern const Target kTarget; }
#ifdef SEQMASK_X86_TARGETS
namespace avx2 { extern const Target kTarget; }
namespace avx512 { extern const Target kTarget; }
#endif

namespace {

std::vector<const Target*> Runnable() {
  std::vector<const Target*> found;
#ifdef SEQMASK_X86_TARGETS
  __builtin_cpu_init();
  const bool avx2_runs = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2_runs && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    found.push_back(&avx512::kTarget);
  if (avx2_runs) found.push_back(&avx2::kTarget);
#endif
  found.push_back(&portable::kTarget);
  return found;
}

const Target* Find(const std::string& name) {
  for (const Target* target : Runnable())
    if (target->name == name) return target;
  return nullptr;
}

const Target*& InUse() {
  static const Target* in_use = Runnable().front();
  return in_use;
}

// The multiplications that justify another thread: starting one takes some microseconds.
constexpr int64_t kWorthAThread = 1 << 20;

int64_t Width(const Call& call) { return RoundUp(call.hidden_size, InUse()->width); }

int64_t NumTasks(const Call& call, int threads) {
  const int64_t work = CountSteps(call) * (call.input_size + call.hidden_size) * call.hidden_size *
                       NumGates(call.cell);
  return std::max<int64_t>(1, std::min<int64_t>(threads, work / kWorthAThread));
}

// Splits the sequences into groups of nearly equal total length, each sorted longest first.
std::vector<std::vector<int32_t>> Split(const Call& call, int64_t tasks) {
  std::vector<int32_t> order(call.batch);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return call.lengths[a] > call.lengths[b];
  });
  const int64_t count = std::max<int64_t>(1, std::min(tasks, call.batch));
  std::vector<std::vector<int32_t>> groups(count);
  std::vector<int64_t> steps(count, 0);
  for (const int32_t row : order) {
    const auto lightest = std::min_element(steps.begin(), steps.end()) - steps.begin();
    groups[lightest].push_back(row);
    steps[lightest] += call.lengths[row];
  }
  return groups;
}

// Adds up the biases of each plane, those of the inputs and of the state.
void FillBias(const Call& call, int64_t padded, float* to) {
  const Planes& planes = PlanesOf(call.cell);
  const int64_t H = call.hidden_size;
  std::fill(to, to + planes.all * padded, 0.0f);
  for (int p = 0; p < planes.all; ++p) {
    auto within = [p](Window window) {
      return p >= window.first && p < window.first + window.count;
    };
    const float* input = call.bias + planes.gate[p] * H;
    const float* recurrent = input + NumGates(call.cell) * H;
    for (int64_t k = 0; k < H; ++k) {
      if (within(planes.input)) to[p * padded + k] += input[k];
      if (BiasRows(call.cell) == 2 && within(planes.recurrent)) to[p * padded + k] += recurrent[k];
    }
  }
}

// Packs the weights, then runs every group through time.
void Run(Job* job, bool backward, int threads, const Parallel& parallel) {
  const Call& call = job->call;
  const Target& target = *InUse();
  const Planes& planes = PlanesOf(call.cell);
  job->padded = RoundUp(call.hidden_size, target.width);
  const int64_t P = job->padded;
  const int64_t inputs = RoundUp(call.input_size, target.width) * P;
  std::vector<int64_t> first_row(call.batch + 1, 0);
  for (int64_t b = 0; b < call.batch; ++b) first_row[b + 1] = first_row[b] + call.lengths[b];
  job->first_row = first_row.data();
  const Floats bias(planes.all * P);
  FillBias(call, P, bias.get());
  job->bias = bias.get();
  const Floats panels(inputs * planes.input.count +
                      P * P * (planes.recurrent.count + planes.reset.count));
  job->panels.input = panels.get();
  job->panels.recurrent = job->panels.input + inputs * planes.input.count;
  job->panels.reset = job->panels.recurrent + P * P * planes.recurrent.count;

  const int64_t tasks = NumTasks(call, threads);
  parallel(tasks, [&](int64_t task) { target.pack(*job, backward, task, tasks); });
  const auto groups = Split(call, tasks);
  std::vector<std::unique_ptr<Floats>> scratch;
  for (const auto& group : groups)
    scratch.push_back(std::make_unique<Floats>(GroupFloats(*job, group.size())));
  parallel(groups.size(), [&](int64_t task) {
    const Group group{groups[task].data(), static_cast<int64_t>(groups[task].size())};
    (backward ? target.backward : target.forward)(*job, group, scratch[task]->get());
  });
  if (!backward) return;
  const int64_t features = std::max(call.input_size, call.hidden_size) / tasks + 1;
  scratch.clear();
  for (int64_t task = 0; task < tasks; ++task)
    scratch.push_back(std::make_unique<Floats>(WeightsFloats(*job, features)));
  parallel(tasks, [&](int64_t task) {
    target.weight_gradients(*job, task, tasks, scratch[task]->get());
  });
}

}  // namespace

int NumGates(Cell cell) { return cell == Cell::kLstm ? 4 : 3; }
int NumStates(Cell cell) { return cell == Cell::kLstm ? 2 : 1; }
int BiasRows(Cell cell) { return cell == Cell::kGru ? 2 : 1; }

int64_t CountSteps(const Call& call) {
  return std::accumulate(call.lengths, call.lengths + call.batch, int64_t{0});
}
int64_t GateFloats(const Call& call) { return PlanesOf(call.cell).all * Width(call); }
int64_t ExtraFloats(const Call& call) { return PlanesOf(call.cell).extra * Width(call); }

void Forward(const Call& call, const Results& results, int threads, const Parallel& parallel) {
  Job job{call, results, {}, 0, nullptr, nullptr, {}};
  Run(&job, false, threads, parallel);
}

void Backward(const Call& call, const Gradients& gradients, int threads, const Parallel& parallel) {
  Job job{call, {}, gradients, 0, nullptr, nullptr, {}};
  Run(&job, true, threads, parallel);
}

namespace {

void RunStep(Job* job, void (*step)(const Job&, float*)) {
  job->padded = Width(job->call);
  const Floats bias(PlanesOf(job->call.cell).all * job->padded);
  FillBias(job->call, job->padded, bias.get());
  job->bias = bias.get();
  const Floats scratch(StepFloats(*job));
  step(*job, scratch.get());
}

}  // namespace

void StepForward(const Call& call, const Results& results) {
  Job job{};
  job.call = call;
  job.results = results;
  RunStep(&job, InUse()->step_forward);
}

void StepBackward(const Call& call, const Gradients& gradients) {
  Job job{};
  job.call = call;
  job.gradients = gradients;
  RunStep(&job, InUse()->step_backward);
}

void Activate(Activation activation, int64_t count, float* numbers) {
  InUse()->activate(activation, count, numbers);
}

std::vector<std::string> Targets() {
  std::vector<std::string> names;
  for (const Target* target : Runnable()) names.push_back(target->name);
  return names;
}

std::string TargetInUse() { return InUse()->name; }

const Target& CurrentTarget() { return *InUse(); }

bool UseTarget(const std::string& name) {
  const Target* found = Find(name);
  if (found != nullptr) InUse() = found;
  return found != nullptr;
}

}  // namespace seqmask
