// Device handles: which backend answers, forced by name or by environment, and with how many threads.
#include "environment.hpp"
#include "host_sanitizers.hpp"
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/device.hpp>
#include <fntk/error.hpp>
#include <fntk/kernel.hpp>
#include <fntk/spectrum.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace fntk {
namespace {

using test::Environment;
using test::error_of;
using test::expect_parts;

class DeviceTest : public ::testing::Test {
    Environment device_{"FNTK_DEVICE", nullptr}, threads_{"FNTK_THREADS", nullptr};
};

TEST_F(DeviceTest, ListsTheBackendsAndOpensExactlyTheAvailableOnes) {
    std::string names;
    for (const DeviceInfo& info : devices()) {
        names += info.name + ' ';
        EXPECT_FALSE(info.description.empty()) << info.name;
        if (info.available)
            EXPECT_EQ(Device::open(info.name, 2).name(), info.name);
        else
            expect_parts(error_of<DeviceError>([&] { (void)Device::open(info.name); }),
                         {info.name, "not available", info.description});
    }
    EXPECT_EQ(names, "reference cpu cuda ");
    EXPECT_TRUE(devices()[0].available);
    EXPECT_TRUE(devices()[1].available);
}

TEST_F(DeviceTest, RefusesAnUnknownNameAndTellsTheKnownOnes) {
    for (const char* name : {"gpu", "", "CPU", "cpu ", "cuda0", "cuda:", "cuda:x", "cuda:-1", "cuda:1 "})
        expect_parts(error_of<DeviceError>([&] { (void)Device::open(name); }),
                     {"'" + std::string(name) + "'", "unknown", "auto", "reference", "cpu", "cuda"});
}

TEST_F(DeviceTest, AutoIsWhatTheEnvironmentForces) {
    for (const char* forced : {"reference", "cpu"}) {
        const Environment environment("FNTK_DEVICE", forced);
        const Device device = Device::open();
        EXPECT_EQ(device.name(), forced);
        const double one = 1;
        EXPECT_EQ(spectrum(device, ConstMatrixView(&one, 1, 1)).min(), 1);
        EXPECT_EQ(Device::open("cpu").name(), "cpu") << "a name given wins";
        EXPECT_EQ(Device::open("reference").name(), "reference");
    }
    for (const char* absent : {"", "auto"}) {
        const Environment environment("FNTK_DEVICE", absent);
        const std::string chosen = Device::open().name();
        EXPECT_TRUE(chosen == "cpu" || (chosen == "cuda" && test::info_of("cuda").available)) << chosen;
    }
    const Environment environment("FNTK_DEVICE", "abacus");
    expect_parts(error_of<DeviceError>([] { (void)Device::open(); }), {"abacus", "unknown"});
    EXPECT_EQ(Device::open("cpu").name(), "cpu");
}

TEST_F(DeviceTest, TheBackendOfAHandleIsTheOneItsNameSays) {
    // The oracle has one thread whatever is asked; only the CPU backend has the number wanted.
    EXPECT_EQ(Device::open("reference", 5).threads(), 1);
    EXPECT_EQ(Device::open("cpu", 5).threads(), 5);
    const Environment environment("FNTK_DEVICE", "reference");
    EXPECT_EQ(Device::open("auto", 5).threads(), 1);
}

TEST_F(DeviceTest, TakesItsThreadsFromTheArgumentElseTheEnvironmentElseTheMachine) {
    EXPECT_GE(Device::open("cpu").threads(), 1);
    const Environment environment("FNTK_THREADS", "3");
    EXPECT_EQ(Device::open("cpu").threads(), 3);
    EXPECT_EQ(Device::open("cpu", 2).threads(), 2);
    const Environment empty("FNTK_THREADS", "");
    EXPECT_GE(Device::open("cpu").threads(), 1);
}

TEST_F(DeviceTest, RefusesThreadCountsOutsideTheirRange) {
    expect_parts(error_of<ValueError>([] { (void)Device::open("cpu", -1); }), {"threads", "-1", "4096"});
    expect_parts(error_of<ValueError>([] { (void)Device::open("cpu", 4097); }),
                 {"threads", "4097", "4096"});
    for (const char* text : {"0", "-2", "4097", "two", "2 ", " 2", "2x", "1e1", "99999999999999"}) {
        const Environment environment("FNTK_THREADS", text);
        expect_parts(error_of<ValueError>([] { (void)Device::open("cpu"); }),
                     {"FNTK_THREADS", "'" + std::string(text) + "'", "4096"});
        EXPECT_EQ(Device::open("cpu", 1).threads(), 1) << "a number given wins";
    }
}

#if !defined(FNTK_ADDRESS_SANITIZER) && !defined(FNTK_THREAD_SANITIZER)  // which need it themselves
TEST_F(DeviceTest, RefusesAnAddressSpaceThatBlasCannotLiveIn) {
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const auto used = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE));
    rlimit small = before;
    small.rlim_cur = used + (rlim_t{64} << 20);  // room for the message, none for two buffers of BLAS
    ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
    const std::string message = error_of<MemoryError>([] { (void)Device::open("cpu", 2); });
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    expect_parts(message,
                 {std::to_string(small.rlim_cur >> 20) + " MiB", "ulimit -v", "2 threads", "256 MiB"});
}
#endif

