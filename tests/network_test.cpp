// Networks: what is refused and how it is said, the isometries among the down factors, the rounding of U, the class of
// a network given as tensors, and the unit variance of every family.
#include "support.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>

#include <limits>

namespace fntk {
namespace {

using test::error_of;
using test::expect_parts;
using test::normals;
using test::relative_error;

NetworkSpec small_spec() { return {.dim = 6, .width = 37, .rank = 4, .outputs = 2, .seed = 5}; }

/// The error of creating small_spec() after `change`.
template <class Expected = ValueError, class Change>
std::string refusal(Change&& change) {
    NetworkSpec spec = small_spec();
    change(spec);
    return error_of<Expected>([&] { (void)Network::create(spec); });
}

/// ‖U x/√p‖²/‖x‖² row by row, U as the network holds it.
std::vector<double> squared_stretch(const Network& network, ConstMatrixView x) {
    const Matrix u = Matrix::converted(network.materialize_down(), DType::f64);
    const Matrix h = test::times_transposed(x, u);
    std::vector<double> result;
    for (std::int64_t i = 0; i < x.rows; ++i) {
        double image = 0, original = 0;
        for (std::int64_t q = 0; q < h.cols(); ++q) image += h.at<double>(i, q) * h.at<double>(i, q);
        for (std::int64_t j = 0; j < x.cols; ++j) original += value(x, i, j) * value(x, i, j);
        result.push_back(image / static_cast<double>(h.cols()) / original);
    }
    return result;
}

// ---- what is refused ---------------------------------------------------------------------------------------------

TEST(NetworkSpecCheck, NamesTheArgumentItsValueAndTheLimit) {
    expect_parts(refusal([](NetworkSpec& s) { s.width = 0; }), {"width", "0", "2147483647"});
    expect_parts(refusal([](NetworkSpec& s) { s.width = std::int64_t{1} << 31; }), {"width", "2147483648", "2147483647"});
    expect_parts(refusal([](NetworkSpec& s) { s.width = -1; }), {"width", "-1"});
    expect_parts(refusal([](NetworkSpec& s) { s.dim = 0; }), {"dim", "0"});
    expect_parts(refusal([](NetworkSpec& s) { s.dim = (std::int64_t{1} << 20) + 1; }), {"dim", "1048577", "1048576"});
    expect_parts(refusal([](NetworkSpec& s) { s.outputs = 0; }), {"outputs", "0"});
    expect_parts(refusal([](NetworkSpec& s) { s.outputs = (std::int64_t{1} << 20) + 1; }), {"outputs", "1048577"});
    expect_parts(refusal([](NetworkSpec& s) { s.precision = DType::i32; }), {"precision", "int32", "float32"});
    expect_parts(refusal([](NetworkSpec& s) { s.train = {}; }), {"train", "down, up, readout"});
    expect_parts(refusal([](NetworkSpec& s) { s.activation = {Activation::leaky_relu, std::nan("")}; }), {"slope", "nan"});
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
    for (const auto& [down, p] : {std::pair{Down::orthonormal, 6}, {Down::srht, 8}, {Down::gaussian, 100}, {Down::identity, 6}}) {
        NetworkSpec spec = small_spec();
        rank(down, p)(spec);
        EXPECT_EQ(Network::create(spec).spec().rank, p) << name(down);
    }
}

TEST(NetworkSpecCheck, AsksForAPowerOfTwoUnderASrhtUpFactor) {
    expect_parts(refusal([](NetworkSpec& s) { s.rank = 5; }), {"rank", "5", "power of two", "4", "8", "rademacher"});
    NetworkSpec identity = small_spec();
    identity.down = Down::identity;
    identity.rank = 0;
    EXPECT_EQ(Network::create(identity).spec().rank, 6);  // padded with zeros to 8
}

TEST(NetworkSpecCheck, AsksForTheDataOfPca) {
    NetworkSpec spec = small_spec();
    spec.down = Down::pca;
    expect_parts(error_of<ValueError>([&] { (void)Network::create(spec); }), {"pca", "data"});
    expect_parts(error_of<ShapeError>([&] { (void)Network::create(spec, normals(9, 5, 1)); }), {"5 columns", "dim 6"});
    Matrix x = normals(9, 6, 1);
    x.at<double>(7, 3) = std::numeric_limits<double>::infinity();
    expect_parts(error_of<ValueError>([&] { (void)Network::create(spec, x); }), {"pca", "inf", "row 7", "column 3"});
    expect_parts(error_of<ValueError>([&] { (void)Network::from_tensors(spec, {}); }), {"pca", "U"});
}

TEST(NetworkTensorsCheck, NamesTheTensorAndThePlace) {
    const NetworkSpec spec = small_spec();
    const Matrix good_down = normals(4, 6, 1), good_up = normals(37, 4, 2), good_readout = normals(37, 2, 3);
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
}

TEST(NetworkFactors, AreRefusedInAnotherShapeOrType) {
    const Network network = Network::create(small_spec());
    EXPECT_THROW((void)network.with_down(normals(6, 4, 1)), ShapeError);
    EXPECT_THROW((void)network.with_up(std::make_shared<const Matrix>(normals(37, 4, 1))), ShapeError);  // float64
    EXPECT_THROW((void)network.with_readout(std::make_shared<const Matrix>(normals(36, 2, 1, DType::f32))), ShapeError);
    EXPECT_THROW((void)network.with_train({}), ValueError);
    EXPECT_EQ(network.with_train({.up = true}).spec().train, Train{.up = true});
    EXPECT_EQ(network.with_up(std::make_shared<const Matrix>(normals(37, 4, 1, DType::f32))).exactness(), Exactness::floating);
}

// ---- the down factors ----------------------------------------------------------------------------------------------

TEST(DownFactor, IdentityOrthonormalAndPcaAreIsometriesOnTheData) {
    const std::int64_t d = 24, rank = 5;
    const Matrix any = normals(10, d, 1);
    const Matrix low = test::times_transposed(normals(40, rank, 2), normals(d, rank, 3));  // rank(X) = 5
    for (const DType precision : {DType::f32, DType::f64}) {
        const double tolerance = precision == DType::f32 ? 0x1p-20 : 1e-12;
        const auto expect_isometry = [&](Down down, std::int64_t p, const Matrix& x) {
            const Network network = Network::create(
                {.dim = d, .width = 8, .rank = p, .down = down, .up = Up::rademacher, .precision = precision, .seed = 4}, x);
            for (const double stretch : squared_stretch(network, x)) EXPECT_NEAR(std::sqrt(stretch), 1, tolerance) << name(down) << ' ' << p;
        };
        expect_isometry(Down::identity, 0, any);
        expect_isometry(Down::orthonormal, d, any);
        expect_isometry(Down::pca, rank, low);
        expect_isometry(Down::pca, rank + 3, low);
        expect_isometry(Down::srht, 32, any);  // all rows of H
    }
    const Network short_pca = Network::create(
        {.dim = d, .width = 8, .rank = rank - 1, .down = Down::pca, .up = Up::rademacher, .precision = DType::f64}, low);
    double kept = 0;
    for (const double stretch : squared_stretch(short_pca, low)) kept = std::max(kept, 1 - stretch);
    EXPECT_GT(kept, 1e-3) << "one direction short, something must be lost";
}

TEST(DownFactor, RowsOfOrthonormalAreOrthogonalAndOfLengthRootD) {
    const std::int64_t d = 33, p = 12;
    const Network network = Network::create(
        {.dim = d, .width = 8, .rank = p, .down = Down::orthonormal, .up = Up::rademacher, .precision = DType::f64, .seed = 1});
    const Matrix identity = test::filled(p, p, DType::f64, [&](auto i, auto j) { return i == j ? d : 0; });
    EXPECT_LT(relative_error(test::times_transposed(network.down(), network.down()), identity), 1e-13);
}

TEST(DownFactor, GaussianAndSrhtKeepLengthsOnAverage) {
    const std::int64_t d = 20, p = 8, n = 16, seeds = 400;
    const Matrix x = normals(n, d, 6);
    for (const Down down : {Down::gaussian, Down::srht, Down::orthonormal}) {
        double mean = 0, square = 0;
        for (std::int64_t seed = 0; seed < seeds; ++seed) {
            double stretch = 0;  // of one draw; the rows of x share U, so draws are the independent unit
            for (const double s : squared_stretch(
                     Network::create({.dim = d, .width = 8, .rank = p, .down = down, .seed = static_cast<std::uint64_t>(seed)}), x))
                stretch += s / static_cast<double>(n);
            mean += stretch / static_cast<double>(seeds);
            square += stretch * stretch / static_cast<double>(seeds);
        }
        const double standard_error = std::sqrt((square - mean * mean) / static_cast<double>(seeds));
        EXPECT_LT(standard_error, 0.02);
        EXPECT_NEAR(mean, 1, 4.5 * standard_error) << name(down);
    }
}

TEST(DownFactor, IsItsOwnRoundingToFixedPoint) {
    for (const DType precision : {DType::f32, DType::f64})
        for (const Down down : {Down::gaussian, Down::orthonormal, Down::srht}) {
            const Network network = Network::create(
                {.dim = 9, .width = 8, .rank = 4, .down = down, .precision = precision, .seed = 3});
            const FixedPoint& fixed = network.fixed_down();
            ASSERT_EQ(fixed.digits.size(), precision == DType::f32 ? 1U : 3U);
            for (std::int64_t i = 0; i < 36; ++i) {
                double sum = 0;
                for (std::size_t j = 0; j < fixed.digits.size(); ++j) {
                    EXPECT_LE(std::abs(fixed.digits[j][i]), 1 << 21);
                    sum += std::ldexp(fixed.digits[j][i], fixed.exponent - 21 * (static_cast<int>(j) + 1));
                }
                EXPECT_EQ(sum, value(network.down(), i / 9, i % 9));
            }
            const Network again = network.with_down(network.down());
            EXPECT_TRUE(test::same_bits(again.down(), network.down())) << name(down);
            EXPECT_EQ(again.fixed_down().digits, fixed.digits);
            EXPECT_EQ(again.fixed_down().exponent, fixed.exponent);
        }
    EXPECT_TRUE(Network::create({.dim = 9, .width = 8, .down = Down::identity}).fixed_down().empty());
}

TEST(DownFactor, KeepsTheBitsOfTheHiddenLayerInsideItsIntegers) {
    const auto bits = [](std::int64_t p, DType precision) {
        return Network::create({.dim = 4, .width = 1, .rank = p, .down = Down::gaussian, .up = Up::rademacher, .precision = precision})
            .hidden_bits();
    };
    EXPECT_EQ(bits(1, DType::f32), 22);
    EXPECT_EQ(bits(256, DType::f32), 22);
    EXPECT_EQ(bits(257, DType::f32), 21);
    EXPECT_EQ(bits(4096, DType::f32), 18);
    EXPECT_EQ(bits(1, DType::f64), 52);
    EXPECT_EQ(bits(1024, DType::f64), 52);
    EXPECT_EQ(bits(1025, DType::f64), 51);
}

// ---- networks from tensors, and the up factors -----------------------------------------------------------------------

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
                if (precision == DType::f32) m.at<float>(i, j) *= -1;
                else m.at<double>(i, j) *= -1;
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
        const Network network = Network::create({.dim = 16, .width = m, .rank = p, .up = up, .precision = DType::f64, .seed = 8});
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
        if (up == Up::gaussian) EXPECT_NEAR(square / n, 1, 4.5 * std::sqrt(2 / n));
        else EXPECT_EQ(square, n) << name(up);
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
