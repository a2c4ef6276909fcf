// The recurrence as TensorFlow operations. Every argument that can reach them is checked here.

#include <new>
#include <string>

#include "recurrence.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/threadpool.h"

namespace seqmask {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::errors::ResourceExhausted;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

#define SEQMASK_ARGUMENTS(op)        \
  op.Attr("cell: {'lstm', 'gru', 'gru_reset_before'}") \
      .Attr("reverse: bool")         \
      .Attr("num_states: int >= 1")  \
      .Attr("num_dropout: int >= 0") \
      .Input("inputs: float")        \
      .Input("lengths: int32")       \
      .Input("kernel: float")        \
      .Input("recurrent_kernel: float") \
      .Input("bias: float")          \
      .Input("initial_state: num_states * float") \
      .Input("dropout: num_dropout * float")

absl::Status ForwardShapes(InferenceContext* c) {
  ShapeHandle inputs, lengths, recurrent_kernel;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 3, &inputs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &lengths));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(3), 2, &recurrent_kernel));
  tensorflow::shape_inference::DimensionHandle batch;
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(inputs, 0), c->Dim(lengths, 0), &batch));
  const auto hidden = c->Dim(recurrent_kernel, 0);
  int num_states;
  TF_RETURN_IF_ERROR(c->GetAttr("num_states", &num_states));
  int output = 0;
  c->set_output(output++, c->MakeShape({batch, c->Dim(inputs, 1), hidden}));
  for (int k = 0; k < num_states; ++k) c->set_output(output++, c->Matrix(batch, hidden));
  c->set_output(output++, c->Matrix(c->UnknownDim(), c->UnknownDim()));
  c->set_output(output++, c->Matrix(c->UnknownDim(), c->UnknownDim()));
  return absl::OkStatus();
}

// Every gradient has the shape of what it belongs to.
absl::Status BackwardShapes(InferenceContext* c) {
  int num_states;
  TF_RETURN_IF_ERROR(c->GetAttr("num_states", &num_states));
  int output = 0;
  for (const int input : {0, 2, 3, 4}) c->set_output(output++, c->input(input));
  for (int k = 0; k < num_states; ++k) c->set_output(output++, c->input(5 + k));
  return absl::OkStatus();
}

SEQMASK_ARGUMENTS(REGISTER_OP("Seqmask>Recurrence"))
    .Output("outputs: float")
    .Output("final_state: num_states * float")
    .Output("gates: float")
    .Output("extra: float")
    .SetShapeFn(ForwardShapes);

SEQMASK_ARGUMENTS(REGISTER_OP("Seqmask>RecurrenceGrad"))
    .Input("outputs: float")
    .Input("gates: float")
    .Input("extra: float")
    .Input("d_outputs: float")
    .Input("d_final_state: num_states * float")
    .Output("d_inputs: float")
    .Output("d_kernel: float")
    .Output("d_recurrent_kernel: float")
    .Output("d_bias: float")
    .Output("d_initial_state: num_states * float")
    .SetShapeFn(BackwardShapes);

template <typename T>
T* Data(const Tensor& tensor) {
  return const_cast<T*>(tensor.flat<T>().data());
}

// What both operations share: their arguments, and how they run on TensorFlow's threads.
class Recurrence : public OpKernel {
 public:
  explicit Recurrence(OpKernelConstruction* context) : OpKernel(context) {
    std::string cell;
    int num_states, num_dropout;
    OP_REQUIRES_OK(context, context->GetAttr("cell", &cell));
    OP_REQUIRES_OK(context, context->GetAttr("reverse", &reverse_));
    OP_REQUIRES_OK(context, context->GetAttr("num_states", &num_states));
    OP_REQUIRES_OK(context, context->GetAttr("num_dropout", &num_dropout));
    cell_ = cell == "lstm" ? Cell::kLstm : cell == "gru" ? Cell::kGru : Cell::kGruResetBefore;
    OP_REQUIRES(context, num_states == NumStates(cell_),
                InvalidArgument("a cell '", cell, "' has ", NumStates(cell_), " states, got ",
                                num_states));
    OP_REQUIRES(context, num_dropout <= 1,
                InvalidArgument("there is one dropout mask or none, got ", num_dropout));
    has_dropout_ = num_dropout == 1;
  }

