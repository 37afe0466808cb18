// The kernels for compute capability 9.0, on trial: a handle uses them once they have given the portable
// kernels' bits on small problems, and leaves them for good when that or a launch fails.
#include <backend/cuda/cuda.hpp>
#include <backend/cuda/hopper.hpp>
#include <backend/cuda/wide_way.hpp>

#include <fntk/error.hpp>

#include <gates_wgmma.hpp>
#include <open_gradients_wgmma.hpp>
#include <sign_columns.hpp>
#include <wide_pass_exact64.hpp>
#include <wide_pass_rademacher.hpp>
#include <wide_pass_wgmma.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace fntk::backend::cuda {

namespace {

/// Ragged in every extent: two blocks of rows, several tiles of units to a block, two outputs.
constexpr std::int64_t samples = 150, outputs = 2;
struct Problem {
    std::int64_t p, width;
    Up family = Up::rademacher;
    int multiprocessors = 2;  // to be started for
};
/// Of each kernel a rank that fills its words of V by calls of the generator, and one that does not; where
/// there are eight multiprocessors, blocks share a row's units.
constexpr Problem problems[] = {{37, 1500},
                                {90, 1000},
                                {101, 2500, Up::rademacher, 8},
                                {190, 1000},
                                {229, 1000},
                                {270, 1000},
                                {900, 300},
                                {5, 1000, Up::srht},
                                {37, 1000, Up::srht},
                                {101, 2500, Up::srht, 8}};
/// Of V at a time, where it lies in memory: two panels of rank 270, six tiles of 256 columns.
constexpr std::int64_t trial_panel_bytes = 200000;

/// |ĥ| ≤ 2^bits; in every third row −1, 0, 1, whose sums are often 0.
std::vector<std::int32_t> small_problem(std::int64_t p, int bits) {
    std::vector<std::int32_t> h(static_cast<std::size_t>(samples * p));
    TrialNumbers random;
    for (std::size_t i = 0; i < h.size(); ++i) {
        const auto entry = static_cast<std::int32_t>(random() >> (31 - bits)) - (1 << bits);
        h[i] = static_cast<std::int64_t>(i) / p % 3 == 0 ? entry % 2 : entry;
    }
    return h;
}

/// Gates and Ĝ of a pass, as bytes of the host.
template <class Pass>
std::vector<std::byte> results_of(Context& context, std::int64_t p, std::int64_t width, Pass&& pass) {
    const std::int64_t words = (width + 63) / 64;
    const Scratch<std::uint64_t> gates(context, samples, words);
    const Scratch<std::int32_t> gradients(context, samples, outputs * p);
    const std::int64_t gate_bytes = 8 * samples * words, sum_bytes = 4 * samples * outputs * p;
    context.check(
        cudaMemsetAsync(gradients.data(), 0, static_cast<std::size_t>(sum_bytes), context.stream()),
        "zeroing memory");
    pass(BitView{gates.data(), samples, width, words, context.place()}, gradients.view());
    std::vector<std::byte> bytes(static_cast<std::size_t>(gate_bytes + sum_bytes));
    context.copy_to_host(bytes.data(), gates.data(), gate_bytes, "copying gates to the host");
    context.copy_to_host(bytes.data() + gate_bytes, gradients.data(), sum_bytes,
                         "copying sums to the host");
    return bytes;
}

/// The gates of a rank beyond shared memory: V lies in memory, so many units of it at a time.
template <class Kernel>
void gates_of_panels(Context& context, const UpFactor& up, ConstMatrixView h, BitView gates,
                     std::int64_t panel_bytes) {
    using kernels::SignPanels;
    const std::int64_t words = Kernel::words_for(up.rank), quads = words * SignPanels::quads,
                       all = kernels::ceil_div(up.width, SignPanels::units);
    const std::int64_t most =
        std::clamp<std::int64_t>(panel_bytes / (16 * quads), 1, std::max<std::int64_t>(all, 1));
    const Scratch<kernels::Quad> memory(context, most, quads);
    Kernel kernel;
    kernel.h = rows_of<std::int32_t>(h);
    kernel.gates = words_of(gates);
    kernel.m = up.width;
    kernel.p = up.rank;
    kernel.panels = {memory.data(), words};
    for (std::int64_t first = 0; first < all; first += most) {
        kernel.first_unit = first * SignPanels::units;
        kernel.count = std::min(most, all - first);
        context.run(kernels::PackSigns{up.seed, up.rank, kernel.first_unit, kernel.count, kernel.panels});
        context.run_at(gates_wgmma_entry(Kernel::digit_count, Kernel::words_at_once), kernel);
    }
}

/// Outputs from the gates, a slice of columns of V and of each output at a time. The signs of so many units
/// lie in memory as have `panel_bytes` where a sign is a byte.
void gradients_of_gates(Context& context, const UpFactor& up, const Readout& readout, BitView gates,
                        MatrixView gradients, std::int64_t first_output, std::int64_t panel_bytes) {
    const auto add_slice = [&](auto columns, std::int64_t first_column) {
        using Kernel = kernels::OpenGradientsWgmma<decltype(columns)::value>;
        using Signs = kernels::SignColumns<Kernel::columns>;
        constexpr std::int64_t steps = Kernel::units / 32;
        const std::int64_t all = kernels::ceil_div(up.width, Kernel::units),
                           most = std::clamp<std::int64_t>(panel_bytes / (Kernel::units * Kernel::columns),
                                                           1, std::max<std::int64_t>(all, 1));
        const Scratch<typename Signs::Words> memory(context, most, steps * Signs::step_words);
        auto kernel = further_of<Kernel>(up, readout, gates, gradients);
        kernel.first = first_output;
        kernel.first_column = first_column;
        kernel.signs = {memory.data()};
        for (std::int64_t first = 0; first < all; first += most) {
            kernel.first_unit = first * Kernel::units;
            kernel.count = std::min(most, all - first);
            context.run(kernels::PackColumns<Kernel::columns>{up.seed, up.rank, first_column,
                                                              up.family == Up::srht, first * steps,
                                                              kernel.count * steps, kernel.signs});
            context.run_at(open_gradients_wgmma_entry(Kernel::columns), kernel);
        }
    };
    for (std::int64_t column = 0; column < up.rank; column += most_fused_rank)
        kernels::with_rank_columns(std::min<std::int64_t>(up.rank - column, most_fused_rank),
                                   [&](auto columns) { add_slice(columns, column); });
}

}  // namespace

