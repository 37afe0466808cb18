// What the tests of Gram files share: a kernel of every kind, the same by the functions for whole matrices,
// and a folder with its file.
#pragma once

#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/gram_file.hpp>

namespace fntk::test {

inline KernelFunction of_network(Train train, KernelOutput output, DType precision = DType::f64,
                                 std::uint64_t seed = 5, Activation activation = Activation::relu,
                                 std::int64_t outputs = 3) {
    return KernelFunction::of_network(Network::create({.dim = 5,
                                                       .width = 70,
                                                       .rank = 4,
                                                       .outputs = outputs,
                                                       .train = train,
                                                       .activation = {activation, 0.2},
                                                       .precision = precision,
                                                       .seed = seed}),
                                      output);
}

inline std::vector<KernelFunction> functions(DType precision) {
    std::vector<KernelFunction> result;
    for (const Train train : test::all_trains)
        for (const KernelOutput output :
             {KernelOutput::full, KernelOutput::trace, KernelOutput::sum_of_logits})
            result.push_back(of_network(train, output, precision));
    result.push_back(of_network({.up = true}, KernelOutput::trace, precision, 5, Activation::gelu));
    for (const ActivationSpec activation :
         {ActivationSpec{Activation::relu}, ActivationSpec{Activation::erf}})
        for (const Train train : {Train{.down = true}, Train{.readout = true}})
            result.push_back(KernelFunction::limit(activation, train, 5, precision));
    return result;
}

inline std::string label(const KernelFunction& f) {
    return std::string(f.is_limit() ? "limit of " : "") + name(f.activation().kind) + ", " +
           to_string(f.train()) + ", " + name(f.output()) + ", " + name(f.precision());
}

/// By the functions for whole matrices; without y, K(X, X).
inline Matrix kernel(const KernelFunction& f, ConstMatrixView x, ConstMatrixView y = {}) {
    if (f.is_limit()) return limit_kernel(cpu(), f.activation(), f.train(), x, y);
    const Tangent at = tangent(cpu(), f.network(), x);
    return y.cols == 0 ? gram(at, f.output()) : cross_gram(at, tangent(cpu(), f.network(), y), f.output());
}

/// Cancels after `tiles` tiles.
inline Progress stop_after(int tiles) {
    return [tiles, done = 0](double) mutable { return ++done < tiles; };
}

class GramFileCase : public ::testing::Test {
  protected:
    [[nodiscard]] std::string path() const { return folder_.path("K.npy"); }
    [[nodiscard]] std::string bytes() const { return folder_.read("K.npy"); }
    GramFileResult save(const KernelBatch& batch, const GramFileOptions& options = {}) const {
        return save_gram(path(), batch, batch, options);
    }
    /// The bytes of an uninterrupted run in a folder of its own.
    [[nodiscard]] static std::string whole(const KernelBatch& rows, const KernelBatch& cols,
                                           const GramFileOptions& options) {
        const TempFolder folder;
        EXPECT_FALSE(save_gram(folder.path("K.npy"), rows, cols, options).cancelled);
        EXPECT_EQ(folder.names(), std::vector<std::string>{"K.npy"});
        return folder.read("K.npy");
    }

    TempFolder folder_;
    const std::vector<std::string> unfinished_{"K.npy.partial", "K.npy.progress"};
};

}  // namespace fntk::test
