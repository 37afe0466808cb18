// Networks: what is refused and how it is said, the class of a network given as tensors, and the unit
// variance of every family of V. U is in down_factor_test.cpp.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <limits>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::normals;

NetworkSpec small_spec() { return {.dim = 6, .width = 37, .rank = 4, .outputs = 2, .seed = 5}; }

/// The error of creating small_spec() after `change`.
template <class Expected = ValueError, class Change>
std::string refusal(Change&& change) {
    NetworkSpec spec = small_spec();
    change(spec);
    return error_of<Expected>([&] { (void)Network::create(spec); });
}

// ---- what is refused
// ---------------------------------------------------------------------------------------------

TEST(NetworkSpecCheck, NamesTheArgumentItsValueAndTheLimit) {
    expect_parts(refusal([](NetworkSpec& s) { s.width = 0; }), {"width", "0", "2147483647"});
    expect_parts(refusal([](NetworkSpec& s) { s.width = std::int64_t{1} << 31; }),
                 {"width", "2147483648", "2147483647"});
    expect_parts(refusal([](NetworkSpec& s) { s.width = -1; }), {"width", "-1"});
    expect_parts(refusal([](NetworkSpec& s) { s.dim = 0; }), {"dim", "0"});
    expect_parts(refusal([](NetworkSpec& s) { s.dim = (std::int64_t{1} << 20) + 1; }),
                 {"dim", "1048577", "1048576"});
    expect_parts(refusal([](NetworkSpec& s) { s.outputs = 0; }), {"outputs", "0"});
    expect_parts(refusal([](NetworkSpec& s) { s.outputs = (std::int64_t{1} << 20) + 1; }),
                 {"outputs", "1048577"});
    expect_parts(refusal([](NetworkSpec& s) { s.precision = DType::i32; }),
                 {"precision", "int32", "float32"});
    expect_parts(refusal([](NetworkSpec& s) { s.train = {}; }), {"train", "down, up, readout"});
    expect_parts(refusal([](NetworkSpec& s) {
                     s.activation = {Activation::leaky_relu, std::nan("")};
                 }),
                 {"slope", "nan"});
}

TEST(NetworkSpecCheck, RefusesValuesThatAnEnumerationDoesNotHave) {
    expect_parts(refusal([](NetworkSpec& s) { s.down = static_cast<Down>(77); }), {"down", "77"});
    expect_parts(refusal([](NetworkSpec& s) { s.up = static_cast<Up>(9); }), {"up", "9"});
    expect_parts(refusal([](NetworkSpec& s) { s.activation.kind = static_cast<Activation>(200); }),
                 {"activation", "200"});
}

TEST(NetworkSpecCheck, KnowsTheLargestRankOfEveryDownFactor) {
    const auto rank = [](Down down, std::int64_t p) {
        return [=](NetworkSpec& s) { s.up = Up::gaussian, s.down = down, s.rank = p; };
    };
    for (const Down down : {Down::gaussian, Down::orthonormal, Down::pca, Down::srht})
        expect_parts(refusal(rank(down, 0)), {"rank", "0", name(down)});
    expect_parts(refusal(rank(Down::orthonormal, 7)), {"rank", "7", "[1, 6]"});
    expect_parts(refusal(rank(Down::pca, 7)), {"rank", "7", "[1, 6]"});
    expect_parts(refusal(rank(Down::srht, 9)), {"rank", "9", "[1, 8]"});
    expect_parts(refusal(rank(Down::gaussian, (std::int64_t{1} << 20) + 1)), {"rank", "1048577"});
    expect_parts(refusal(rank(Down::identity, 4)), {"rank", "4", "identity", "6"});
    for (const auto& [down, p] :
         {std::pair{Down::orthonormal, 6}, {Down::srht, 8}, {Down::gaussian, 100}, {Down::identity, 6}}) {
        NetworkSpec spec = small_spec();
        rank(down, p)(spec);
        EXPECT_EQ(Network::create(spec).spec().rank, p) << name(down);
    }
}

TEST(NetworkSpecCheck, AsksForAPowerOfTwoUnderASrhtUpFactor) {
    expect_parts(refusal([](NetworkSpec& s) { s.rank = 5; }),
                 {"rank", "5", "power of two", "4", "8", "rademacher"});
    NetworkSpec identity = small_spec();
    identity.down = Down::identity;
    identity.rank = 0;
    EXPECT_EQ(Network::create(identity).spec().rank, 6);  // padded with zeros to 8
}

