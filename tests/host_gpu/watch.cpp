// After every test: nothing was against the rules, no error waits for another's call, nothing is left over.
#include "host_gpu.hpp"

#include <gtest/gtest.h>

namespace fntk::test::gpu {
namespace {

class Watch final : public ::testing::EmptyTestEventListener {
    void OnTestStart(const ::testing::TestInfo& /*test*/) override {
        machine() = {};
        restart();
    }
    void OnTestEnd(const ::testing::TestInfo& /*test*/) override {
        EXPECT_EQ(take_fault(), "");
        EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "is left to the next caller";
        EXPECT_EQ(alive(), Alive{}) << "something is left over";
    }
};

[[maybe_unused]] const bool watching = [] {
    ::testing::UnitTest::GetInstance()->listeners().Append(new Watch);
    return true;
}();

}  // namespace
}  // namespace fntk::test::gpu
