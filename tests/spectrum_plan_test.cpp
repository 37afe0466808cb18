// Plans of eigenvalues against the memory that is really taken.
#include "plans.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/spectrum_plan.hpp>

#include <limits>
#include <set>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::mib;
using test::normals;
using test::spare;
using test::taken_by;
using test::workspaces;

Matrix random_gram(std::int64_t n, std::int64_t rank, DType dtype) {
    const Matrix x = normals(n, rank, 1, dtype);
    return gram(tangent(cpu(),
                        Network::create({.dim = rank,
                                         .rank = rank,
                                         .down = Down::identity,
                                         .train = {.down = true},
                                         .precision = dtype}),
                        x));
}

TEST(SlowSpectrumPlan, OfAGivenKernelKeepsItsPromise) {
    for (const DType dtype : {DType::f32, DType::f64})
        for (const std::int64_t n : {60, 500, 1100}) {
            const Matrix k = random_gram(n, 30, dtype);
            const std::int64_t square = 8 * n * n;
            const SpectrumPlan all = plan_spectrum(n);
            const std::int64_t taken = taken_by([&] { (void)spectrum(cpu(), k, all.peak_bytes); });
            EXPECT_LE(taken, all.peak_bytes - spare);
            EXPECT_GE(2 * taken, all.peak_bytes - workspaces - 2 * square) << "LAPACK's 2n² are no Matrix";
            for (const bool certify : {true, false})
                for (const std::int64_t subspace : {std::int64_t{0}, n}) {
                    ExtremalOptions options{.count = 3, .subspace = subspace, .certify = certify};
                    const SpectrumPlan few = plan_extremal(n, options);
                    options.memory = few.peak_bytes;
                    const std::int64_t dense = taken_by([&] { (void)extremal(cpu(), k, options); });
                    EXPECT_LE(dense, few.peak_bytes - spare);
                    // LAPACK, and all eigenvectors in reserve for a certificate that fails
                    const std::int64_t reserve = (certify && subspace == 0 ? 5 : 2) * square;
                    EXPECT_GE(2 * dense, few.peak_bytes - workspaces - reserve);
                }
        }
}

TEST(SlowSpectrumPlan, OfABatchKeepsItsPromise) {
    test::Between between(3);
    std::set<std::string> ways;
    for (int run = 0; run < 80; ++run) {
        const bool wide = run % 4 == 0;
        const std::int64_t n = wide ? between(30, 120) : between(50, 500),
                           d = wide ? between(3000, 9000) : between(4, 60);
        const std::int64_t factors = between(1, 7);
        const Train train{
            .down = (factors & 1) != 0, .up = (factors & 2) != 0, .readout = (factors & 4) != 0};
        const auto output = static_cast<KernelOutput>(between(0, 2));
        const DType precision = between(0, 1) == 0 ? DType::f32 : DType::f64;
        constexpr Activation kinds[] = {Activation::erf, Activation::softplus, Activation::relu,
                                        Activation::relu};
        const Activation activation = kinds[between(0, 3)];
        const bool limit = between(0, 3) == 0;
        const Network network = Network::create({.dim = d,
                                                 .width = 64 * between(1, 64),
                                                 .rank = between(4, 64),
                                                 .outputs = between(1, 3),
                                                 .down = Down::gaussian,
                                                 .up = Up::rademacher,
                                                 .train = train,
                                                 .activation = {activation},
                                                 .precision = precision});
        const KernelFunction f = limit ? KernelFunction::limit({activation}, train, d, precision)
                                       : KernelFunction::of_network(network, output);
        const std::int64_t way = between(0, 3);
        KernelSpectrumOptions options{.largest = way == 1 || way == 2 ? between(1, 4) : 0,
                                      .probes = way == 3 ? between(2, 40) : 0,
                                      .matrix_free = way == 2};
        const SpectrumPlan plan = plan_spectrum(f, n, options);
        options.memory = plan.peak_bytes;
        EXPECT_NO_THROW((void)plan_spectrum(f, n, options));
        SCOPED_TRACE(std::to_string(run) + ": n " + std::to_string(n) + ", d " + std::to_string(d) +
                     (limit ? ", limit" : "") + ", " + name(activation) + ", " + to_string(train) + ", " +
                     name(output) + ", " + name(precision) + ": " + plan.reason);
        const Matrix x = test::on_sphere(n, d, 1, precision);
        const std::int64_t taken = taken_by([&] {
            std::optional<Tangent> at;
            std::optional<KernelBatch> batch;
            std::unique_ptr<LinearOperator> products;
            Matrix k;
            if (limit && options.products()) {
                batch.emplace(cpu(), f, x);
                products = make_operator(*batch, *batch);
            } else if (!limit) {
                at = tangent(cpu(), network, x);
                products = std::make_unique<KernelOperator>(*at, output);
            }
            if (options.dense())
                k = limit ? limit_kernel(cpu(), {activation}, train, x) : gram(*at, output);
            const ExtremalOptions few{.count = options.largest, .max_restarts = 2};
            if (way == 0) (void)spectrum(cpu(), k);
            if (way == 1) (void)extremal(cpu(), k, few);
            if (way == 2) (void)extremal(*products, few);
            if (way == 3) (void)estimate_trace(*products, {.probes = options.probes});
        });
        const std::int64_t square = 8 * n * f.outputs() * n * f.outputs();
        EXPECT_LE(taken, plan.peak_bytes - spare);
        // LAPACK's 2N² doubles; all eigenvectors in reserve for a certificate that fails
        EXPECT_GE(2 * taken, plan.peak_bytes - workspaces - (way == 0 ? 2 : way == 1 ? 5 : 0) * square);
        ways.insert(std::to_string(way) + (limit ? " limit" : ""));
    }
    EXPECT_EQ(ways.size(), 8U);
}