#if !defined(FNTK_ADDRESS_SANITIZER) && !defined(FNTK_THREAD_SANITIZER)  // which have threads of their own
TEST_F(DeviceTest, SaysHowManyThreadsTheSystemStarts) {
    const auto open = [] {
        alarm(20);  // instead of waiting forever
        const rlimit few{1, 1};
        if (setrlimit(RLIMIT_NPROC, &few) != 0 || (getuid() == 0 && setuid(65534) != 0)) std::_Exit(2);
        try {
            (void)Device::open("cpu", 4);
        } catch (const DeviceError& error) {
            std::fputs(error.what(), stderr);
            std::_Exit(1);
        }
        std::_Exit(0);
    };
    EXPECT_EXIT(open(), testing::ExitedWithCode(1), "threads = 4: the system starts no more than 1;");
}
#endif

TEST_F(DeviceTest, ThreadsThatShareAHandleTakeTurns) {
    const Device device = Device::open("cpu", 3);
    const Matrix x = test::normals(200, 9, 1, DType::f32);
    const Network network = Network::create({.dim = 9, .width = 500, .rank = 8, .seed = 2});
    const Matrix expected = gram(tangent(device, network, x));
    std::vector<int> wrong(3, 0);
    std::vector<std::thread> threads;
    for (int& count : wrong)
        threads.emplace_back([&count, &network, &x, &expected, own = device] {
            for (int round = 0; round < 10; ++round)
                if (test::relative_error(gram(tangent(own, network, x)), expected) != 0) ++count;
        });
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) EXPECT_EQ(count, 0);
}

TEST_F(DeviceTest, CopiesAreHandlesOfTheSameBackend) {
    const Device device = Device::open("cpu", 2);
    const Device copy = device;  // NOLINT(performance-unnecessary-copy-initialization)
    EXPECT_EQ(&copy.ops(), &device.ops());
    EXPECT_NE(&Device::open("cpu", 2).ops(), &device.ops());
}

TEST_F(DeviceTest, AMissingGpuIsExplainedWheneverItIsAskedFor) {
    const DeviceInfo cuda = test::info_of("cuda");
    ASSERT_FALSE(cuda.description.empty());
    if (cuda.available) GTEST_SKIP() << cuda.description;
    for (const char* name : {"cuda", "cuda:0", "cuda:1"})
        expect_parts(error_of<DeviceError>([&] { (void)Device::open(name); }),
                     {"'cuda", "not available", cuda.description});
    for (const int ordinal : {0, 1, 99, -1})
        expect_parts(error_of<DeviceError>([&] { (void)Device::cuda(ordinal, nullptr); }),
                     {"'cuda", "not available", cuda.description});
}

}  // namespace
}  // namespace fntk