 protected:
  int NumArguments() const { return 5 + NumStates(cell_) + has_dropout_; }

  // Checks the arguments that both operations take, and points at them.
  absl::Status Read(OpKernelContext* context, Call* call) const {
    const Tensor& inputs = context->input(0);
    const Tensor& recurrent_kernel = context->input(3);
    if (inputs.dims() != 3)
      return InvalidArgument("inputs must have rank 3 [B, T, D], got shape ", Shape(inputs));
    if (recurrent_kernel.dims() != 2)
      return InvalidArgument("recurrent_kernel must have rank 2 [H, gates H], got shape ",
                             Shape(recurrent_kernel));
    const int64_t B = inputs.dim_size(0), T = inputs.dim_size(1), D = inputs.dim_size(2);
    const int64_t H = recurrent_kernel.dim_size(0), GH = NumGates(cell_) * H;
    if (H == 0) return InvalidArgument("hidden_size must be 1 or more, got 0");
    if (B > tensorflow::kint32max || T > tensorflow::kint32max)
      return InvalidArgument("inputs have more sequences or steps than an int32 can count: ",
                             Shape(inputs));
    const TensorShape state({B, H});
    TF_RETURN_IF_ERROR(Check(context, 1, "lengths", TensorShape({B})));
    TF_RETURN_IF_ERROR(Check(context, 2, "kernel", TensorShape({D, GH})));
    TF_RETURN_IF_ERROR(Check(context, 3, "recurrent_kernel", TensorShape({H, GH})));
    TF_RETURN_IF_ERROR(Check(context, 4, "bias", BiasRows(cell_) == 2 ? TensorShape({2, GH})
                                                                      : TensorShape({GH})));
    int at = 5;
    for (int k = 0; k < NumStates(cell_); ++k)
      TF_RETURN_IF_ERROR(Check(context, at++, "a state", state));
    if (has_dropout_) TF_RETURN_IF_ERROR(Check(context, at, "dropout", state));
    const auto lengths = context->input(1).vec<int32_t>();
    for (int64_t b = 0; b < B; ++b)
      if (lengths(b) < 0 || lengths(b) > T)
        return InvalidArgument("lengths must be from 0 to maxlen = ", T, ", got ", lengths(b),
                               " for sequence ", b);
    *call = Call{cell_,
                 reverse_,
                 B,
                 T,
                 D,
                 H,
                 lengths.data(),
                 Data<float>(inputs),
                 Data<float>(context->input(2)),
                 Data<float>(recurrent_kernel),
                 Data<float>(context->input(4)),
                 {Data<float>(context->input(5)),
                  NumStates(cell_) == 2 ? Data<float>(context->input(6)) : nullptr},
                 has_dropout_ ? Data<float>(context->input(at)) : nullptr};
    return absl::OkStatus();
  }

  static std::string Shape(const Tensor& tensor) { return tensor.shape().DebugString(); }

  static absl::Status Check(OpKernelContext* context, int input, const char* name,
                                  const TensorShape& shape) {
    const Tensor& tensor = context->input(input);
    if (tensor.shape() == shape) return absl::OkStatus();
    return InvalidArgument(name, " must have shape ", shape.DebugString(), ", got ",
                           Shape(tensor));
  }

  // Runs `pass(threads, parallel)` on TensorFlow's own threads.
  template <typename Pass>
  static void OnThreads(OpKernelContext* context, Pass pass) {
    auto* workers = context->device()->tensorflow_cpu_worker_threads()->workers;
    const Parallel parallel = [&](int64_t count, const std::function<void(int64_t)>& task) {
      if (count == 1) return task(0);
      workers->TransformRangeConcurrently(1, count, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last; ++k) task(k);
      });
    };
    try {
      pass(workers->NumThreads(), parallel);
    } catch (const std::bad_alloc&) {
      context->SetStatus(ResourceExhausted("no memory for the scratch of a recurrence"));
    }
  }

  Cell cell_;
  bool reverse_;
  bool has_dropout_;
};

