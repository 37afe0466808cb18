// Arc-cosine kernels of one row with many, from their cosines; compiled for every instruction set and
// chosen at run time.
#pragma once

#include <arc.hpp>

#include <cstdint>

namespace fntk::backend {

/// A unit row u of `depth` elements, and the unit rows u'_j at u_cols + j·stride.
template <class T>
struct ArcRow {
    const T* u = nullptr;
    const T* u_cols = nullptr;
    std::int64_t stride = 0, depth = 0;
    T norm = 0;                // |x|
    const T* norms = nullptr;  // |x'_j|
};

/// values_j, <u, u'_j> on entry, becomes |x||x'_j|·kernel(θ_j), j < count.
void arc_row(const kernels::ArcKernel& kernel, const ArcRow<float>& row, std::int64_t count, float* values);
void arc_row(const kernels::ArcKernel& kernel, const ArcRow<double>& row, std::int64_t count,
             double* values);

}  // namespace fntk::backend
