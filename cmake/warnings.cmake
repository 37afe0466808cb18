# fntk_warnings: warnings and floating-point rules, linked privately by every target of this project. The flags are
# the host compiler's; nvcc gets its own in cuda.cmake.
add_library(fntk_warnings INTERFACE)
target_compile_options(fntk_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -ffp-contract=off>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${FNTK_WERROR}>>:-Werror>)
# GCC 12 sees overlapping copies and dangling pointers in correct code when it optimises std::string.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
    target_compile_options(fntk_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-dangling-pointer>)
endif()

if(FNTK_SANITIZE)
    # Instrumented code keeps GCC from seeing that a variable is set before it is read.
    target_compile_options(fntk_warnings INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${FNTK_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
    add_link_options(-fsanitize=${FNTK_SANITIZE})
endif()
