// The recurrence as TensorFlow operations, which check every argument.

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

#define SEQMASK_ARGUMENTS(op)                          \
  op.Attr("cell: {'lstm', 'gru', 'gru_reset_before'}") \
      .Attr("reverse: bool")                           \
      .Attr("num_states: int >= 1")                    \
      .Attr("num_dropout: int >= 0")                   \
      .Input("inputs: float")                          \
      .Input("lengths: int32")                         \
      .Input("kernel: float")                          \
      .Input("recurrent_kernel: float")                \
      .Input("bias: float")                            \
      .Input("initial_state: num_states * float")      \
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
  for (int k = 0; k < 2; ++k)     // gates and extra
    c->set_output(output++, c->Matrix(c->UnknownDim(), c->UnknownDim()));
  return absl::OkStatus();
}

// Every gradient has the shape of its argument.
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

Cell CellOf(const std::string& name) {
  return name == "lstm" ? Cell::kLstm : name == "gru" ? Cell::kGru : Cell::kGruResetBefore;
}

std::string Shape(const Tensor& tensor) { return tensor.shape().DebugString(); }

absl::Status Check(OpKernelContext* context, int input, const char* name,
                   const TensorShape& shape) {
  const Tensor& tensor = context->input(input);
  if (tensor.shape() == shape) return absl::OkStatus();
  return InvalidArgument(name, " must have shape ", shape.DebugString(), ", got ", Shape(tensor));
}

// Checks the shape of an input, and points at its numbers.
absl::Status Input(OpKernelContext* context, int input, const char* name, const TensorShape& shape,
                   const float** numbers) {
  TF_RETURN_IF_ERROR(Check(context, input, name, shape));
  *numbers = context->input(input).flat<float>().data();
  return absl::OkStatus();
}

// Allocates an output, and points at its numbers.
absl::Status Output(OpKernelContext* context, int output, const TensorShape& shape,
                    float** numbers) {
  Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(output, shape, &tensor));
  *numbers = tensor->flat<float>().data();
  return absl::OkStatus();
}

// Reads which cell it is.
absl::Status ReadCell(OpKernelConstruction* context, Cell* cell) {
  std::string name;
  int num_states;
  TF_RETURN_IF_ERROR(context->GetAttr("cell", &name));
  TF_RETURN_IF_ERROR(context->GetAttr("num_states", &num_states));
  *cell = CellOf(name);
  if (num_states == NumStates(*cell)) return absl::OkStatus();
  return InvalidArgument("a cell '", name, "' has ", NumStates(*cell), " states, got ", num_states);
}

// Checks kernel, recurrent kernel, bias and states, which are inputs from `input` on, against the
// cell, the batch and the input size of `call`, and points it at them.
absl::Status ReadWeights(OpKernelContext* context, int input, Call* call) {
  const Tensor& recurrent_kernel = context->input(input + 1);
  if (recurrent_kernel.dims() != 2)
    return InvalidArgument("recurrent_kernel must have rank 2 [H, gates H], got shape ",
                           Shape(recurrent_kernel));
  const int64_t H = recurrent_kernel.dim_size(0), GH = NumGates(call->cell) * H;
  if (H == 0) return InvalidArgument("hidden_size must be 1 or more, got 0");
  call->hidden_size = H;
  TF_RETURN_IF_ERROR(Input(context, input++, "kernel", {call->input_size, GH}, &call->kernel));
  TF_RETURN_IF_ERROR(Input(context, input++, "recurrent_kernel", {H, GH},
                           &call->recurrent_kernel));
  const TensorShape bias =
      BiasRows(call->cell) == 2 ? TensorShape({2, GH}) : TensorShape({GH});
  TF_RETURN_IF_ERROR(Input(context, input++, "bias", bias, &call->bias));
  for (int k = 0; k < NumStates(call->cell); ++k)
    TF_RETURN_IF_ERROR(Input(context, input++, "a state", {call->batch, H},
                             &call->initial_state[k]));
  return absl::OkStatus();
}

// What both operations share: their arguments, and how they run on TensorFlow's threads.
class RecurrenceOp : public OpKernel {
 public:
  explicit RecurrenceOp(OpKernelConstruction* context) : OpKernel(context) {
    int num_dropout;
    OP_REQUIRES_OK(context, ReadCell(context, &cell_));
    OP_REQUIRES_OK(context, context->GetAttr("reverse", &reverse_));
    OP_REQUIRES_OK(context, context->GetAttr("num_dropout", &num_dropout));
    OP_REQUIRES(context, num_dropout <= 1,
                InvalidArgument("there must be at most one dropout mask, got ", num_dropout));
    has_dropout_ = num_dropout == 1;
  }

 protected:
  int NumArguments() const { return 5 + NumStates(cell_) + has_dropout_; }

