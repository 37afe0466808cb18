// What long or wide work takes beside its result: predictions whatever their number, the full kernel of
// many outputs as the process grows.
#include "support.hpp"

#include <fntk/kernel_model.hpp>

#include <fstream>

namespace fntk {
namespace {

using test::cpu;
using test::normals;
using test::on_sphere;

/// A field of /proc/self/status in bytes; 0 where there is none.
std::int64_t resident(const std::string& field) {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line))
        if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) << 10;
    return 0;
}

bool reset_resident_peak() {
    std::ofstream clear("/proc/self/clear_refs");
    clear << "5" << std::flush;
    return clear.good();
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // whose own memory grows with ours
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

TEST(SlowKernelModel, PredictsAnyNumberOfRowsInTheSameMemory) {
    const Matrix x = on_sphere(300, 8, 1, DType::f32), y = normals(300, 1, 2);
    const auto network = [](Train train) {
        return KernelFunction::of_network(Network::create(
            {.dim = 8, .width = 64, .rank = 4, .train = train, .precision = DType::f32, .seed = 5}));
    };
    constexpr std::int64_t page = 8192;  // means, the largest that there is
    const Matrix all = on_sphere(184 * page, 8, 3, DType::f32);
    for (const KernelFunction& f :
         {network({.down = true}), network({.up = true}), KernelFunction::limit({}, {.up = true}, 8)}) {
        const KernelModel model = fit_kernel(cpu(), f, x, y, {.ridges = {1e-2}});
        std::vector<std::int64_t> beside;
        Matrix means[2];
        for (const std::int64_t rows : {2 * page, 184 * page}) {
            reset_memory_peak();
            const std::int64_t before = memory_use().current;
            const Prediction prediction = predict_kernel(cpu(), model, all.view().row_block(0, rows));
            beside.push_back(memory_use().peak - before - prediction.mean.bytes());
            means[beside.size() - 1] = Matrix::copy_of(prediction.mean.view().row_block(9'000, 100));
        }
        EXPECT_EQ(beside[0], beside[1]);
        EXPECT_LT(beside[1], 16 << 20);
        EXPECT_TRUE(test::same_bits(means[0], means[1]));
    }
}

TEST(Memory, OfTheFullKernelOfTenOutputsIsThatOfItsTiles) {
    if (sanitized || !reset_resident_peak() || resident("VmHWM") == 0)
        GTEST_SKIP() << "no peak of this process alone";
    const Matrix x = on_sphere(64, 784, 1, DType::f32);
    const Network network = Network::create({.dim = 784,
                                             .width = 1024,
                                             .rank = 64,
                                             .outputs = 10,
                                             .train = {.down = true, .up = true},
                                             .precision = DType::f32});
    (void)gram(tangent(cpu(), network, x.view().row_block(0, 1)),
               KernelOutput::full);  // BLAS made its buffers
    ASSERT_TRUE(reset_resident_peak());
    const std::int64_t before = resident("VmRSS");
    const Matrix kernel = gram(tangent(cpu(), network, x), KernelOutput::full);
    EXPECT_EQ(kernel.rows(), 640);
    EXPECT_LT(resident("VmHWM") - before, 64 << 20);
}

}  // namespace
}  // namespace fntk