bool Cuda::wgmma_wanted() {
    const char* text = std::getenv("FNTK_WGMMA");
    return text == nullptr || std::string_view(text) != "0";
}

bool Cuda::may_try(Context::Trial trial) const {
    return wgmma_allowed_ && trial != Context::Trial::failed && wide_wgmma_entry(64, 3) != nullptr;
}

bool Cuda::has_wgmma() const { return may_try(context_->wgmma); }

bool Cuda::uses_wgmma() {
    if (context_->limits().compute_capability != 90) return false;
    const Scope scope(*context_, "uses_wgmma");
    return wgmma_works() && gram_wgmma_works() && gate_gram_wgmma_works() && moments_wgmma_work();
}

bool Cuda::works(Context::Trial& trial, const std::function<bool()>& agrees) {
    if (!may_try(trial)) return false;
    if (trial == Context::Trial::passed) return true;
    if (context_->is_recorded()) return false;  // a caller's graph, which has no room for a comparison
    trial = Context::Trial::failed;             // so that what is compared with takes the portable kernel
    try {
        if (agrees()) trial = Context::Trial::passed;
    } catch (const MemoryError&) {  // says nothing of the kernel
        trial = Context::Trial::open;
        throw;
    } catch (const Error&) {
        context_->require_usable();
    }
    return trial == Context::Trial::passed;
}

