// Operands of products of digits (kernels/digit_sums.hpp) in memory of the device.
#pragma once

#include <backend/cuda/context.hpp>

#include <digit_tiles.hpp>

namespace fntk::backend::cuda {

/// The rows of a matrix of floats as digits, for as long as the products with them are issued.
class Digits {
  public:
    Digits(Context& context, ConstMatrixView x)
        : tiles_(context, 1, kernels::DigitTiles::quads_of(x.rows, x.cols)),
          units_(context, 1, kernels::DigitTiles::padded_rows(x.rows)),
          view_{tiles_.data(), units_.data(), x.rows, kernels::DigitTiles::steps_of(x.cols)} {
        context.run(kernels::PackDigits{rows_of<float>(x), tiles_.data(), units_.data()});
    }
    [[nodiscard]] const kernels::DigitTiles& view() const { return view_; }

  private:
    Scratch<kernels::Quad> tiles_;
    Scratch<std::int32_t> units_;
    kernels::DigitTiles view_;
};

}  // namespace fntk::backend::cuda
