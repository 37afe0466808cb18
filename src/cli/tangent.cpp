// fntk tangent: one wide pass over DATA, and what it leaves.
#include "options.hpp"

#include <fmt/format.h>

#include <cstring>

namespace fntk::cli {

namespace {

__extension__ using int128 = __int128;

struct TangentArguments : CommandOptions {
    std::string out;
    bool gates = false;
};

/// Bits of each row as ⌈m/8⌉ bytes, bit j % 8 of byte j / 8.
std::vector<std::byte> packed(ConstBitView gates) {
    const std::int64_t bytes = (gates.cols + 7) / 8;
    std::vector<std::byte> result(gates.rows * bytes);
    for (std::int64_t i = 0; i < gates.rows; ++i)
        for (std::int64_t b = 0; b < bytes; ++b)
            result[i * bytes + b] = static_cast<std::byte>(gates.row(i)[b / 8] >> (8 * (b % 8)));
    return result;
}

/// f̂ = <ĥ, Ĝ> as int64, from matrices of host memory; empty when one value does not fit.
Matrix exact_values(ConstMatrixView h, ConstMatrixView g, ConstMatrixView values) {
    if (h.dtype == DType::i32) return Matrix::copy_of(values);
    const std::int64_t k = values.cols, p = h.cols;
    Matrix result(h.rows, k, DType::i64);
    for (std::int64_t i = 0; i < h.rows; ++i)
        for (std::int64_t c = 0; c < k; ++c) {
            int128 sum = 0;
            for (std::int64_t q = 0; q < p; ++q)
                sum += static_cast<int128>(h.row<std::int64_t>(i)[q]) * g.row<std::int32_t>(i)[c * p + q];
            if (sum != static_cast<std::int64_t>(sum)) return {};
            result.at<std::int64_t>(i, c) = static_cast<std::int64_t>(sum);
        }
    return result;
}

int tangent(TangentArguments& options) {
    Report report("tangent", options.run.json, {{"--out", options.out}}, options.inputs());
    const Setup setup = set_up(report, options);
    const Device& device = setup.device;
    const Dataset& dataset = setup.dataset;
    const Network& network = setup.network;
    const bool gates = options.gates && network.spec().activation.homogeneous();
    if (options.gates && !gates)
        throw NotSupported(
            fmt::format("--gates with activation {}: gates exist for relu, leaky_relu and abs only",
                        name(network.spec().activation.kind)));
    const Tangent at = report.phase("tangent", [&] {
        return tangent(device, network, dataset.train.inputs,
                       {.gradients = true, .gates = gates, .only_these = true});
    });

    std::map<std::string, std::string> metadata = {{"format", "fntk-tangent"},
                                                   {"spec", to_json(network.spec())},
                                                   {"scheme", std::to_string(random_scheme)}};
    std::vector<std::pair<std::string, TensorView>> tensors;
    std::vector<Staged> owners;
    const auto add = [&](const char* name, ConstMatrixView matrix) {
        owners.push_back(device.on_host(matrix));
        tensors.emplace_back(name, tensor_view(owners.back()));
        return owners.back().view();
    };
    add("H", at.hidden());
    add("G", at.gradients());
    add("f", at.values());
    Matrix f_int, s_int;
    if (network.exactness() == Exactness::integer) {
        const ConstMatrixView h = add("H_int", at.hidden_int());
        add("H_exp", at.hidden_exp());
        tensors.back().second.shape = {at.size()};
        const ConstMatrixView g = add("G_int", at.gradients_int());
        s_int = at.open_sum();
        add("S_int", s_int);
        f_int = exact_values(h, g, device.on_host(at.values_int()));
        if (f_int.empty())
            metadata["f_int"] = "left out: a value of <H_int, G_int> exceeds int64";
        else
            tensors.emplace_back("f_int", tensor_view(f_int));
    }
    std::vector<std::byte> bits;
    if (gates) {
        bits = packed(device.on_host(at.gates()));
        tensors.emplace_back("gates",
                             TensorView{"U8", {at.size(), (network.spec().width + 7) / 8}, bits.data()});
    }
    report.phase_to_end("write", [&] { save_safetensors(options.out, metadata, tensors); });
    fmt::print(
        "{}: {} samples, {:.3f} s in the wide pass, {}\n", options.out, at.size(),
        report.seconds("tangent"),
        f_int.empty() ? "floating-point tensors" : "exact integers beside the floating-point tensors");
    report.finish();
    return 0;
}

}  // namespace

void add_tangent(CLI::App& app, Action& run) {
    auto* command = app.add_subcommand(
        "tangent", "hidden rows H, gradient factors G and outputs f at DATA, with their exact integers");
    auto options = std::make_shared<TangentArguments>();
    options->add(*command);
    command->add_option("--out", options->out, "the .safetensors file to write")->required();
    command->add_flag("--gates", options->gates, "also write the gates, bits packed in uint8 rows");
    command->callback([=, &run] { run = [=] { return tangent(*options); }; });
}

}  // namespace fntk::cli
