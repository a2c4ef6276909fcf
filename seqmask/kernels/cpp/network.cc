// Lays out the memory of a network, and takes its stages in turn; and what Python calls of it.

#include "network.h"

#include <algorithm>

#include "floats.h"
#include "target.h"

namespace seqmask {

namespace {

bool IsCell(StageKind kind) { return kind >= StageKind::kLstm; }

// The biases of each plane, of the inputs' share and, where there is one, of the state's.
void FillBias(const Stage& stage, int64_t padded, float* to) {
  const Planes& planes = PlanesOf(stage.kind);
  const int64_t H = stage.output_size;
  const float* bias = stage.weights[IsCell(stage.kind) ? 2 : 1];
  if (bias == nullptr) return;
  for (int p = 0; p < planes.all; ++p) {
    const bool input = p >= planes.input.first && p < planes.input.first + planes.input.count;
    const bool recurrent = stage.kind == StageKind::kGru && p < planes.recurrent.count;
    const float* of_gate = bias + planes.gate[p] * H;
    for (int64_t k = 0; k < H; ++k) {
      if (input) to[p * padded + k] += of_gate[k];
      if (recurrent) to[p * padded + k] += of_gate[3 * H + k];
    }
  }
}

}  // namespace

Network::Network(int64_t batch, int64_t count, const Stage* stages)
    : batch_(batch), target_(CurrentTarget()) {
  inputs_ = TakeRows(stages[0].input_size);
  for (int64_t k = 0; k < count; ++k) {
    const Stage& stage = stages[k];
    const Planes& planes = PlanesOf(stage.kind);
    const int64_t D = stage.input_size;
    Layer layer{};
    layer.stage = stage;
    const int64_t P = layer.padded = RoundUp(stage.output_size, target_.width);
    layer.outputs = TakeRows(stage.output_size);
    if (stage.kind == StageKind::kStandardize) {
      layer.bias = Take(2 * P);
      std::copy(stage.weights[0], stage.weights[0] + D, layer.bias);
      std::fill(layer.bias + P, layer.bias + 2 * P, 1.0f);
      std::copy(stage.weights[1], stage.weights[1] + D, layer.bias + P);
      layers_.push_back(layer);
      continue;
    }
    const bool convolution = stage.kind == StageKind::kConvolution;
    const int64_t taps = convolution ? stage.kernel_size : 1;
    layer.bias = Take(planes.all * P);
    FillBias(stage, P, layer.bias);
    layer.panels.input = Take(taps * D * planes.input.count * P);
    if (convolution) {
      layer.state[0] = TakeRows((taps - 1) * stage.dilation * D);
      layer.seen = Take(batch * taps * D);
    }
    if (IsCell(stage.kind)) {
      layer.state[0] = layer.outputs;
      if (stage.kind == StageKind::kLstm) layer.state[1] = TakeRows(stage.output_size);
      layer.panels.recurrent = Take(P * planes.recurrent.count * P);
      layer.panels.reset = Take(P * planes.reset.count * P);
      layer.sums = Take(batch * planes.all * P);
      layer.seen = Take(batch * P);
    }
    target_.pack_layer(layer);
    layers_.push_back(layer);
  }
}

Network::~Network() = default;

float* Network::Take(int64_t floats) {
  memory_.push_back(std::make_unique<Floats>(floats));
  std::fill_n(memory_.back()->get(), floats, 0.0f);
  return memory_.back()->get();
}

Rows Network::TakeRows(int64_t size) {
  const int64_t stride = RoundUp(size, target_.width);
  return {Take(batch_ * stride), stride, size};
}

void Network::Step() {
  Rows x = inputs_;
  for (const Layer& layer : layers_) {
    target_.run_layer(layer, batch_, x);
    x = layer.outputs;
  }
}

Rows Network::outputs() const { return layers_.back().outputs; }

Rows Network::state(int64_t stage, int64_t part) const {
  const Layer& layer = layers_[stage];
  return part < 2 ? layer.state[part] : Rows{};
}

}  // namespace seqmask

// For Python, through ctypes.
extern "C" {
using seqmask::Network;

void* seqmask_network_new(int64_t batch, int64_t count, const seqmask::Stage* stages) {
  try {
    return new Network(batch, count, stages);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void seqmask_network_delete(void* network) { delete static_cast<Network*>(network); }
void seqmask_network_step(void* network) { static_cast<Network*>(network)->Step(); }
void seqmask_network_inputs(void* network, seqmask::Rows* rows) {
  *rows = static_cast<Network*>(network)->inputs();
}
void seqmask_network_outputs(void* network, seqmask::Rows* rows) {
  *rows = static_cast<Network*>(network)->outputs();
}
void seqmask_network_state(void* network, int64_t stage, int64_t part, seqmask::Rows* rows) {
  *rows = static_cast<Network*>(network)->state(stage, part);
}
}