TEST(NetworkSpecCheck, LeavesFastRoundingToWhatGainsByIt) {
    NetworkSpec spec{.dim = 4, .rank = 4, .up = Up::rademacher};
    spec.rounding = Rounding::fast;
    EXPECT_NO_THROW((void)Network::create(spec));
    const auto expect_refused = [&](const char* what, auto&& change) {
        NetworkSpec other = spec;
        change(other);
        expect_parts(error_of<ValueError>([&] { (void)Network::create(other); }),
                     {"rounding is fast", what, "leave it out"});
    };
    expect_refused("float64", [](NetworkSpec& s) { s.precision = DType::f64; });
    expect_refused("up = srht", [](NetworkSpec& s) { s.up = Up::srht; });
    expect_refused("up = gaussian", [](NetworkSpec& s) { s.up = Up::gaussian; });
    expect_refused("tanh", [](NetworkSpec& s) { s.activation.kind = Activation::tanh; });
    expect_parts(error_of<ValueError>([] { (void)parse_rounding("coarse"); }), {"'coarse'", "fine, fast"});
}

TEST(NetworkSpecCheck, AsksForTheDataOfPca) {
    NetworkSpec spec = small_spec();
    spec.down = Down::pca;
    expect_parts(error_of<ValueError>([&] { (void)Network::create(spec); }), {"pca", "data"});
    expect_parts(error_of<ShapeError>([&] { (void)Network::create(spec, normals(9, 5, 1)); }),
                 {"5 columns", "dim 6"});
    Matrix x = normals(9, 6, 1);
    x.at<double>(7, 3) = std::numeric_limits<double>::infinity();
    expect_parts(error_of<ValueError>([&] { (void)Network::create(spec, x); }),
                 {"pca", "inf", "row 7", "column 3"});
    expect_parts(error_of<ValueError>([&] { (void)Network::from_tensors(spec, {}); }), {"pca", "U"});
}

TEST(NetworkTensorsCheck, NamesTheTensorAndThePlace) {
    const NetworkSpec spec = small_spec();
    const Matrix good_down = normals(4, 6, 1), good_up = normals(37, 4, 2),
                 good_readout = normals(37, 2, 3);
    const auto with = [&](ConstMatrixView u, ConstMatrixView v, ConstMatrixView a) {
        return [=] { (void)Network::from_tensors(spec, {u, v, a}); };
    };
    with(good_down, good_up, good_readout)();
    expect_parts(error_of<ShapeError>(with(good_up, {}, {})), {"U is 37 × 4", "4 × 6"});
    expect_parts(error_of<ShapeError>(with({}, good_down, {})), {"V is 4 × 6", "37 × 4"});
    expect_parts(error_of<ShapeError>(with({}, {}, good_up)), {"A is 37 × 4", "37 × 2"});
    const auto spoiled = [](const Matrix& m, std::int64_t i, std::int64_t j) {
        Matrix copy = m.copy();
        copy.at<double>(i, j) = std::nan("");
        return copy;
    };
    const Matrix u = spoiled(good_down, 2, 5), v = spoiled(good_up, 36, 1), a = spoiled(good_readout, 0, 1);
    expect_parts(error_of<ValueError>(with(u, {}, {})), {"U", "nan", "row 2", "column 5"});
    expect_parts(error_of<ValueError>(with({}, v, {})), {"V", "nan", "row 36", "column 1"});
    expect_parts(error_of<ValueError>(with({}, {}, a)), {"A", "nan", "row 0", "column 1"});
    const auto large = [](const Matrix& m) {  // finite, and infinite in the network's float32
        Matrix copy = m.copy();
        copy.at<double>(1, 1) = 1e300;
        return copy;
    };
    const Matrix large_u = large(good_down), large_v = large(good_up), large_a = large(good_readout);
    for (const auto& [tensors, tensor] : {std::pair{NetworkTensors{large_u, {}, {}}, "U"},
                                          {NetworkTensors{{}, large_v, {}}, "V"},
                                          {NetworkTensors{{}, {}, large_a}, "A"}})
        expect_parts(
            error_of<ValueError>([&, given = tensors] { (void)Network::from_tensors(spec, given); }),
            {std::string(tensor) + " in float32", "inf", "row 1, column 1"});
}

TEST(NetworkFactors, AreRefusedInAnotherShapeOrType) {
    const Network network = Network::create(small_spec());
    EXPECT_THROW((void)network.with_down(normals(6, 4, 1)), ShapeError);
    EXPECT_THROW((void)network.with_up(std::make_shared<const Matrix>(normals(37, 4, 1))),
                 ShapeError);  // float64
    EXPECT_THROW((void)network.with_readout(std::make_shared<const Matrix>(normals(36, 2, 1, DType::f32))),
                 ShapeError);
    EXPECT_THROW((void)network.with_train({}), ValueError);
    Matrix bad = normals(4, 6, 1);
    bad.at<double>(3, 0) = 1e300;
    EXPECT_THROW((void)network.with_down(bad), ValueError);
    Matrix nan = normals(37, 4, 1, DType::f32), infinite = normals(37, 2, 1, DType::f32);
    nan.at<float>(5, 0) = NAN;
    infinite.at<float>(36, 1) = HUGE_VALF;
    EXPECT_THROW((void)network.with_up(std::make_shared<const Matrix>(std::move(nan))), ValueError);
    EXPECT_THROW((void)network.with_readout(std::make_shared<const Matrix>(std::move(infinite))),
                 ValueError);
    EXPECT_EQ(network.with_train({.up = true}).spec().train, Train{.up = true});
    EXPECT_EQ(network.with_up(std::make_shared<const Matrix>(normals(37, 4, 1, DType::f32))).exactness(),
              Exactness::floating);
}

