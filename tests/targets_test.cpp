// Labels as targets of a fit: which of them are classes, how many outputs they need, and what is refused.
#include "targets.hpp"

#include "temp_folder.hpp"

namespace {

using namespace fntk;
using cli::default_outputs;
using cli::refuse_guessed_classes;
using cli::Targets;
using test::error_of;
using test::expect_parts;

Dataset labelled(const std::vector<double>& labels, std::int64_t classes, std::int64_t columns = 1) {
    const auto rows = static_cast<std::int64_t>(labels.size()) / columns;
    Dataset data;
    data.train = {Matrix(rows, 2, DType::f32),
                  Matrix::copy_of(ConstMatrixView(labels.data(), rows, columns))};
    data.classes = classes;
    return data;
}

TEST(Targets, OfClassesAreColumns) {
    const Dataset data = labelled({2, 0, 1, 2}, 3);
    EXPECT_EQ(default_outputs(data), 3);
    const Targets squared(data, 3), probabilities(data, 3, Loss::cross_entropy), wide(data, 5);
    EXPECT_TRUE(squared.classification());
    EXPECT_EQ(squared.matrix().cols, 3);
    EXPECT_EQ(wide.matrix().cols, 5);
    for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t c = 0; c < 3; ++c) {
            const bool own = data.train.labels.at<double>(i, 0) == static_cast<double>(c);
            EXPECT_EQ(value(squared.matrix(), i, c) > 0, own);
            EXPECT_EQ(value(probabilities.matrix(), i, c), own ? 1 : 0);
        }
    expect_parts(error_of<ValueError>([&] { const Targets few(data, 2); }),
                 {"outputs is 2", "3 classes need 3", "--outputs 3"});
}

TEST(Targets, OfValuesAreTheirColumns) {
    const Dataset data = labelled({25, 346, 151}, 0);
    EXPECT_EQ(default_outputs(data), 1);
    const Targets targets(data, 1);
    EXPECT_FALSE(targets.classification());
    EXPECT_EQ(targets.matrix().cols, 1);
    EXPECT_EQ(value(targets.matrix(), 1, 0), 346);
    const std::vector<double> scores{26, 344, 153};
    EXPECT_DOUBLE_EQ(targets.score(ConstMatrixView(scores.data(), 3, 1), data.train), std::sqrt(3.0));
    expect_parts(error_of<ValueError>([&] { const Targets two(data, 2); }),
                 {"outputs is 2", "real targets", "--outputs 1"});
    const Dataset pairs = labelled({1, 2, 3, 4, 5, 6}, 0, 2);
    EXPECT_EQ(default_outputs(pairs), 2);
    const Targets both(pairs, 2);
    EXPECT_EQ(value(both.matrix(), 2, 1), 6);
    const std::vector<double> near{1, 4, 3, 4, 7, 8};  // off by 2, 2, 2 of six
    EXPECT_DOUBLE_EQ(both.score(ConstMatrixView(near.data(), 3, 2), pairs.train), std::sqrt(2.0));
    expect_parts(error_of<ValueError>([&] { const Targets one(pairs, 1); }),
                 {"outputs is 1", "have 2", "--outputs 2"});
}

TEST(Targets, MoreClassesThanLabelsAreNotGuessed) {
    const Dataset numbers = labelled({25, 346, 151}, 347);
    expect_parts(error_of<ValueError>([&] { refuse_guessed_classes(numbers, TargetKind::automatic); }),
                 {"3 labels", "up to 346", "347 classes", "--targets values", "--targets classes"});
    refuse_guessed_classes(numbers, TargetKind::classes);
    refuse_guessed_classes(labelled({25, 346, 151}, 0), TargetKind::values);
    refuse_guessed_classes(labelled({0}, 2), TargetKind::automatic);  // one of two
    refuse_guessed_classes(labelled({0, 2, 1}, 3), TargetKind::automatic);
    refuse_guessed_classes(labelled(std::vector<double>(32, 31), 32), TargetKind::automatic);
    refuse_guessed_classes(labelled(std::vector<double>(66, 32), 33), TargetKind::automatic);
    EXPECT_THROW(refuse_guessed_classes(labelled(std::vector<double>(65, 32), 33), TargetKind::automatic),
                 ValueError);
    Dataset split = labelled({9}, 10);  // the test split tells that they are classes
    split.test = labelled({0, 1, 2, 3, 4, 5, 6, 7, 8}, 10).train;
    refuse_guessed_classes(split, TargetKind::automatic);
}

}  // namespace
