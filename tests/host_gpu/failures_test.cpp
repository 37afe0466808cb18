// What a user sees of a machine whose driver, GPU, memory or kernel fails: whatever call of whatever
// operation it is, a clear Error, nothing left over, and a handle that goes on or says that it cannot.
#include "environment.hpp"
#include "exact_networks.hpp"
#include "host_gpu.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/kernel.hpp>
#include <fntk/regression.hpp>
#include <fntk/solver.hpp>
#include <fntk/spectrum.hpp>
#include <fntk/training.hpp>

#include <functional>
#include <optional>
#include <utility>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::normals;
using test::same_bits;
namespace gpu = test::gpu;

// --- the machine

TEST(GpuMachine, IsWhatAutoChoosesWhereItIsUsable) {
    const test::Environment none("FNTK_DEVICE", nullptr);
    const gpu::Machine usable = gpu::machine();
    EXPECT_EQ(Device::open().name(), "cuda");
    EXPECT_NE(Device::open("auto", 2).place(), Place::host);
    gpu::machine().compute_capability = 86;
    EXPECT_EQ(Device::open().name(), "cuda");
    const auto spoilt = [&](const auto& spoil) {
        gpu::machine() = usable;
        spoil(gpu::machine());
        const Device device = Device::open("auto", 2);
        EXPECT_EQ(device.threads(), 2);
        return device.name();
    };
    EXPECT_EQ(spoilt([](gpu::Machine& machine) { machine.driver = 0; }), "cpu");
    EXPECT_EQ(spoilt([](gpu::Machine& machine) { machine.driver = CUDART_VERSION - 10; }), "cpu");
    EXPECT_EQ(spoilt([](gpu::Machine& machine) { machine.gpus = 0; }), "cpu");
    EXPECT_EQ(spoilt([](gpu::Machine& machine) { machine.compute_capability = 75; }), "cpu");
    EXPECT_EQ(spoilt([](gpu::Machine& machine) { machine.has_code = false; }), "cpu");
    gpu::machine() = usable;
    for (const cudaError_t error : {cudaErrorMemoryAllocation, cudaErrorLaunchFailure}) {
        gpu::fail(0, error, 100);  // another process has all of its memory; it is broken
        EXPECT_EQ(Device::open().name(), "cpu");
        EXPECT_TRUE(gpu::has_failed());
        gpu::restart();
    }
    EXPECT_EQ(gpu::alive(), gpu::Alive{}) << "nothing is left of what was tried";
    EXPECT_EQ(Device::open().name(), "cuda");
    const test::Environment forced("FNTK_DEVICE", "cpu");
    EXPECT_EQ(Device::open().name(), "cpu") << "the environment wins";
}

TEST(GpuMachine, WithoutADriverSaysSo) {
    gpu::machine().driver = 0;
    expect_parts(error_of<DeviceError>([] { (void)Device::open("cuda"); }),
                 {"'cuda'", "no NVIDIA driver", "use cpu"});
    gpu::machine().driver = CUDART_VERSION - 10;
    expect_parts(error_of<DeviceError>([] { (void)Device::open("cuda"); }),
                 {"driver is for CUDA 12.3", "needs 12.4", "update the driver"});
    gpu::machine().driver = CUDART_VERSION;
    gpu::machine().gpus = 0;
    expect_parts(error_of<DeviceError>([] { (void)Device::open("cuda"); }),
                 {"no GPU can be seen", "use cpu"});
}

TEST(GpuMachine, OfAnotherCapabilityIsRefusedByItsNumber) {
    gpu::machine().compute_capability = 75;
    expect_parts(error_of<DeviceError>([] { (void)Device::open("cuda"); }),
                 {"compute capability 7.5", "8.0 or later is needed"});
    gpu::machine().of_second = 86;
    EXPECT_EQ(Device::open("cuda:1").name(), "cuda:1") << "whatever the first GPU is";
    gpu::machine().compute_capability = 86;
    gpu::machine().of_second = 75;
    expect_parts(error_of<DeviceError>([] { (void)Device::open("cuda:1"); }),
                 {"'cuda:1' is not available", "compute capability 7.5"});
    EXPECT_EQ(Device::open("cuda").name(), "cuda");
    gpu::machine().of_second = 0;
    gpu::machine().has_code = false;
    const Device device = Device::open("cuda");
    const Matrix x = normals(3, 8, 1, DType::f32);
    const Network network = Network::create({.dim = 8, .width = 64, .rank = 8});
    for (int i = 0; i < 2; ++i)
        expect_parts(error_of<DeviceError>([&] { (void)tangent(device, network, x); }),
                     {"compute capability 8.6", "no code", "-DCMAKE_CUDA_ARCHITECTURES=86"});
}

