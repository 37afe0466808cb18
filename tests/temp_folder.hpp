// A folder of one test, removed with its end, and the text of the error that a call throws.
#pragma once

#include <gtest/gtest.h>

#include <stdlib.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <typeinfo>
#include <vector>

namespace fntk::test {

class TempFolder {
  public:
    TempFolder() {
        std::string name = ::testing::TempDir() + "fntk_XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
        folder_ = name;
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;

    [[nodiscard]] std::string path(const std::string& name) const { return (folder_ / name).string(); }
    /// Writes the bytes and returns the path.
    [[nodiscard]] std::string write(const std::string& name, const std::string& bytes) const {
        std::ofstream(path(name), std::ios::binary) << bytes;
        return path(name);
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream file(path(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    /// Names of what it holds, hidden files too, sorted.
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& entry : std::filesystem::directory_iterator(folder_))
            result.push_back(entry.path().filename().string());
        std::ranges::sort(result);
        return result;
    }

  private:
    std::filesystem::path folder_;
};

/// The text of the `Expected` that `action` throws; a failure when it throws nothing or something else, or
/// several lines.
template <class Expected, class Action>
std::string error_of(Action&& action) {
    try {
        action();
    } catch (const Expected& error) {
        const std::string text = error.what();
        EXPECT_EQ(text.find('\n'), std::string::npos) << text;
        return text;
    } catch (const std::exception& error) {
        ADD_FAILURE() << "threw " << typeid(error).name() << ": " << error.what();
        return {};
    }
    ADD_FAILURE() << "threw nothing";
    return {};
}

/// Fails unless `text` holds every part.
inline void expect_parts(const std::string& text, std::initializer_list<std::string> parts) {
    for (const std::string& part : parts)
        EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' in: " << text;
}

}  // namespace fntk::test