// ---- networks from tensors, and the up factors
// -----------------------------------------------------------------------

TEST(NetworkFromTensors, StaysExactWithTheValuesOfItsSeedAndLeavesWithOneChanged) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Up up : {Up::rademacher, Up::srht}) {
            NetworkSpec spec = small_spec();
            spec.width = 2100;  // more than one block of rows
            spec.up = up;
            spec.precision = precision;
            const Network seeded = Network::create(spec);
            ASSERT_EQ(seeded.exactness(), Exactness::integer);
            const Matrix u = seeded.materialize_down();
            Matrix v = seeded.materialize_up(), a = seeded.materialize_readout();
            const Network same = Network::from_tensors(spec, {u, v, a});
            EXPECT_EQ(same.exactness(), Exactness::integer);
            EXPECT_TRUE(test::same_factors(same, seeded));
            const auto negate = [&](Matrix& m, std::int64_t i, std::int64_t j) {
                if (precision == DType::f32)
                    m.at<float>(i, j) *= -1;
                else
                    m.at<double>(i, j) *= -1;
            };
            negate(v, 2099, 3);
            const Network other_up = Network::from_tensors(spec, {{}, v, {}});
            EXPECT_EQ(other_up.exactness(), Exactness::floating);
            EXPECT_TRUE(test::same_bits(other_up.materialize_up(), v));
            negate(a, 1050, 1);
            EXPECT_EQ(Network::from_tensors(spec, {{}, {}, a}).exactness(), Exactness::floating);
        }
}

TEST(NetworkFromTensors, TakesTheIdentityAsTensorAndAnyOtherUnderItsName) {
    const NetworkSpec spec{.dim = 6, .width = 8, .down = Down::identity};
    Matrix u = Network::create(spec).materialize_down();
    EXPECT_TRUE(Network::from_tensors(spec, {u, {}, {}}).fixed_down().empty());
    u.at<float>(1, 2) = 0.25F;
    EXPECT_FALSE(Network::from_tensors(spec, {u, {}, {}}).fixed_down().empty());
}

TEST(NetworkExactness, IsFloatingForGaussianUpFactorsAndSmoothActivations) {
    for (const Up up : test::all_ups)
        for (const Activation activation : test::all_activations) {
            NetworkSpec spec = small_spec();
            spec.up = up;
            spec.activation.kind = activation;
            const bool exact = up != Up::gaussian && spec.activation.homogeneous();
            EXPECT_EQ(Network::create(spec).exactness(), exact ? Exactness::integer : Exactness::floating)
                << name(up) << ' ' << name(activation);
        }
}

TEST(UpFactor, HasUnitVarianceInEveryFamily) {
    const std::int64_t m = 4096, p = 16;
    for (const Up up : test::all_ups) {
        const Network network = Network::create(
            {.dim = 16, .width = m, .rank = p, .up = up, .precision = DType::f64, .seed = 8});
        const Matrix v = network.materialize_up(), a = network.materialize_readout();
        double sum = 0, square = 0, signs = 0;
        for (std::int64_t i = 0; i < m * p; ++i) {
            sum += v.row<double>(0)[i];
            square += v.row<double>(0)[i] * v.row<double>(0)[i];
        }
        for (std::int64_t r = 0; r < m; ++r) signs += a.row<double>(0)[r] * a.row<double>(0)[r];
        const double n = static_cast<double>(m * p);
        // srht: of a block's columns only the first does not sum to 0, but to ±P: the same variance
        EXPECT_NEAR(sum / n, 0, 4.5 / std::sqrt(n)) << name(up);
        if (up == Up::gaussian)
            EXPECT_NEAR(square / n, 1, 4.5 * std::sqrt(2 / n));
        else
            EXPECT_EQ(square, n) << name(up);
        EXPECT_EQ(signs, static_cast<double>(m));
    }
}

TEST(UpFactor, BlocksOfSrhtAreOrthogonal) {
    const std::int64_t p = 32, blocks = 3;
    const Network network = Network::create(
        {.dim = 32, .width = p * blocks, .rank = p, .up = Up::srht, .precision = DType::f64, .seed = 2});
    const Matrix v = network.materialize_up();
    for (std::int64_t b = 0; b < blocks; ++b) {
        const ConstMatrixView block = v.view().row_block(b * p, p);
        const Matrix gram = test::times_transposed(block, block);
        for (std::int64_t i = 0; i < p; ++i)
            for (std::int64_t j = 0; j < p; ++j) EXPECT_EQ(gram.at<double>(i, j), i == j ? p : 0);
    }
    EXPECT_FALSE(test::same_bits(v.view().row_block(0, p), v.view().row_block(p, p)));
}

}  // namespace
}  // namespace fntk