TEST(GpuMachine, TakesItsStreamFromTheCallerIfItIsOfTheDevice) {
    cudaStream_t first = nullptr, second = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&first, 0), cudaSuccess);
    ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
    ASSERT_EQ(cudaStreamCreateWithFlags(&second, 0), cudaSuccess);
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    for (const auto& [device, of_other] : {std::pair{0, second}, {1, first}}) {
        const int ordinal = device;  // clang 14 takes no part of a pair into a lambda
        const cudaStream_t stream = of_other;
        expect_parts(
            error_of<DeviceError>([&] { (void)Device::cuda(ordinal, stream); }),
            {"the stream given for device 'cuda:" + std::to_string(ordinal) + "'", "cannot be used there"});
    }
    expect_parts(error_of<DeviceError>([] { (void)Device::cuda(0, cudaStreamPerThread); }),
                 {"cudaStreamPerThread", "cudaStreamLegacy"});
    {
        const Device zero = Device::cuda(0, first), one = Device::cuda(1, second);
        const Network network = Network::create({.dim = 8, .width = 64, .rank = 8});
        const Matrix x = normals(3, 8, 1, DType::f32);
        const Matrix k = gram(tangent(zero, network, x)), k_one = gram(tangent(one, network, x));
        EXPECT_TRUE(same_bits(zero.to_host(k), one.to_host(k_one)));
        int device = -1;
        EXPECT_EQ(cudaGetDevice(&device), cudaSuccess);
        EXPECT_EQ(device, 0) << "the current device stays the caller's";
    }
    EXPECT_EQ(cudaStreamDestroy(first), cudaSuccess) << "the caller's, still alive";
    EXPECT_EQ(cudaStreamDestroy(second), cudaSuccess);
}

// --- its memory

TEST(GpuMemory, ThatIsKeptForLaterIsGivenBackBeforeThereIsNone) {
    gpu::machine().memory = 50 << 20;
    const Device device = Device::open("cuda");
    for (const std::int64_t megabytes : {20, 40, 30, 49}) {
        const Matrix there = device.to_device(test::filled(
            megabytes, 1 << 17, DType::f64, [](auto i, auto j) { return static_cast<double>(i + j); }));
        EXPECT_EQ(memory_use(device.place()).current, megabytes << 20);
        expect_parts(
            error_of<MemoryError>([&] { (void)device.to_device(Matrix(31, 1 << 17, DType::f64)); }),
            {"32505856 bytes cannot be had on device 'cuda:0'", "of 52428800 are free"});
    }
}

// --- calls that fail

const Matrix& inputs() {
    static const Matrix x = normals(6, 8, 1);
    return x;
}
const Matrix& targets() {
    static const Matrix y = normals(6, 2, 2);
    return y;
}
/// Gaussian up rows, tanh: all of it in floating point.
Network real_network() {
    return Network::create({.dim = 8,
                            .width = 100,
                            .rank = 8,
                            .outputs = 2,
                            .up = Up::gaussian,
                            .activation = {Activation::tanh, 0},
                            .precision = DType::f64});
}
Matrix row_of(const std::vector<double>& numbers) {
    return test::filled(1, std::ssize(numbers), DType::f64,
                        [&](auto, auto j) { return numbers[static_cast<std::size_t>(j)]; });
}

Matrix exact_gram(const Device& device) {
    const Network network = Network::create({.dim = 8, .width = 100, .rank = 8, .outputs = 2});
    const Matrix x = normals(6, 8, 1, DType::f32);
    return device.to_host(gram(tangent(device, network, x), KernelOutput::full));
}
Matrix gram_by_chain(const Device& device) {
    const Network network = Network::create({.dim = 300, .width = 70, .rank = 300, .up = Up::rademacher});
    const Matrix x = normals(3, 300, 3, DType::f32);
    return device.to_host(gram(tangent(device, network, x)));
}
Matrix real_gram(const Device& device) {
    return device.to_host(
        gram(tangent(device, real_network(), inputs()), KernelOutput::trace, {.down = true, .up = true}));
}
Matrix eigenvalues(const Device& device) {
    return row_of(spectrum(device, gram(tangent(device, real_network(), inputs()))).eigenvalues);
}
Matrix ridge(const Device& device) {
    return std::move(
        fit_ridge(device, gram(tangent(device, real_network(), inputs())), targets(), 0.1).dual);
}
Matrix conjugate_gradients(const Device& device) {
    const Tangent rows = tangent(device, real_network(), inputs());
    return device.to_host(
        conjugate_gradient(KernelOperator(rows), 0.1, targets(), nullptr, {.max_iterations = 3}).solution);
}
Matrix losses(const Device& device) {
    std::vector<double> result;
    for (const TrainingRecord& record :
         train(device, real_network(), inputs(), targets(),
               {.steps = 2, .rule = StepRule::given, .step = 0.01, .momentum = 0.5})
             .history)
        result.push_back(record.loss);
    return row_of(result);
}

