// Scales and label placement of the figures.
#include "svg.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

namespace {

using namespace fntk::cli::svg;

TEST(Svg, EscapesMarkupAndControls) {
    EXPECT_EQ(escape("a<b>&\"c'\x07λ"), "a&lt;b&gt;&amp;&quot;c&#39; λ");
}

TEST(Svg, MapsTheRangeOfTheValuesWithAMargin) {
    const Scale scale(Axis::log, {1, 100, -5, std::numeric_limits<double>::quiet_NaN()}, 0, 200);
    EXPECT_DOUBLE_EQ(scale.at(10), 100);
    EXPECT_GT(scale.at(1), 0);
    EXPECT_LT(scale.at(100), 200);
    EXPECT_DOUBLE_EQ(scale.at(1e30), 200);
    EXPECT_FALSE(scale.holds(0));
    EXPECT_FALSE(scale.shows(1000));
}

TEST(Svg, PutsTicksAtRoundValues) {
    EXPECT_EQ(Scale(Axis::log, {1, 1e4}, 0, 1).ticks(), (std::vector<double>{1, 10, 100, 1000, 10000}));
    EXPECT_EQ(Scale(Axis::log, {1, 10}, 0, 1).ticks(), (std::vector<double>{1, 2, 5, 10}));
    for (const double value : Scale(Axis::linear, {0.76, 0.83}, 0, 1).ticks()) {
        EXPECT_NEAR(value * 100, std::round(value * 100), 1e-9);
    }
}

TEST(Svg, HasTicksForEveryRange) {
    const std::vector<std::vector<double>> ranges{{},        {7}, {3, 3},  {1e-300, 1e300}, {5e-324},
                                                  {1.7e308}, {0}, {-2, 4}, {-1e308, 1e308}};
    for (const Axis axis : {Axis::linear, Axis::log}) {
        for (const auto& values : ranges) {
            const Scale scale(axis, values, 300, 0);
            EXPECT_LT(scale.low(), scale.high());
            EXPECT_LE(scale.ticks().size(), 14u);
            for (const double tick : scale.ticks()) EXPECT_TRUE(std::isfinite(scale.at(tick)));
        }
    }
}

TEST(Svg, PlacesLabelsApartAndDropsThoseWithoutRoom) {
    Canvas canvas(300, 200, {20, 20, 280, 180});
    for (int i = 0; i < 40; ++i) canvas.label({150, 100}, 4, "p=64", "tag", 60);
    const std::string drawing = canvas.str("crowded");
    const std::regex place(R"re(<text class="tag" x="([\d.]+)" y="([\d.]+)")re");
    std::vector<Point> places;
    for (std::sregex_iterator it(drawing.begin(), drawing.end(), place), end; it != end; ++it) {
        places.push_back({std::stod((*it)[1]), std::stod((*it)[2])});
    }
    EXPECT_GT(places.size(), 4u);
    EXPECT_LT(places.size(), 40u);
    for (std::size_t i = 0; i < places.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            EXPECT_TRUE(std::abs(places[i].x - places[j].x) > 20 ||
                        std::abs(places[i].y - places[j].y) > 12);
        }
    }
}

}  // namespace
