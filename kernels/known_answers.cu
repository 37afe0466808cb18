// The scalar functions that host and device share, instantiated for the device: one kernel per function,
// one thread per result, results written where a comparison with the host finds them. Nothing of the
// library links this file; it proves that the shared code compiles for every architecture, and is what a
// machine with a GPU runs to compare the two sides bit for bit. Launch with any grid: every kernel strides
// over its results, uses no shared memory, and its results depend on the index alone.
#include "activation.hpp"
#include "fixed_point.hpp"
#include "philox.hpp"
#include "signs.hpp"

namespace fntk::kernels {

namespace {

__device__ std::int64_t first_index() {
    return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ std::int64_t index_step() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

}  // namespace

/// words (4 × blocks): the blocks of one stream.
__global__ void known_philox_words(std::uint64_t seed, Stream stream, std::int64_t blocks,
                                   std::uint32_t* words) {
    for (std::int64_t i = first_index(); i < blocks; i += index_step()) {
        const Philox4 block = random_block(seed, stream, static_cast<std::uint64_t>(i));
        for (int lane = 0; lane < 4; ++lane) words[4 * i + lane] = block.word[lane];
    }
}

/// normals (count), N(0, 1); the device's log, sin and cos may differ from the host's in the last bits.
__global__ void known_normals(std::uint64_t seed, Stream stream, std::int64_t count, double* normals) {
    for (std::int64_t i = first_index(); i < count; i += index_step()) {
        normals[i] = random_normal(seed, stream, static_cast<std::uint64_t>(i));
    }
}

/// uniform (count) integers in [0, bound).
__global__ void known_uniform(std::uint64_t seed, Stream stream, std::uint64_t bound, std::int64_t count,
                              std::uint64_t* uniform) {
    for (std::int64_t i = first_index(); i < count; i += index_step()) {
        uniform[i] = random_below(seed, stream, static_cast<std::uint64_t>(i), bound);
    }
}

/// rademacher, srht (m × p): V; readout (m): the first column of A. Entries ±1.
__global__ void known_signs(std::uint64_t seed, std::int64_t m, std::int64_t p, signed char* rademacher,
                            signed char* srht, signed char* readout) {
    for (std::int64_t i = first_index(); i < m * p; i += index_step()) {
        const std::int64_t r = i / p, q = i % p;
        rademacher[i] = static_cast<signed char>(rademacher_sign(seed, r, q, p));
        srht[i] = static_cast<signed char>(srht_sign(seed, r, q, p));
        if (q == 0) readout[r] = static_cast<signed char>(readout_sign(seed, r, 0));
    }
}

/// digits (count × places): x·2^−exponent_of(x), one 22-bit digit after the other.
__global__ void known_digits(const double* x, std::int64_t count, int places, std::int32_t* digits) {
    for (std::int64_t i = first_index(); i < count; i += index_step()) {
        double rest = std::ldexp(x[i], -exponent_of(x[i]));
        for (int place = 0; place < places; ++place)
            digits[places * i + place] = take_digit(rest, input_digit_bits);
    }
}

/// terms (count): digit products at the weight of the digit pair (i, j).
__global__ void known_terms(const std::int64_t* products, std::int64_t count, int i, int j, double* terms) {
    for (std::int64_t t = first_index(); t < count; t += index_step())
        terms[t] = digit_term(products[t], i, j);
}

/// h (n × p) = ĥ of v (n × p), row by row; exponents (n) those with h ≈ ĥ·2^e. One thread per row.
__global__ void known_quantised_rows(const double* v, std::int64_t n, std::int64_t p, bool wide,
                                     std::int64_t* h, std::int32_t* exponents) {
    const int bits = hidden_bits(ceil_log2(p), wide);
    for (std::int64_t i = first_index(); i < n; i += index_step()) {
        const double* row = v + i * p;
        double largest = 0;
        for (std::int64_t q = 0; q < p; ++q) largest = std::fmax(largest, std::fabs(row[q]));
        const int shift = bits - exponent_of(largest);
        exponents[i] = largest == 0 ? 0 : -shift;
        for (std::int64_t q = 0; q < p; ++q) h[i * p + q] = quantise(row[q], shift);
    }
}

/// out (10): σ and σ' of z in turn for the piecewise linear ones (slope `closed` where z ≤ 0), gelu,
/// softplus, erf, tanh. The two kernels behind it write them as rows of values (count × 10).
template <class T>
__device__ void known_activation(T z, T closed, T* out) {
    out[0] = piecewise_linear(z, closed);
    out[1] = piecewise_linear_slope(z, closed);
    out[2] = gelu(z);
    out[3] = gelu_slope(z);
    out[4] = softplus(z);
    out[5] = softplus_slope(z);
    out[6] = std::erf(z);
    out[7] = erf_slope(z);
    out[8] = std::tanh(z);
    out[9] = tanh_slope(z);
}
__global__ void known_activations(const float* z, std::int64_t count, float closed, float* values) {
    for (std::int64_t i = first_index(); i < count; i += index_step())
        known_activation(z[i], closed, values + 10 * i);
}
__global__ void known_activations(const double* z, std::int64_t count, double closed, double* values) {
    for (std::int64_t i = first_index(); i < count; i += index_step())
        known_activation(z[i], closed, values + 10 * i);
}

}  // namespace fntk::kernels
