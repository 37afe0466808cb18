#include <backend/simd/target.hpp>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd/target.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fntk::backend::HWY_NAMESPACE {

const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace fntk::backend::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <fntk/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace fntk::backend {

HWY_EXPORT(target_name);

namespace {

/// All instruction sets that were compiled, as bits; a lower bit is a better one.
constexpr std::int64_t compiled = HWY_TARGETS;

}  // namespace

std::vector<std::string> simd_targets() {
    std::vector<std::string> names;
    hwy::SetSupportedTargetsForTest(0);  // what the machine has
    for (std::int64_t rest = hwy::SupportedTargets() & compiled; rest != 0; rest &= rest - 1)
        names.emplace_back(hwy::TargetName(rest & -rest));
    return names;
}

std::string simd_target() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

void use_simd_target(const std::string& name) {
    hwy::SetSupportedTargetsForTest(0);
    const std::int64_t supported = hwy::SupportedTargets() & compiled;
    std::int64_t chosen = name.empty() ? supported : 0;
    for (std::int64_t rest = supported; rest != 0; rest &= rest - 1)
        if (name == hwy::TargetName(rest & -rest)) chosen = rest & -rest;
    if (chosen == 0)
        throw ValueError(fmt::format("instruction set is {:?}; this machine and build have {}", name,
                                     fmt::join(simd_targets(), ", ")));
    hwy::SetSupportedTargetsForTest(chosen);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace fntk::backend
#endif