TEST(SpectrumPlan, RefusesWhatDoesNotFitAndNamesTheLeastBudget) {
    const KernelFunction f = KernelFunction::limit({}, {.up = true}, 20);
    for (KernelSpectrumOptions options :
         {KernelSpectrumOptions{}, {.largest = 2}, {.smallest = 2, .matrix_free = true}, {.probes = 32}}) {
        options.memory = mib;
        const std::string text = error_of<MemoryError>([&] { (void)plan_spectrum(f, 3000, options); });
        expect_parts(text, {"memory = 1 MiB", "3000", options.dense() ? "matrix-free" : "fewer samples"});
        const std::int64_t least = test::least_named(text, "take ");
        options.memory = least;
        EXPECT_NO_THROW((void)plan_spectrum(f, 3000, options));
        options.memory = least - mib;
        EXPECT_THROW((void)plan_spectrum(f, 3000, options), MemoryError);
    }
    const Matrix k = random_gram(300, 20, DType::f64);
    expect_parts(error_of<MemoryError>([&] { (void)spectrum(cpu(), k, 5 * mib); }),
                 {"memory = 5 MiB", "300", "extremal"});
    expect_parts(error_of<MemoryError>([&] { (void)extremal(cpu(), k, {.memory = 5 * mib}); }),
                 {"memory = 5 MiB", "certify"});
    const DenseOperator op(cpu(), k);
    expect_parts(error_of<MemoryError>([&] { (void)extremal(op, {.memory = 5 * mib}); }),
                 {"memory = 5 MiB", "subspace"});
    expect_parts(error_of<MemoryError>([&] { (void)estimate_trace(op, {.memory = 5 * mib}); }),
                 {"memory = 5 MiB", "block"});
    expect_parts(error_of<ValueError>([&] { (void)plan_spectrum(0); }), {"order = 0"});
    expect_parts(error_of<ValueError>([&] { (void)plan_spectrum(5, -1); }), {"memory = -1"});
    expect_parts(error_of<ValueError>([&] { (void)plan_extremal(5, {.count = 6}); }), {"count = 6"});
}

TEST(SpectrumPlan, CountsWhatExceedsTwoToThe63) {
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    const SpectrumPlan all = plan_extremal(9'000'000'000'000'000'000, DType::f32,
                                           {.count = 9'000'000'000'000'000'000}),
                       half = plan_extremal(9'000'000'000'000'000'000, DType::f32,
                                            {.count = 5'000'000'000'000'000'000});
    EXPECT_EQ(half.flops, all.flops);  // 2k + 1 > n: all vectors
    const KernelFunction f = KernelFunction::limit({}, {.up = true}, 20);
    const std::int64_t five = 5'000'000'000'000'000'000, four = 4'000'000'000'000'000'000;
    expect_parts(plan_spectrum(f, most, {.largest = five, .smallest = five}).reason,
                 {"10000000000000000000 of 9223372036854775807 eigenvalues, certified"});
    EXPECT_GT(plan_spectrum(f, most, {.largest = four, .matrix_free = true}).flops, 1e57);
}

}  // namespace
}  // namespace fntk