bool Cuda::wgmma_works() {
    return works(context_->wgmma, [&] {
        for (const auto [p, width, family, multiprocessors] : problems) {
            const Context::Narrowed narrowed(*context_, multiprocessors);
            for (const int bits : {kernels::fast_hidden_bits, 22})
                if (!wgmma_agrees(family, p, width, bits)) return false;
        }
        return true;
    });
}

bool Cuda::wgmma_agrees(Up family, std::int64_t p, std::int64_t width, int bits) {
    Context& gpu = *context_;
    const std::vector<std::int32_t> values = small_problem(p, bits);
    const Scratch<std::int32_t> h(gpu, samples, p);
    copy(ConstMatrixView(values.data(), samples, p), h.view());
    UpFactor up;
    up.family = family;
    up.width = width;
    up.rank = p;
    up.seed = 1;
    Readout readout;
    readout.width = width;
    readout.outputs = outputs;
    readout.seed = 2;
    const auto here = results_of(gpu, p, width, [&](BitView gates, MatrixView gradients) {
        start_wgmma(up, readout, h.view(), bits, gates, gradients, trial_panel_bytes);
    });
    const auto portable = results_of(gpu, p, width, [&](BitView gates, MatrixView gradients) {
        if (family == Up::rademacher && p <= most_fused_rank)
            return wide_pass_exact(up, readout, h.view(), bits, {gates, gradients, {}});
        using Plain = kernels::WidePassExact64<std::int32_t>;  // needs neither cuBLAS nor a transform
        gpu.run(pass_of<Plain>(up, readout, h.view(), gates, gradients));
    });
    return here == portable;
}

void Cuda::start_wgmma(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                       BitView gates, MatrixView gradients, std::int64_t panel_bytes) {
    if (up.rank > most_fused_rank) {
        if (gates.empty()) return;  // nothing is wanted
        kernels::with_digits(bits, [&](auto digits) {
            using Wide = kernels::GatesWgmma<decltype(digits)::value, 2>;
            using Narrow = kernels::GatesWgmma<decltype(digits)::value, 1>;
            if (Wide::fits(up.rank, context_->limits()))
                gates_of_panels<Wide>(*context_, up, h, gates, panel_bytes);
            else
                gates_of_panels<Narrow>(*context_, up, h, gates, panel_bytes);
        });
        if (gradients.data != nullptr)
            gradients_of_gates(*context_, up, readout, gates, gradients, 0, panel_bytes);
        return;
    }
    kernels::with_rank_columns(up.rank, [&](auto columns) {
        constexpr int count = decltype(columns)::value;
        kernels::with_digits(bits, [&](auto digits) {
            using Pass = kernels::WidePassWgmma<count, decltype(digits)::value>;
            context_->run_at(wide_wgmma_entry(count, Pass::digit_count),
                             pass_of<Pass>(up, readout, h, gates, gradients));
        });
    });
    if (readout.outputs > 1 && gradients.data != nullptr)
        gradients_of_gates(*context_, up, readout, gates, gradients, 1, panel_bytes);
}

bool Cuda::fused_wgmma(const UpFactor& up, const Readout& readout, ConstMatrixView h, int bits,
                       BitView gates, MatrixView gradients) {
    if (!wgmma_works()) return false;
    try {
        start_wgmma(up, readout, h, bits, gates, gradients, std::int64_t{128} << 20);
    } catch (const DeviceError&) {  // of a launch: the next pass takes the portable kernels
        context_->require_usable();
        context_->wgmma = Context::Trial::failed;
        if (gradients.data != nullptr) zero(gradients);
    }
    return context_->wgmma == Context::Trial::passed;
}

bool uses_wgmma(Ops& ops) {
    auto* cuda = dynamic_cast<Cuda*>(&ops);
    return cuda != nullptr && cuda->uses_wgmma();
}

void allow_wgmma(Ops& ops, bool allowed) {
    if (auto* cuda = dynamic_cast<Cuda*>(&ops)) cuda->allow_wgmma(allowed);
}

}  // namespace fntk::backend::cuda
