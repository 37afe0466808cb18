// The homogeneous activations on rows of floating-point z, compiled for every instruction set and chosen at
// run time.
#pragma once

#include <cstdint>

namespace fntk::backend {

/// `outputs` columns of A over a block of units: column c at first[c·stride].
template <class T>
struct ReadoutColumns {
    const T* first = nullptr;
    std::int64_t stride = 0, outputs = 0;
};

/// words (unless null), the bits z > 0 of the block, 0 past `count`; values_c (unless null) += Σ_r a_rc
/// σ(z_r), σ of slope 1 where z > 0, else `closed`.
void gates_and_values(const float* z, std::int64_t count, float closed, const ReadoutColumns<float>& a,
                      std::uint64_t* words, float* values);
void gates_and_values(const double* z, std::int64_t count, double closed, const ReadoutColumns<double>& a,
                      std::uint64_t* words, double* values);

/// out_r = (bit r of words ? 1 : closed) · Σ_c e_c a_rc.
void weighted_slopes(const std::uint64_t* words, std::int64_t count, float closed,
                     const ReadoutColumns<float>& a, const float* e, float* out);
void weighted_slopes(const std::uint64_t* words, std::int64_t count, double closed,
                     const ReadoutColumns<double>& a, const double* e, double* out);

}  // namespace fntk::backend
