// Names of the families, and back.
#include <fntk/error.hpp>
#include <fntk/kernel.hpp>
#include <fntk/network.hpp>

#include <fmt/format.h>

#include <array>

namespace fntk {

const char* name(Down family) {
    switch (family) {
        case Down::identity:
            return "identity";
        case Down::gaussian:
            return "gaussian";
        case Down::orthonormal:
            return "orthonormal";
        case Down::pca:
            return "pca";
        case Down::srht:
            return "srht";
    }
    return "";
}

const char* name(Up family) {
    switch (family) {
        case Up::gaussian:
            return "gaussian";
        case Up::rademacher:
            return "rademacher";
        case Up::srht:
            return "srht";
    }
    return "";
}

const char* name(Activation activation) {
    switch (activation) {
        case Activation::relu:
            return "relu";
        case Activation::leaky_relu:
            return "leaky_relu";
        case Activation::abs:
            return "abs";
        case Activation::erf:
            return "erf";
        case Activation::gelu:
            return "gelu";
        case Activation::tanh:
            return "tanh";
        case Activation::softplus:
            return "softplus";
    }
    return "";
}

const char* name(Rounding rounding) { return rounding == Rounding::fast ? "fast" : "fine"; }

const char* name(KernelOutput output) {
    switch (output) {
        case KernelOutput::full:
            return "full";
        case KernelOutput::trace:
            return "trace";
        case KernelOutput::sum_of_logits:
            return "sum-of-logits";
    }
    return "";
}

namespace {

template <class E, std::size_t n>
E parse(std::string_view text, const char* argument, const std::array<E, n>& all) {
    std::string known;
    for (const E choice : all) {
        if (text == name(choice)) return choice;
        known += (known.empty() ? "" : ", ") + std::string(name(choice));
    }
    throw ValueError(fmt::format("{} is '{}'; choose one of {}", argument, text, known));
}

}  // namespace

Down parse_down(std::string_view text) {
    return parse(text, "down",
                 std::array{Down::identity, Down::gaussian, Down::orthonormal, Down::pca, Down::srht});
}
Up parse_up(std::string_view text) {
    return parse(text, "up", std::array{Up::gaussian, Up::rademacher, Up::srht});
}
Activation parse_activation(std::string_view text) {
    return parse(text, "activation",
                 std::array{Activation::relu, Activation::leaky_relu, Activation::abs, Activation::erf,
                            Activation::gelu, Activation::tanh, Activation::softplus});
}

Rounding parse_rounding(std::string_view text) {
    return parse(text, "rounding", std::array{Rounding::fine, Rounding::fast});
}
KernelOutput parse_kernel_output(std::string_view text) {
    return parse(text, "kernel",
                 std::array{KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits});
}

std::string to_string(Train train) {
    std::string text;
    const auto add = [&](bool on, const char* factor) {
        if (on) text += (text.empty() ? "" : "+") + std::string(factor);
    };
    add(train.down, "down");
    add(train.up, "up");
    add(train.readout, "readout");
    return text;
}

Train parse_train(std::string_view text) {
    Train train;
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find_first_of("+,"), rest.size());
        const std::string_view part = rest.substr(0, end);
        if (part == "down")
            train.down = true;
        else if (part == "up")
            train.up = true;
        else if (part == "readout")
            train.readout = true;
        else
            throw ValueError(fmt::format(
                "train is '{}'; '{}' is not one of down, up, readout (join several by '+')", text, part));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (!train.any()) throw ValueError("train is empty; name at least one of down, up, readout");
    return train;
}

}  // namespace fntk
