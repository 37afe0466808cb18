// The limit kernel of relu, leaky_relu and abs at h = x, block by block through the backend's arc_gram in
// double: a pair costs the product of its rows and little more.
#pragma once

#include <fntk/device.hpp>
#include <fntk/network.hpp>

namespace fntk {

/// K∞ (n × n') into `kernel`, host memory, f32 or f64; α the slope at z < 0. inputs and others in host
/// memory and finite; `others` null: the inputs again, and `kernel` is exactly symmetric. False, and
/// nothing done, when a norm lies outside 2^±400, where products of two of them leave double.
bool arc_limit(const Device& device, double alpha, Train train, ConstMatrixView inputs,
               const ConstMatrixView* others, MatrixView kernel);

}  // namespace fntk