class Forwards : public Recurrence {
 public:
  using Recurrence::Recurrence;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    Results results{};
    Tensor* to = nullptr;
    int output = 0;
    OP_REQUIRES_OK(context, context->allocate_output(
        output++, {call.batch, call.maxlen, call.hidden_size}, &to));
    results.outputs = Data<float>(*to);
    for (int k = 0; k < NumStates(cell_); ++k) {
      OP_REQUIRES_OK(context, context->allocate_output(output++, {call.batch, call.hidden_size},
                                                       &to));
      results.final_state[k] = Data<float>(*to);
    }
    // Where nothing takes these, nothing will go backward, and they are not kept.
    const bool keep = context->output_required(output) || context->output_required(output + 1);
    const int64_t steps = keep ? CountSteps(call) : 0;
    OP_REQUIRES_OK(context, context->allocate_output(output++, {steps, GateFloats(call)}, &to));
    if (keep) results.saved.gates = Data<float>(*to);
    OP_REQUIRES_OK(context, context->allocate_output(output++, {steps, ExtraFloats(call)}, &to));
    if (keep) results.saved.extra = Data<float>(*to);
    OnThreads(context, [&](int threads, const Parallel& parallel) {
      Forward(call, results, threads, parallel);
    });
  }
};

class Backwards : public Recurrence {
 public:
  using Recurrence::Recurrence;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    const int64_t steps = CountSteps(call);
    const TensorShape outputs({call.batch, call.maxlen, call.hidden_size});
    const TensorShape state({call.batch, call.hidden_size});
    int input = NumArguments();
    Gradients gradients{};
    OP_REQUIRES_OK(context, Check(context, input, "outputs", outputs));
    gradients.outputs = Data<float>(context->input(input++));
    const TensorShape gates({steps, GateFloats(call)});
    OP_REQUIRES_OK(context, Check(context, input, "gates", gates));
    const int gates_at = input++;
    OP_REQUIRES_OK(context, Check(context, input, "extra", {steps, ExtraFloats(call)}));
    gradients.extra = Data<float>(context->input(input++));
    OP_REQUIRES_OK(context, Check(context, input, "d_outputs", outputs));
    gradients.d_outputs = Data<float>(context->input(input++));
    for (int k = 0; k < NumStates(cell_); ++k) {
      OP_REQUIRES_OK(context, Check(context, input, "d_final_state", state));
      gradients.d_final_state[k] = Data<float>(context->input(input++));
    }

    // The gradients to the gates take the place of the gates if nobody else holds those.
    Tensor d_gates;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_temp(
        {gates_at}, tensorflow::DT_FLOAT, gates, &d_gates));
    gradients.gates = Data<float>(context->input(gates_at));
    gradients.d_gates = Data<float>(d_gates);

    int output = 0;
    float** const places[] = {&gradients.d_inputs, &gradients.d_kernel,
                              &gradients.d_recurrent_kernel, &gradients.d_bias,
                              &gradients.d_initial_state[0], &gradients.d_initial_state[1]};
    for (const int like : {0, 2, 3, 4, 5, 6}) {
      if (like == 6 && NumStates(cell_) == 1) break;
      Tensor* to = nullptr;
      const bool wanted = like != 0 || context->output_required(output);
      OP_REQUIRES_OK(context, context->allocate_output(
          output, wanted ? context->input(like).shape() : TensorShape({0, 0, 0}), &to));
      if (wanted) *places[output] = Data<float>(*to);
      ++output;
    }
    OnThreads(context, [&](int threads, const Parallel& parallel) {
      Backward(call, gradients, threads, parallel);
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("Seqmask>Recurrence").Device(tensorflow::DEVICE_CPU), Forwards);
REGISTER_KERNEL_BUILDER(Name("Seqmask>RecurrenceGrad").Device(tensorflow::DEVICE_CPU), Backwards);

}  // namespace
}  // namespace seqmask

// For Python, through ctypes: the names of the targets, best first, then the one in use.
extern "C" const char* seqmask_targets() {
  static std::string names;
  names.clear();
  for (const std::string& name : seqmask::Targets()) names += name + " ";
  names += seqmask::TargetInUse();
  return names.c_str();
}
extern "C" bool seqmask_use_target(const char* name) { return seqmask::UseTarget(name); }