  // Checks the arguments that both operations take, and points `call` at them.
  absl::Status Read(OpKernelContext* context, Call* call) const {
    const Tensor& inputs = context->input(0);
    if (inputs.dims() != 3)
      return InvalidArgument("inputs must have rank 3 [B, T, D], got shape ", Shape(inputs));
    const int64_t B = inputs.dim_size(0), T = inputs.dim_size(1);
    if (B > tensorflow::kint32max || T > tensorflow::kint32max)
      return InvalidArgument("inputs have more sequences or steps than an int32 can count: ",
                             Shape(inputs));
    *call = Call{};
    call->cell = cell_, call->reverse = reverse_;
    call->batch = B, call->maxlen = T, call->input_size = inputs.dim_size(2);
    call->inputs = inputs.flat<float>().data();
    TF_RETURN_IF_ERROR(Check(context, 1, "lengths", TensorShape({B})));
    TF_RETURN_IF_ERROR(ReadWeights(context, 2, call));
    if (has_dropout_)
      TF_RETURN_IF_ERROR(Input(context, NumArguments() - 1, "dropout", {B, call->hidden_size},
                               &call->dropout));
    call->lengths = context->input(1).flat<int32_t>().data();
    for (int64_t b = 0; b < B; ++b)
      if (call->lengths[b] < 0 || call->lengths[b] > T)
        return InvalidArgument("lengths must be from 0 to maxlen = ", T, ", got ",
                               call->lengths[b], " for sequence ", b);
    return absl::OkStatus();
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

class ForwardOp : public RecurrenceOp {
 public:
  using RecurrenceOp::RecurrenceOp;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    const TensorShape outputs({call.batch, call.maxlen, call.hidden_size});
    const TensorShape state({call.batch, call.hidden_size});
    Results results{};
    int output = 0;
    OP_REQUIRES_OK(context, Output(context, output++, outputs, &results.outputs));
    for (int k = 0; k < NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Output(context, output++, state, &results.final_state[k]));
    // If nothing takes these, there will be no backward pass.
    const bool keep = context->output_required(output) || context->output_required(output + 1);
    const int64_t steps = keep ? CountSteps(call) : 0;
    OP_REQUIRES_OK(context, Output(context, output++, {steps, GateFloats(call)},
                                   &results.saved.gates));
    OP_REQUIRES_OK(context, Output(context, output++, {steps, ExtraFloats(call)},
                                   &results.saved.extra));
    if (!keep) results.saved = {};
    OnThreads(context, [&](int threads, const Parallel& parallel) {
      Forward(call, results, threads, parallel);
    });
  }
};

class BackwardOp : public RecurrenceOp {
 public:
  using RecurrenceOp::RecurrenceOp;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    const int64_t steps = CountSteps(call);
    const TensorShape outputs({call.batch, call.maxlen, call.hidden_size});
    const TensorShape state({call.batch, call.hidden_size});
    const TensorShape gates({steps, GateFloats(call)}), extra({steps, ExtraFloats(call)});
    Gradients to{};
    int input = NumArguments();
    OP_REQUIRES_OK(context, Input(context, input++, "outputs", outputs, &to.outputs));
    const int gates_at = input++;
    OP_REQUIRES_OK(context, Input(context, gates_at, "gates", gates, &to.gates));
    OP_REQUIRES_OK(context, Input(context, input++, "extra", extra, &to.extra));
    OP_REQUIRES_OK(context, Input(context, input++, "d_outputs", outputs, &to.d_outputs));
    for (int k = 0; k < NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Input(context, input++, "d_final_state", state,
                                    &to.d_final_state[k]));

    // The gates' gradients overwrite the gates if nothing else holds those.
    Tensor d_gates;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_temp(
        {gates_at}, tensorflow::DT_FLOAT, gates, &d_gates));
    to.d_gates = d_gates.flat<float>().data();

    // Each gradient has the shape of its argument; lengths, argument 1, have none.
    float** const results[] = {&to.d_inputs, &to.d_kernel, &to.d_recurrent_kernel, &to.d_bias,
                               &to.d_initial_state[0], &to.d_initial_state[1]};
    const bool d_inputs_required = context->output_required(0);
    for (int k = 0; k < 4 + NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Output(context, k, k > 0 ? context->input(k + 1).shape()
                                     : d_inputs_required ? context->input(0).shape()
                                                         : TensorShape({0, 0, 0}), results[k]));
    if (!d_inputs_required) to.d_inputs = nullptr;
    OnThreads(context, [&](int threads, const Parallel& parallel) {
      Backward(call, to, threads, parallel);
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("Seqmask>Recurrence").Device(tensorflow::DEVICE_CPU), ForwardOp);
REGISTER_KERNEL_BUILDER(Name("Seqmask>RecurrenceGrad").Device(tensorflow::DEVICE_CPU), BackwardOp);

#include "step_ops.h"

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