struct Work {
    const char* name;
    Matrix (*run)(const Device&);  // to a matrix on the host
};
constexpr Work all_work[] = {{"an exact network's kernel", exact_gram},
                             {"a kernel by the chain", gram_by_chain},
                             {"a real network's kernel", real_gram},
                             {"eigenvalues", eigenvalues},
                             {"a ridge model", ridge},
                             {"conjugate gradients", conjugate_gradients},
                             {"training", losses}};

#ifdef FNTK_ADDRESS_SANITIZER
constexpr std::int64_t every = 5;  // of the calls: it takes ten times as long
#else
constexpr std::int64_t every = 1;
#endif

/// Runs the work with every call in turn failing, `times` in succession. `look` is given what the user
/// sees: the error, or null where the work went on all the same, and the handle, or null where none could
/// be had.
void with_every_failure(const Work& work, cudaError_t error, std::int64_t times,
                        const std::function<void(const Error*, const Device*)>& look,
                        std::int64_t step = every) {
    for (std::int64_t call = 0; !::testing::Test::HasFailure(); call += step) {
        SCOPED_TRACE(std::string(work.name) + ", call " + std::to_string(call));
        {
            std::optional<Device> device;
            gpu::fail(call, error, times);
            try {
                device = Device::open("cuda");
                (void)work.run(*device);
                if (!gpu::has_failed()) {
                    EXPECT_GT(call, 15) << "calls that can fail";
                    gpu::fail(-1, cudaSuccess);
                    return;
                }
                gpu::fail(-1, cudaSuccess);
                look(nullptr, &*device);
            } catch (const Error& seen) {
                ASSERT_TRUE(gpu::has_failed()) << seen.what();
                gpu::fail(-1, cudaSuccess);
                look(&seen, device ? &*device : nullptr);
            }
        }
        if (error == cudaErrorIllegalAddress) gpu::restart();
        EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "is left to the next caller";
        EXPECT_EQ(gpu::alive(), gpu::Alive{});
        EXPECT_EQ(memory_use(Place::unique()).current, 0);
    }
}

/// Whichever call reports `error`, it is a Kind that names the device, and the handle gives the same bits
/// after it.
template <class Kind>
void expect_to_go_on_after(const Work& work, cudaError_t error, std::int64_t times, std::int64_t step) {
    const Matrix want = work.run(Device::open("cuda"));
    const auto look = [&](const Error* seen, const Device* device) {
        if (seen != nullptr) {
            EXPECT_NE(dynamic_cast<const Kind*>(seen), nullptr) << seen->what();
            expect_parts(seen->what(), {"cuda:0"});
        }
        if (device != nullptr) {
            EXPECT_TRUE(same_bits(work.run(*device), want));
        }
    };
    with_every_failure(work, error, times, look, step);
}
/// The kernels for compute capability 9.0 begin with a trial of many calls: a few of these.
template <class Kind>
void expect_to_go_on_after(cudaError_t error, std::int64_t times = 1) {
    gpu::machine().compute_capability = 90;
    expect_to_go_on_after<Kind>(all_work[0], error, times, 7 * every);
    gpu::machine().compute_capability = 86;
    for (const Work& work : all_work) expect_to_go_on_after<Kind>(work, error, times, every);
}
TEST(GpuMemory, WithoutPoolsGivesTheSame) {
    for (const Work& work : all_work) {
        SCOPED_TRACE(work.name);
        const Matrix want = work.run(Device::open("cuda"));
        gpu::machine().has_pools = false;
        EXPECT_TRUE(same_bits(work.run(Device::open("cuda")), want));
        EXPECT_EQ(gpu::alive(), gpu::Alive{});
        gpu::machine().has_pools = true;
    }
}

TEST(GpuFailure, WithoutMemoryTheHandleGoesOn) {
    expect_to_go_on_after<MemoryError>(cudaErrorMemoryAllocation, 2);  // also when it is asked again
}
TEST(GpuFailure, OfACallTheHandleGoesOn) {
    expect_to_go_on_after<DeviceError>(cudaErrorLaunchOutOfResources);
}

TEST(GpuFailure, ThatIsFinalIsSaidByEveryOperationAfterIt) {
    gpu::machine().compute_capability = 86;
    for (const Work& work : all_work)
        with_every_failure(work, cudaErrorIllegalAddress, 1, [&](const Error* seen, const Device* device) {
            if (seen != nullptr) {  // else all that was left was to give memory back
                EXPECT_NE(dynamic_cast<const DeviceError*>(seen), nullptr) << seen->what();
                expect_parts(seen->what(), {"cuda:0", "cudaError 700"});
            }
            if (device == nullptr) return;
            for (int i = 0; i < 2; ++i)
                expect_parts(
                    error_of<DeviceError>([&] { (void)work.run(*device); }),
                    {"'cuda:0'", "cannot be used any more in this process", "start the process again"});
        });
}

}  // namespace
}  // namespace fntk
