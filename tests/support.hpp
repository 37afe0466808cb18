// What the tests of networks, tangents, kernels and training share: data from a fixed seed, errors,
// comparisons to the last bit, and the devices that have to agree.
#pragma once

#include <fntk/device.hpp>
#include <fntk/network.hpp>
#include <fntk/tangent.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace fntk::test {

/// Rounded to float32.
inline Matrix narrowed(ConstMatrixView matrix) { return Matrix::converted(matrix, DType::f32); }

/// rows × cols with entry(i, j), rounded to dtype.
template <class Entry>
Matrix filled(std::int64_t rows, std::int64_t cols, DType dtype, Entry&& entry) {
    Matrix matrix(rows, cols, DType::f64);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j) matrix.at<double>(i, j) = static_cast<double>(entry(i, j));
    return Matrix::converted(matrix, dtype);
}

/// float64, one row of values after the other.
inline Matrix rows_of(const std::vector<std::vector<double>>& values) {
    const auto rows = static_cast<std::int64_t>(values.size());
    return filled(rows, static_cast<std::int64_t>(values.at(0).size()), DType::f64,
                  [&](std::int64_t i, std::int64_t j) { return values[i][j]; });
}

/// Independent N(0, 1).
inline Matrix normals(std::int64_t rows, std::int64_t cols, std::uint64_t seed, DType dtype = DType::f64) {
    std::mt19937_64 engine(seed);
    std::normal_distribution<double> normal;
    return filled(rows, cols, dtype, [&](auto, auto) { return normal(engine); });
}

/// Rows on the unit sphere.
inline Matrix on_sphere(std::int64_t rows, std::int64_t cols, std::uint64_t seed,
                        DType dtype = DType::f64) {
    Matrix x = normals(rows, cols, seed);
    for (std::int64_t i = 0; i < rows; ++i) {
        double square = 0;
        for (std::int64_t j = 0; j < cols; ++j) square += x.at<double>(i, j) * x.at<double>(i, j);
        for (std::int64_t j = 0; j < cols; ++j) x.at<double>(i, j) /= std::sqrt(square);
    }
    return Matrix::converted(x, dtype);
}

/// Whole numbers in [−most, most]: the data of exact ties.
inline Matrix small_integers(std::int64_t rows, std::int64_t cols, int most, std::uint64_t seed,
                             DType dtype) {
    std::mt19937_64 engine(seed);
    return filled(rows, cols, dtype, [&](auto, auto) {
        return static_cast<int>(engine() % static_cast<std::uint64_t>(2 * most + 1)) - most;
    });
}

/// ‖a − b‖_F/‖b‖_F; ‖a‖_F when b is zero.
inline double relative_error(ConstMatrixView a, ConstMatrixView b) {
    EXPECT_EQ(a.rows, b.rows);
    EXPECT_EQ(a.cols, b.cols);
    if (a.rows != b.rows || a.cols != b.cols) return HUGE_VAL;
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t j = 0; j < a.cols; ++j) {
            const double x = value(a, i, j), y = value(b, i, j);
            difference += (x - y) * (x - y);
            norm += y * y;
        }
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

/// a (n × q) times the transpose of b (l × q), by a plain loop in double.
inline Matrix times_transposed(ConstMatrixView a, ConstMatrixView b) {
    const auto in_double = [](ConstMatrixView of) {
        return filled(of.rows, of.cols, DType::f64,
                      [&](std::int64_t i, std::int64_t q) { return value(of, i, q); });
    };
    const Matrix rows = in_double(a), cols = in_double(b);
    return filled(a.rows, b.rows, DType::f64, [&](std::int64_t i, std::int64_t j) {
        const double *x = rows.view().row<double>(i), *y = cols.view().row<double>(j);
        double sum = 0;
        for (std::int64_t q = 0; q < a.cols; ++q) sum += x[q] * y[q];
        return sum;
    });
}

inline Matrix transposed(ConstMatrixView a) {
    return filled(a.cols, a.rows, a.dtype, [&](std::int64_t i, std::int64_t j) { return value(a, j, i); });
}
/// a·b by a plain loop in double.
inline Matrix times(ConstMatrixView a, ConstMatrixView b) { return times_transposed(a, transposed(b)); }

