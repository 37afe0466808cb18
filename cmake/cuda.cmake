# FNTK_CUDA: whether the device code is compiled. This version has no CUDA backend; what runs on both sides are the
# scalar functions of kernels/*.hpp, and kernels/known_answers.cu instantiates them for the device. No public target
# links it, so a build with device code needs neither a GPU nor a driver.
#     CMAKE_CUDA_ARCHITECTURES   honoured as everywhere; by default those of the list below the toolkit knows
#     CMAKE_CUDA_COMPILER        nvcc; else $CUDACXX, nvcc in PATH or in /usr/local/cuda
set(FNTK_CUDA_ENABLED FALSE)
set(FNTK_CUDA_NONE "no CUDA backend in this version: device 'cuda' is reported as unavailable")
if(NOT FNTK_CUDA MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "fntk: FNTK_CUDA is '${FNTK_CUDA}'; it must be AUTO, ON or OFF")
endif()
if(FNTK_CUDA STREQUAL "OFF")
    message(STATUS "fntk: device code not compiled (FNTK_CUDA=OFF), ${FNTK_CUDA_NONE}")
    return()
endif()

if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(FNTK_NVCC nvcc PATHS /usr/local/cuda/bin)
    mark_as_advanced(FNTK_NVCC)
    if(FNTK_NVCC)
        set(ENV{CUDACXX} ${FNTK_NVCC})
    endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
    if(FNTK_CUDA STREQUAL "ON")
        message(FATAL_ERROR "fntk: FNTK_CUDA=ON needs a working CUDA toolkit, 12.4 or later, and none was found. "
            "Put nvcc into PATH or pass -DCMAKE_CUDA_COMPILER=/path/to/nvcc, or configure with -DFNTK_CUDA=OFF.")
    endif()
    message(STATUS "fntk: device code not compiled (no CUDA toolkit found), ${FNTK_CUDA_NONE}")
    return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(FNTK_CUDA_DEFAULT_ARCHITECTURES TRUE)
    set(CMAKE_CUDA_ARCHITECTURES 80)  # for the compiler's own check
endif()
enable_language(CUDA)
if(FNTK_CUDA_DEFAULT_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 86 89 90)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        list(APPEND CMAKE_CUDA_ARCHITECTURES 100 120)
    endif()
endif()

add_library(fntk_kernels_check OBJECT ${PROJECT_SOURCE_DIR}/kernels/known_answers.cu)
# C++17: CMake 3.24 and 3.25 know no later one for nvcc.
set_target_properties(fntk_kernels_check PROPERTIES
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}")
# --fmad=false: the device must round every operation of the shared functions as the host does.
target_compile_options(fntk_kernels_check PRIVATE --fmad=false -Xcompiler=-Wall,-Wextra
                                                  $<$<BOOL:${FNTK_WERROR}>:--Werror=all-warnings>)
set(FNTK_CUDA_ENABLED TRUE)
list(JOIN CMAKE_CUDA_ARCHITECTURES ", " FNTK_CUDA_ARCHITECTURES_TEXT)
message(STATUS "fntk: device code compiled for ${FNTK_CUDA_ARCHITECTURES_TEXT} (CUDA ${CMAKE_CUDA_COMPILER_VERSION}), ${FNTK_CUDA_NONE}")
