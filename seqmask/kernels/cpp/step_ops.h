// One step of a recurrence as TensorFlow operations; part of ops.cc, whose headers take long to
// compile.

#ifndef SEQMASK_STEP_OPS_H_
#define SEQMASK_STEP_OPS_H_

#define SEQMASK_STEP_ARGUMENTS(op)   \
  op.Attr("cell: {'lstm', 'gru', 'gru_reset_before'}") \
      .Attr("num_states: int >= 1")  \
      .Input("x_t: float")           \
      .Input("kernel: float")        \
      .Input("recurrent_kernel: float") \
      .Input("bias: float")          \
      .Input("state: num_states * float")

absl::Status StepShapes(InferenceContext* c) {
  ShapeHandle x_t, recurrent_kernel;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x_t));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &recurrent_kernel));
  int num_states;
  TF_RETURN_IF_ERROR(c->GetAttr("num_states", &num_states));
  int output = 0;
  for (int k = 0; k < num_states; ++k)
    c->set_output(output++, c->Matrix(c->Dim(x_t, 0), c->Dim(recurrent_kernel, 0)));
  c->set_output(output++, c->Matrix(c->Dim(x_t, 0), c->UnknownDim()));
  c->set_output(output++, c->Matrix(c->Dim(x_t, 0), c->UnknownDim()));
  return absl::OkStatus();
}

absl::Status StepGradShapes(InferenceContext* c) {
  int num_states;
  TF_RETURN_IF_ERROR(c->GetAttr("num_states", &num_states));
  for (int k = 0; k < 4 + num_states; ++k) c->set_output(k, c->input(k));
  return absl::OkStatus();
}

SEQMASK_STEP_ARGUMENTS(REGISTER_OP("Seqmask>Step"))
    .Output("new_state: num_states * float")
    .Output("gates: float")
    .Output("extra: float")
    .SetShapeFn(StepShapes);

SEQMASK_STEP_ARGUMENTS(REGISTER_OP("Seqmask>StepGrad"))
    .Input("gates: float")
    .Input("extra: float")
    .Input("d_new_state: num_states * float")
    .Output("d_x_t: float")
    .Output("d_kernel: float")
    .Output("d_recurrent_kernel: float")
    .Output("d_bias: float")
    .Output("d_state: num_states * float")
    .SetShapeFn(StepGradShapes);

class StepOp : public OpKernel {
 public:
  explicit StepOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadCell(context, &cell_));
  }

 protected:
  // Checks the arguments that both operations take, and points `call` at them.
  absl::Status Read(OpKernelContext* context, Call* call) const {
    const Tensor& x_t = context->input(0);
    if (x_t.dims() != 2)
      return InvalidArgument("x_t must have rank 2 [B, D], got shape ", Shape(x_t));
    *call = Call{};
    call->cell = cell_;
    call->batch = x_t.dim_size(0), call->maxlen = 1, call->input_size = x_t.dim_size(1);
    call->inputs = x_t.flat<float>().data();
    return ReadWeights(context, 1, call);
  }

  template <typename Pass>
  static void Run(OpKernelContext* context, Pass pass) {
    try {
      pass();
    } catch (const std::bad_alloc&) {
      context->SetStatus(ResourceExhausted("no memory for the scratch of a step"));
    }
  }

  Cell cell_;
};

class StepForwardOp : public StepOp {
 public:
  using StepOp::StepOp;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    Results results{};
    int output = 0;
    for (int k = 0; k < NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Output(context, output++, {call.batch, call.hidden_size},
                                     &results.final_state[k]));
    // If nothing takes these, there will be no backward pass.
    const bool keep = context->output_required(output) || context->output_required(output + 1);
    const int64_t rows = keep ? call.batch : 0, extra = ExtraFloats(call);
    OP_REQUIRES_OK(context, Output(context, output++, {rows, GateFloats(call)},
                                   &results.saved.gates));
    OP_REQUIRES_OK(context, Output(context, output++, {rows, extra}, &results.saved.extra));
    if (!keep) results.saved = {};
    if (extra == 0) results.saved.extra = nullptr;
    Run(context, [&] { StepForward(call, results); });
  }
};

class StepBackwardOp : public StepOp {
 public:
  using StepOp::StepOp;

  void Compute(OpKernelContext* context) override {
    Call call;
    OP_REQUIRES_OK(context, Read(context, &call));
    const int64_t B = call.batch;
    Gradients to{};
    int input = 4 + NumStates(cell_);
    OP_REQUIRES_OK(context, Input(context, input++, "gates", {B, GateFloats(call)}, &to.gates));
    OP_REQUIRES_OK(context, Input(context, input++, "extra", {B, ExtraFloats(call)}, &to.extra));
    for (int k = 0; k < NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Input(context, input++, "d_new_state", {B, call.hidden_size},
                                    &to.d_final_state[k]));
    float** const results[] = {&to.d_inputs, &to.d_kernel, &to.d_recurrent_kernel, &to.d_bias,
                               &to.d_initial_state[0], &to.d_initial_state[1]};
    for (int k = 0; k < 4 + NumStates(cell_); ++k)
      OP_REQUIRES_OK(context, Output(context, k, context->input(k).shape(), results[k]));
    Run(context, [&] { StepBackward(call, to); });
  }
};

REGISTER_KERNEL_BUILDER(Name("Seqmask>Step").Device(tensorflow::DEVICE_CPU), StepForwardOp);
REGISTER_KERNEL_BUILDER(Name("Seqmask>StepGrad").Device(tensorflow::DEVICE_CPU), StepBackwardOp);

#endif  // SEQMASK_STEP_OPS_H_