/// Same shape, type and bytes.
inline bool same_bits(ConstMatrixView a, ConstMatrixView b) {
    if (a.rows != b.rows || a.cols != b.cols || a.dtype != b.dtype) return false;
    for (std::int64_t i = 0; i < a.rows && a.cols > 0; ++i)
        if (std::memcmp(a.row_block(i, 1).data, b.row_block(i, 1).data,
                        static_cast<std::size_t>(a.cols) * size_of(a.dtype)) != 0)
            return false;
    return true;
}
/// Same shape and words, the bits behind the last column included.
inline bool same_bits(ConstBitView a, ConstBitView b) {
    if (a.rows != b.rows || a.cols != b.cols) return false;
    for (std::int64_t i = 0; i < a.rows; ++i)
        for (std::int64_t w = 0; w < (a.cols + 63) / 64; ++w)
            if (a.row(i)[w] != b.row(i)[w]) return false;
    return true;
}

inline bool same_factors(const Network& a, const Network& b) {
    return same_bits(a.materialize_down(), b.materialize_down()) && same_bits(a.down(), b.down()) &&
           same_bits(a.materialize_up(), b.materialize_up()) &&
           same_bits(a.materialize_readout(), b.materialize_readout());
}

inline std::int64_t popcount(ConstBitView bits, std::int64_t row) {
    std::int64_t count = 0;
    for (std::int64_t r = 0; r < bits.cols; ++r) count += bits.get(row, r) ? 1 : 0;
    return count;
}

/// All that the exact class promises of a tangent, for equality, wherever each of the two lies.
inline void expect_same_integers(const Tangent& a, const Tangent& b) {
    const auto same = [&](auto of_a, auto of_b) {
        return same_bits(a.device().on_host(of_a), b.device().on_host(of_b));
    };
    EXPECT_FALSE(a.hidden_int().data == nullptr && a.size() > 0) << "not in the exact class";
    EXPECT_TRUE(same(a.hidden_int(), b.hidden_int())) << "hidden_int";
    EXPECT_TRUE(same(a.hidden_exp(), b.hidden_exp())) << "hidden_exp";
    ASSERT_EQ(a.has_gates(), b.has_gates());
    if (a.has_gates()) {
        EXPECT_TRUE(same(a.gates(), b.gates())) << "gates";
    }
    EXPECT_TRUE(same(a.gradients_int(), b.gradients_int())) << "gradients_int";
    EXPECT_TRUE(same(a.values_int(), b.values_int())) << "values_int";
    EXPECT_TRUE(same(a.open_sum(), b.open_sum())) << "open_sum";
}

/// What devices() says of a backend.
inline DeviceInfo info_of(const std::string& name) {
    for (const DeviceInfo& info : devices())
        if (info.name == name) return info;
    return {name, false, "devices() does not list it"};
}

struct NamedDevice {
    std::string name;
    Device device;
};
/// The devices that work in host memory: the oracle first, then the cpu with several thread counts.
inline std::vector<NamedDevice> host_devices() {
    std::vector<NamedDevice> result{{"reference", Device::open("reference")}};
    for (const int threads : {1, 2, 7})
        result.push_back({"cpu, threads " + std::to_string(threads), Device::open("cpu", threads)});
    return result;
}
/// The devices that must give equal integers: the oracle first, then all others that are available.
inline std::vector<NamedDevice> reference_and_others() {
    std::vector<NamedDevice> result = host_devices();
    if (info_of("cuda").available) result.push_back({"cuda", Device::open("cuda")});
    return result;
}

/// The backend that users get, with one thread.
inline const Device& cpu() {
    static const Device device = Device::open("cpu", 1);
    return device;
}

/// Everything kept, whatever is trained.
inline constexpr TangentOptions keep_all{.gradients = true, .gates = true};

inline constexpr Train all_trains[] = {{.down = true},
                                       {.up = true},
                                       {.readout = true},
                                       {.down = true, .up = true},
                                       {.down = true, .readout = true},
                                       {.up = true, .readout = true},
                                       {.down = true, .up = true, .readout = true}};
inline constexpr Activation all_activations[] = {
    Activation::relu, Activation::leaky_relu, Activation::abs,     Activation::erf,
    Activation::gelu, Activation::tanh,       Activation::softplus};
inline constexpr Up all_ups[] = {Up::gaussian, Up::rademacher, Up::srht};

}  // namespace fntk::test
