// Files of models that would not be read again, and files whose numbers are none.
#include "kernel_model_cases.hpp"
#include "temp_folder.hpp"

#include <fntk/error.hpp>
#include <fntk/io.hpp>

#include <cmath>
#include <utility>

namespace fntk {
namespace {

using test::cpu;
using test::error_of;
using test::expect_parts;
using test::limit;
using test::normals;
using test::on_sphere;

TEST(KernelModelFile, SavesNothingThatItCouldNotRead) {
    const test::TempFolder folder;
    KernelModel model = fit_kernel(cpu(), limit(), on_sphere(10, 6, 1), normals(10, 1, 2));
    const auto refused = [&](auto& field, const auto& bad, std::initializer_list<std::string> parts) {
        const auto good = std::exchange(field, bad);
        expect_parts(error_of<ValueError>([&] { save_model(folder.path("model"), model); }), parts);
        EXPECT_EQ(folder.names(), std::vector<std::string>{});
        field = good;
    };
    using Notes = std::map<std::string, std::string>;
    refused(model.notes, Notes{{"a", "\xff"}}, {"note 'a'", "UTF-8"});
    refused(model.notes, Notes{{"\xff", "a"}}, {"note '?'", "UTF-8"});
    for (const double bad : {double{NAN}, HUGE_VAL, -5.0}) {
        refused(model.jitter, bad, {"jitter = "});
        refused(model.ridge, bad, {"ridge = "});
    }
    refused(model.targets, 0, {"targets = 0"});
}

TEST(KernelModelFile, RefusesAFileWhoseNumbersAreNone) {
    const test::TempFolder folder;
    const std::string path = folder.path("model.safetensors");
    save_model(path, fit_kernel(cpu(), limit(), on_sphere(10, 6, 1), normals(10, 1, 2)));
    const SafeTensors file(path);
    const auto refused = [&](const std::string& object, const std::string& key, const std::string& value,
                             std::initializer_list<std::string> parts) {
        std::map<std::string, std::string> metadata = file.metadata();
        std::string& text = metadata[object];
        const std::size_t at = text.find("\"" + key + "\":") + key.size() + 3;
        text.replace(at, text.find_first_of(",}", at) - at, value);
        save_safetensors(path, metadata, {{"X", file.tensor("X")}, {"alpha", file.tensor("alpha")}});
        const std::string error = error_of<Error>([&] { (void)load_model(path); });
        expect_parts(error, parts);
        expect_parts(error, {path});
    };
    refused("fit", "jitter", "-5", {"jitter = -5"});
    refused("fit", "jitter", "null", {"jitter is null"});
    refused("fit", "ridge", "true", {"ridge is true"});
    refused("fit", "targets", "1.7", {"targets is 1.7"});
    refused("fit", "targets", "0", {"targets = 0"});
    refused("fit", "targets", "18446744073709551615", {"targets is 18446744073709551615"});
    refused("kernel", "dim", "6.5", {"dim is 6.5"});
    refused("kernel", "precision", "\"float16\"", {"precision", "float16"});
    refused("fit", "targets", std::string(100'000, '[') + std::string(100'000, ']'),
            {"'fit'", "64 levels"});
}

}  // namespace
}  // namespace fntk
